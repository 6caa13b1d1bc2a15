# SPDX-License-Identifier: Apache-2.0
"""What a loss of one's own is made of: the statistics that users see.

Dense and fused heads call the one function here, so that they cannot differ: neither
in a number, nor in what a label out of range does to it.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from .class_axis import ClassAxis
from .exact import as_logits, widen
from .information import entropy_of_logits
from .labels import class_ids
from .placement import placed_as
from .statistics import log_normalizer, numbers_of
from .sums import rest_of
from .terms import one_hot


class SoftmaxStatistics(NamedTuple):
    """What a loss of your own may need of one position's logits x and label y.

    Each array has the shape of the labels. All but `correct` and `top_id` are
    differentiable any number of times, and keep their relative accuracy at saturation.
    """

    nll: Array
    """−log p_y in nats: the cross-entropy. Accurate near p_y = 1, where it is tiny."""
    one_minus_prob: Array
    """1 − p_y. Accurate near p_y = 1."""
    log_normalizer: Array
    """log Σ_j exp(x_j). Does not depend on the label, nor do `entropy` and `top_id`."""
    label_logit: Array
    """x_y."""
    correct: Array
    """Whether the label is `top_id` (bool); never where its logit is NaN."""
    entropy: Array
    """Entropy of softmax(x), in nats."""
    top_id: Array
    """The class of the largest logit (int32): the first of equals, or of NaNs."""


class LogitsStatistics(NamedTuple):
    """What is known of one position's logits x without a label, as above."""

    log_normalizer: Array
    entropy: Array
    top_id: Array


def logits_statistics_of(x: Array, classes: ClassAxis) -> LogitsStatistics:
    """Of logits [..., V], which carry the tangent of a temperature."""
    log_z, entropy = log_normalizer(x, None, classes), entropy_of_logits(x, classes)
    return LogitsStatistics(log_z, entropy, classes.top(x))


def softmax_statistics_of(
    x: Array, labels: Array, classes: ClassAxis, *, checked: str | None = None
) -> SoftmaxStatistics:
    """The statistics of logits [..., V], any float dtype, and class ids [...].

    What depends on a label out of range is NaN, with NaN gradients, and not correct.
    """
    labels = placed_as(x, labels)
    labels, poison = class_ids(checked, labels, None, classes.count(x.shape[-1]))
    wide, classes = classes.carry(widen(x))
    rest = rest_of(x, labels, classes)
    # A label that is no class has no logit. All classes are then the rest, whose sum is
    # the normaliser's.
    rest = rest._replace(label_logit=jnp.where(labels < 0, -jnp.inf, rest.label_logit))
    n = numbers_of(wide, labels, None, rest)
    poison, top_id = poison.astype(wide.dtype), classes.top(x)
    label_logit = n.label_logit
    if classes.temperature is not None:
        # Not a difference: of the logits as they are, and of T itself.
        hit = one_hot(labels, x, classes)
        label_logit = classes.per(classes.sum(jnp.where(hit, as_logits(x), 0)))
    return SoftmaxStatistics(
        nll=n.nll * poison,
        one_minus_prob=n.one_minus_prob * poison,
        log_normalizer=n.log_normalizer(classes),
        label_logit=label_logit * poison,
        correct=(labels == top_id) & ~jnp.isnan(n.label_logit),
        entropy=entropy_of_logits(wide, classes),
        top_id=top_id,
    )
