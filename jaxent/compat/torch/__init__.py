# SPDX-License-Identifier: Apache-2.0
"""`torch.nn.functional`'s losses: its names, order, defaults and denominators.

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
truth; docs/coming-from.md lists where.
"""

from ._adaptive import AdaptiveLogSoftmax as AdaptiveLogSoftmax
from ._adaptive import adaptive_log_prob as adaptive_log_prob
from ._adaptive import adaptive_log_softmax as adaptive_log_softmax
from ._adaptive import (
    adaptive_log_softmax_with_loss as adaptive_log_softmax_with_loss,
)
from ._adaptive import adaptive_predict as adaptive_predict
from ._binary import binary_cross_entropy as binary_cross_entropy
from ._binary import (
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
)
from ._binary import gaussian_nll_loss as gaussian_nll_loss
from ._binary import kl_div as kl_div
from ._binary import multilabel_soft_margin_loss as multilabel_soft_margin_loss
from ._binary import sigmoid_focal_loss as sigmoid_focal_loss
from ._classes import cross_entropy as cross_entropy
from ._classes import linear_cross_entropy as linear_cross_entropy
from ._classes import nll_loss as nll_loss
