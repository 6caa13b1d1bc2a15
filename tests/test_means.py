# SPDX-License-Identifier: Apache-2.0
"""Means over devices and over accumulated steps, where as much is kept on none alike.

The bug of others is reproduced beside: the mean of the means of parts.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracle
import pytest
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jaxent

pytestmark = pytest.mark.quickly_compiled

MESH = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
SHAPE = (16, 3)  # two rows a device
REDUCTIONS = "sum", "mean", "weighted_mean", "nonzero_mean", "batch_mean"


def draw():
    """Of the first device's values none is kept, of the next one, and so on."""
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, size=SHAPE).astype(np.float32)
    where = np.tile(np.arange(6), 8) < np.repeat(np.arange(8), 6)
    weights = rng.integers(0, 4, SHAPE).astype(np.float32) / 2
    return values, where.reshape(SHAPE), weights


def across(f):
    return jax.jit(jax.shard_map(f, mesh=MESH, in_specs=P("data"), out_specs=P()))


@pytest.mark.parametrize("weighted", [False, True])
def test_over_devices(weighted):
    values, where, weights = draw()
    w = weights if weighted else np.ones_like(weights)

    def reduced(values, where, weights):
        means = {
            r: jaxent.reduce(
                values, where=where, weights=weights if weighted else None, reduction=r,
                axis_name="data",
            )
            for r in REDUCTIONS
        }  # fmt: skip
        parts = jaxent.WeightedMean.from_values(values, where=where, weights=weights)
        return means | {"parts": parts.psum("data").value}

    got, pull = jax.vjp(across(reduced), values, where, weights)
    for r in REDUCTIONS:
        right = oracle.reduce(values, where=where, weights=w, reduction=r)
        np.testing.assert_allclose(got[r], float(right), rtol=5e-7)
        ones = {k: jnp.float32(k == r) for k in got}
        np.testing.assert_allclose(
            pull(ones)[0], gradient(values, where, w, r), rtol=5e-7
        )
    right = weighted_mean(values, where, weights)
    np.testing.assert_allclose(got["parts"], float(right), rtol=5e-7)


def weighted_mean(values, where, weights):
    options = {"where": where, "weights": weights}
    return oracle.reduce(values, reduction="weighted_mean", **options)


def gradient(values, where, weights, reduction):
    def f(x):
        return oracle.reduce(x, where=where, weights=weights, reduction=reduction)

    return oracle.gradient(f, values).astype(float)


def test_a_mean_of_means_is_another():
    values, where, _ = draw()

    def wrong(values, where):
        return lax.pmean(jaxent.reduce(values, where=where), "data")

    right = float(oracle.reduce(values, where=where))
    assert abs(float(across(wrong)(values, where)) / right - 1) > 0.1


def test_over_steps():
    """In any order, and split anywhere: the sums are added up, and divided once."""
    values, where, weights = draw()
    parts = [slice(0, 1), slice(1, 9), slice(9, 11), slice(11, 16)]
    means = [
        jaxent.WeightedMean.from_values(values[p], where=where[p], weights=weights[p])
        for p in parts
    ]
    right = weighted_mean(values, where, weights)
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        total = means[order[0]]
        for k in order[1:]:
            total = total.merge(means[k])
        np.testing.assert_allclose(total.value, float(right), rtol=5e-7)


STEPS, N, D, V = 3, 6, 4, 5


def batches():
    rng = np.random.default_rng(1)
    hidden = rng.normal(size=(STEPS, N, D)).astype(np.float32)
    labels = rng.integers(0, V, (STEPS, N)).astype(np.int32)
    where = np.arange(N) < np.array([1, 6, 2])[:, None]
    return hidden, labels, where


def step_of(optimizer, loss):
    """One optimizer's step over the batches, from a classifier of zeros."""
    start = jnp.zeros((V, D))

    @jax.jit
    def run(batches):
        def body(carry, batch):
            classifier, state = carry
            slope = jax.grad(loss)(classifier, *batch)
            updates, state = optimizer.update(slope, state, classifier)
            return (optax.apply_updates(classifier, updates), state), None

        return lax.scan(body, (start, optimizer.init(start)), batches)[0][0]

    with jax.numpy_dtype_promotion("standard"):  # optax divides floats by integers
        return run(batches())


def test_accumulated_gradients():
    """`optax.MultiSteps` takes the mean of what it is given, so it is given totals."""
    hidden, labels, where = batches()
    optimizer = optax.MultiSteps(optax.sgd(1.0), every_k_schedule=STEPS)
    count = float(np.sum(where))

    def mean(classifier, hidden, labels, where):
        return jaxent.linear_softmax_cross_entropy(
            hidden, classifier, labels, where=where
        )

    def share(classifier, hidden, labels, where):
        total = jaxent.linear_softmax_cross_entropy(
            hidden, classifier, labels, where=where, reduction="sum"
        )
        return total * (STEPS / count)

    x = np.zeros((STEPS * N, V))
    slope = oracle.label_gradient(x, labels.reshape(-1)) * where.reshape(-1, 1)
    right = -(slope.T @ hidden.reshape(-1, D) / where.sum()).astype(float)
    np.testing.assert_allclose(step_of(optimizer, share), right, rtol=1e-5, atol=1e-7)
    wrong = step_of(optimizer, mean)
    assert np.max(np.abs(wrong - right)) > 0.1 * np.max(np.abs(right))
