# SPDX-License-Identifier: Apache-2.0
"""Reductions and running totals, each with a stated denominator."""

import dataclasses
import functools
import math
from typing import get_args

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from . import _checks, _options
from ._engine.elementary import exp
from ._engine.exact import computing_dtype, widen
from ._engine.means import divided, ratio, total_of, weighted_values
from ._errors import door, fail
from ._types import Axis, AxisName, Reduction, Shape


@door
def reduce(
    values: Float[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*shape"] | None = None,
    weights: Float[ArrayLike, "*shape"] | None = None,
    reduction: Reduction = "mean",
    axis: Axis | None = None,
    axis_name: AxisName | None = None,
) -> Float[Array, "..."]:
    """Reduce losses to a number, with a stated denominator.

    With weights w (1 if not given) and v the values at the n kept positions:

    - `"none"`: w·v, 0 where dropped.
    - `"sum"`: Σ w·v.
    - `"mean"`: Σ w·v / n.
    - `"weighted_mean"`: Σ w·v / Σ w.
    - `"nonzero_mean"`: Σ w·v / (number kept with w ≠ 0).
    - `"batch_mean"`: Σ w·v / (length of the first axis).

    A mean over nothing is 0, with gradient 0. Dropped positions, and those of weight
    0, add exactly 0 whatever they hold (NaN and inf included). That is so of the value:
    what made a dropped value NaN, a label out of range for one, makes its gradient NaN
    too, so give the mask to the loss as well. Across devices, a
    mean of means is wrong where counts differ: with `axis_name` the numerators and
    the denominators are summed first.

    Args:
      values: losses, or what else is averaged (booleans too); any real dtype,
        accumulated in float32 at least.
      where: positions to keep (True), shape of `values`.
      weights: multipliers, shape of `values`.
      reduction: one of the above.
      axis: axis or axes to reduce; None for all.
      axis_name: mapped axis or axes (of `shard_map`, `vmap`) to sum over as well.
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
    _options.one_of("reduction", reduction, get_args(Reduction))
    axes = tuple(range(v.ndim))
    if reduction == "batch_mean" and (axis is not None or not axes):
        must = 'be None for reduction="batch_mean", and `values` have an axis'
        remedy = 'For another denominator reduce by "sum", and divide.'
        fail(ValueError, "axis", must, axis, remedy)
    if axis is not None:
        axes = _checks.axes(axis, "values", v)
    return _reduce(v, keep, w, reduction=reduction, axis=axes, axis_name=axis_name)


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


@functools.partial(
    jax.jit, static_argnames=("reduction", "axis", "axis_name"), inline=True
)
def _reduce(
    values: Array,
    keep: Array | None,
    weights: Array | None,
    *,
    reduction: Reduction,
    axis: Shape,
    axis_name: AxisName | None,
) -> Array:
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


@functools.partial(jax.jit, inline=True)
def _sums(v: Array, keep: Array | None, w: Array | None) -> tuple[Array, Array]:
    ones = jnp.ones(v.shape, computing_dtype(v))
    return total_of(weighted_values(v, keep, w)), total_of(
        weighted_values(ones, keep, w)
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WeightedMean:
    """A mean kept as its two sums, so that it can be merged without error.

    Add up parts of a batch, accumulation steps, hosts or devices in any order, and
    divide once. A pytree: it goes through `jit`, `scan` and `shard_map`.

    Example:
      >>> first = jaxent.WeightedMean.from_values(jnp.array([1.0, 2.0, 3.0]))
      >>> second = jaxent.WeightedMean.from_values(jnp.array([10.0]))
      >>> first.merge(second).value
      Array(4., dtype=float32)
    """

    total: Array
    """Σ w·v over the kept positions, a scalar."""
    weight: Array
    """Σ w over the kept positions, a scalar."""

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
        """The mean over both."""
        return WeightedMean(self.total + other.total, self.weight + other.weight)

    def psum(self, axis_name: AxisName) -> "WeightedMean":
        """The mean over all devices of a mapped axis."""
        return lax.psum(self, axis_name)

    @property
    def value(self) -> Float[Array, ""]:
        """total / weight; 0, with gradient 0, if nothing was kept."""
        return ratio(self.total, self.weight)


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
