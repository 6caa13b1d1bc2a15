# SPDX-License-Identifier: Apache-2.0
"""The losses of the fused heads: the dense engine, run on a chunk of positions."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from .._engine.class_axis import ClassAxis
from .._engine.elementary import tanh
from .._engine.exact import computing_dtype, product
from .._engine.inputs import ClassInputs
from .._engine.labels import class_ids, drop, kept
from .._engine.means import divided, sequence_shares
from .._engine.measures import js_of, kl_of
from .._engine.pair_losses import cross_entropy_of, integer_label_loss, regularized
from .._engine.softmax_statistics import (
    SoftmaxStatistics,
    logits_statistics_of,
    softmax_statistics_of,
)
from .._types import PyTree, Reduction, Shape
from .chunked import chunked_map, chunked_sum
from .chunks import Rows, Shared
from .explicit import under_shard_map
from .given import HeadInputs, HeadSettings, flatten_batch
from .kernels.fused_head import How, head_numbers

RowLoss = Callable[[tuple[Array, ...], Rows, Shared], tuple[Array, PyTree]]
"""(logits [C, V] of each head, rows, shared numbers) -> one loss a position, and what
else there is to know of each, not differentiated."""


def reduced(
    given: HeadInputs,
    shared: Shared,
    *,
    settings: HeadSettings,
    reduction: Reduction,
    loss: RowLoss,
) -> tuple[Array, PyTree]:
    """A loss of a fused head: in one sweep if it is reduced, in two if it is not.

    And what else it tells of each position, from the same sweep.
    """
    shared = jax.tree.map(jnp.asarray, shared)
    if reduction == "sequence_mean":
        given, reduction = _by_sequence(given, settings), "sum"

    # From the inside out: `weighted` are a chunk's losses; `values` are those of all
    # chunks, `total` is their sum, and `under_shard_map` computes it where arrays are.
    def weighted(
        logits: tuple[Array, ...], rows: Rows, shared: Shared
    ) -> tuple[Array, PyTree]:
        values, aux = loss(logits, rows, shared)
        aux = jax.tree.map(lambda x: drop(lax.stop_gradient(x), rows.keep), aux)
        return product(rows.weights, drop(values, rows.keep)), aux

    def values(given: HeadInputs, shared: Shared, settings: HeadSettings):
        heads, rows, batch = flatten_batch(given, settings)
        found = chunked_map(weighted, settings.plans, heads, rows, shared)
        return _with_batch(found, batch)

    def summed(logits: tuple[Array, ...], rows: Rows, shared: Shared):
        losses, aux = weighted(logits, rows, shared)
        return jnp.sum(losses), aux

    def total(given: HeadInputs, shared: Shared, settings: HeadSettings):
        heads, rows, batch = flatten_batch(given, settings)
        value, aux = chunked_sum(summed, settings.plans, heads, rows, shared)
        return value, _with_batch(aux, batch)

    if reduction == "none":
        return under_shard_map(values, given, shared, settings, summed=False)
    value, aux = under_shard_map(total, given, shared, settings, summed=True)
    return _divided(value, given, settings, reduction), aux


def _by_sequence(given: HeadInputs, settings: HeadSettings) -> HeadInputs:
    """With weights of which a sum is the mean over the sequences."""
    hidden = given.heads[0].hidden
    like = jnp.zeros(hidden.shape[:-1], computing_dtype(hidden))
    shares = sequence_shares(like, _counted(given, settings), given.weights)
    return given._replace(weights=shares)


def _counted(given: HeadInputs, settings: HeadSettings) -> Array | None:
    """The positions that a mean counts."""
    if given.labels is None:
        return given.where
    return kept(given.labels, given.where, settings.ignore_index)


def _with_batch(rows: PyTree, batch: Shape) -> PyTree:
    """Arrays [N, ...] of each position as [*batch, ...]."""
    return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), rows)


# For a loss that is always the same object: one made anew would be compiled anew, and
# stay in the cache.
reduced_jit = jax.jit(
    reduced, static_argnames=("settings", "reduction", "loss"), inline=True
)


@functools.partial(
    jax.jit, static_argnames=("settings", "reduction", "how"), inline=True
)
def kernel_cross_entropy(
    given: HeadInputs,
    shared: Shared,
    *,
    settings: HeadSettings,
    reduction: Reduction,
    how: How,
) -> Array:
    """The cross-entropy of a fused head, by the kernels of a chip."""
    if reduction == "sequence_mean":
        given, reduction = _by_sequence(given, settings), "sum"
    (head,), rows, batch = flatten_batch(given, settings)
    # Kernels multiply like by like.
    head = head._replace(hidden=head.hidden.astype(head.classifier.dtype))
    assert rows.labels is not None
    n = head_numbers(how, head, rows.labels, rows.keep)
    values = regularized(
        n.nll, n.uniform_nll, n.log_normalizer, shared.label_smoothing, shared.z_loss
    )
    _, poison = class_ids(None, rows.labels, rows.keep, head.classifier.shape[0])
    values = product(rows.weights, drop(values * poison, rows.keep))
    if reduction == "none":
        return values.reshape(batch)
    return _divided(jnp.sum(values), given, settings, reduction)


def _divided(
    total: Array, given: HeadInputs, settings: HeadSettings, reduction: Reduction
) -> Array:
    if reduction == "sum":
        return total
    batch, keep = given.heads[0].hidden.shape[:-1], _counted(given, settings)
    # Counted outside of the chunks, of all devices' positions.
    axes = tuple(range(len(batch)))
    return divided(total, batch, keep, given.weights, reduction=reduction, axis=axes)


@functools.partial(jax.jit, static_argnames="settings", inline=True)
def linear_statistics(
    given: HeadInputs, shared: Shared, *, settings: HeadSettings
) -> SoftmaxStatistics:
    def values(given: HeadInputs, shared: Shared, settings: HeadSettings):
        heads, rows, batch = flatten_batch(given, settings)
        s = chunked_map(statistics_rows, settings.plans, heads, rows, shared)
        return _with_batch(s, batch), ()

    return under_shard_map(values, given, shared, settings, summed=False)[0]


def _capped(logits: Array, softcap: ArrayLike | None) -> Array:
    if softcap is None:
        return logits
    cap = jnp.asarray(softcap, logits.dtype)
    # A class that a bias of −inf forbids stays so: tanh would give it −cap.
    forbidden = logits == -jnp.inf
    capped = cap * tanh(jnp.where(forbidden, 0, logits) / cap)
    return jnp.where(forbidden, -jnp.inf, capped)


def tempered(logits: Array, rows: Rows, shared: Shared) -> tuple[Array, ClassAxis]:
    """The logits, capped, and the axis with the temperature of their softmax."""
    return _capped(logits, shared.softcap), rows.classes.at(shared.temperature)


def cross_entropy_rows(
    logits: tuple[Array, ...], rows: Rows, shared: Shared
) -> tuple[Array, PyTree]:
    assert rows.labels is not None
    x, classes = tempered(logits[0], rows, shared)
    inputs = ClassInputs(
        x,
        rows.labels,
        class_weights=shared.class_weights,
        label_smoothing=shared.label_smoothing,
        z_loss=shared.z_loss,
        classes=classes,
    )
    losses = integer_label_loss(
        inputs, checked=None, axis=(1,), ignore_index=None, loss=cross_entropy_of
    )
    return losses, ()


def cross_entropy_and_statistics_rows(
    logits: tuple[Array, ...], rows: Rows, shared: Shared
) -> tuple[Array, PyTree]:
    losses, _ = cross_entropy_rows(logits, rows, shared)
    return losses, statistics_rows(logits, rows, shared)


def statistics_rows(
    logits: tuple[Array, ...], rows: Rows, shared: Shared
) -> SoftmaxStatistics:
    assert rows.labels is not None
    x, classes = tempered(logits[0], rows, shared)
    s = softmax_statistics_of(x, rows.labels, classes)
    return jax.tree.map(lambda x: drop(x, rows.keep), s)


def kl_rows(
    logits: tuple[Array, ...], rows: Rows, shared: Shared
) -> tuple[Array, PyTree]:
    """KL(teacher ‖ student) at a temperature; heads: student, teacher."""
    student, teacher = logits
    return kl_of(teacher, student, rows.classes.at(shared.temperature)), ()


def kl_and_statistics_rows(
    logits: tuple[Array, ...], rows: Rows, shared: Shared
) -> tuple[Array, PyTree]:
    """And, of the student, what can be said without a label."""
    losses, _ = kl_rows(logits, rows, shared)
    x, classes = rows.classes.at(shared.temperature).carry(logits[0])
    return losses, logits_statistics_of(x, classes)


def js_rows(
    logits: tuple[Array, ...], rows: Rows, shared: Shared
) -> tuple[Array, PyTree]:
    """Jensen–Shannon divergence, weighted by the teacher's share."""
    assert shared.weight is not None
    student, teacher = logits
    classes = rows.classes.at(shared.temperature)
    return js_of(teacher, student, shared.weight, classes), ()
