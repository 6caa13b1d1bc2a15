# SPDX-License-Identifier: Apache-2.0
"""Every check and every message: the one place that says no.

A message quotes the call and the argument, says what it must be and what it got,
and what to do. All are raised while tracing, from shapes, dtypes and Python
values; values of arrays are checked only under `jax.experimental.checkify`.
"""

import math
import operator
from numbers import Real
from typing import NoReturn

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import checkify
from jax.typing import ArrayLike

from ._exact import widen
from ._types import Axis, ClassInputs


def fail(
    kind: type[Exception], call: str, argument: str, must: str, got: object, remedy: str
) -> NoReturn:
    """Raise the message that all errors of the library have the form of."""
    raise kind(f"`jaxent.{call}({argument}=...)` must {must}; got {got}. {remedy}")


def described(x: Array) -> str:
    return f"{x.dtype.name}{list(x.shape)}"


def array(call: str, argument: str, x: ArrayLike) -> Array:
    try:
        return jnp.asarray(x)
    except (TypeError, ValueError):
        remedy = "Pass a JAX or NumPy array, or nested lists of numbers."
        fail(TypeError, call, argument, "be an array", type(x).__name__, remedy)


def floats(call: str, argument: str, x: ArrayLike) -> Array:
    """A real floating array, in the dtype it came in."""
    x = array(call, argument, x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        remedy = f"Cast it: `{argument}.astype(jnp.float32)`."
        fail(TypeError, call, argument, "be real floats", described(x), remedy)
    return x


def integers(call: str, argument: str, x: ArrayLike) -> Array:
    x = array(call, argument, x)
    if not jnp.issubdtype(x.dtype, jnp.integer):
        remedy = f"Cast it: `{argument}.astype(jnp.int32)`."
        fail(TypeError, call, argument, "be integers", described(x), remedy)
    return x


def weights(call: str, argument: str, x: ArrayLike) -> Array:
    """Numbers that multiply: floats, or integers and booleans made float32."""
    x = array(call, argument, x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        remedy = "Take `.real`, or `jnp.abs` of it."
        fail(TypeError, call, argument, "be real numbers", described(x), remedy)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)


def mask(call: str, argument: str, x: ArrayLike) -> Array:
    x = array(call, argument, x)
    if x.dtype != jnp.bool_:
        remedy = (
            f"Write `{argument} != 0` for a mask; multipliers go to "
            "`jaxent.reduce(weights=...)`."
        )
        fail(
            TypeError, call, argument, "be booleans, True to keep", described(x), remedy
        )
    return x


def same_shape(call: str, argument: str, x: Array, shape: tuple[int, ...], like: str):
    if x.shape != shape:
        must = f"have shape {shape} (that of `{like}`)"
        remedy = "Nothing is broadcast: reshape, or `jnp.broadcast_to` it yourself."
        fail(ValueError, call, argument, must, x.shape, remedy)


def axes(call: str, axis: Axis, x: Array, argument: str) -> Axis:
    """A valid axis or tuple of axes; `x` is the array called `argument`."""
    given = axis if isinstance(axis, tuple) else (axis,)
    try:
        given = tuple(operator.index(a) for a in given)
    except TypeError:
        remedy = (
            "Name the class axis, or the class axes of which labels are flat indices."
        )
        fail(
            TypeError, call, "axis", "be an int or a tuple of ints", repr(axis), remedy
        )
    ndim = x.ndim
    if not given or any(not -ndim <= a < ndim for a in given):
        must = f"name axes of `{argument}`, of shape {x.shape}"
        fail(ValueError, call, "axis", must, axis, "The default, -1, is the last axis.")
    if len({a % ndim for a in given}) < len(given):
        fail(
            ValueError,
            call,
            "axis",
            "name each axis once",
            axis,
            "Drop the second one.",
        )
    if any(x.shape[a] == 0 for a in given):
        must = f"have at least one class along axis {axis}"
        fail(
            ValueError,
            call,
            argument,
            must,
            x.shape,
            "A softmax over nothing has no value.",
        )
    return given if isinstance(axis, tuple) else given[0]


def batch_shape(x: Array, axis: Axis) -> tuple[int, ...]:
    """The shape of `x` without its class axes: that of a loss."""
    classes = {a % x.ndim for a in ((axis,) if isinstance(axis, int) else axis)}
    return tuple(n for a, n in enumerate(x.shape) if a not in classes)


def number_of_classes(x: Array, axis: Axis) -> int:
    count = 1
    for a in (axis,) if isinstance(axis, int) else axis:
        count *= x.shape[a]
    return count


def positions(
    call: str,
    where: ArrayLike | None,
    shape: tuple[int, ...],
    full: tuple[int, ...] | None,
) -> Array | None:
    """`where`, a mask of the result's shape; that of the logits is a likely mistake."""
    if where is None:
        return None
    where = mask(call, "where", where)
    if where.shape == shape:
        return where
    if full is not None and full != shape and where.ndim == len(full):
        remedy = "To choose classes, not positions, use `class_where`."
    else:
        remedy = "It says which positions to keep, one boolean each."
    must = f"have shape {shape} (that of the result)"
    fail(ValueError, call, "where", must, where.shape, remedy)


def fits(x: Array, shape: tuple[int, ...]) -> bool:
    """Whether `x` broadcasts to the shape."""
    pairs = zip(x.shape[::-1], shape[::-1], strict=False)
    return x.ndim <= len(shape) and all(n in (1, full) for n, full in pairs)


def classes(call: str, class_where: ArrayLike | None, logits: Array) -> Array | None:
    """`class_where`: a mask that broadcasts to the logits."""
    if class_where is None:
        return None
    class_where = mask(call, "class_where", class_where)
    if not fits(class_where, logits.shape):
        must = f"broadcast to the logits' shape {logits.shape}"
        remedy = "It says which classes are allowed; positions to keep are `where`."
        fail(ValueError, call, "class_where", must, class_where.shape, remedy)
    return class_where


def broadcastable(
    call: str, argument: str, x: ArrayLike, like: Array, name: str
) -> Array:
    x = weights(call, argument, x)
    if not fits(x, like.shape):
        must = f"broadcast to shape {like.shape} (that of `{name}`)"
        remedy = "Give one number, one per last axis, or one per element."
        fail(ValueError, call, argument, must, x.shape, remedy)
    return x


def number(
    call: str,
    argument: str,
    x: ArrayLike,
    low: float,
    high: float,
    *,
    open_low: bool = False,
) -> float | Array:
    """A scalar in [low, high], or (low, high]; a traced one is taken at its word."""
    if isinstance(x, int | float) and not isinstance(x, bool):
        if not (low < x <= high if open_low else low <= x <= high):
            bounds = f"be in {'(' if open_low else '['}{low:g}, {high:g}]"
            fail(
                ValueError, call, argument, bounds, x, "See its definition in the docs."
            )
        return float(x)
    x = array(call, argument, x)
    if x.shape != () or not jnp.issubdtype(x.dtype, jnp.floating):
        remedy = "Pass a Python number, or a float scalar such as a schedule's value."
        fail(TypeError, call, argument, "be one real number", described(x), remedy)
    return x


def option(call: str, argument: str, x: ArrayLike, high: float) -> float | Array | None:
    """An option in [0, high] that is off at 0, and then costs nothing."""
    x = number(call, argument, x, 0.0, high)
    return None if isinstance(x, float) and x == 0 else x


def class_ids(
    call: str, labels: ArrayLike, shape: tuple[int, ...], full: tuple[int, ...]
):
    """Integer labels of the given shape; `full` is the logits' shape."""
    labels = array(call, "labels", labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        remedy = "Cast ids with `.astype(jnp.int32)`."
        if labels.shape == full:
            remedy = "For class probabilities use `jaxent.softmax_cross_entropy`."
        fail(
            TypeError, call, "labels", "be integer class ids", described(labels), remedy
        )
    if labels.shape != shape:
        remedy = "Give one class id per position."
        if labels.shape == (*shape, 1):
            remedy = "Drop the last axis: `labels[..., 0]`."
        elif labels.shape == full:
            remedy = "For one-hot labels use `jaxent.softmax_cross_entropy`."
        must = f"have shape {shape} (the logits' without the class axis)"
        fail(ValueError, call, "labels", must, labels.shape, remedy)
    return labels


def distributions(
    call: str, argument: str, labels: ArrayLike, like: Array, name: str
) -> Array:
    """Weights over the classes, shaped as the array called `name`."""
    labels = array(call, argument, labels)
    shape = like.shape
    if labels.shape != shape:
        remedy = "Nothing is broadcast: reshape, or `jnp.broadcast_to` it yourself."
        integer = jnp.issubdtype(labels.dtype, jnp.integer)
        if integer and labels.ndim == len(shape) - 1:
            remedy = (
                "For class ids use `jaxent.softmax_cross_entropy_with_integer_labels`, "
                "or make them one-hot: `jax.nn.one_hot(labels, classes)`."
            )
        must = f"have shape {shape} (that of `{name}`)"
        fail(ValueError, call, argument, must, labels.shape, remedy)
    return weights(call, argument, labels)


def per_class(call: str, x: ArrayLike | None, count: int) -> Array | None:
    if x is None:
        return None
    x = weights(call, "class_weights", x)
    if x.shape != (count,):
        remedy = "Weights of positions go to `jaxent.reduce(weights=...)`."
        must = f"have shape {(count,)}, one weight a class"
        fail(ValueError, call, "class_weights", must, x.shape, remedy)
    return x


def ignored(call: str, ignore_index: int | None) -> int | None:
    if ignore_index is None:
        return None
    try:
        return operator.index(ignore_index)
    except TypeError:
        remedy = "Pass a Python int, such as -100, or use `where=labels != ignored`."
        got = type(ignore_index).__name__
        fail(TypeError, call, "ignore_index", "be one integer", got, remedy)


def softmax_inputs(
    call: str,
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    axis: Axis,
    where: ArrayLike | None,
    class_where: ArrayLike | None,
    class_weights: ArrayLike | None,
    label_smoothing: ArrayLike,
    z_loss: ArrayLike,
    integer: bool,
) -> tuple[ClassInputs, Axis]:
    """The checks that all softmax losses share."""
    x = floats(call, "logits", logits)
    axis = axes(call, axis, x, "logits")
    shape = batch_shape(x, axis)
    if integer:
        y = class_ids(call, labels, shape, x.shape)
    else:
        y = distributions(call, "labels", labels, x, "logits")
    inputs = ClassInputs(
        x,
        y,
        positions(call, where, shape, x.shape),
        classes(call, class_where, x),
        per_class(call, class_weights, number_of_classes(x, axis)),
        option(call, "label_smoothing", label_smoothing, 1.0),
        option(call, "z_loss", z_loss, float("inf")),
    )
    return inputs, axis


def paired(
    call: str, names: tuple[str, str], first: ArrayLike, second: ArrayLike
) -> tuple[Array, Array]:
    """Two arrays of one shape, the first of floats, in their common computing dtype."""
    x = floats(call, names[0], first)
    y = distributions(call, names[1], second, x, names[0])
    dtype = jnp.promote_types(widen(x).dtype, widen(y).dtype)
    return x.astype(dtype), y.astype(dtype)


def paired_floats(
    call: str, names: tuple[str, str], first: ArrayLike, second: ArrayLike
) -> tuple[Array, Array]:
    """As `paired`, both of floats: logits."""
    return paired(call, names, first, floats(call, names[1], second))


def unit(call: str, base: float | None) -> float:
    """Nats in a unit of information with logarithms to the base."""
    if base is None:
        return 1.0
    if not isinstance(base, Real) or not 1 < base < math.inf:
        remedy = "2 gives bits, 10 hartleys; leave it out for nats."
        fail(ValueError, call, "base", "be a number above 1", repr(base), remedy)
    return math.log(base)


def one_of(call: str, argument: str, x: str, allowed: tuple[str, ...]):
    if x not in allowed:
        must = "be one of " + ", ".join(map(repr, allowed))
        remedy = "Their denominators are in the docstring."
        fail(ValueError, call, argument, must, repr(x), remedy)


def reduced_axes(
    call: str, axis: Axis | None, values: Array, reduction: str
) -> tuple[int, ...]:
    """The axes to reduce, all of them by default."""
    if reduction == "batch_mean" and (axis is not None or values.ndim == 0):
        remedy = 'To divide by another count, reduce by "sum" and divide.'
        must = 'be None, and `values` have an axis, for reduction="batch_mean"'
        fail(ValueError, call, "axis", must, axis, remedy)
    if axis is None:
        return tuple(range(values.ndim))
    given = axis if isinstance(axis, tuple) else (axis,)
    if any(not -values.ndim <= a < values.ndim for a in given):
        must = f"name axes of `values`, of shape {values.shape}"
        fail(ValueError, call, "axis", must, axis, "None, the default, is all axes.")
    return given


def clip(call: str, eps: float | None) -> ArrayLike | None:
    return None if eps is None else number(call, "eps", eps, 0.0, 0.5, open_low=True)


def in_range_under_checkify(call: str, labels: Array, keep: Array | None, count: int):
    """Under `checkify.checkify(f, errors=checkify.user_checks)`, name a bad label.

    A `debug_check` is dropped from programs that `checkify` does not transform.
    """
    bad = (labels < 0) | (labels >= count)
    bad = (bad if keep is None else bad & keep).ravel()
    if bad.size == 0:
        return
    position = jax.lax.stop_gradient(jnp.argmax(bad))
    checkify.debug_check(
        ~jnp.any(bad),
        f"`jaxent.{call}(labels=...)` must be in [0, {count}); got {{label}} at flat "
        "position {position}. Its loss and gradient are NaN. Drop it with `where` or "
        "`ignore_index`, or mend the label.",
        label=labels.ravel()[position],
        position=position,
    )
