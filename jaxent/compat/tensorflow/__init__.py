# SPDX-License-Identifier: Apache-2.0
"""TensorFlow's cross-entropies: `tf.nn`, and `tf.compat.v1.losses` as `losses`.

Arguments that several functions share:

- `labels`: first, as in TensorFlow: class ids, or numbers of the shape of `logits`.
- `logits`: unnormalised log-probabilities, any real float dtype.
- `name`: accepted and ignored.

Results are float32 (float64 for float64), half inputs included. A class id out of
range is NaN, loss and gradient, as TensorFlow's on accelerators. Where TensorFlow
rounds a loss to 0, makes NaN of a finite truth, or takes labels to sum to one in the
gradient, this is the truth; the page "Coming from …" lists where.
"""

from . import losses
from ._nn import (
    sigmoid_cross_entropy_with_logits,
    softmax_cross_entropy_with_logits,
    softmax_cross_entropy_with_logits_v2,
    sparse_softmax_cross_entropy_with_logits,
    weighted_cross_entropy_with_logits,
)
from ._sampled import nce_loss, rank_sampled_softmax_loss, sampled_softmax_loss

__all__ = [
    "losses",
    "nce_loss",
    "rank_sampled_softmax_loss",
    "sampled_softmax_loss",
    "sigmoid_cross_entropy_with_logits",
    "softmax_cross_entropy_with_logits",
    "softmax_cross_entropy_with_logits_v2",
    "sparse_softmax_cross_entropy_with_logits",
    "weighted_cross_entropy_with_logits",
]
