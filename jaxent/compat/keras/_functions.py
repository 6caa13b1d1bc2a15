# SPDX-License-Identifier: Apache-2.0
"""`keras.losses`' functions: one value a position."""

import math

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from ... import _checks
from ..._divergence import kl_divergence as relative_entropy
from ..._engine.exact import widen, xlogy
from ..._engine.terms import one_hot
from ..._errors import door, fail
from ..._probabilities import binary_cross_entropy, categorical_cross_entropy
from ..._sigmoid import sigmoid_binary_cross_entropy
from ..._softmax import softmax_cross_entropy
from ._inputs import (
    EPSILON,
    NAMES,
    axes,
    checked,
    class_ids,
    clipped,
    heeded,
    normalized,
    pair,
    predictions,
    smoothed,
)


@door(**NAMES)
def binary_crossentropy(
    y_true: ArrayLike,
    y_pred: Float[ArrayLike, "..."],
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Float[Array, "..."]:
    """`keras.losses.binary_crossentropy`: `−y·log p − (1−y)·log(1−p)`, mean over axis.

    Args:
      label_smoothing: `(1−α)·y + α/2`.
    Returns:
      The losses averaged over `axis`.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit.
    Example:
      >>> jaxent.compat.keras.binary_crossentropy(
      ...     jnp.array([0, 0, 1]), jnp.array([0.3, 0.7, 0.0]))
      Array(5.8929, dtype=float32)

    Source: Keras 3.15, src/losses/losses.py.
    """
    checked(from_logits=from_logits)
    t, p = pair(y_true, y_pred)
    t, averaged = smoothed(t, label_smoothing, 2), axes(axis, p)
    if from_logits:
        return jnp.mean(sigmoid_binary_cross_entropy(p, t), axis=averaged)
    return jnp.mean(binary_cross_entropy(clipped(p), t), axis=averaged)


@door(**NAMES)
def categorical_crossentropy(
    y_true: ArrayLike,
    y_pred: Float[ArrayLike, "..."],
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Float[Array, "..."]:
    """`keras.losses.categorical_crossentropy`: `−Σⱼ yⱼ·log pⱼ`.

    Args:
      label_smoothing: `(1−α)·y + α/C`, with C the length of `axis`.
    Returns:
      One loss a position.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit.
    Example:
      >>> jaxent.compat.keras.categorical_crossentropy(
      ...     jnp.array([[0, 0, 1], [0, 1, 0]]),
      ...     jnp.array([[0.3, 0.7, 0.0], [0.5, 0.2, 0.3]]))
      Array([16.1181,  1.6094], dtype=float32)

    Source: Keras 3.15, src/losses/losses.py.
    """
    checked(from_logits=from_logits)
    t, p = pair(y_true, y_pred)
    classes, _ = _checks.class_axes(axis, "y_pred", p)
    t = smoothed(t, label_smoothing, math.prod(t.shape[a] for a in classes))
    if from_logits:
        return softmax_cross_entropy(p, t, axis=axis)
    return categorical_cross_entropy(normalized(p, axis), t, axis=axis)


@door(**NAMES)
def sparse_categorical_crossentropy(
    y_true: ArrayLike,
    y_pred: Float[ArrayLike, "*batch classes"],
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
) -> Float[Array, "*batch"]:
    """`keras.losses.sparse_categorical_crossentropy`: `−log p_y`.

    Args:
      y_true: class ids, as integers or floats; a last axis of length 1 is dropped.
      ignore_class: positions with this id have loss 0.
      axis: the last, as Keras has no other.
    Returns:
      One loss a position; 0 for an id out of range, as in Keras.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit.
    Example:
      >>> jaxent.compat.keras.sparse_categorical_crossentropy(
      ...     jnp.array([2, 1]), jnp.array([[0.3, 0.7, 0.0], [0.5, 0.2, 0.3]]))
      Array([16.1181,  1.6094], dtype=float32)

    Source: Keras 3.15, src/losses/losses.py, with the JAX backend.
    """
    return sparse_with_mask(y_true, y_pred, from_logits, ignore_class, axis)[0]


def sparse_with_mask(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    from_logits: bool,
    ignore_class: int | None,
    axis: int,
) -> tuple[Array, Array | None]:
    """The losses, and the mask that Keras attaches to them if it ignores a class."""
    checked(from_logits=from_logits, ignore_class=ignore_class)
    p = widen(predictions(y_pred, y_true))
    if axes(axis, p) != (p.ndim - 1,):
        remedy = "Move the classes there: `jnp.moveaxis`."
        fail(ValueError, "axis", "be the last axis", axis, remedy)
    y = _checks.weights("y_true", y_true)
    y = y[..., 0] if y.ndim == p.ndim and y.shape[-1] == 1 else y
    ids = class_ids(y, p)
    heeded(ignore_class, y)
    kept = None if ignore_class is None else ids != ignore_class
    labels = one_hot(ids, p)
    if from_logits:
        return softmax_cross_entropy(p, labels, where=kept), kept
    return categorical_cross_entropy(normalized(p, -1), labels, where=kept), kept


@door(**NAMES)
def kl_divergence(
    y_true: ArrayLike, y_pred: Float[ArrayLike, "*batch classes"]
) -> Float[Array, "*batch"]:
    """`keras.losses.kl_divergence`: `Σⱼ yⱼ·log(yⱼ/pⱼ)`, both clipped to [1e-7, 1].

    Args:
      y_pred: probabilities, classes last; not divided by their sum.
    Returns:
      One divergence a position.
    Raises:
      TypeError, ValueError: shapes or dtypes that do not fit.
    Example:
      >>> jaxent.compat.keras.kl_divergence(
      ...     jnp.array([0.5, 0.5]), jnp.array([0.2, 0.8]))
      Array(0.2231, dtype=float32)

    Source: Keras 3.15, src/losses/losses.py.
    """
    t, p = pair(y_true, y_pred)
    t, p = (jnp.clip(a, EPSILON, 1) for a in (t, p))
    return relative_entropy(xlogy(jnp.ones_like(p), p), t)


@door(**NAMES)
def poisson(
    y_true: ArrayLike, y_pred: Float[ArrayLike, "*batch n"]
) -> Float[Array, "*batch"]:
    """`keras.losses.poisson`: `p − y·log(p + 1e-7)`, mean over the last axis.

    Args:
      y_true: counts.
      y_pred: rates p ≥ 0.
    Returns:
      One loss a position.
    Raises:
      TypeError, ValueError: shapes or dtypes that do not fit.
    Example:
      >>> jaxent.compat.keras.poisson(jnp.array([2, 0]), jnp.array([1.5, 0.5]))
      Array(0.5945, dtype=float32)

    Source: Keras 3.15, src/losses/losses.py.
    """
    t, p = pair(y_true, y_pred)
    _checks.has_axes("y_pred", p, "outputs")
    return jnp.mean(p - xlogy(t, p + EPSILON), axis=-1)
