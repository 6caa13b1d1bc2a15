# SPDX-License-Identifier: Apache-2.0
"""Reductions and running totals, each with a stated denominator."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from . import _checks, _options
from ._engine.elementary import exp
from ._engine.exact import computing_dtype, widen
from ._engine.means import (
    of_segment,
    ratio,
    reduced,
    segment_sums,
    total_of,
    weighted_values,
)
from ._engine.placement import placed_as
from ._errors import door, fail
from ._types import Axis, AxisName, Reduction


@door
def reduce(
    values: Float[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*shape"] | None = None,
    weights: Float[ArrayLike, "*shape"] | None = None,
    reduction: Reduction = "mean",
    axis: Axis | None = None,
    axis_name: AxisName | None = None,
    segment_ids: Int[ArrayLike, "*shape"] | None = None,
    num_segments: int | None = None,
) -> Float[Array, "..."]:
    """Reduce losses to a number, with a stated denominator.

    With weights w (1 if not given) and v the values at the n kept positions:

    - `"none"`: w·v, 0 where dropped.
    - `"sum"`: Σ w·v.
    - `"mean"`: Σ w·v / n.
    - `"weighted_mean"`: Σ w·v / Σ w.
    - `"nonzero_mean"`: Σ w·v / (number kept with w ≠ 0).
    - `"batch_mean"`: Σ w·v / (length of the first axis).
    - `"sequence_mean"`: the mean, over the sequences that are not empty, of each one's
      Σ w·v / Σ w. A sequence is the last axis, or a segment of it.

    A mean over nothing is 0, with gradient 0. Dropped positions, and those of weight
    0, add exactly 0 whatever they hold (NaN and inf included). That is so of the value:
    what made a dropped value NaN, a label out of range for one, makes its gradient NaN
    too, so give the mask to the loss itself: all take `where` and `weights`. Across
    devices, a mean of means is wrong where counts differ: with `axis_name` the
    numerators and the denominators are summed first.

    Args:
      values: losses, or what else is averaged (booleans too); any real dtype,
        accumulated in float32 at least.
      where: positions to keep (True), shape of `values`.
      weights: multipliers, shape of `values`.
      reduction: one of the above.
      axis: axis or axes to reduce; None for all.
      axis_name: mapped axis or axes (of `shard_map`, `vmap`) to sum over as well.
      segment_ids: for "sequence_mean" of packed rows: which sequence each value is of,
        from 1 on, shape of `values`. 0 is padding, and is dropped.
      num_segments: ids from this on are dropped, and the work is proportional to it;
        None for as many segments as the last axis is long.
    Returns:
      The reduced values, float32 (float64 for float64).
    Raises:
      TypeError: values that are not real, or a mask that is not boolean.
      ValueError: shapes that differ, an unknown reduction, or an axis out of range.
    Example:
      >>> losses, mask = jnp.array([1.0, 2.0, 6.0]), jnp.array([True, True, False])
      >>> jaxent.reduce(losses, where=mask)
      Array(1.5, dtype=float32)

    Source: the denominators of TensorFlow's `losses.Reduction` and of torch.
    """
    v, keep, w = _checked(values, where, weights)
    _options.reduction(reduction, v.shape)
    if axis is not None and reduction in ("batch_mean", "sequence_mean"):
        must, remedy = f'be None for reduction="{reduction}"', "It takes all axes."
        fail(ValueError, "axis", must, axis, remedy)
    axes = tuple(range(v.ndim)) if axis is None else _checks.axes(axis, "values", v)
    segments = None if segment_ids is None else _segments(segment_ids, v)
    for name, x in (("segment_ids", segments), ("num_segments", num_segments)):
        if x is not None and (reduction != "sequence_mean" or segments is None):
            must = 'come with reduction="sequence_mean" and `segment_ids`'
            fail(ValueError, name, must, x, "Other reductions have no segments.")
    if num_segments is not None:
        num_segments = _options.count("num_segments", num_segments, 1)
    return _reduce(
        v, keep, w, segments, reduction=reduction, axis=axes, axis_name=axis_name,
        num_segments=num_segments,
    )  # fmt: skip


_STATIC = ("reduction", "axis", "axis_name", "num_segments")
_reduce = jax.jit(reduced, static_argnames=_STATIC, inline=True)


def _segments(segment_ids: ArrayLike, values: Array) -> Array:
    ids = _checks.integers("segment_ids", segment_ids)
    _checks.same_shape("segment_ids", ids, values.shape, "values")
    _checks.has_axes("values", values, "positions")
    return ids


def _checked(
    values: ArrayLike, where: ArrayLike | None, weights: ArrayLike | None
) -> tuple[Array, Array | None, Array | None]:
    v = _checks.weights("values", values)
    keep = _checks.positions(where, v.shape)
    if weights is None:
        return v, keep, None
    w = _checks.weights("weights", weights)
    _checks.same_shape("weights", w, v.shape, "values")
    return v, keep, w


@functools.partial(jax.jit, static_argnames="count", inline=True)
def _sums(
    v: Array,
    keep: Array | None,
    w: Array | None,
    segments: Array | None = None,
    *,
    count: int = 0,
) -> tuple[Array, Array]:
    """Σ w·v and Σ w, of all or of each segment."""
    add = total_of
    if segments is not None:
        add = functools.partial(segment_sums, of_segment(placed_as(v, segments), count))
    ones = jnp.ones_like(v, computing_dtype(v))
    v, w = weighted_values(v, keep, w), weighted_values(ones, keep, w)
    return add(v), add(w)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WeightedMean:
    """A mean kept as its two sums, so that it can be merged without error.

    Add up parts of a batch, accumulation steps, hosts or devices in any order, and
    divide once. A pytree: it goes through `jit`, `scan` and `shard_map`.

    Example:
      >>> first = jaxent.WeightedMean.from_values(jnp.array([1.0, 2.0, 3.0]))
      >>> second = jaxent.WeightedMean.from_values(jnp.array([10.0]))
      >>> (first + second).value
      Array(4., dtype=float32)
    """

    total: Array
    """Σ w·v over the kept positions: a scalar, or one number a segment."""
    weight: Array
    """Σ w over the kept positions, shape of `total`."""

    @classmethod
    def zero(cls) -> "WeightedMean":
        """The mean of nothing, to add others to: what a scan begins with."""
        return cls(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))

    @classmethod
    @door
    def from_values(
        cls,
        values: Float[ArrayLike, "*shape"],
        *,
        where: Bool[ArrayLike, "*shape"] | None = None,
        weights: Float[ArrayLike, "*shape"] | None = None,
    ) -> "WeightedMean":
        """The mean of `values`; `where` and `weights` as in `jaxent.reduce`."""
        v, keep, w = _checked(values, where, weights)
        return cls(*_sums(v, keep, w))

    def merge(self, other: "WeightedMean") -> "WeightedMean":
        """The mean over both; `a + b` and `sum` of several do the same."""
        return WeightedMean(self.total + other.total, self.weight + other.weight)

    def __add__(self, other: "WeightedMean") -> "WeightedMean":
        return self.merge(other) if isinstance(other, WeightedMean) else NotImplemented

    def __radd__(self, other: int) -> "WeightedMean":
        # The 0 that Python's `sum` begins with.
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def psum(self, axis_name: AxisName) -> "WeightedMean":
        """The mean over all devices of a mapped axis."""
        return lax.psum(self, axis_name)

    @property
    def value(self) -> Float[Array, "..."]:
        """total / weight; 0, with gradient 0, if nothing was kept."""
        return ratio(jnp.asarray(self.total), jnp.asarray(self.weight))


@door
def segment_means(
    values: Float[ArrayLike, "*batch length"],
    segment_ids: Int[ArrayLike, "*batch length"],
    *,
    num_segments: int,
    where: Bool[ArrayLike, "*batch length"] | None = None,
    weights: Float[ArrayLike, "*batch length"] | None = None,
) -> WeightedMean:
    """The mean of each segment of packed rows: a loss per document, or per sequence.

    Column s has `Σ w·v` and `Σ w` of the values whose segment is s. Segment 0 is
    padding, as in `next_token_labels`, so that column 0 is empty.

    Args:
      values: losses, or what else is averaged; any real dtype.
      segment_ids: which segment each value is of, shape of `values`. 0, negative ids
        and ids from `num_segments` on are dropped.
      num_segments: number of columns; the work is proportional to it.
      where: positions to keep (True), shape of `values`.
      weights: multipliers, shape of `values`.
    Returns:
      `WeightedMean` of arrays `[*batch, num_segments]`, float32 (float64 for float64).
      The `value` of an empty segment is 0.
    Raises:
      TypeError: values that are not real, ids that are not integers.
      ValueError: shapes that differ, or fewer than one segment.
    Example:
      >>> losses, documents = jnp.array([1.0, 3.0, 5.0, 9.0]), jnp.array([1, 1, 2, 0])
      >>> jaxent.segment_means(losses, documents, num_segments=3).value
      Array([0., 2., 5.], dtype=float32)

    Source: packed sequences as in Raffel et al. (2020), T5, §3.1.
    """
    v, keep, w = _checked(values, where, weights)
    ids = _segments(segment_ids, v)
    count = _options.count("num_segments", num_segments, 1)
    return WeightedMean(*_sums(v, keep, w, ids, count=count))


@door
def perplexity(mean_nll: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Perplexity: exp of a mean negative log-likelihood in nats.

    Args:
      mean_nll: mean of −log p per token, in nats; any shape, float.
    Returns:
      `exp(mean_nll)`, float32 (float64 for float64): 1 is certainty, the number of
      classes is a uniform guess.
    Raises:
      TypeError: values that are not floats.
    Example:
      >>> jaxent.perplexity(jnp.log(8.0))
      Array(8., dtype=float32)

    Source: Jelinek et al. (1977), Perplexity, a Measure of the Difficulty of Speech
      Recognition Tasks.
    """
    return _perplexity(_checks.floats("mean_nll", mean_nll))


@functools.partial(jax.jit, inline=True)
def _perplexity(mean_nll: Array) -> Array:
    return exp(widen(mean_nll))


@door
def bits_per_byte(
    total_nll: Float[ArrayLike, "..."], num_bytes: Float[ArrayLike, "..."]
) -> Float[Array, "..."]:
    """Bits per byte of text: a loss that vocabularies can be compared by.

    Args:
      total_nll: sum of −log p over the tokens, in nats; float.
      num_bytes: bytes of UTF-8 that the tokens stand for, > 0; shape of `total_nll`.
    Returns:
      `total_nll / (num_bytes·log 2)`, float32 (float64 for float64).
    Raises:
      TypeError: a total that is not a float.
      ValueError: shapes that differ.
    Example:
      >>> jaxent.bits_per_byte(jnp.array(100.0), 72)
      Array(2.0037, dtype=float32)

    Source: Gao et al. (2020), The Pile, §3.1.
    """
    total = _checks.floats("total_nll", total_nll)
    count = _checks.weights("num_bytes", num_bytes)
    _checks.same_shape("num_bytes", count, total.shape, "total_nll")
    return _bits_per_byte(total, count)


@functools.partial(jax.jit, inline=True)
def _bits_per_byte(total: Array, count: Array) -> Array:
    total = widen(total)
    return total / (count.astype(total.dtype) * math.log(2))
