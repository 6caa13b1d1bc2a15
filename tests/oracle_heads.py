# SPDX-License-Identifier: Apache-2.0
"""Fused heads by definition, their gradients in closed form, in NumPy's widest float.

Beside each number stands its size: the same sum, of the terms' magnitudes, which is
what an error of the terms is relative to.
"""

import numpy as np
import oracle
from oracle import wide


@oracle.quiet
def head(
    hidden, classifier, labels, cotangent, *, bias=0.0, softcap=None,
    label_smoothing=0.0, z_loss=0.0,
):  # fmt: skip
    """Losses, and gradients in hidden, classifier and bias: each with its size."""
    h, w, g = wide(hidden), wide(classifier), wide(cotangent)[:, None]
    alpha, z = wide(label_smoothing), wide(z_loss)
    x = h @ w.T + wide(bias)
    bend = 1.0
    if softcap is not None:
        bend = 1 / np.cosh(x / wide(softcap)) ** 2
        # A class that a bias of −inf forbids stays so.
        x = np.where(x == -np.inf, x, wide(softcap) * np.tanh(x / wide(softcap)))
    loss = oracle.softmax_cross_entropy_with_integer_labels(
        x, labels, label_smoothing=alpha, z_loss=z
    )
    _, _, p, lse = oracle.pairs(x)
    allowed = x > -np.inf
    terms = (
        (1 - alpha) * oracle.label_gradient(x, labels),
        alpha * p,
        -alpha * allowed / np.sum(allowed, axis=1, keepdims=True),
        2 * z * lse[:, None] * p,
    )
    slope = sum(terms) * bend * g
    size = sum(map(np.abs, terms)) * bend * np.abs(g)
    return (
        (loss, np.abs(loss)),
        (slope @ w, size @ np.abs(w)),
        (slope.T @ h, size.T @ np.abs(h)),
        (slope.sum(0), size.sum(0)),
    )
