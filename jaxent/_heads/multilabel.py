# SPDX-License-Identifier: Apache-2.0
"""A fused head of binary decisions: each class is the position's, or is not.

The loss of a class is the dense one, `_engine.pair_losses`; it is summed over them.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from .. import _checks
from .._engine.labels import looked_at
from .._engine.linear import Head
from .._engine.pair_losses import binary_cross_entropy_of, smoothed
from .._engine.top_k import entry_ids, listed, poison_of
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
