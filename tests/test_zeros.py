# SPDX-License-Identifier: Apache-2.0
"""Infinite binary logits and 0·log 0, settled in every mode: rules 5 and 6, by hand."""

import math

import by_hand
import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import INF, NAN, PAIRS, RTOL, array
from cases import each, losses

import jaxent

# What is 0, NaN or infinite is no matter of LLVM's; test_values has the ULP it keeps.
pytestmark = pytest.mark.quickly_compiled

BINARY = {x.function: x.call for x in losses(lambda x: x.kind is cases.BINARY)} | {
    "alpha": lambda x, y: 4 * jaxent.sigmoid_focal_loss(x, y, alpha=0.25),
    "pos_weight": lambda x, y: jaxent.sigmoid_binary_cross_entropy(
        x, y, pos_weight=3.0
    ),
}


@pytest.mark.parametrize("loss", BINARY.values(), ids=BINARY)
def test_infinite_binary_logits_are_settled(loss):
    x, y = array(INF, -INF, INF, -INF, INF, -INF), array(1, 0, 0, 1, 0.5, 0.5)
    value, (by_x, by_y), tangent = by_hand.modes(loss, x, y)
    np.testing.assert_array_equal(value, [0, 0, INF, INF, INF, INF])
    np.testing.assert_array_equal(by_x[:2], [0, 0])
    assert np.isfinite(by_x).all()
    assert not np.isnan(by_y).any()
    assert not np.isnan(tangent).any()
    along_x = jax.jvp(lambda x: loss(x, y), (x,), (jnp.ones(6),))[1]
    np.testing.assert_array_equal(along_x, by_x)
    for hessian in (jax.hessian(loss), jax.jacrev(jax.jacfwd(loss))):
        second = jax.jit(jax.vmap(hessian))(x[:2], y[:2])
        np.testing.assert_array_equal(second, [0, 0])


def test_gradient_of_a_mismatched_infinite_binary_logit():
    f = jaxent.sigmoid_binary_cross_entropy
    grad = jax.grad(lambda x: f(x, array(0, 1, 0.25, 0.25)).sum())
    np.testing.assert_array_equal(
        grad(array(INF, -INF, INF, -INF)), [1, -1, 0.75, -0.25]
    )


def finite_everywhere(f, *xs):
    """No NaN, and no infinity, in any first or second derivative."""
    n = tuple(range(len(xs)))
    modes = jax.grad(f, n), jax.hessian(f, n), jax.jacrev(jax.jacfwd(f, n), n)
    trees = jax.jit(lambda *xs: [g(*xs) for g in modes])(*xs)
    assert by_hand.all_of(trees, ..., np.isfinite)
    return trees[0]


zero_one, one_zero, even = array(0, 1), array(1, 0), array(0.5, 0.5)
zero, one = zero_one
log2 = math.log(2)
SETTLED = {  # function, arguments, value, gradients
    "entropy": (jaxent.entropy, [zero_one], 0, [[0, -1]]),
    "cross_entropy": (
        jaxent.cross_entropy, [zero_one, zero_one], 0, [[0, 0], [0, -1]],
    ),
    "cross_entropy_even": (
        jaxent.cross_entropy, [zero_one, even], log2, [[log2, log2], [0, -2]],
    ),
    "categorical": (
        jaxent.categorical_cross_entropy, [zero_one, zero_one], 0,
        [[0, -1], [0, 0]],
    ),
    "binary_0": (jaxent.binary_cross_entropy, [zero, zero], 0, [1, 0]),
    "binary_1": (jaxent.binary_cross_entropy, [one, one], 0, [-1, 0]),
    "kl": (
        jaxent.kl_divergence, [jnp.log(even), zero_one], log2,
        [[0, -1], [log2, 1 + log2]],
    ),
    "kl_zero_zero": (
        jaxent.kl_divergence, [array(-INF, 0), zero_one], 0, [[0, -1], [0, 1]],
    ),
    "kl_log": (
        jaxent.kl_divergence_with_log_targets, [array(-INF, 0), array(-INF, 0)], 0,
        [[0, -1], [0, 1]],
    ),
    "generalized": (
        jaxent.generalized_kl_divergence, [jnp.log(even), zero_one], log2,
        [[0.5, -0.5], [log2, log2]],
    ),
    "generalized_zero_zero": (
        jaxent.generalized_kl_divergence, [array(-INF, 0), zero_one], 0,
        [[0, 0], [0, 0]],
    ),
    "js_disjoint": (jaxent.js_divergence, [zero_one, one_zero], log2,
                    [[0, log2 / 2], [log2 / 2, 0]]),
    "js_same": (jaxent.js_divergence, [zero_one, zero_one], 0, [[0, 0], [0, 0]]),
}  # fmt: skip


@pytest.mark.parametrize(("f", "xs", "value", "grads"), SETTLED.values(), ids=SETTLED)
def test_zero_times_log_zero_is_zero_in_every_mode(f, xs, value, grads):
    """Rule 6. Where 0·log 0 is settled, its derivative with respect to itself is 0."""
    np.testing.assert_allclose(f(*xs), value, rtol=RTOL, atol=0)
    for got, grad in zip(finite_everywhere(f, *xs), grads, strict=True):
        np.testing.assert_allclose(got, grad, rtol=RTOL, atol=1e-7)


def test_a_positive_weight_on_probability_zero_is_infinite():
    even, sure = array(0.5, 0.5), array(1, 0)
    assert jaxent.cross_entropy(even, sure) == INF
    assert jaxent.categorical_cross_entropy(sure, even) == INF
    assert jaxent.kl_divergence(jnp.log(sure), even) == INF
    assert jaxent.kl_divergence_with_log_targets(jnp.log(sure), jnp.log(even)) == INF
    assert jaxent.generalized_kl_divergence(jnp.log(sure), even) == INF
    assert jaxent.negative_log_likelihood(jnp.log(sure), jnp.array(1)) == INF
    loss = jaxent.binary_cross_entropy(array(0, 1, 0), array(1, 0, 0.5))
    np.testing.assert_array_equal(loss, [INF] * 3)


@each(PAIRS)
@pytest.mark.parametrize("other", [0.0, 1.0, -INF])
def test_nan_is_never_swallowed(loss, other):
    """Not by a zero weight, nor by a forbidden class, beside it or opposite it."""
    fine = array(0.25, 0.25, 0.5)
    for xs in [(fine.at[1].set(NAN), fine.at[1].set(other)),
               (fine.at[1].set(other), fine.at[1].set(NAN))]:  # fmt: skip
        assert np.isnan(loss.call(*xs)).any()
