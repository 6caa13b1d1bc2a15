# SPDX-License-Identifier: Apache-2.0
"""What Keras does to labels and probabilities before a loss sees them."""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ... import _checks, _options
from ..._engine.exact import widen_both
from ..._errors import fail, shown
from ..._types import Number, Shape

EPSILON = 1e-7
NAMES = {
    **dict.fromkeys(("logits", "probs", "log_predictions"), "y_pred"),
    **dict.fromkeys(("labels", "targets"), "y_true"),
    "ignore_index": "ignore_class",
    "jaxent.softmax_cross_entropy": "jaxent.compat.keras.categorical_crossentropy",
}
"""Of the arguments of jaxent's losses in Keras'."""


def pair(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Array, Array]:
    """Labels and predictions of one shape and dtype."""
    p, t = _checks.paired(("y_pred", "y_true"), y_pred, y_true)
    p, t = widen_both(p, t)
    return t, p


def predictions(y_pred: ArrayLike, y_true: ArrayLike) -> Array:
    """Floats; labels come first in Keras, and are easily taken for them."""
    return _checks.in_order(("y_pred", "y_true"), y_pred, y_true)


def class_ids(y_true: ArrayLike, p: Array) -> Array:
    """Class ids, given as integers or as floats, for predictions p."""
    y = _checks.weights("y_true", y_true)
    _checks.class_axes(-1, "y_pred", p)
    # Not around the corner: 2**32 − 1 is not −1.
    ids = jnp.minimum(y, 2**31 - 1) if y.dtype == jnp.uint32 else y
    ids = ids.astype(jnp.int32)
    return _checks.class_ids(ids, p.shape[:-1], p.shape, "`y_pred`")


def axes(axis: int | tuple[int, ...] | None, x: Array) -> Shape:
    """Counted from 0; None is all of them."""
    _checks.has_axes("y_pred", x)
    return _checks.axes(tuple(range(x.ndim)) if axis is None else axis, "y_pred", x)


def smoothed(t: Array, alpha: Number | None, count: int) -> Array:
    share = smoothing("label_smoothing", alpha)
    return t if share is None else t * (1 - share) + share / count


def smoothing(argument: str, x: Number | None) -> Number | None:
    return None if x is None else _options.option(argument, x, 1.0)


def exponent(argument: str, x: Number):
    _options.number(argument, x, (0.0, math.inf))


def bounded(argument: str, x: Number) -> Number:
    """The q of the generalised cross-entropy."""
    _options.positive(argument, x)
    return _options.number(argument, x, (0.0, 1.0))


def ignored(argument: str, x: ArrayLike | None):
    """An id, as an integer or a float, or a traced one; None is none."""
    traced = isinstance(x, Array) and x.shape == ()
    whole = isinstance(x, Real) and float(x).is_integer()
    whole = whole or _checks.integer(x) is not None
    if not (x is None or traced or whole) or isinstance(x, bool):
        remedy = "Pass one class id, such as 255."
        fail(TypeError, argument, "be one integer", shown(x), remedy)


def heeded(ignore_class: object, y_true: Array):
    """That integers can be what is ignored; floats can, and a traced one is unknown."""
    if jnp.issubdtype(y_true.dtype, jnp.integer) and isinstance(ignore_class, Real):
        remedy = "Cast `y_true` to a type that holds it."
        _options.heeded(int(float(ignore_class)), y_true, remedy)


CHECKS: dict[str, Callable[[str, Any], object]] = {
    "apply_class_balancing": _options.truth,
    "from_logits": _options.truth,
    "gamma": exponent,
    "ignore_class": ignored,
    "label_smoothing": smoothing,
    "q": bounded,
}


def checked(**options: object):
    """The options of a loss that hold whatever it is given."""
    for name, x in options.items():
        if name in CHECKS:
            CHECKS[name](name, x)


def clipped(p: Array) -> Array:
    return jnp.clip(p, EPSILON, 1 - EPSILON)


def normalized(p: Array, axis: int) -> Array:
    return clipped(p / jnp.sum(p, axis=axis, keepdims=True))
