# SPDX-License-Identifier: Apache-2.0
"""Optax's axes, broadcasting and `where`."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ... import _checks
from ..._types import Axis, Shape


def class_axes(
    call: str, axis: Axis | None, argument: str, x: Array
) -> tuple[int, ...]:
    every = tuple(range(x.ndim))
    return _checks.axes(call, every if axis is None else axis, argument, x)


def broadcast(
    function: str,
    first: ArrayLike,
    second: ArrayLike,
    names: tuple[str, str] = ("logits", "labels"),
) -> tuple[Array, Array]:
    """Two arrays, broadcast against each other."""
    call = f"compat.optax.{function}"
    x = _checks.floats(call, names[0], first)
    y = _checks.weights(call, names[1], second)
    lengths = zip(x.shape[::-1], y.shape[::-1], strict=False)
    if not all(a == b or 1 in (a, b) for a, b in lengths):
        remedy = "Their axes must be equal or 1, counted from the last."
        must = f"broadcast against `{names[0]}`, of shape {x.shape}"
        _checks.fail(ValueError, call, names[1], must, y.shape, remedy)
    shape = jnp.broadcast_shapes(x.shape, y.shape)
    return jnp.broadcast_to(x, shape), jnp.broadcast_to(y, shape)


def kept_by(
    function: str, x: Array, axis: Axis | None, where: ArrayLike | None
) -> tuple[Shape, Array | None, Array | None]:
    """The class axes; the classes that Optax's `where` allows; the positions left."""
    call = f"compat.optax.{function}"
    axes = class_axes(call, axis, "logits", x)
    if where is None:
        return axes, None, None
    allowed = _checks.mask(call, "where", where)
    if allowed.ndim != x.ndim:
        allowed = jnp.expand_dims(allowed, axes)
    allowed = jnp.broadcast_to(allowed, x.shape)
    return axes, allowed, jnp.any(allowed, axis=axes)
