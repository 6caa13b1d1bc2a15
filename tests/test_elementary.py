# SPDX-License-Identifier: Apache-2.0
"""The scalar functions that ask a device for its best, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxent._engine import elementary

NAMES = ("exp", "expm1", "log", "log1p", "tanh")


@pytest.mark.parametrize("name", NAMES)
def test_the_best_accuracy_is_asked_for(name):
    """It is in the program, which TPUs read; on CPU the digits are those of lax."""
    x = jnp.geomspace(1e-30, 80, 1001, dtype=jnp.float32)
    ours, theirs = jax.jit(getattr(elementary, name)), jax.jit(getattr(lax, name))
    assert "result_accuracy_mode<HIGHEST>" in ours.lower(x).as_text()
    np.testing.assert_array_equal(ours(x), theirs(x))


def test_the_slope_of_tanh():
    x = jnp.linspace(-9, 9, 1001, dtype=jnp.float32)
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(elementary.tanh)))(x)
    truth = 1 - np.asarray(value, np.float64) ** 2
    # 1 + y, y of the value there is, its product with 1 − y, which is exact where y is
    # near 1, and that: three roundings, and one of 1 − y elsewhere.
    np.testing.assert_allclose(slope, truth, rtol=4 * 2.0**-24)


def test_a_coarse_division_is_put_right():
    """One that is off by 198 ULP, as on TPU v5e, with inf, 0 and NaN as they were."""
    rng = np.random.default_rng(0)
    x, y = np.exp(rng.uniform(-20, 20, (2, 100_000))).astype(np.float32)
    off = jnp.asarray(rng.uniform(-1, 1, x.shape) * 198 * 2.0**-24, jnp.float32)

    def coarse(x, y):
        q = x / y
        return q + q * off

    got = np.asarray(elementary._corrected(coarse, jnp.asarray(x), jnp.asarray(y)))
    true = x.astype(np.float64) / y
    ulp = np.spacing(np.abs(true).astype(np.float32))
    assert np.max(np.abs(got - true) / ulp) <= 1.5
    assert np.max(np.abs(coarse(x, y) - true) / ulp) > 90
    ends = np.array([[0, 1, 1, np.inf, 0, np.nan], [1, 0, np.inf, 1, 0, 1]], np.float32)
    found = elementary._corrected(lax.div, *map(jnp.asarray, ends))
    np.testing.assert_array_equal(found, [0, np.inf, 0, np.inf, np.nan, np.nan])


def test_elsewhere_than_on_a_tpu_division_is_the_devices_own():
    x, y = np.random.default_rng(0).uniform(0.1, 9, (2, 999)).astype(np.float32)
    ours, theirs = jax.jit(elementary.quotient), jax.jit(lax.div)
    np.testing.assert_array_equal(ours(x, y), theirs(x, y))


def test_slopes_of_a_quotient_need_no_square():
    """Of y = 1e-30, whose square is 0."""
    x, y = jnp.array([0, 2.0, 3e-30]), jnp.array([1e-30, 0.7, 1e-30])
    both = jax.vmap(jax.grad(elementary.quotient, (0, 1)))
    slopes = both(x, y)
    expected = [1 / y, -np.asarray(x / y) / np.asarray(y)]
    np.testing.assert_allclose(slopes, expected, rtol=3e-7)
    curved = jax.grad(jax.grad(elementary.quotient, 1), 1)(2.0, 0.7)
    np.testing.assert_allclose(curved, 4 / 0.7**3, rtol=5e-7)
