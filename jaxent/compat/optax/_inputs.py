# SPDX-License-Identifier: Apache-2.0
"""Optax's axes, broadcasting and `where`."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ... import _checks
from ..._errors import fail
from ..._types import Axis, Shape


def class_axes(axis: Axis | None, argument: str, x: Array) -> tuple[int, ...]:
    every = tuple(range(x.ndim))
    return _checks.axes(every if axis is None else axis, argument, x)


def broadcast(
    first: ArrayLike,
    second: ArrayLike,
    names: tuple[str, str] = ("logits", "labels"),
) -> tuple[Array, Array]:
    """Two arrays, broadcast against each other."""
    x = _checks.floats(names[0], first)
    y = _checks.weights(names[1], second)
    lengths = zip(x.shape[::-1], y.shape[::-1], strict=False)
    if not all(a == b or 1 in (a, b) for a, b in lengths):
        remedy = "Their axes must be equal or 1, counted from the last."
        must = f"broadcast against `{names[0]}`, of shape {x.shape}"
        fail(ValueError, names[1], must, y.shape, remedy)
    shape = jnp.broadcast_shapes(x.shape, y.shape)
    return jnp.broadcast_to(x, shape), jnp.broadcast_to(y, shape)


def kept_by(
    x: Array, axis: Axis | None, where: ArrayLike | None
) -> tuple[Shape, Array | None, Array | None]:
    """The class axes; the classes that Optax's `where` allows; the positions left."""
    axes = class_axes(axis, "logits", x)
    if where is None:
        return axes, None, None
    allowed = _checks.mask("where", where)
    if allowed.ndim != x.ndim:
        allowed = jnp.expand_dims(allowed, axes)
    allowed = jnp.broadcast_to(allowed, x.shape)
    return axes, allowed, jnp.any(allowed, axis=axes)
