# SPDX-License-Identifier: Apache-2.0
"""Positions that are dropped, and class ids out of range, kept out of a loss."""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from .. import _values
from .class_axis import ClassAxis
from .placement import placed_as


def kept(labels: Array, where: Array | None, ignore_index: int | None) -> Array | None:
    """Positions to keep, or `None` for all; `ignore_index` may lie anywhere."""
    where = None if where is None else placed_as(labels, where)
    if ignore_index is None:
        return where
    limits = jnp.iinfo(labels.dtype)
    if not limits.min <= ignore_index <= limits.max:
        return where
    heeded = labels != ignore_index
    return heeded if where is None else where & heeded


def looked_at(keep: Array | None, weights: Array | None) -> Array | None:
    """The positions that a loss is computed of.

    A weight of 0 drops a position too, although a plain mean still counts it.
    """
    if weights is None:
        return keep
    return (weights != 0) if keep is None else (weights != 0) & keep


def class_ids(
    checked: str | None, labels: Array, keep: Array | None, count: int
) -> tuple[Array, Array]:
    """int32 ids, and the factor of the loss: 1, or NaN where the id is out of range.

    A product, not a select: its derivative is NaN too, so that nothing trains
    silently. Ids out of range match no class; dropped ones are not read. `checked` is
    the call to name in a run-time check, if `checkify` is to make one.
    """
    if keep is not None:
        labels = jnp.where(keep, labels, 0)
    # Narrow types are widened before they meet the count, wide ones after.
    ids = labels if labels.dtype.itemsize > 4 else labels.astype(jnp.int32)
    if checked is not None:
        _values.in_range(checked, ids, keep, count)
    valid = (ids >= 0) & (ids < count)
    return jnp.where(valid, ids, -1).astype(jnp.int32), nan_unless(valid)


def nan_unless(valid: Array) -> Array:
    """A factor, float32: 1, and NaN where not valid.

    Chosen as bits: a constant NaN would be found by what checks each step for one.
    """
    return lax.bitcast_convert_type(jnp.where(valid, ONE, NAN), jnp.float32)


ONE, NAN = np.array([1, np.nan], np.float32).view(np.int32)


def drop(x: Array, keep: Array | None) -> Array:
    """x, zeros wherever a position is dropped: nothing that it holds is ever read.

    `keep` has the first axes of x, of any dtype; its other axes are the position's.
    """
    if keep is None:
        return x
    keep = placed_as(x, keep)
    keep = keep.reshape(*keep.shape, *(1,) * (x.ndim - keep.ndim))
    return jnp.where(keep, x, jnp.zeros_like(x))


def uniform(allowed: Array, classes: ClassAxis) -> Array:
    """Weight 1/n on each of the n allowed classes (the last axis) and 0 elsewhere."""
    count = classes.sum(allowed, keepdims=True)
    return jnp.where(allowed, 1 / count, 0.0)
