# SPDX-License-Identifier: Apache-2.0
"""Optax's axes, broadcasting and `where`."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ... import _checks
from ..._errors import fail
from ..._types import Axis, Shape


def class_axes(axis: Axis | None, argument: str, x: Array) -> tuple[int, ...]:
    _checks.has_axes(argument, x)
    every = tuple(range(x.ndim))
    return _checks.axes(every if axis is None else axis, argument, x)


def broadcast(
    first: ArrayLike,
    second: ArrayLike,
    names: tuple[str, str] = ("logits", "labels"),
) -> tuple[Array, Array]:
    """Two arrays, broadcast against each other."""
    x = _checks.in_order(names, first, second)
    y = _checks.weights(names[1], second)
    if not _checks.meets(x.shape, y.shape):
        remedy = "Their axes must be equal or 1, counted from the last."
        if jnp.issubdtype(y.dtype, jnp.integer) and y.ndim == x.ndim - 1:
            remedy = f"For class ids write `jax.nn.one_hot({names[1]}, {x.shape[-1]})`."
        must = f"broadcast against `{names[0]}`, of shape {x.shape}"
        fail(ValueError, names[1], must, y.shape, remedy)
    shape = jnp.broadcast_shapes(x.shape, y.shape)
    return jnp.broadcast_to(x, shape), jnp.broadcast_to(y, shape)


def elements(where: ArrayLike, like: str, shape: Shape) -> Array:
    """A mask that broadcasts to the shape, that of the array called `like`."""
    allowed = _mask(where)
    if not _checks.fits(allowed, shape):
        must = f"broadcast to the shape {shape} of `{like}`"
        fail(ValueError, "where", must, allowed.shape, EACH)
    return jnp.broadcast_to(allowed, shape)


def kept_by(
    x: Array, axis: Axis | None, where: ArrayLike | None
) -> tuple[Shape, Array | None, Array | None]:
    """The class axes; the classes that Optax's `where` allows; the positions left."""
    axes = class_axes(axis, "logits", x)
    if where is None:
        return axes, None, None
    given = allowed = _mask(where)
    positions = tuple(n for a, n in enumerate(x.shape) if a not in axes)
    if allowed.ndim != x.ndim:
        fits = _checks.fits(allowed, positions) and allowed.ndim == len(positions)
        allowed = jnp.expand_dims(allowed, axes) if fits else allowed
    if allowed.ndim != x.ndim or not _checks.fits(allowed, x.shape):
        must = f"broadcast to the logits' shape {x.shape}, or to its positions'"
        must += f" {positions}"
        fail(ValueError, "where", must, given.shape, EACH)
    allowed = jnp.broadcast_to(allowed, x.shape)
    return axes, allowed, jnp.any(allowed, axis=axes)


EACH = "Its axes must be equal or 1."


def _mask(where: ArrayLike) -> Array:
    return _checks.mask("where", where, "multiply the losses by weights")
