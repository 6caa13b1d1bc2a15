# SPDX-License-Identifier: Apache-2.0
"""A linear head, hidden @ classifier.T + bias: its arrays, checked, and its product."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from .. import _checks
from .._errors import fail
from .exact import computing_dtype


class Head(NamedTuple):
    """hidden [N, d], classifier [V, d], bias [V] or None."""

    hidden: Array
    classifier: Array
    bias: Array | None


def linear_head(
    hidden: ArrayLike,
    classifier: ArrayLike,
    bias: ArrayLike | None,
    prefix: str = "",
) -> Head:
    """One head, its shapes checked; its arguments are called prefix + their names."""
    x = _checks.floats(f"{prefix}hidden", hidden)
    w = _checks.floats(f"{prefix}classifier", classifier)
    if x.ndim == 0 or w.ndim != 2 or w.shape[1] != x.shape[-1] or w.shape[0] == 0:
        width = x.shape[-1] if x.ndim else "d"
        remedy = f"The last axis of `{prefix}hidden`, of shape {x.shape}, is d."
        if w.ndim == 2 and w.shape[0] == width:
            remedy = "Pass `.T` of a Flax Dense kernel."
        must = f"have shape (vocab, {width})"
        fail(ValueError, f"{prefix}classifier", must, w.shape, remedy)
    if bias is not None:
        bias = _checks.floats(f"{prefix}bias", bias)
        name = f"{prefix}classifier[:, 0]"
        _checks.same_shape(f"{prefix}bias", bias, w.shape[:1], name)
    return Head(x, w, bias)


Given = tuple[ArrayLike, ArrayLike, ArrayLike | None]
"""Hidden, classifier and bias, as they came."""


def two_heads(student: Given, teacher: Given) -> tuple[Head, Head]:
    """Heads of the same positions and the same classes."""
    own, other = linear_head(*student, "student_"), linear_head(*teacher, "teacher_")
    batch, count = own.hidden.shape[:-1], own.classifier.shape[0]
    if other.hidden.shape[:-1] != batch:
        must = f"have shape {(*batch, other.hidden.shape[-1])}"
        remedy = "Both heads take the same positions."
        fail(ValueError, "teacher_hidden", must, other.hidden.shape, remedy)
    if other.classifier.shape[0] != count:
        must = f"have the student's {count} classes"
        remedy = "Both heads score the same vocabulary."
        fail(ValueError, "teacher_classifier", must, other.classifier.shape, remedy)
    return own, other


def multiplied_in(hidden: Array, classifier: Array) -> jnp.dtype:
    """The type of a head's products: of the wider array, and float32 at least.

    But a half `hidden` is multiplied as it is, by a classifier that is half too, or
    float32 (mixed precision: a parameter, to be rounded for each step).
    """
    half, mixed = hidden.dtype.itemsize == 2, classifier.dtype == jnp.float32
    if hidden.dtype == classifier.dtype or (half and mixed):
        return hidden.dtype
    return computing_dtype(hidden, classifier)


def matmul(a: Array, b: Array, axes: tuple[int, int]) -> Array:
    """Contract one axis of each. Half inputs stay halves and accumulate in float32."""
    wide = computing_dtype(a, b)
    contract = (((axes[0],), (axes[1],)), ((), ()))
    return lax.dot_general(a, b, contract, preferred_element_type=wide)


def logits_of(head: Head) -> Array:
    # What follows is not to be fused with the product: on a GPU, where a library
    # multiplies, that is a pass over the logits of its own.
    x = lax.optimization_barrier(matmul(head.hidden, head.classifier, (1, 1)))
    if head.bias is None:
        return x
    return x + jnp.broadcast_to(head.bias.astype(x.dtype), x.shape)
