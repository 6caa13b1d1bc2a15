# SPDX-License-Identifier: Apache-2.0
"""`torch.nn.functional`'s losses: its names, order, defaults and denominators.

`torch.nn`'s modules of them are here too: `CrossEntropyLoss(**options)(input, target)`.

Arguments that several functions share:

- `input`: logits, probabilities or log-probabilities as the name of the loss says,
  any real float dtype; classes on axis 1, or on axis 0 of a single position.
- `target`: class ids, or numbers of the shape of `input`.
- `weight`: one weight a class where targets are ids, else multipliers of the
  elements, which the mean does not divide by.
- `ignore_index`: positions with this id are left out, of the mean too.
- `reduction`: "none", "sum" or "mean". The mean of nothing is NaN, as in torch.
- `size_average`, `reduce`: torch's old flags, which win over `reduction`.

Results are float32 (float64 for float64), half inputs included. What torch raises at
run time is NaN here, loss and gradient: an id out of range, a probability outside
[0, 1]. Where torch rounds a loss to 0, or makes NaN of a finite truth, this is the
truth; the page "Coming from …" lists where.
"""

from ._adaptive import (
    AdaptiveLogSoftmax,
    adaptive_log_prob,
    adaptive_log_softmax,
    adaptive_log_softmax_with_loss,
    adaptive_predict,
)
from ._binary import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    gaussian_nll_loss,
    kl_div,
    multilabel_soft_margin_loss,
    sigmoid_focal_loss,
)
from ._classes import cross_entropy, linear_cross_entropy, nll_loss
from ._modules import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    KLDivLoss,
    NLLLoss,
)

__all__ = [
    "AdaptiveLogSoftmax",
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "KLDivLoss",
    "NLLLoss",
    "adaptive_log_prob",
    "adaptive_log_softmax",
    "adaptive_log_softmax_with_loss",
    "adaptive_predict",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "gaussian_nll_loss",
    "kl_div",
    "linear_cross_entropy",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "sigmoid_focal_loss",
]
