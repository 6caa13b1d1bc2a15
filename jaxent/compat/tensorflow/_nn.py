# SPDX-License-Identifier: Apache-2.0
"""The dense losses of `tf.nn`."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from ... import _checks
from ..._errors import door, fail
from ..._sigmoid import sigmoid_binary_cross_entropy
from ..._softmax import softmax_cross_entropy, softmax_cross_entropy_with_integer_labels

SOFT = {
    "jaxent.softmax_cross_entropy": (
        "jaxent.compat.tensorflow.softmax_cross_entropy_with_logits"
    )
}
"""Where to go with probabilities."""


@door
def sigmoid_cross_entropy_with_logits(
    labels: Float[ArrayLike, "*shape"],
    logits: Float[ArrayLike, "*shape"],
    name: str | None = None,
) -> Float[Array, "*shape"]:
    """`tf.nn.sigmoid_cross_entropy_with_logits`: `max(x, 0) − x·z + log(1 + e^−|x|)`.

    Args:
      labels: z in [0, 1], shape of `logits`.
      logits: x.
    Returns:
      One loss an element. ±inf logits: 0 where they match a hard label (TensorFlow:
      NaN), inf where they don't.
    Raises:
      TypeError, ValueError: logits that are not floats, or shapes that differ.
    Example:
      >>> jaxent.compat.tensorflow.sigmoid_cross_entropy_with_logits(
      ...     labels=jnp.array([1.0, 0.0]), logits=jnp.array([2.0, -1.0]))
      Array([0.1269, 0.3133], dtype=float32)

    Source: TensorFlow 2.21, python/ops/nn_impl.py.
    """
    del name
    x, z = _checks.paired(("logits", "labels"), logits, labels)
    return sigmoid_binary_cross_entropy(x, z)


@door
def weighted_cross_entropy_with_logits(
    labels: Float[ArrayLike, "*shape"],
    logits: Float[ArrayLike, "*shape"],
    pos_weight: ArrayLike,
    name: str | None = None,
) -> Float[Array, "*shape"]:
    """`tf.nn.weighted_cross_entropy_with_logits`: positives weigh `pos_weight`.

    `(1−z)·x + (1 + (q−1)·z)·(log(1 + e^−|x|) + max(−x, 0))`.

    Args:
      labels: z in [0, 1], shape of `logits`.
      logits: x.
      pos_weight: q, broadcastable to `logits`.
    Returns:
      One loss an element.
    Raises:
      TypeError, ValueError: logits that are not floats, or shapes that do not fit.
    Example:
      >>> jaxent.compat.tensorflow.weighted_cross_entropy_with_logits(
      ...     jnp.array([1.0, 0.0]), jnp.array([2.0, -1.0]), pos_weight=3.0)
      Array([0.3808, 0.3133], dtype=float32)

    Source: TensorFlow 2.21, python/ops/nn_impl.py.
    """
    del name
    x, z = _checks.paired(("logits", "labels"), logits, labels)
    pos_weight = _checks.broadcastable("pos_weight", pos_weight, x)
    return sigmoid_binary_cross_entropy(x, z, pos_weight=pos_weight)


@door
def softmax_cross_entropy_with_logits(
    labels: Float[ArrayLike, "..."],
    logits: Float[ArrayLike, "..."],
    axis: int = -1,
    name: str | None = None,
) -> Float[Array, "..."]:
    """`tf.nn.softmax_cross_entropy_with_logits`: `−Σⱼ qⱼ·log softmax(x)ⱼ`.

    Gradients reach the labels; TensorFlow 1's function of this name stops them
    (`jax.lax.stop_gradient(labels)`), its `_v2` does not. The gradient is
    `(Σq)·p − q`: TensorFlow's is `p − q` whatever the labels sum to.

    Args:
      labels: q ≥ 0, shape of `logits`; or floats with one row for all positions, one
        number for all classes, or both.
      logits: x; −inf adds 0 where its label is 0 (TensorFlow: NaN).
      axis: the class axis.
    Returns:
      One loss a position.
    Raises:
      TypeError, ValueError: logits that are not floats, or shapes that differ.
    Example:
      >>> jaxent.compat.tensorflow.softmax_cross_entropy_with_logits(
      ...     jnp.array([[0.7, 0.2, 0.1]]), jnp.array([[1.2, -0.8, -0.5]]))
      Array([0.8461], dtype=float32)

    Source: TensorFlow 2.21, python/ops/nn_ops.py.
    """
    del name
    x = _checks.in_order(("logits", "labels"), logits, labels)
    q = _rows(_checks.array("labels", labels), x, axis)
    return softmax_cross_entropy(x, q, axis=axis)


def _rows(q: Array, x: Array, axis: int) -> Array:
    """Labels of the logits' shape. Floats broadcast as in TensorFlow's op, which sees
    two axes: the positions, all or one, and the classes, all or one."""
    if not jnp.issubdtype(q.dtype, jnp.floating) or q.shape == x.shape:
        return _checks.distributions("labels", q, x, "logits")
    classes, positions = _checks.class_axes(axis, "logits", x)
    short = q.ndim > 0 and classes == (x.ndim - 1,)
    fits = _checks.fits(q, x.shape) and (short or q.ndim == x.ndim)
    own = tuple(n for a, n in enumerate(q.shape, x.ndim - q.ndim) if a not in classes)
    if not fits or own not in (positions, (1,) * len(own)):
        must = f"have shape {x.shape} (that of `logits`), or broadcast to it"
        remedy = "One row stands for all positions, one number for all classes."
        fail(ValueError, "labels", must, q.shape, remedy)
    return jnp.broadcast_to(q, x.shape)


@door
def softmax_cross_entropy_with_logits_v2(
    labels: Float[ArrayLike, "..."],
    logits: Float[ArrayLike, "..."],
    axis: int = -1,
    name: str | None = None,
) -> Float[Array, "..."]:
    """The same by TensorFlow 1's second name for it.

    Args:
      labels: q ≥ 0, shape of `logits`, or broadcast to it.
      logits: x.
      axis: the class axis.
    Returns:
      One loss a position.
    Raises:
      TypeError, ValueError: logits that are not floats, or shapes that differ.
    Example:
      >>> jaxent.compat.tensorflow.softmax_cross_entropy_with_logits_v2(
      ...     jnp.array([[0.7, 0.2, 0.1]]), jnp.array([[1.2, -0.8, -0.5]]))
      Array([0.8461], dtype=float32)

    Source: TensorFlow 2.21, python/ops/nn_ops.py.
    """
    return softmax_cross_entropy_with_logits(labels, logits, axis, name)


@door(**SOFT)
def sparse_softmax_cross_entropy_with_logits(
    labels: Int[ArrayLike, "*batch"],
    logits: Float[ArrayLike, "*batch classes"],
    name: str | None = None,
) -> Float[Array, "*batch"]:
    """`tf.nn.sparse_softmax_cross_entropy_with_logits`: `−log softmax(x)_y`.

    Args:
      labels: class ids y in [0, classes).
      logits: x, classes on the last axis.
    Returns:
      One loss a position; NaN for an id out of range, and so is its gradient.
    Raises:
      TypeError, ValueError: shapes or dtypes that do not fit.
    Example:
      >>> jaxent.compat.tensorflow.sparse_softmax_cross_entropy_with_logits(
      ...     labels=jnp.array([0]), logits=jnp.array([[1.2, -0.8, -0.5]]))
      Array([0.2761], dtype=float32)

    Source: TensorFlow 2.21, python/ops/nn_ops.py.
    """
    del name
    x = _checks.in_order(("logits", "labels"), logits, labels)
    x = _checks.has_axes("logits", x)
    y = _checks.class_ids(labels, x.shape[:-1], x.shape)
    return softmax_cross_entropy_with_integer_labels(x, y)
