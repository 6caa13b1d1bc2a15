# SPDX-License-Identifier: Apache-2.0
"""Keras 3's losses: functions, loss objects, and metrics that accumulate.

Arguments that several share:

- `y_true`: first, as in Keras: class ids, or numbers of the shape of `y_pred`; any
  real dtype.
- `y_pred`: probabilities, or logits with `from_logits`; any real float dtype.
  Probabilities are clipped to [1e-7, 1 − 1e-7], and those of classes divided by
  their sum first: a clipped one has gradient 0.
- `label_smoothing`: α in [0, 1].
- `axis`: the class axis, or for binary losses the axis that is averaged.

A function returns one value a position; an object reduces them. Results are float32
(float64 for float64), half inputs included. Where Keras rounds a loss to 0, or makes
NaN of a finite truth, this is the truth; the page "Coming from …" lists where.
"""

from . import metrics
from ._functions import (
    binary_crossentropy,
    categorical_crossentropy,
    kl_divergence,
    poisson,
    sparse_categorical_crossentropy,
)
from ._losses import (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy,
    KLDivergence,
    Poisson,
    SparseCategoricalCrossentropy,
)
from ._robust import (
    binary_focal_crossentropy,
    categorical_focal_crossentropy,
    categorical_generalized_cross_entropy,
)

__all__ = [
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "KLDivergence",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "kl_divergence",
    "metrics",
    "poisson",
    "sparse_categorical_crossentropy",
]
