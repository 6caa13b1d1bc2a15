# SPDX-License-Identifier: Apache-2.0
"""The columns [true | sampled] of the logits, and the dense engines run on them.

docs/mathematics.md, "Sampling and weighting", says why the logarithm of how often a
class is to be drawn is subtracted from its logit. All else is the dense engine's:
`_engine.pair_losses` of few classes. Read `candidates` for how these are drawn.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from .. import _checks, _options, _values
from .._engine.elementary import log
from .._engine.exact import computing_dtype
from .._engine.inputs import Average, ClassInputs, positions
from .._engine.labels import class_ids, drop, nan_unless
from .._engine.linear import Head, linear_head, matmul
from .._engine.pair_losses import (
    binary_cross_entropy_of,
    cross_entropy_of,
    distribution_label_loss,
    integer_label_loss,
)
from .._engine.placement import by_first_axis, placed_as, taken, whole
from .._engine.statistics import log_normalizer
from .._errors import fail
from .._types import Number, Reduction, Shape
from .candidates import Candidates, in_range_or_end, renumbered


class SampledInputs(NamedTuple):
    """The arrays as they came, with any batch axes; labels may have one axis more."""

    head: Head
    labels: Array
    candidates: Candidates
    where: Array | None


class SampledSettings(NamedTuple):
    """What a sampled loss is compiled for."""

    checked: str | None
    remove_accidental_hits: bool
    subtract_log_q: bool
    num_resampled: int | None = None


def given_columns(
    hidden: ArrayLike,
    classifier: ArrayLike,
    labels: ArrayLike,
    bias: ArrayLike | None,
    candidates: Candidates,
    where: ArrayLike | None,
    weights: ArrayLike | None,
    reduction: Reduction,
) -> tuple[SampledInputs, Average]:
    """The checks that all sampled losses share; the mean comes second."""
    head = linear_head(hidden, classifier, bias)
    batch = head.hidden.shape[:-1]
    y = _several_class_ids(labels, batch)
    keep, average = positions(batch, where, weights, reduction)
    return SampledInputs(head, y, _checked(candidates, y), keep), average


def _several_class_ids(labels: ArrayLike, batch: Shape) -> Array:
    """Class ids, one a position or, on a last axis, several."""
    labels = _checks.integers("labels", labels)
    if labels.size == 0 < math.prod(batch) or batch not in (
        labels.shape,
        labels.shape[:-1],
    ):
        must = f"have shape {batch}, or that with the labels of a position last"
        remedy = "Give each position one class id, or the same number of them."
        fail(ValueError, "labels", must, labels.shape, remedy)
    return labels


def _checked(candidates: Candidates, labels: Array) -> Candidates:
    if not isinstance(candidates, tuple) or len(candidates) != 3:
        remedy = "Draw them by `jaxent.samplers`, with the labels."
        kind = type(candidates).__name__
        fail(TypeError, "candidates", "be jaxent.Candidates", kind, remedy)
    ids = _checks.integers("candidates.ids", candidates[0])
    own, drawn = (
        _checks.floats(f"candidates.{name}", x)
        for name, x in zip(Candidates._fields[1:], candidates[1:], strict=True)
    )
    if ids.ndim != 1:
        remedy = "All positions share one draw; for one each, use `jax.vmap`."
        must = "have shape (num_sampled,)"
        fail(ValueError, "candidates.ids", must, ids.shape, remedy)
    _checks.same_shape("candidates.true_count", own, labels.shape, "labels")
    name = "candidates.ids"
    _checks.same_shape("candidates.sampled_count", drawn, ids.shape, name)
    return Candidates(ids, own, drawn)


def settings_of(remove_accidental_hits: bool, subtract_log_q: bool):
    return SampledSettings(
        _values.checked(),
        _options.flag("remove_accidental_hits", remove_accidental_hits),
        _options.flag("subtract_log_q", subtract_log_q),
    )


class Columns(NamedTuple):
    """Logits of N positions: those of their T labels, and of the n candidates."""

    true: Array
    sampled: Array
    candidates: Candidates
    """Counts [N, T] and [n], and ids, numbered as the labels are."""
    labels: Array
    keep: Array | None


def _columns(given: SampledInputs, settings: SampledSettings) -> Columns:
    (hidden, classifier, bias), labels, candidates, where = given
    count, width = classifier.shape
    hidden = by_first_axis(hidden)
    # Devices that share out the positions draw, and read, the same classes.
    candidates = Candidates(*map(whole, candidates))
    positions, true = math.prod(hidden.shape[:-1]), labels.shape[hidden.ndim - 1 :]
    labels, own_counts = (
        placed_as(hidden, x).reshape(positions, *true)
        for x in (labels, given.candidates.true_count)
    )
    if not true:
        labels, own_counts = labels[:, None], own_counts[:, None]
    shape = labels.shape
    keep = several = None
    if where is not None:
        keep = placed_as(hidden, where).reshape(-1)
        several = jnp.broadcast_to(keep[:, None], shape)
        own_counts = jnp.where(several, own_counts, 1)
    if settings.checked and settings.subtract_log_q:
        _values.drawable(settings.checked, labels, several, own_counts)
    ids, _ = class_ids(settings.checked, labels, several, count)
    candidates = candidates._replace(true_count=own_counts)

    # One gather, so that the gradient is one array; each row in it once, so that a half
    # type's adds up in float32.
    unknown = jnp.any(ids < 0) | jnp.any(
        in_range_or_end(candidates.ids, count) == count
    )
    rows, ids, candidates = renumbered(ids, candidates, num_classes=count)
    dtype = computing_dtype(hidden, classifier)
    # A row that is no class stands for all such ids, NaN, or fills up.
    known = nan_unless((rows < count) | ~unknown).astype(dtype)

    def read(x: Array) -> Array:
        how = {"mode": "fill", "fill_value": 0, "indices_are_sorted": True}
        found = taken(x, rows, **how).astype(dtype)
        factor = known.reshape(-1, *(1,) * (x.ndim - 1))
        return found * jnp.broadcast_to(factor, found.shape)

    table = read(classifier)
    hidden = drop(hidden.reshape(-1, width).astype(dtype), keep)
    true = jnp.sum(hidden[:, None] * taken(table, ids), axis=-1)
    sampled = matmul(hidden, table[candidates.ids], (1, 1))
    if bias is not None:
        table = read(bias)
        true += taken(table, ids)
        sampled += table[candidates.ids][None]
    return Columns(true, sampled, candidates, ids, keep)


def _without_log_q(columns: Columns) -> Columns:
    """The logits less log(expected count); NaN for a class that is never drawn."""

    def log_of(counts: Array) -> Array:
        counts = counts.astype(columns.true.dtype)
        drawn = counts > 0
        return log(jnp.where(drawn, counts, 1)) * nan_unless(drawn).astype(counts.dtype)

    _, own, drawn = columns.candidates
    return columns._replace(
        true=columns.true - log_of(own), sampled=columns.sampled - log_of(drawn)[None]
    )


def _hits(columns: Columns) -> Array:
    """[N, n]: whether a candidate is a label of the position."""
    same = columns.labels[:, :, None] == columns.candidates.ids[None, None]
    return jnp.any(same, axis=1)


def _hardest(columns: Columns, count: int, temperature: Number) -> Columns:
    """The candidates of the largest log Σ exp over the positions."""
    scores = lax.stop_gradient(columns.sampled).T
    scores /= jnp.asarray(temperature, scores.dtype)
    if columns.keep is not None:
        scores = jnp.where(columns.keep[None], scores, -jnp.inf)
    ranks = log_normalizer(scores)
    _, chosen = lax.top_k(ranks, count)
    ids, own, drawn = columns.candidates
    return columns._replace(
        sampled=columns.sampled[:, chosen],
        candidates=Candidates(ids[chosen], own, drawn[chosen]),
    )


@functools.partial(jax.jit, static_argnames="settings", inline=True)
def sampled_softmax(
    given: SampledInputs,
    temperature: Number | None = None,
    *,
    settings: SampledSettings,
) -> Array:
    columns = _columns(given, settings)
    if settings.num_resampled is not None:
        assert temperature is not None
        columns = _hardest(columns, settings.num_resampled, temperature)
    if settings.subtract_log_q:
        columns = _without_log_q(columns)
    x = jnp.concatenate([columns.true, columns.sampled], axis=1)
    allowed = None
    if settings.remove_accidental_hits:
        every = jnp.ones_like(columns.true, bool)
        allowed = jnp.concatenate([every, ~_hits(columns)], axis=1)
    # One label is the class of the first column; several are a distribution.
    loss = {"axis": (1,), "loss": cross_entropy_of}
    if columns.true.shape[1] == 1:
        y = jnp.zeros(x.shape[0], jnp.int32)
        inputs = ClassInputs(x, y, columns.keep, allowed)
        value = integer_label_loss(inputs, checked=None, ignore_index=None, **loss)
    else:
        inputs = ClassInputs(x, _targets(columns), columns.keep, allowed)
        value = distribution_label_loss(inputs, **loss)
    return _with_batch(value, given)


@functools.partial(jax.jit, static_argnames="settings", inline=True)
def nce(given: SampledInputs, *, settings: SampledSettings) -> Array:
    columns = _columns(given, settings)
    if settings.subtract_log_q:
        columns = _without_log_q(columns)
    true, sampled = columns.true, columns.sampled
    if settings.remove_accidental_hits:
        # Certainly not drawn: the loss is 0.
        sampled = jnp.where(_hits(columns), -jnp.inf, sampled)
    value = _binary(true, 1 / true.shape[1]) + _binary(sampled, 0.0)
    return _with_batch(drop(value, columns.keep), given)


def _with_batch(value: Array, given: SampledInputs) -> Array:
    """One number a position as the positions came."""
    hidden = given.head.hidden
    return placed_as(hidden, value.reshape(hidden.shape[:-1]))


def _binary(x: Array, label: float) -> Array:
    """The sum of each position's binary losses; one label for all."""
    y, ones = jnp.full_like(x, label), jnp.ones_like(x)
    return jnp.sum(binary_cross_entropy_of(x, y, ones), axis=1)


def _targets(columns: Columns) -> Array:
    """1/T at each of T labels, and 0 at the candidates."""
    true = jnp.full_like(columns.true, 1 / columns.true.shape[1])
    return jnp.concatenate([true, jnp.zeros_like(columns.sampled)], axis=1)
