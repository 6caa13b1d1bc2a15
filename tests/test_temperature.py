# SPDX-License-Identifier: Apache-2.0
"""A temperature is taken inside the differences, so that no offset of logits matters.

The values and gradients of every loss at one are rows of `cases`. Here: the slope in
the temperature itself, of any order, and what dividing the logits would round off.
"""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from cases import CROSS_ENTROPY, LOSSES, each

import jaxent

pytestmark = pytest.mark.quickly_compiled

OF_LOGITS = [x for x in LOSSES.values() if "temperature" in x.parameters]


def given(loss, dtype="float64"):
    """Logits with a forbidden class or two, far from 0 in float64."""
    rng = np.random.default_rng(1)
    args = loss.kind.make(rng, (4,), 6, "forbidden" if loss.kind.ids else "unit")
    return [a.astype(dtype) if a.dtype.kind == "f" else a for a in args]


@pytest.mark.usefixtures("x64")
@each(OF_LOGITS)
def test_its_derivatives_are_those_of_divided_logits(loss):
    """To second order, and mixed; in float64, where dividing rounds nothing off."""
    args = given(loss)
    n = sum(name.endswith("logits") for name in loss.arrays)

    def inside(logits, t):
        return jnp.sum(jnp.cos(loss.call(*logits, *args[n:], temperature=t)))

    def outside(logits, t):
        finite = [jnp.where(jnp.isinf(x), 0, x) for x in logits]
        divided = [
            jnp.where(jnp.isinf(x), x, f / t)
            for x, f in zip(logits, finite, strict=True)
        ]
        return jnp.sum(jnp.cos(loss.call(*divided, *args[n:])))

    @jax.jit
    def all_of(logits, t):
        return [
            (f(logits, t), jax.grad(f, (0, 1))(logits, t), second(f)(logits, t))
            for f in (inside, outside)
        ]

    def second(f):
        return lambda logits, t: (
            jax.jacfwd(jax.grad(f, (0, 1)), 1)(logits, t),
            jax.grad(lambda ls: jax.grad(f, 1)(ls, t))(logits),
        )

    got, expected = all_of([jnp.asarray(a) for a in args[:n]], jnp.asarray(0.7))
    for a, b in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def test_the_slope_in_it_at_an_offset():
    """∂ℓ/∂T = (x_y − Σ p·x)/T², of float32 logits near 10000."""
    rng, t = np.random.default_rng(2), 0.75
    x = np.asarray(1e4 + rng.normal(size=(64, 9)), np.float32)
    y = rng.integers(0, 9, 64)
    z = oracle.wide(x) - 10000
    p = np.exp(z / t) / np.sum(np.exp(z / t), axis=-1, keepdims=True)
    label = np.take_along_axis(z, y[:, None], -1)[:, 0]
    expected = (label - np.sum(p * z, -1)) / t**2

    def f(t):
        return getattr(jaxent, CROSS_ENTROPY)(x, y, temperature=t)

    got = jax.jvp(f, (t,), (1.0,))[1]
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("t", [0.75, 3.0])
@pytest.mark.parametrize("apart", [1e-2, 1e-3, 1e-4])
def test_near_distributions_keep_the_digits_of_their_difference(t, apart):
    """Dividing both logits would cost up to 4e-3 of the gradient."""
    rng = np.random.default_rng(3)
    a = np.asarray(5 * rng.normal(size=(16, 1000)), np.float32)
    b = np.asarray(a + apart * rng.normal(size=a.shape), np.float32)

    def f(a, b):
        return jaxent.kl_divergence_from_logits(a, b, temperature=t, reduction="sum")

    value, (da, db) = jax.value_and_grad(f, (0, 1))(a, b)
    p, q = (
        np.exp(oracle.wide(x) / t - np.max(x, -1, keepdims=True) / t) for x in (a, b)
    )
    p, q = (x / np.sum(x, -1, keepdims=True) for x in (p, q))
    kl, ratio = oracle.kl_and_ratio(oracle.wide(a), oracle.wide(b), t)
    np.testing.assert_allclose(value, np.sum(kl), rtol=1e-6)
    for got, expected in ((db, (q - p) / t), (da, -p * (ratio + kl[:, None]) / t)):
        error = np.linalg.norm(oracle.wide(got) - expected) / np.linalg.norm(expected)
        assert error < 1e-6


def test_one_is_off_and_a_power_of_two_is_exact():
    x, y = (
        jnp.asarray(given(LOSSES[CROSS_ENTROPY], "float32")[0]),
        jnp.array([0, 1, 2, 3]),
    )
    loss = getattr(jaxent, CROSS_ENTROPY)
    plain = jax.make_jaxpr(loss)(x, y)
    one = jax.make_jaxpr(lambda x, y: loss(x, y, temperature=1.0))(x, y)
    assert str(plain) == str(one)
    np.testing.assert_allclose(loss(x, y, temperature=2.0), loss(x / 2, y), rtol=2e-7)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_it_is_above_0(bad):
    with pytest.raises(ValueError, match=r"softmax_statistics\(temperature=\.\.\.\)"):
        jaxent.softmax_statistics(jnp.ones(3), jnp.array(0), temperature=bad)
