# SPDX-License-Identifier: Apache-2.0
"""How an array is shaped: as another is, along which axes, or broadcast to it."""

import itertools
import operator
from typing import SupportsIndex

from jax import Array
from jax.typing import ArrayLike

from .._errors import fail, shown, static, traced
from .._habits import left_out
from .._types import Axis, Shape
from .arrays import mask, weights


def same_shape(argument: str, x: Array, shape: Shape, like: str):
    """`like` is an argument, as it is written, or "the result"."""
    if x.shape != shape:
        of = like if like == "the result" else f"`{like}`"
        must = f"have shape {shape} (that of {of})"
        remedy = "Nothing is broadcast: reshape, or `jnp.broadcast_to` it yourself."
        if repeated(argument, x, shape):
            remedy = f"Nothing is broadcast. If meant: {repeated(argument, x, shape)}."
        elif transposed(argument, x, shape):
            remedy = f"If meant, transpose it: {transposed(argument, x, shape)}."
        if x.shape == (*shape, 1):
            remedy = f"Drop its last axis: {without_last(argument, x)}."
        elif shape == (*x.shape, 1) and like.isidentifier():
            remedy = f"Add an axis, `{argument}[..., None]`, or drop that of `{like}`."
        fail(ValueError, argument, must, x.shape, remedy)


def repeated(argument: str, x: Array, shape: Shape) -> str | None:
    """How to write an array as one of the shape, where it stands for one."""
    if x.ndim and fits(x, shape):
        return f"`jnp.broadcast_to({argument}, {shape})`"
    if argument in ("where", "weights") and x.ndim and x.shape == shape[:-1]:
        return f"`jnp.broadcast_to({argument}[..., None], {shape})`"
    return None


def transposed(argument: str, x: Array, shape: Shape) -> str | None:
    """How to write an array with its axes in the order of the shape, if it has them."""
    if x.ndim != len(shape) or sorted(x.shape) != sorted(shape) or x.ndim > 4:
        return None
    orders = itertools.permutations(range(x.ndim))
    order = next(o for o in orders if tuple(x.shape[a] for a in o) == shape)
    return f"`{argument}.T`" if x.ndim == 2 else f"`jnp.transpose({argument}, {order})`"


def without_last(argument: str, x: Array) -> str:
    """How to write an array without its last axis, of length 1."""
    return f"`{argument}[{':' if x.ndim == 2 else '...'}, 0]`"


def axes(axis: Axis, argument: str, x: Array) -> Shape:
    """The axes, counted from 0, of the array `x` called `argument`."""
    given = [integer(a) for a in (axis if isinstance(axis, tuple) else (axis,))]
    known = [a for a in given if a is not None]
    last = "-1 is the last axis."
    if len(known) < len(given):
        last = static("axis") if traced(axis) else last
        fail(TypeError, "axis", "be an int or a tuple of ints", shown(axis), last)
    found = tuple(a % max(x.ndim, 1) for a in known)
    inside = all(-x.ndim <= a < x.ndim for a in known)
    if not known or not inside or len(set(found)) < len(known):
        must = f"name axes of `{argument}`, of shape {x.shape}, each once"
        fail(ValueError, "axis", must, axis, last)
    return found


def integer(x: object) -> int | None:
    """A Python integer, or None for what is none: a traced one is not known yet."""
    try:
        return operator.index(x) if isinstance(x, SupportsIndex) else None
    except TypeError:
        return None


def has_axes(argument: str, x: Array, of: str = "classes") -> Array:
    if x.ndim == 0:
        remedy = f"It is a single number: add the axis of the {of}."
        fail(ValueError, argument, "have an axis", x.shape, remedy)
    return x


def class_axes(axis: Axis, argument: str, x: Array) -> tuple[Shape, Shape]:
    """The axes of the classes, and the shape without them: that of a loss."""
    found = axes(axis, argument, has_axes(argument, x))
    if any(x.shape[a] == 0 for a in found):
        remedy = "A distribution over nothing has no value."
        must = f"have at least one class along axis {axis}"
        fail(ValueError, argument, must, x.shape, remedy)
    return found, tuple(n for a, n in enumerate(x.shape) if a not in found)


def positions(
    where: ArrayLike | None, shape: Shape, full: Shape = (), of: str = ""
) -> Array | None:
    """`where`, a mask of the result's shape; that of the logits is a likely mistake.

    Classes are then chosen by `class_where`, or in the distributions that `of` names.
    """
    if where is None:
        return None
    where = mask("where", where)
    if where.shape != shape:
        remedy = "It says which positions to keep, one boolean each."
        if where.shape == (*shape, 1):
            remedy = f"Drop its last axis: {without_last('where', where)}."
        elif repeated("where", where, shape):
            remedy = f"Repeat it: {repeated('where', where, shape)}."
        elif len(shape) < where.ndim == len(full):
            remedy = "To choose classes, not positions, use `class_where`."
        elif len(shape) < where.ndim and of:
            remedy = left_out("where", of.split()) or remedy
        elif transposed("where", where, shape):
            remedy = f"Transpose it: {transposed('where', where, shape)}."
        must = f"have shape {shape} (that of the result)"
        fail(ValueError, "where", must, where.shape, remedy)
    return where


def meets(x: Shape, y: Shape) -> bool:
    """Whether arrays of the two shapes broadcast against each other."""
    return all(a == b or 1 in (a, b) for a, b in zip(x[::-1], y[::-1], strict=False))


def fits(x: Array, shape: Shape) -> bool:
    """Whether `x` broadcasts to the shape."""
    pairs = zip(x.shape[::-1], shape[::-1], strict=False)
    return x.ndim <= len(shape) and all(n in (1, full) for n, full in pairs)


def classes(class_where: ArrayLike | None, like: Array) -> Array | None:
    """`class_where`, a mask that broadcasts to the logits."""
    if class_where is None:
        return None
    class_where = mask("class_where", class_where)
    if not fits(class_where, like.shape):
        must = f"broadcast to the logits' shape {like.shape}"
        remedy = "It says which classes are allowed; positions to keep are `where`."
        fail(ValueError, "class_where", must, class_where.shape, remedy)
    return class_where


def broadcastable(
    argument: str, x: ArrayLike, like: Array, name: str = "the logits'"
) -> Array:
    """Numbers that broadcast to the array that is called `name`."""
    x = weights(argument, x)
    if not fits(x, like.shape):
        must = f"broadcast to {name} shape {like.shape}"
        remedy = "Give one number, one per last axis, or one per element."
        fail(ValueError, argument, must, x.shape, remedy)
    return x
