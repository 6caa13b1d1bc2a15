# SPDX-License-Identifier: Apache-2.0
"""Every check of arrays, and what is said where one does not hold.

All are made while tracing, from shapes, dtypes and Python values; those of the values
of arrays are in `_values`.
"""

import operator
from typing import SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from ._errors import fail, shown
from ._types import Axis, Shape


def array(argument: str, x: ArrayLike) -> Array:
    if isinstance(x, Array):
        return x
    try:
        # Text could be the name of a dtype.
        return jnp.asarray(None if isinstance(x, (str, bytes)) else _narrowed(x))
    except (TypeError, ValueError, OverflowError):
        remedy = "Pass a JAX or NumPy array, or nested lists of numbers."
        dtype = getattr(x, "dtype", None)
        got = type(x).__name__ + (f" of {dtype}" if dtype is not None else "")
        fail(TypeError, argument, "be an array of numbers", got, remedy)


def _narrowed(x: ArrayLike) -> ArrayLike:
    """Integers of 64 bits, where JAX has 32, at the ends of these.

    JAX keeps their lower half: 2**32 + 1 would be class 1, and trained silently.
    """
    made = hasattr(x, "__jax_array__")
    if made or any(isinstance(leaf, Array) for leaf in jax.tree.leaves(x)):
        return x
    wide = np.asarray(x)
    if wide.dtype.kind not in "iu" or wide.dtype.itemsize < 8:
        return x
    limits = np.iinfo(jax.dtypes.canonicalize_dtype(wide.dtype))
    return np.clip(wide, limits.min, limits.max)


REAL = "Take `.real`, or `jnp.abs` of it."


def floats(argument: str, x: ArrayLike) -> Array:
    x = array(argument, x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        cast = f"Cast it: `{argument}.astype(jnp.float32)`."
        if argument in ("hidden", "classifier"):
            cast += " Class ids are `labels`, after `hidden` and `classifier`."
        remedy = REAL if jnp.issubdtype(x.dtype, jnp.complexfloating) else cast
        fail(TypeError, argument, "be real floats", x, remedy)
    return x


def integers(argument: str, x: ArrayLike) -> Array:
    x = array(argument, x)
    if not jnp.issubdtype(x.dtype, jnp.integer):
        remedy = f"Cast it: `{argument}.astype(jnp.int32)`."
        fail(TypeError, argument, "be integers", x, remedy)
    return x


def segment_ids(argument: str, x: ArrayLike) -> Array:
    """Ids that are only compared, and 0: those too wide for JAX are renumbered."""
    ids = integers(argument, x)
    if isinstance(x, np.ndarray) and x.dtype.itemsize > ids.dtype.itemsize:
        _, numbers = np.unique(x, return_inverse=True)
        numbers = np.where(x == 0, 0, numbers.reshape(x.shape) + 1)
        ids = jnp.asarray(numbers, ids.dtype)
    return ids


def weights(argument: str, x: ArrayLike) -> Array:
    """Numbers that multiply: of any real dtype, integers and booleans too."""
    x = array(argument, x)
    real = jnp.issubdtype(x.dtype, jnp.number) or x.dtype == jnp.bool_
    if not real or jnp.issubdtype(x.dtype, jnp.complexfloating):
        remedy = REAL
        fail(TypeError, argument, "be real numbers", x, remedy)
    return x


def mask(
    argument: str, x: ArrayLike, otherwise: str = "multipliers are `weights`"
) -> Array:
    """Booleans; `otherwise` says where to put numbers that multiply."""
    x = array(argument, x)
    if x.dtype != jnp.bool_:
        remedy = f"Write `{argument} != 0`; {otherwise}."
        fail(TypeError, argument, "be booleans, True to keep", x, remedy)
    return x


def same_shape(argument: str, x: Array, shape: Shape, like: str):
    """`like` is an argument, as it is written, or "the result"."""
    if x.shape != shape:
        of = like if like == "the result" else f"`{like}`"
        must = f"have shape {shape} (that of {of})"
        remedy = "Nothing is broadcast: reshape, or `jnp.broadcast_to` it yourself."
        if repeated(argument, x, shape):
            remedy = f"Nothing is broadcast. If meant: {repeated(argument, x, shape)}."
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


def without_last(argument: str, x: Array) -> str:
    """How to write an array without its last axis, of length 1."""
    return f"`{argument}[{':' if x.ndim == 2 else '...'}, 0]`"


def axes(axis: Axis, argument: str, x: Array) -> Shape:
    """The axes, counted from 0, of the array `x` called `argument`."""
    given = [integer(a) for a in (axis if isinstance(axis, tuple) else (axis,))]
    known = [a for a in given if a is not None]
    last = "-1 is the last axis."
    if len(known) < len(given):
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


def positions(where: ArrayLike | None, shape: Shape, full: Shape = ()) -> Array | None:
    """`where`, a mask of the result's shape; that of the logits is a likely mistake."""
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


def class_ids(
    labels: ArrayLike,
    shape: Shape,
    full: Shape,
    name: str = "the logits'",
    *,
    movable: bool = False,
) -> Array:
    """Integer labels of the given shape; `full` is that of what is called `name`.

    `movable`: the call has an `axis` to say where the classes are.
    """
    labels = array("labels", labels)
    one_hot = "For class probabilities use `jaxent.softmax_cross_entropy`."
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        remedy = "Cast ids with `.astype(jnp.int32)`."
        remedy = one_hot if labels.shape == full else remedy
        fail(TypeError, "labels", "be integer class ids", labels, remedy)
    if labels.shape != shape:
        remedy = one_hot if labels.shape == full else "Give one class id per position."
        if labels.shape == (*shape, 1):
            remedy = "Drop the last axis: `labels[..., 0]`."
        without = (full[:k] + full[k + 1 :] for k in range(len(full)))
        fitting = [k for k, s in enumerate(without) if s == labels.shape]
        if movable and fitting:
            remedy = f"If axis {fitting[0]} has the classes, pass `axis={fitting[0]}`."
        must = f"have shape {shape} ({name} without the class axis)"
        fail(ValueError, "labels", must, labels.shape, remedy)
    return labels


def distributions(argument: str, x: ArrayLike, like: Array, name: str) -> Array:
    """Weights over the classes, shaped as the array called `name`."""
    x = array(argument, x)
    scored = like.shape == (*x.shape, 1)
    if jnp.issubdtype(x.dtype, jnp.integer) and x.ndim == like.ndim - 1 and not scored:
        must = f"have shape {like.shape} (that of `{name}`)"
        remedy = "For class ids use a loss of integer labels, or `jax.nn.one_hot`."
        fail(ValueError, argument, must, x.shape, remedy)
    same_shape(argument, x, like.shape, name)
    return weights(argument, x)


def per_class(
    x: ArrayLike | None,
    count: int,
    remedy: str = "Weights of positions go to `jaxent.reduce(weights=...)`.",
) -> Array | None:
    if x is None:
        return None
    x = weights("class_weights", x)
    if x.shape != (count,):
        must = f"have shape {(count,)}, one weight a class"
        fail(ValueError, "class_weights", must, x.shape, remedy)
    return x


def in_order(names: tuple[str, str], first: ArrayLike, second: ArrayLike):
    """That the floats come first: labels and logits are easily swapped."""
    x, y = array(names[0], first), array(names[1], second)
    whole = jnp.issubdtype(x.dtype, jnp.integer) or x.dtype == jnp.bool_
    if whole and jnp.issubdtype(y.dtype, jnp.floating):
        remedy = f"`{names[1]}` are: swap the two."
        fail(TypeError, names[0], "be real floats", x, remedy)


def paired(
    names: tuple[str, str], first: ArrayLike, second: ArrayLike
) -> tuple[Array, Array]:
    """Two arrays of one shape, the first of floats."""
    in_order(names, first, second)
    x = floats(names[0], first)
    return x, distributions(names[1], second, x, names[0])


def paired_logits(p: ArrayLike, q: ArrayLike) -> tuple[Array, Array]:
    return paired(("p_logits", "q_logits"), p, floats("q_logits", q))
