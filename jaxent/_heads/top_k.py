# SPDX-License-Identifier: Apache-2.0
"""A fused head that learns from a teacher's K likeliest classes.

The loss is that of `_engine.top_k`; of the teacher there are K numbers a position.
"""

import functools

import jax
from jax import Array

from .._engine.exact import widen
from .._engine.labels import drop, looked_at
from .._engine.softmax_statistics import logits_statistics_of
from .._engine.top_k import divergence_of_entries, entry_ids
from .._types import PyTree, Reduction
from .chunks import Rows, Shared
from .given import HeadInputs, HeadSettings
from .losses import reduced, tempered


@functools.partial(
    jax.jit, static_argnames=("settings", "reduction", "tail", "beside"), inline=True
)
def linear_top_k(
    given: HeadInputs,
    shared: Shared,
    *,
    settings: HeadSettings,
    reduction: Reduction,
    tail: str,
    beside: bool,
) -> tuple[Array, PyTree]:
    """The loss; and `beside` it, what is known of the student at every position."""
    ids, *log_probs = given.data
    count = given.classes.count(given.heads[0].classifier.shape[0])
    ids = entry_ids(settings.checked, ids, looked_at(given.where, given.weights), count)
    # Widened here, so that their gradients are rounded once.
    given = given._replace(data=(ids, *map(widen, log_probs)))

    def rows(logits: tuple[Array, ...], rows: Rows, shared: Shared):
        log_probs, tail_log_prob, *_ = *(drop(x, rows.keep) for x in rows.floats), None
        x, classes = tempered(logits[0], rows, shared)
        losses = divergence_of_entries(
            x, rows.others[0], log_probs, tail_log_prob, classes, tail=tail
        )
        if not beside:
            return losses, ()
        return losses, logits_statistics_of(*classes.carry(x))

    return reduced(given, shared, settings=settings, reduction=reduction, loss=rows)
