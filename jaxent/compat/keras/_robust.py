# SPDX-License-Identifier: Apache-2.0
"""`keras.losses`' functions that weigh by confidence: focal and generalised."""

import math
from typing import cast

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from ... import _checks
from ..._engine.class_axis import classes_last
from ..._engine.exact import box_cox, power, sigmoid_pair, widen, xlogy
from ..._engine.statistics import class_pairs
from ..._engine.terms import one_hot
from ..._errors import door
from ..._probabilities import binary_cross_entropy
from ..._types import Number
from ._inputs import (
    NAMES,
    axes,
    bounded,
    checked,
    class_ids,
    clipped,
    normalized,
    pair,
    predictions,
    smoothed,
)


@door(**NAMES)
def binary_focal_crossentropy(
    y_true: ArrayLike,
    y_pred: Float[ArrayLike, "..."],
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Float[Array, "..."]:
    """`keras.losses.binary_focal_crossentropy`: `(1 − p_t)^γ·BCE`, mean over axis.

    Logits are made probabilities, whose cross-entropy is clipped as theirs is.

    Args:
      apply_class_balancing: multiply by `α·y + (1−α)·(1−y)`.
      alpha: that α.
      gamma: γ ≥ 0.
      label_smoothing: `(1−α)·y + α/2`.
    Returns:
      The losses averaged over `axis`.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit.
    Example:
      >>> jaxent.compat.keras.binary_focal_crossentropy(
      ...     jnp.array([1, 0]), jnp.array([0.6, 0.2]))
      Array(0.0453, dtype=float32)

    Source: Keras 3.15, src/losses/losses.py.
    """
    checked(
        apply_class_balancing=apply_class_balancing, gamma=gamma,
        from_logits=from_logits,
    )  # fmt: skip
    t, p = pair(y_true, y_pred)
    _checks.broadcastable("alpha", alpha, p, "`y_pred`'s")
    t, averaged = smoothed(t, label_smoothing, 2), axes(axis, p)
    one_minus_p = 1 - p
    if from_logits:
        _, one_minus_p, p = sigmoid_pair(p)
    wrong = t * one_minus_p + (1 - t) * p
    losses = power(wrong, gamma) * binary_cross_entropy(clipped(p), t)
    if apply_class_balancing:
        losses *= t * alpha + (1 - t) * (1 - alpha)
    return jnp.mean(losses, axis=averaged)


@door(**NAMES)
def categorical_focal_crossentropy(
    y_true: ArrayLike,
    y_pred: Float[ArrayLike, "..."],
    alpha: ArrayLike = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Float[Array, "..."]:
    """`keras.losses.categorical_focal_crossentropy`: `Σⱼ −α·(1−pⱼ)^γ·yⱼ·log pⱼ`.

    Logits are made probabilities, which are clipped like theirs.

    Args:
      alpha: α, a factor of the whole; or one a class, on the last axis.
      gamma: γ ≥ 0.
      label_smoothing: `(1−α)·y + α/C`, with C the length of `axis`.
    Returns:
      One loss a position.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit.
    Example:
      >>> jaxent.compat.keras.categorical_focal_crossentropy(
      ...     jnp.array([[0, 1]]), jnp.array([[0.4, 0.6]]))
      Array([0.0204], dtype=float32)

    Source: Keras 3.15, src/losses/losses.py.
    """
    checked(gamma=gamma, from_logits=from_logits)
    t, p = pair(y_true, y_pred)
    classes, _ = _checks.class_axes(axis, "y_pred", p)
    balance = _checks.broadcastable("alpha", alpha, p, "`y_pred`'s")
    t = smoothed(t, label_smoothing, math.prod(t.shape[a] for a in classes))
    shape = p.shape
    t, p = (classes_last(a, classes) for a in (t, p))
    p = normalized(class_pairs(p).prob if from_logits else p, -1)
    terms = power(1 - p, gamma) * xlogy(t, p)
    if balance.ndim == 0:
        return -cast(Number, alpha) * jnp.sum(terms, axis=-1)
    balance = classes_last(jnp.broadcast_to(balance, shape), classes)
    return -jnp.sum(balance.astype(terms.dtype) * terms, axis=-1)


@door(**NAMES)
def categorical_generalized_cross_entropy(
    y_true: ArrayLike, y_pred: Float[ArrayLike, "*batch classes"], q: float
) -> Float[Array, "*batch"]:
    """`keras.losses.categorical_generalized_cross_entropy`: `(1 − p_y^q)/q`.

    Args:
      y_true: class ids, as integers or floats.
      y_pred: probabilities p, neither clipped nor divided by their sum.
      q: exponent in (0, 1).
    Returns:
      One loss a position; where p_y is 0, or the id out of range, 1/q, with gradient 0.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit.
    Example:
      >>> jaxent.compat.keras.categorical_generalized_cross_entropy(
      ...     jnp.array([1]), jnp.array([[0.19, 0.81]]), 0.5)
      Array([0.2], dtype=float32)

    Source: Keras 3.15, src/losses/losses.py; Zhang & Sabuncu (2018).
    """
    exponent = bounded("q", q)
    p = widen(predictions(y_pred, y_true))
    hit = one_hot(class_ids(y_true, p), p)
    own = jnp.sum(jnp.where(hit, p, 0), axis=-1)
    safe = jnp.where(own == 0, 1, own)
    nll = -xlogy(jnp.ones_like(safe), safe)
    values = box_cox(nll, jnp.full(own.shape, exponent, p.dtype))
    return jnp.where(own == 0, 1 / q, values)
