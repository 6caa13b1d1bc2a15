# SPDX-License-Identifier: Apache-2.0
"""Masks, weights and reductions of every loss: what does not count is not there.

The dropped positions hold NaN, and labels that are no class. Values are the oracle's
reduction of the oracle's losses. A gradient is that of the losses, one a position, with
the weight of each over the denominator: 0 where dropped, to the bit.
"""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from cases import CROSS_ENTROPY, LOSSES, each

import jaxent
from jaxent._types import Reduction

pytestmark = pytest.mark.quickly_compiled

KEEP = np.array([[1, 1, 0, 1], [0, 1, 1, 0]]) == 1
WEIGHTS = np.array([[0.5, 0, 2, 1], [3, 0.25, 0, 1]], np.float32)
SEEN = KEEP & (WEIGHTS != 0)
COTANGENT = 3.0


def made(loss, batch=KEEP.shape):
    """Arguments of float32, and whether each is differentiable."""
    rng = np.random.default_rng(0)
    args = loss.kind.make(
        rng, batch[:-1] if not loss.kind.classes else batch, 4, "unit"
    )
    return [a.astype(np.float32) if a.dtype.kind == "f" else a for a in args]


def poisoned(args, seen):
    """The same with what is dropped past all use."""
    return [
        np.where(seen.reshape(seen.shape + (1,) * (a.ndim - seen.ndim)), a, bad)
        for a in args
        for bad in (np.nan if a.dtype.kind == "f" else 999,)
    ]


@each([*LOSSES.values()])
def test_what_is_dropped_is_neither_counted_nor_read(loss):
    args = made(loss)
    bad = poisoned(args, SEEN)
    truth = np.asarray(getattr(oracle, loss.function)(*args)).real
    floats = loss.kind.differentiable

    def losses(xs, reduction, full=bad, **masks):
        full = list(full)
        for i, x in zip(floats, xs, strict=True):
            full[i] = x
        return loss.call(*full, reduction=reduction, **masks)

    @jax.jit
    def run(xs, clean, where, weights):
        masks = {"where": where, "weights": weights}
        values = {r: losses(xs, r, **masks) for r in get_args(Reduction)}
        pull = jax.vjp(lambda xs: losses(xs, "weighted_mean", **masks), xs)[1]
        share = jnp.where(where, weights, 0)
        share *= COTANGENT / jnp.sum(share)
        each = jax.vjp(lambda xs: losses(xs, "none", args), clean)[1](share)
        return values, pull(jnp.float32(COTANGENT)), each

    clean = [args[i] for i in floats]
    values, slopes, expected = run([bad[i] for i in floats], clean, KEEP, WEIGHTS)
    for reduction, value in values.items():
        reduced = oracle.reduce(
            np.where(SEEN, truth, 0), where=KEEP, weights=WEIGHTS, reduction=reduction
        )
        np.testing.assert_allclose(value, reduced, rtol=2e-6, err_msg=reduction)
    for slope, truly in zip(slopes[0], expected[0], strict=True):
        np.testing.assert_allclose(slope, truly, rtol=1e-6, atol=1e-7)
        assert np.all(np.asarray(slope)[~SEEN] == 0)


@each([x for x in LOSSES.values() if "ignore_index" in x.parameters])
def test_what_is_ignored_is_not_counted(loss):
    args = made(loss)
    labels = np.where(KEEP, args[-1], -100)
    truth = np.asarray(getattr(oracle, loss.function)(*args)).real
    for reduction in ("mean", "sequence_mean"):
        got = loss.call(args[0], labels, ignore_index=-100, reduction=reduction)
        reduced = oracle.reduce(
            np.where(KEEP, truth, 0), where=KEEP, reduction=reduction
        )
        np.testing.assert_allclose(got, reduced, rtol=2e-6)


def test_a_mean_over_nothing_is_0_with_gradient_0():
    x, y = jnp.full((2, 3), jnp.nan), jnp.array([7, -1])
    loss = getattr(jaxent, CROSS_ENTROPY)
    none = jnp.zeros(2, bool)
    for reduction in get_args(Reduction):
        value, slope = jax.value_and_grad(
            lambda x, r=reduction: jnp.sum(loss(x, y, where=none, reduction=r))
        )(x)
        assert value == 0
        np.testing.assert_array_equal(slope, np.zeros((2, 3)))


def test_a_weight_has_the_loss_for_its_gradient():
    args = made(LOSSES[CROSS_ENTROPY])
    loss = getattr(jaxent, CROSS_ENTROPY)

    def total(w):
        return loss(*poisoned(args, SEEN), weights=w, where=KEEP, reduction="sum")

    expected = np.where(SEEN, loss(*args), 0)
    np.testing.assert_allclose(jax.grad(total)(WEIGHTS), expected, rtol=1e-6)
