# SPDX-License-Identifier: Apache-2.0
"""A fused head of binary decisions: each class is the position's, or is not.

The loss of a class is the dense one, `_engine.pair_losses`; it is summed over them.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike

from .. import _checks
from .._engine.labels import looked_at
from .._engine.linear import Head
from .._engine.pair_losses import binary_cross_entropy_of, smoothed
from .._engine.top_k import entry_ids, listed, listed_ids, poison_of
from .._errors import fail
from .._types import Number, PyTree, Reduction
from .chunks import Rows, Shared
from .given import HeadInputs, HeadSettings
from .losses import reduced


def per_class_or_one(argument: str, x: ArrayLike | None, head: Head) -> Array | None:
    """A number for each class, or one for all."""
    if x is None:
        return None
    x, shape = _checks.weights(argument, x), head.classifier.shape[:1]
    if x.shape not in ((), shape):
        must = f"have shape {shape}, one number a class, or ()"
        fail(ValueError, argument, must, x.shape, "One number serves all classes.")
    return x


def positive_ids(labels: ArrayLike, head: Head) -> Array:
    """The ids of each position's classes: zeros and ones of all classes are refused.

    Of integers only values tell, so those that are traced are taken for ids.
    """
    batch, count = head.hidden.shape[:-1], head.classifier.shape[0]
    y = _checks.array("labels", labels)
    integers = jnp.issubdtype(y.dtype, jnp.integer)
    known = labels if isinstance(labels, np.ndarray) else y
    if y.shape == (*batch, count) and (not integers or _zeros_and_ones(known)):
        must = "be ids of the positive classes, filled up with −1"
        got = f"zeros and ones, of shape {y.shape}" if integers else y
        remedy = f"Write `jnp.where(labels == 1, jnp.arange({count}), -1)`, or "
        remedy += (
            "`jaxent.sigmoid_binary_cross_entropy(hidden @ classifier.T, labels)`."
        )
        fail(ValueError if integers else TypeError, "labels", must, got, remedy)
    return listed_ids("labels", labels, batch)


def _zeros_and_ones(y: Array | np.ndarray) -> bool:
    """Whether rows are known to be no ids: these are said once, and these repeat."""
    if isinstance(y, Tracer) or not getattr(y, "is_fully_addressable", True):
        return False
    rows = np.sort(np.asarray(y), axis=-1)
    again = rows[..., 1:] == rows[..., :-1]
    return bool(again.any() and np.isin(rows, (0, 1)).all())


@functools.partial(jax.jit, static_argnames=("settings", "reduction"), inline=True)
def linear_binary(
    given: HeadInputs,
    bias: Array | None,
    pos_weight: Array | None,
    label_smoothing: Number | None,
    *,
    settings: HeadSettings,
    reduction: Reduction,
) -> Array:
    """The sum over the classes of the binary losses; `given.data` are the ids."""
    (head,), (ids,) = given.heads, given.data
    count = head.classifier.shape[:1]
    ids = entry_ids(
        settings.checked, ids, looked_at(given.where, given.weights),
        given.classes.count(count[0]), distinct=False,
    )  # fmt: skip
    # What is one for all becomes one a class, as the classes may be sliced.
    bias, pos_weight = (
        None if x is None else jnp.broadcast_to(x, count) for x in (bias, pos_weight)
    )
    given = given._replace(heads=(head._replace(bias=bias),), data=(ids,))
    shared = Shared(class_weights=pos_weight, label_smoothing=label_smoothing)
    return reduced(
        given, shared, settings=settings, reduction=reduction, loss=binary_rows
    )[0]


def binary_rows(
    logits: tuple[Array, ...], rows: Rows, shared: Shared
) -> tuple[Array, PyTree]:
    (x,), (ids,), positive = logits, rows.others, shared.class_weights
    y = smoothed(listed(x, ids, rows.classes).astype(x.dtype), shared.label_smoothing)
    positive = 1 if positive is None else positive
    positive = jnp.broadcast_to(jnp.asarray(positive, x.dtype), x.shape)
    losses = rows.classes.sum(binary_cross_entropy_of(x, y, positive))
    return losses * poison_of(ids).astype(x.dtype), ()
