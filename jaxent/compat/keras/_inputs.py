# SPDX-License-Identifier: Apache-2.0
"""What Keras does to labels and probabilities before a loss sees them."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ... import _checks
from ..._engine.exact import widen_both

EPSILON = 1e-7
NAMES = {
    **dict.fromkeys(("logits", "probs", "log_predictions"), "y_pred"),
    **dict.fromkeys(("labels", "targets"), "y_true"),
}
"""Of the arguments of jaxent's losses in Keras'."""


def pair(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Array, Array]:
    """Labels and predictions of one shape and dtype."""
    p, t = _checks.paired(("y_pred", "y_true"), y_pred, y_true)
    p, t = widen_both(p, t)
    return t, p


def smoothed(t: Array, alpha: float, count: int) -> Array:
    return t * (1 - alpha) + alpha / count if alpha else t


def clipped(p: Array) -> Array:
    return jnp.clip(p, EPSILON, 1 - EPSILON)


def normalized(p: Array, axis: int) -> Array:
    return clipped(p / jnp.sum(p, axis=axis, keepdims=True))
