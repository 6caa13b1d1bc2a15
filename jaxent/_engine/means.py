# SPDX-License-Identifier: Apache-2.0
"""Means: the only place that knows what is added up, and by what it is divided."""

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax

from .._types import AxisName, Reduction, Shape
from .class_axis import axis_index
from .elementary import quotient
from .exact import computing_dtype, widen, widen_both
from .labels import drop, kept
from .placement import placed_as


def weighted_values(values: Array, keep: Array | None, weights: Array | None) -> Array:
    """w·v, exactly 0 where dropped or of weight 0."""
    if weights is None:
        return drop(widen(values), keep)
    v, w = (drop(x, keep) for x in widen_both(values, weights))
    return w * jnp.where((w == 0) & ~jnp.isfinite(v), 0, v)


def total_of(
    values: Array, axis: Shape | None = None, axis_name: AxisName | None = None
) -> Array:
    total = jnp.sum(values, axis=axis)
    return total if axis_name is None else lax.psum(total, axis_name)


@functools.partial(jax.jit, static_argnames=("ignore_index", "reduction"), inline=True)
def averaged(
    values: Array,
    where: Array | None,
    weights: Array | None,
    labels: Array | None,
    *,
    ignore_index: int | None,
    reduction: Reduction,
) -> Array:
    """Losses, one a position, reduced over those that count."""
    keep = where if labels is None else kept(labels, where, ignore_index)
    axes = tuple(range(values.ndim))
    return reduced(values, keep, weights, reduction=reduction, axis=axes)


def reduced(
    values: Array,
    keep: Array | None,
    weights: Array | None,
    segments: Array | None = None,
    *,
    reduction: Reduction,
    axis: Shape,
    axis_name: AxisName | None = None,
    num_segments: int | None = None,
) -> Array:
    """Values of a shape, of which some are kept, as the reduction says."""
    if axis_name is not None:
        axis_index("axis_name", axis_name)
    if reduction == "sequence_mean":
        hit = None
        if segments is not None:
            # As many segments as the axis is long are numbered from 1 on.
            count = values.shape[-1] + 1 if num_segments is None else num_segments
            hit = of_segment(placed_as(values, segments), count)
        weights = sequence_shares(values, keep, weights, hit, axis_name)
        reduction = "sum"
    weighted = weighted_values(values, keep, weights)
    if reduction == "none":
        return weighted
    total = total_of(weighted, axis, axis_name)
    if reduction == "sum":
        return total
    return divided(
        total, values.shape, keep, weights, reduction=reduction, axis=axis,
        axis_name=axis_name,
    )  # fmt: skip


def sequence_shares(
    values: Array,
    keep: Array | None,
    weights: Array | None,
    hit: Array | None = None,
    axis_name: AxisName | None = None,
) -> Array:
    """Weights that make a sum of `values` the mean over sequences of their means.

    A sequence is the last axis, or a segment of it, that `hit` has (`of_segment`).
    """
    w = weighted_values(jnp.ones_like(values, computing_dtype(values)), keep, weights)
    if hit is None:
        totals = own = jnp.sum(w, axis=-1, keepdims=True)
    else:
        totals = segment_sums(hit, w)
        own = jnp.sum(jnp.where(hit, totals[..., None], 0), axis=-2)
    count = total_of((totals != 0).astype(w.dtype), axis_name=axis_name)
    return ratio(ratio(w, own), count)


def of_segment(segments: Array, count: int) -> Array:
    """[..., count, L]: whether a position is of the segment; none is of segment 0."""
    wide = segments.dtype.itemsize > 4
    segments = segments if wide else segments.astype(jnp.int32)
    shape = *segments.shape[:-1], count, segments.shape[-1]
    ids = lax.broadcasted_iota(segments.dtype, shape, segments.ndim - 1)
    return (segments[..., None, :] == ids) & (ids > 0)


def segment_sums(hit: Array, values: Array) -> Array:
    """[..., count] of values [..., L]; masked, for a scatter adds one by one."""
    return jnp.sum(jnp.where(hit, values[..., None, :], 0), axis=-1)


def divided(
    total: Array,
    shape: Shape,
    keep: Array | None,
    weights: Array | None,
    *,
    reduction: Reduction,
    axis: Shape,
    axis_name: AxisName | None = None,
) -> Array:
    """A total over values of a shape, divided as the reduction says."""
    # What is divided by is a total as well: of ones, as they are masked or weighted.
    counted = jnp.ones(shape, total.dtype)
    for mask in (keep, weights):
        counted = counted if mask is None else placed_as(mask, counted)
    if reduction == "batch_mean":
        counted, axis = jnp.ones(shape[:1], total.dtype), (0,)
    elif reduction == "weighted_mean":
        counted = weighted_values(counted, keep, weights)
    else:
        nonzero = reduction == "nonzero_mean" and weights is not None
        counted = weighted_values(counted, keep, (weights != 0) if nonzero else None)
    return ratio(total, total_of(counted, axis, axis_name))


def ratio(total: Array, weight: Array) -> Array:
    """total / weight, and 0, with gradient 0, where there is no weight."""
    dtype = jnp.result_type(total, weight, float)
    total, weight = (x.astype(dtype) for x in (total, placed_as(total, weight)))
    empty = weight == 0
    return jnp.where(empty, 0, quotient(total, jnp.where(empty, 1, weight)))
