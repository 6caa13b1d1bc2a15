# SPDX-License-Identifier: Apache-2.0
"""`tf.compat.v1.losses`: weighted, smoothed and reduced, 0 for a mean over nothing.

Arguments that all share:

- `weights`: a number, or of the rank of the losses, each axis of their length or 1.
  Gradients reach them.
- `reduction`: one of `Reduction`.
- `scope`, `loss_collection`: accepted and ignored.
"""

import math

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from ... import _checks, _options
from ..._engine.exact import widen_both, xlogy
from ..._errors import door, fail
from ..._labels import smooth_labels
from ..._reduce import reduce
from ..._sigmoid import sigmoid_binary_cross_entropy
from ..._types import Number
from ..._types import Reduction as OurReduction
from ._nn import (
    SOFT,
    softmax_cross_entropy_with_logits,
    sparse_softmax_cross_entropy_with_logits,
)


class Reduction:
    """TensorFlow's names for what the weighted losses are added and divided to."""

    NONE = "none"
    SUM = "weighted_sum"
    SUM_OVER_BATCH_SIZE = "weighted_sum_over_batch_size"
    MEAN = "weighted_mean"
    SUM_BY_NONZERO_WEIGHTS = "weighted_sum_by_nonzero_weights"
    SUM_OVER_NONZERO_WEIGHTS = SUM_BY_NONZERO_WEIGHTS


OURS: dict[str, OurReduction] = {
    Reduction.NONE: "none",
    Reduction.SUM: "sum",
    Reduction.SUM_OVER_BATCH_SIZE: "mean",
    Reduction.MEAN: "weighted_mean",
    Reduction.SUM_BY_NONZERO_WEIGHTS: "nonzero_mean",
}


@door(values="losses")
def compute_weighted_loss(
    losses: Float[ArrayLike, "*shape"],
    weights: ArrayLike = 1.0,
    scope: object = None,
    loss_collection: object = None,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Float[Array, "..."]:
    """`tf.compat.v1.losses.compute_weighted_loss`: Σ w·v over a denominator.

    `SUM` none; `SUM_OVER_BATCH_SIZE` the number of losses; `MEAN` Σ w;
    `SUM_BY_NONZERO_WEIGHTS` the number of weights that are not 0, broadcast first.

    Args:
      losses: v, floats.
    Returns:
      A scalar, or with `NONE` the weighted losses. Weight 0 adds 0 even to a NaN.
    Raises:
      TypeError, ValueError: weights or a reduction that do not fit.
    Example:
      >>> losses = jaxent.compat.tensorflow.losses
      >>> losses.compute_weighted_loss(jnp.array([1.0, 2.0, 6.0]), jnp.array([1, 2, 0]))
      Array(2.5, dtype=float32)

    Source: TensorFlow 2.21, python/ops/losses/losses_impl.py.
    """
    del scope, loss_collection
    _options.one_of("reduction", reduction, tuple(OURS))
    v, w = (
        _checks.floats("losses", losses),
        _checks.weights("weights", weights),
    )
    if w.ndim not in (0, v.ndim) or not _checks.fits(w, v.shape):
        must = f"be a number or have rank {v.ndim}, each axis of {v.shape} or 1"
        remedy = "Add axes of length 1."
        fail(ValueError, "weights", must, w.shape, remedy)
    w = jnp.broadcast_to(w, v.shape)
    return reduce(v, weights=w, reduction=OURS[reduction])


@door(labels="multi_class_labels")
def sigmoid_cross_entropy(
    multi_class_labels: Float[ArrayLike, "*shape"],
    logits: Float[ArrayLike, "*shape"],
    weights: ArrayLike = 1.0,
    label_smoothing: Number = 0.0,
    scope: object = None,
    loss_collection: object = None,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Float[Array, "..."]:
    """`tf.compat.v1.losses.sigmoid_cross_entropy`: binary, elementwise, smoothed to ½.

    Args:
      multi_class_labels: y in [0, 1], shape of `logits`.
      logits: x.
      label_smoothing: α in [0, 1]: `(1−α)·y + α/2`.
    Returns:
      A scalar, or one value an element.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit.
    Example:
      >>> jaxent.compat.tensorflow.losses.sigmoid_cross_entropy(
      ...     jnp.array([1.0, 0.0]), jnp.array([2.0, -1.0]))
      Array(0.2201, dtype=float32)

    Source: TensorFlow 2.21, python/ops/losses/losses_impl.py.
    """
    names = ("logits", "multi_class_labels")
    x, y = _checks.paired(names, logits, multi_class_labels)
    losses = sigmoid_binary_cross_entropy(x, y, label_smoothing=label_smoothing)
    return compute_weighted_loss(losses, weights, scope, loss_collection, reduction)


@door(labels="onehot_labels", alpha="label_smoothing")
def softmax_cross_entropy(
    onehot_labels: Float[ArrayLike, "*batch classes"],
    logits: Float[ArrayLike, "*batch classes"],
    weights: ArrayLike = 1.0,
    label_smoothing: Number = 0.0,
    scope: object = None,
    loss_collection: object = None,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Float[Array, "..."]:
    """`tf.compat.v1.losses.softmax_cross_entropy`: classes last, labels constant.

    Args:
      onehot_labels: weights q ≥ 0 of the classes, shape of `logits`; no gradient.
      logits: x.
      label_smoothing: α in [0, 1]: `(1−α)·q + α/C`.
    Returns:
      A scalar, or one value a position.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit.
    Example:
      >>> jaxent.compat.tensorflow.losses.softmax_cross_entropy(
      ...     jnp.array([[1.0, 0.0, 0.0]]), jnp.array([[1.2, -0.8, -0.5]]))
      Array(0.2761, dtype=float32)

    Source: TensorFlow 2.21, python/ops/losses/losses_impl.py.
    """
    x, q = _checks.paired(("logits", "onehot_labels"), logits, onehot_labels)
    alpha = _options.option("label_smoothing", label_smoothing, 1.0)
    q = q if alpha is None else smooth_labels(q, alpha)
    losses = softmax_cross_entropy_with_logits(lax.stop_gradient(q), x)
    return compute_weighted_loss(losses, weights, scope, loss_collection, reduction)


@door(
    **dict.fromkeys(
        (*SOFT, *SOFT.values()), "jaxent.compat.tensorflow.losses.softmax_cross_entropy"
    )
)
def sparse_softmax_cross_entropy(
    labels: Int[ArrayLike, "..."],
    logits: Float[ArrayLike, "*batch classes"],
    weights: ArrayLike = 1.0,
    scope: object = None,
    loss_collection: object = None,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Float[Array, "..."]:
    """`tf.compat.v1.losses.sparse_softmax_cross_entropy`: class ids, classes last.

    Args:
      labels: class ids, shape of `logits` without its last axis, or that with a 1.
      logits: x.
      weights: may have one axis of length 1 more than the labels, last.
    Returns:
      A scalar, or one value a position; NaN for an id out of range.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit.
    Example:
      >>> jaxent.compat.tensorflow.losses.sparse_softmax_cross_entropy(
      ...     jnp.array([[0]]), jnp.array([[1.2, -0.8, -0.5]]))
      Array(0.2761, dtype=float32)

    Source: TensorFlow 2.21, python/ops/losses/losses_impl.py.
    """
    x = _checks.has_axes(
        "logits", _checks.in_order(("logits", "labels"), logits, labels)
    )
    y = _checks.array("labels", labels)
    y = y[..., 0] if y.ndim == x.ndim and y.shape[-1] == 1 else y
    w = _checks.weights("weights", weights)
    w = w[..., 0] if w.ndim == y.ndim + 1 and w.shape[-1] == 1 else w
    losses = sparse_softmax_cross_entropy_with_logits(y, x)
    return compute_weighted_loss(losses, w, scope, loss_collection, reduction)


@door
def log_loss(
    labels: Float[ArrayLike, "*shape"],
    predictions: Float[ArrayLike, "*shape"],
    weights: ArrayLike = 1.0,
    epsilon: float = 1e-7,
    scope: object = None,
    loss_collection: object = None,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Float[Array, "..."]:
    """`tf.compat.v1.losses.log_loss`: `−y·log(p + ε) − (1−y)·log(1 − p + ε)`.

    ε is added, where other frameworks clip: a sure and right p gives −ε, not 0.

    Args:
      labels: y in [0, 1], shape of `predictions`.
      predictions: p in [0, 1]; outside, NaN.
      epsilon: ε ≥ 0.
    Returns:
      A scalar, or one value an element.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit.
    Example:
      >>> jaxent.compat.tensorflow.losses.log_loss(
      ...     jnp.array([0.0, 0.0, 1.0]), jnp.array([0.3, 0.7, 0.0]))
      Array(5.8929, dtype=float32)

    Source: TensorFlow 2.21, python/ops/losses/losses_impl.py.
    """
    names = ("predictions", "labels")
    p, y = widen_both(*_checks.paired(names, predictions, labels))
    added = _options.number("epsilon", epsilon, (0.0, math.inf))
    # XLA would add ε to the 1, and round it.
    absent = lax.optimization_barrier(1 - p)
    losses = -xlogy(y, p + added) - xlogy(1 - y, absent + added)
    return compute_weighted_loss(losses, weights, scope, loss_collection, reduction)
