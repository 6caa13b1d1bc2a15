# SPDX-License-Identifier: Apache-2.0
"""What predictions are held against: class ids, and weights of the classes."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from .._errors import fail
from .._types import Shape
from .arrays import array, cast, floats, weights
from .shapes import same_shape, transposed


def class_ids(
    labels: ArrayLike,
    shape: Shape,
    full: Shape,
    name: str = "the logits'",
    *,
    movable: bool = False,
    soft: str = "jaxent.softmax_cross_entropy",
) -> Array:
    """Integer labels of the given shape; `full` is that of what is called `name`.

    `movable`: the call has an `axis` to say where the classes are. `soft` is the loss
    that takes class probabilities.
    """
    given, labels = labels, array("labels", labels)
    one_hot = f"For class probabilities use `{soft}`."
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        remedy = f"Cast ids: {cast('labels', given, 'int32')}."
        remedy = one_hot if labels.shape == full else remedy
        fail(TypeError, "labels", "be integer class ids", labels, remedy)
    if labels.shape != shape:
        remedy = one_hot if labels.shape == full else "Give one class id per position."
        if labels.shape == (*shape, 1):
            remedy = "Drop the last axis: `labels[..., 0]`."
        without = (full[:k] + full[k + 1 :] for k in range(len(full)))
        fitting = [k for k, s in enumerate(without) if s == labels.shape]
        if transposed("labels", labels, shape):
            remedy = f"Transpose them: {transposed('labels', labels, shape)}."
        if movable and fitting:
            where = f"f axis {fitting[0]} has the classes, pass `axis={fitting[0]}`."
            # One axis of ids is more likely too short or too long.
            remedy = f"{remedy[:-1]}; i{where}" if labels.ndim == 1 else f"I{where}"
        must = f"have shape {shape} ({name} without the class axis)"
        fail(ValueError, "labels", must, labels.shape, remedy)
    return labels


def distributions(
    argument: str, x: ArrayLike, like: Array, name: str, of_ids: str | None = None
) -> Array:
    """Weights over the classes, shaped as the array called `name`.

    `of_ids` is the function of the same arguments that takes class ids.
    """
    x = array(argument, x)
    column = x.shape == (*like.shape[:-1], 1)
    ranked = column or (x.ndim == like.ndim - 1 and like.shape != (*x.shape, 1))
    if whole(x) and ranked and x.shape != like.shape:
        must = f"have shape {like.shape} (that of `{name}`)"
        ids = f"{argument}[..., 0]" if column else argument
        last = column or x.shape == like.shape[:-1]
        remedy = f"jax.nn.one_hot({ids}, {like.shape[-1] if last else '...'})"
        remedy = f"{of_ids}({name}, {ids})" if of_ids else remedy
        remedy = f"For class ids write `{remedy}`."
        fail(ValueError, argument, must, x.shape, remedy)
    same_shape(argument, x, like.shape, name)
    return weights(argument, x)


def not_ids(argument: str, x: ArrayLike, otherwise: str = "") -> Array:
    """Weights of the classes: integers may be rows, but one axis of them is ids.

    `otherwise` says what else ids are for.
    """
    x = weights(argument, x)
    if whole(x) and x.ndim < 2:
        remedy = f"For class ids write `jax.nn.one_hot({argument}, V)`{otherwise}."
        fail(TypeError, argument, "be weights of the classes, no ids", x, remedy)
    return x


def whole(x: Array) -> bool:
    return jnp.issubdtype(x.dtype, jnp.integer)


def per_class(
    x: ArrayLike | None,
    count: int,
    remedy: str = "Weights of positions are `weights`.",
) -> Array | None:
    if x is None:
        return None
    x = weights("class_weights", x)
    if x.shape != (count,):
        must = f"have shape {(count,)}, one weight a class"
        fail(ValueError, "class_weights", must, x.shape, remedy)
    return x


def in_order(
    names: tuple[str, str], first: ArrayLike, second: ArrayLike, why: str = ""
) -> Array:
    """The first, of floats: labels and logits are easily swapped."""
    x, y = array(names[0], first), array(names[1], second)
    if (whole(x) or x.dtype == jnp.bool_) and jnp.issubdtype(y.dtype, jnp.floating):
        remedy = f"The floats are `{names[1]}`: swap the two{why}."
        fail(TypeError, names[0], "be real floats", x, remedy)
    return floats(names[0], first)


def paired(
    names: tuple[str, str], first: ArrayLike, second: ArrayLike
) -> tuple[Array, Array]:
    """Two arrays of one shape, the first of floats."""
    x = in_order(names, first, second)
    return x, distributions(names[1], second, x, names[0])


def paired_logits(p: ArrayLike, q: ArrayLike) -> tuple[Array, Array]:
    return paired(("p_logits", "q_logits"), p, floats("q_logits", q))
