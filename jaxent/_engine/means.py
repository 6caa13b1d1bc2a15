# SPDX-License-Identifier: Apache-2.0
"""Means: the only place that knows what is added up, and by what it is divided."""

import jax.numpy as jnp
from jax import Array, lax

from .._types import AxisName, Reduction, Shape
from .exact import widen, widen_both
from .labels import drop


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
    empty = weight == 0
    return jnp.where(empty, 0, total / jnp.where(empty, 1, weight))
