# SPDX-License-Identifier: Apache-2.0
"""Optax's losses of logits."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from ... import _checks, _options, _values
from ..._engine.class_axis import classes_last
from ..._engine.exact import widen
from ..._engine.labels import class_ids
from ..._engine.terms import one_hot
from ..._errors import door, fail
from ..._focal import poly_loss_cross_entropy as poly_loss
from ..._sigmoid import sigmoid_binary_cross_entropy as binary_loss
from ..._sigmoid import sigmoid_focal_loss as focal_loss
from ..._softmax import softmax_cross_entropy as dense_loss
from ..._softmax import softmax_statistics
from ..._types import Axis, Number, Shape
from ._inputs import broadcast, class_axes, elements, kept_by


@door
def sigmoid_binary_cross_entropy(
    logits: Float[ArrayLike, "..."], labels: Float[ArrayLike, "..."]
) -> Float[Array, "..."]:
    """`optax.losses.sigmoid_binary_cross_entropy`, elementwise, broadcasting.

    Returns:
      One loss an element of the broadcast shape. ±inf logits: 0 where they match a
      hard label (Optax: NaN), inf where they don't.
    Raises:
      TypeError, ValueError: logits that are not floats, shapes that do not broadcast.
    Example:
      >>> jaxent.compat.optax.sigmoid_binary_cross_entropy(
      ...     jnp.array([2.0, -1.0]), jnp.array(1))
      Array([0.1269, 1.3133], dtype=float32)

    Source: optax 0.2.8, optax/losses/_classification.py.
    """
    return binary_loss(*broadcast(logits, labels))


@door
def sigmoid_focal_loss(
    logits: Float[ArrayLike, "..."],
    labels: Float[ArrayLike, "..."],
    *,
    alpha: Number | None = None,
    gamma: Number = 2.0,
) -> Float[Array, "..."]:
    """`optax.losses.sigmoid_focal_loss`, elementwise, broadcasting.

    Args:
      alpha: weight of positives, 1−α of negatives; a number, or None.
      gamma: focusing exponent γ ≥ 0, a number.
    Returns:
      One loss an element of the broadcast shape.
    Raises:
      TypeError, ValueError: logits that are not floats, shapes that do not broadcast.
    Example:
      >>> jaxent.compat.optax.sigmoid_focal_loss(
      ...     jnp.array([1.0, -3.0]), jnp.array([1.0, 1.0]))
      Array([0.0227, 2.7663], dtype=float32)

    Source: optax 0.2.8, optax/losses/_classification.py.
    """
    x, y = broadcast(logits, labels)
    return focal_loss(x, y, alpha=alpha, gamma=gamma)


@door
def softmax_cross_entropy(
    logits: Float[ArrayLike, "..."],
    labels: Float[ArrayLike, "..."],
    axis: Axis | None = -1,
    where: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """`optax.losses.softmax_cross_entropy`: `−Σⱼ qⱼ·log softmax(x)ⱼ`.

    Labels of classes that `where` leaves out are left out too.

    Args:
      logits: x; −inf adds 0 where its label is 0 (Optax: NaN).
      labels: q ≥ 0; broadcast against `logits`.
    Returns:
      One loss a position.
    Raises:
      TypeError, ValueError: logits that are not floats, shapes that do not broadcast.
    Example:
      >>> jaxent.compat.optax.softmax_cross_entropy(
      ...     jnp.array([[1.2, -0.8, -0.5]]), jnp.array([0.7, 0.2, 0.1]))
      Array([0.8461], dtype=float32)

    Source: optax 0.2.8, optax/losses/_classification.py.
    """
    x, q = broadcast(logits, labels)
    axes, allowed, kept = kept_by(x, axis, where)
    if allowed is not None:
        q = jnp.where(allowed, q, 0)
    return dense_loss(x, q, axis=axes, where=kept, class_where=allowed)


@door
def safe_softmax_cross_entropy(
    logits: Float[ArrayLike, "..."], labels: Float[ArrayLike, "..."]
) -> Float[Array, "..."]:
    """`optax.losses.safe_softmax_cross_entropy`: the same, classes last.

    Optax's is safe for −inf logits whose label is 0; here all are, in every mode of
    differentiation.

    Returns:
      One loss a position.
    Raises:
      TypeError, ValueError: logits that are not floats, shapes that do not broadcast.
    Example:
      >>> jaxent.compat.optax.safe_softmax_cross_entropy(
      ...     jnp.array([1.2, -jnp.inf]), jnp.array([1.0, 0.0]))
      Array(0., dtype=float32)

    Source: optax 0.2.8, optax/losses/_classification.py.
    """
    return softmax_cross_entropy(logits, labels)


@door
def softmax_cross_entropy_with_integer_labels(
    logits: Float[ArrayLike, "..."],
    labels: Int[ArrayLike, "..."],
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """`optax.losses.softmax_cross_entropy_with_integer_labels`: `−log softmax(x)_y`.

    A label in −C..−1 counts from the end. The label of a class that `where` leaves out
    keeps its logit: `log Σ exp(kept) − x_y`, which can be negative.

    Args:
      logits: x.
      labels: class ids; flat indices for a tuple of axes. Broadcast to the positions.
    Returns:
      One loss a position; NaN for other ids, with the gradient of `log Σ exp(kept)`:
      what masks the NaN afterwards has a finite gradient, as with Optax.
    Raises:
      TypeError, ValueError: shapes or dtypes that do not fit.
    Example:
      >>> jaxent.compat.optax.softmax_cross_entropy_with_integer_labels(
      ...     jnp.array([[1.2, -0.8, -0.5], [0.9, -1.2, 1.1]]), jnp.array([-3]))
      Array([0.2761, 0.8518], dtype=float32)

    Source: optax 0.2.8, optax/losses/_classification.py.
    """
    x = widen(_checks.in_order(("logits", "labels"), logits, labels))
    axes, allowed, kept = kept_by(x, axis, where)
    y = _ids(labels, x, axes)
    x = classes_last(x, axes)
    allowed = None if allowed is None else classes_last(allowed, axes)
    shape, classes = jnp.broadcast_shapes(y.shape, x.shape[:-1]), x.shape[-1]
    y, x = jnp.broadcast_to(y, shape), jnp.broadcast_to(x, (*shape, classes))
    y = jnp.where(y < 0, y + classes, y)
    ids, poison = class_ids(_values.checked(), y, kept, classes)
    s = softmax_statistics(x, jnp.where(ids < 0, 0, ids), class_where=allowed)
    hit = one_hot(ids, x)
    known = hit if allowed is None else hit & allowed
    own = jnp.sum(jnp.where(hit, x, 0), axis=-1)
    losses = jnp.where(jnp.any(known, axis=-1), s.nll, s.log_normalizer - own)
    # Added, not multiplied: the gradient of an unknown id is Optax's, of log Σ exp.
    losses += (poison - 1).astype(losses.dtype)
    return losses if kept is None else jnp.where(kept, losses, 0)


def _ids(labels: ArrayLike, x: Array, axes: Shape) -> Array:
    """Class ids that broadcast against the positions of the logits."""
    y = _checks.array("labels", labels)
    positions = tuple(n for a, n in enumerate(x.shape) if a not in axes)
    whole = y.shape == x.shape
    soft = "For class probabilities use `jaxent.compat.optax.softmax_cross_entropy`."
    if not jnp.issubdtype(y.dtype, jnp.integer):
        remedy = (
            soft if whole else f"Cast ids: {_checks.cast('labels', labels, 'int32')}."
        )
        fail(TypeError, "labels", "be integer class ids", y, remedy)
    if not _checks.meets(y.shape, positions):
        remedy = soft if whole else "Give one class id per position."
        must = f"broadcast against the positions, of shape {positions}"
        fail(ValueError, "labels", must, y.shape, remedy)
    # Wide enough to count from the end of the classes.
    return y.astype(jnp.int32) if y.dtype.itemsize < 4 else y


@door
def poly_loss_cross_entropy(
    logits: Float[ArrayLike, "..."],
    labels: Float[ArrayLike, "..."],
    *,
    epsilon: Number = 2.0,
    axis: Axis | None = -1,
    where: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """`optax.losses.poly_loss_cross_entropy`: `Σⱼ qⱼ·(−log pⱼ + ε·(1 − pⱼ))`.

    Args:
      epsilon: ε ≥ −1.
    Returns:
      One loss a position.
    Raises:
      TypeError, ValueError: logits that are not floats, shapes that do not broadcast.
    Example:
      >>> jaxent.compat.optax.poly_loss_cross_entropy(
      ...     jnp.array([[2.0, 4.0, 0.5]]), jnp.array([[0.0, 1.0, 0.0]]))
      Array([0.4372], dtype=float32)

    Source: optax 0.2.8, optax/losses/_classification.py.
    """
    x, q = broadcast(logits, labels)
    axes, allowed, kept = kept_by(x, axis, where)
    if allowed is not None:
        q = jnp.where(allowed, q, 0)
    return poly_loss(x, q, epsilon=epsilon, axis=axes, where=kept, class_where=allowed)


@door
def smooth_labels(
    labels: Float[ArrayLike, "..."],
    alpha: Number,
    *,
    axis: Axis | None = -1,
    where: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """`optax.losses.smooth_labels`: `(1−α)·y + α/C`.

    With `where`, C counts the kept classes, and as in Optax those left out get α/C too.

    Args:
      alpha: α, the share of the uniform distribution.
    Returns:
      Smoothed labels, shape of `labels`.
    Raises:
      TypeError, ValueError: labels that are not floats, axes that do not fit.
    Example:
      >>> jaxent.compat.optax.smooth_labels(jnp.array([0., 0., 1., 0.]), 0.1)
      Array([0.025, 0.025, 0.925, 0.025], dtype=float32)

    Source: optax 0.2.8, optax/losses/_smoothing.py.
    """
    y = widen(_checks.floats("labels", _checks.not_ids("labels", labels)))
    axes = class_axes(axis, "labels", y)
    alpha = _share(alpha, y)
    ones = jnp.ones_like(y)
    kept = ones if where is None else elements(where, "labels", y.shape)
    kept = kept.astype(y.dtype)
    share = alpha / jnp.sum(kept, axis=axes, keepdims=True)
    return (1 - alpha) * y + jnp.broadcast_to(share, y.shape)


def _share(alpha: Number, y: Array) -> Array:
    """α: a number in [0, 1], or an array, which Optax broadcasts."""
    if isinstance(alpha, Array) and alpha.ndim:
        return _checks.broadcastable("alpha", alpha, y, "`labels`'").astype(y.dtype)
    return jnp.asarray(_options.number("alpha", alpha, (0.0, 1.0)), y.dtype)
