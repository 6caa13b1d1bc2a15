# SPDX-License-Identifier: Apache-2.0
"""What `certify` checks: every public loss, its inputs, its truth and its bound."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .._distillation import (
    linear_js_divergence,
    linear_kl_divergence,
    linear_kl_divergence_from_top_k,
)
from .._divergence import (
    generalized_kl_divergence,
    kl_divergence,
    kl_divergence_from_logits,
    kl_divergence_from_top_k,
    kl_divergence_with_log_targets,
)
from .._entropy import (
    cross_entropy,
    cross_entropy_from_logits,
    entropy,
    entropy_from_logits,
    js_divergence,
    js_divergence_from_logits,
)
from .._focal import (
    generalized_cross_entropy,
    poly_loss_cross_entropy,
    softmax_focal_loss,
)
from .._linear import (
    linear_softmax_cross_entropy,
    linear_softmax_loss,
    linear_softmax_statistics,
)
from .._probabilities import (
    binary_cross_entropy,
    categorical_cross_entropy,
    negative_log_likelihood,
)
from .._sampled import (
    nce_loss,
    rank_sampled_softmax_cross_entropy,
    sampled_softmax_cross_entropy,
)
from .._sampling.candidates import Candidates
from .._sigmoid import (
    linear_sigmoid_binary_cross_entropy,
    sigmoid_binary_cross_entropy,
    sigmoid_focal_loss,
)
from .._softmax import (
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
    softmax_statistics,
)
from . import inputs
from . import truth as true
from . import truth_of_measures as measures


class Bound(NamedTuple):
    number: float
    unit: str = "ULP"

    def __str__(self) -> str:
        return f"{self.number:g} {self.unit}"


class Row(NamedTuple):
    """A loss, called with its defaults unless `call` says more."""

    loss: Callable[..., Any]
    inputs: Callable[..., dict[str, tuple]]
    """What makes the arguments, in `inputs`; those with a gradient come first."""
    truth: Callable[..., true.Truth]
    bound: Bound
    """The bound of the value's error, and of the gradient's."""
    call: Callable[..., Any] | None = None
    part: str = ""
    half: Bound = Bound(0.51)
    """The bound of the gradient of half inputs, which is rounded once."""

    @property
    def name(self) -> str:
        return self.loss.__name__ + (f": {self.part}" if self.part else "")


IDS = np.arange(0, inputs.CLASSES, 3, dtype=np.int32)
"""The classes that were sampled, each as often as was to be expected."""


def drawn(labels) -> Candidates:
    counts = (jnp.ones(shape, jnp.float32) for shape in (labels.shape, IDS.shape))
    return Candidates(jnp.asarray(IDS), *counts)


def sampled(loss, **options):
    return lambda h, w, y: loss(h, w, y, candidates=drawn(y), **options).sum()


EXACT, FOCAL, SMALL = Bound(4), Bound(12), Bound(1e-6, "rel")
HEAD = Bound(1.5)
"""Slopes are rounded to the half type, and the sum of their products again."""
ENTROPY = true.of_label(true.cross_entropy)
ENTROPIES = true.of_distribution(true.cross_entropy)
AMONG = true.head(lambda x, y: true.among(x, y, IDS))
AMONG_BEST = true.head(lambda x, y: true.among(x, y, true.best(x, IDS, 5)))
CONTRAST = true.head(lambda x, y: true.noise_contrastive(x, y, IDS))
ZEROS = inputs.two_shares_with_zeros
LOG_SHARES = inputs.logs(inputs.two_shares, 0)
LOGS = inputs.logs(inputs.two_shares, 0, 1)
HEADS, TWO = inputs.heads, inputs.two

TABLE = (
    Row(softmax_cross_entropy_with_integer_labels, inputs.integer, ENTROPY, EXACT),
    Row(softmax_cross_entropy, inputs.one_hot, ENTROPIES, EXACT, part="one-hot"),
    Row(softmax_cross_entropy, inputs.soft, ENTROPIES, SMALL),
    Row(softmax_focal_loss, inputs.integer, true.of_label(true.focal), FOCAL),
    Row(poly_loss_cross_entropy, inputs.one_hot, true.of_distribution(true.poly),
        Bound(5)),
    Row(generalized_cross_entropy, inputs.integer, true.of_label(true.generalized),
        Bound(8), lambda x, y: generalized_cross_entropy(x, y, q=0.75)),
    Row(softmax_statistics, inputs.integer, true.of_label(true.one_minus_prob), EXACT,
        lambda x, y: softmax_statistics(x, y).one_minus_prob, "one_minus_prob"),
    Row(softmax_statistics, inputs.integer, true.log_normalizer, EXACT,
        lambda x, y: softmax_statistics(x, y).log_normalizer, "log_normalizer"),
    Row(sigmoid_binary_cross_entropy, inputs.binary, true.binary(true.cross_entropy),
        EXACT),
    Row(sigmoid_focal_loss, inputs.binary, true.binary(true.focal), FOCAL),
    Row(binary_cross_entropy, inputs.decisions, measures.binary_of_probs, EXACT),
    Row(categorical_cross_entropy, ZEROS, measures.categorical, SMALL),
    Row(negative_log_likelihood, inputs.log_probs, measures.negative_log_likelihood,
        EXACT),
    Row(entropy, inputs.distribution, measures.entropy, SMALL),
    Row(entropy_from_logits, inputs.one, measures.entropy_of_logits, SMALL),
    Row(cross_entropy, inputs.swapped(ZEROS), measures.cross_entropy_of_probs, SMALL),
    Row(cross_entropy_from_logits, TWO, measures.cross_entropy_of_logits, SMALL),
    Row(kl_divergence, LOG_SHARES, measures.kl, SMALL),
    Row(kl_divergence_with_log_targets, LOGS, measures.kl_of_logs, SMALL),
    Row(generalized_kl_divergence, LOG_SHARES, measures.generalized_kl, SMALL),
    Row(kl_divergence_from_logits, TWO, measures.kl_of_logits, SMALL),
    Row(kl_divergence_from_top_k, inputs.teachers, measures.kl_from_top_k, SMALL,
        lambda x, p, ids: kl_divergence_from_top_k(x, ids, p)),
    Row(js_divergence, inputs.two_shares, measures.js, SMALL),
    Row(js_divergence_from_logits, TWO, measures.js_of_logits, SMALL),
    Row(linear_softmax_cross_entropy, HEADS, true.head(ENTROPY), EXACT,
        lambda *a: linear_softmax_cross_entropy(*a, reduction="sum"), half=HEAD),
    Row(linear_softmax_loss, HEADS, true.head(ENTROPY), EXACT,
        lambda *a: linear_softmax_loss(lambda s: s.nll, *a, reduction="sum"),
        half=HEAD),
    Row(linear_softmax_statistics, HEADS, true.head(ENTROPY), EXACT,
        lambda *a: linear_softmax_statistics(*a).nll.sum(), "nll", HEAD),
    Row(linear_kl_divergence, inputs.pairs_of_heads,
        true.two_heads(measures.kl_of_logits), SMALL,
        lambda *a: linear_kl_divergence(*a, reduction="sum"), half=HEAD),
    Row(linear_js_divergence, inputs.pairs_of_heads,
        true.two_heads(measures.js_of_logits), SMALL,
        lambda *a: linear_js_divergence(*a, reduction="sum"), half=HEAD),
    Row(linear_kl_divergence_from_top_k, inputs.heads_of_students,
        true.head(measures.kl_from_top_k), SMALL,
        lambda h, w, p, ids: linear_kl_divergence_from_top_k(
            h, w, ids, p, reduction="sum"), half=HEAD),
    Row(linear_sigmoid_binary_cross_entropy, inputs.heads_of_several,
        true.head(true.decisions), EXACT,
        lambda *a: linear_sigmoid_binary_cross_entropy(*a, reduction="sum"),
        half=HEAD),
    Row(sampled_softmax_cross_entropy, HEADS, AMONG, EXACT,
        sampled(sampled_softmax_cross_entropy), half=HEAD),
    Row(rank_sampled_softmax_cross_entropy, HEADS, AMONG_BEST, EXACT,
        sampled(rank_sampled_softmax_cross_entropy, num_resampled=5), half=HEAD),
    Row(nce_loss, HEADS, CONTRAST, EXACT, sampled(nce_loss), half=HEAD),
)  # fmt: skip
