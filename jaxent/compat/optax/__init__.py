# SPDX-License-Identifier: Apache-2.0
"""`optax.losses` of classification: its `axis` and `where`, its broadcasting.

Arguments that several functions share:

- `logits`, `labels`: any real float dtype for logits, any real one for labels.
- `log_predictions`: log-probabilities; `targets` are probabilities, `log_targets`
  their logs.
- `axis`: the class axis, a tuple of class axes, or None for all.
- `where`: booleans, True to keep. Those of the logits' rank choose classes, which
  then have no mass; those without the class axes choose positions. A position with
  nothing kept has loss 0.

Two arrays of one call broadcast against each other, as NumPy's do.

Results are float32 (float64 for float64), half inputs included. Where Optax rounds a
loss to 0, or makes NaN of a finite truth, this is the truth; the page "Coming from …"
lists where. The losses of jaxent itself have these names too, and refuse what
broadcasts.
"""

from ._divergence import (
    convex_kl_divergence,
    generalized_kl_divergence,
    kl_divergence,
    kl_divergence_with_log_targets,
)
from ._logits import (
    poly_loss_cross_entropy,
    safe_softmax_cross_entropy,
    sigmoid_binary_cross_entropy,
    sigmoid_focal_loss,
    smooth_labels,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
)

__all__ = [
    "convex_kl_divergence",
    "generalized_kl_divergence",
    "kl_divergence",
    "kl_divergence_with_log_targets",
    "poly_loss_cross_entropy",
    "safe_softmax_cross_entropy",
    "sigmoid_binary_cross_entropy",
    "sigmoid_focal_loss",
    "smooth_labels",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
]
