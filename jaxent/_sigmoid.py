# SPDX-License-Identifier: Apache-2.0
"""Binary and multilabel losses on logits: elementwise, each logit a decision."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from . import _checks, _options, _values
from ._engine.exact import focal, sigmoid_pair, weighted, widen_both
from ._engine.inputs import positions
from ._engine.labels import drop
from ._engine.linear import linear_head
from ._engine.pair_losses import binary_cross_entropy_of, smoothed
from ._errors import door
from ._heads.given import given_head
from ._heads.multilabel import linear_binary, per_class_or_one, positive_ids
from ._types import AxisName, Number, Reduction


@door
def sigmoid_binary_cross_entropy(
    logits: Float[ArrayLike, "*shape"],
    labels: Float[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*shape"] | None = None,
    weights: Float[ArrayLike, "*shape"] | None = None,
    pos_weight: Float[ArrayLike, "..."] | None = None,
    label_smoothing: Number = 0.0,
    reduction: Reduction = "none",
) -> Float[Array, "..."]:
    """Binary cross-entropy of logits, elementwise, in nats.

    `ℓ = P·y·softplus(−x) + (1−y)·softplus(x)`, where σ(x) is the probability of 1.
    Exact to a few ULP on both sides; ±inf logits give 0 where they match a hard
    label, +inf where they don't, and finite gradients.

    Args:
      logits: x = log p/(1−p), any real float dtype.
      labels: y in [0, 1], shape of the logits; any real dtype.
      where: elements to keep (True). Dropped: loss 0, gradient 0, nothing read.
      weights: multipliers of the losses. Where 0, not read, but counted by "mean".
      pos_weight: P, multiplies the loss of positives; broadcastable to the logits.
      label_smoothing: α in [0, 1]: labels become `(1−α)·y + α/2`.
      reduction: as in `jaxent.reduce`, over the kept elements.
    Returns:
      Loss in nats, shape of the logits, float32 (float64 if either input is).
    Raises:
      TypeError: logits that are not floats, or a mask that is not boolean.
      ValueError: shapes that differ (nothing broadcasts), options out of range.
    Example:
      >>> logits, labels = jnp.array([2.0, -30.0]), jnp.array([1.0, 0.0])
      >>> jaxent.sigmoid_binary_cross_entropy(logits, labels)
      Array([1.2693e-01, 9.3576e-14], dtype=float32)

    Source: Cox (1958), The Regression Analysis of Binary Sequences.
    """
    x, y = _checks.paired(("logits", "labels"), logits, labels)
    keep, average = positions(x.shape, where, weights, reduction)
    _values.within("labels", y, _values.UNIT, keep)
    alpha = _options.option("label_smoothing", label_smoothing, 1.0)
    if pos_weight is not None:
        pos_weight = _checks.broadcastable("pos_weight", pos_weight, x)
        _values.within("pos_weight", pos_weight, _values.UP)
    return average(_sigmoid_binary_cross_entropy(x, y, keep, pos_weight, alpha))


@functools.partial(jax.jit, inline=True)
def _sigmoid_binary_cross_entropy(
    x: Array,
    y: Array,
    keep: Array | None,
    pos_weight: Array | None,
    alpha: ArrayLike | None,
) -> Array:
    x, y = (drop(a, keep) for a in widen_both(x, y))
    y = smoothed(y, alpha)
    positive = jnp.ones_like(x) if pos_weight is None else pos_weight.astype(x.dtype)
    return drop(
        binary_cross_entropy_of(x, y, jnp.broadcast_to(positive, x.shape)), keep
    )


@door
def sigmoid_focal_loss(
    logits: Float[ArrayLike, "*shape"],
    labels: Float[ArrayLike, "*shape"],
    *,
    alpha: Number | None = None,
    gamma: Number = 2.0,
    where: Bool[ArrayLike, "*shape"] | None = None,
    weights: Float[ArrayLike, "*shape"] | None = None,
    reduction: Reduction = "none",
) -> Float[Array, "..."]:
    """Binary focal loss of logits, elementwise, in nats.

    `ℓ = (α·y + (1−α)·(1−y))·(1 − p_t)^γ·CE`, where CE is the binary cross-entropy and
    `1 − p_t = y·σ(−x) + (1−y)·σ(x)`; without α the first factor is 1. No gradient is
    NaN for any γ ≥ 0, saturated or not.

    Args:
      logits: x = log p/(1−p), any real float dtype.
      labels: y in [0, 1], shape of the logits; any real dtype.
      alpha: α in [0, 1], weight of positives against negatives; None for none.
      gamma: focusing exponent γ ≥ 0; 0 is the binary cross-entropy.
      where: elements to keep (True). Dropped: loss 0, gradient 0, nothing read.
      weights: multipliers of the losses. Where 0, not read, but counted by "mean".
      reduction: as in `jaxent.reduce`, over the kept elements.
    Returns:
      Loss in nats, shape of the logits, float32 (float64 if either input is).
    Raises:
      TypeError: logits that are not floats, or a mask that is not boolean.
      ValueError: shapes that differ (nothing broadcasts), options out of range.
    Example:
      >>> jaxent.sigmoid_focal_loss(jnp.array([1.0, -3.0]), jnp.array([1.0, 1.0]))
      Array([0.0227, 2.7663], dtype=float32)

    Source: Lin et al. (2017), Focal Loss for Dense Object Detection, eq. 5.
    """
    x, y = _checks.paired(("logits", "labels"), logits, labels)
    keep, average = positions(x.shape, where, weights, reduction)
    _values.within("labels", y, _values.UNIT, keep)
    gamma = _options.number("gamma", gamma, (0.0, math.inf))
    if alpha is not None:
        alpha = _options.number("alpha", alpha, (0.0, 1.0))
    return average(_sigmoid_focal_loss(x, y, keep, alpha, gamma))


@functools.partial(jax.jit, inline=True)
def _sigmoid_focal_loss(
    x: Array, y: Array, keep: Array | None, alpha: ArrayLike | None, gamma: ArrayLike
) -> Array:
    x, y = (drop(a, keep) for a in widen_both(x, y))
    yes, no = sigmoid_pair(x), sigmoid_pair(-x)
    wrong = y * yes.one_minus_prob + (1 - y) * no.one_minus_prob
    nll = binary_cross_entropy_of(x, y, jnp.ones_like(x))
    loss = focal(nll, wrong, jnp.asarray(gamma, x.dtype))
    if alpha is not None:
        alpha = jnp.asarray(alpha, x.dtype)
        loss = weighted(alpha * y + (1 - alpha) * (1 - y), loss)
    return drop(loss, keep)


@door
def linear_sigmoid_binary_cross_entropy(
    hidden: Float[ArrayLike, "*batch d"],
    classifier: Float[ArrayLike, "vocab d"],
    labels: Int[ArrayLike, "*batch k"],
    *,
    bias: Float[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    pos_weight: Float[ArrayLike, "..."] | None = None,
    label_smoothing: Number = 0.0,
    reduction: Reduction = "mean",
    memory: int | str | None = None,
    vocab_axis_name: AxisName | None = None,
    token_axis_name: AxisName | None = None,
) -> Float[Array, "..."]:
    """Binary cross-entropy of a head over all classes, without its logits.

    A position's loss is the sum over the classes of `sigmoid_binary_cross_entropy` of
    `hidden @ classifier.T + bias`, 1 at the position's labels and 0 elsewhere.

    Args:
      hidden: last activations, any real float dtype.
      classifier: one row a class.
      labels: ids of the positive classes; −1 is none. A repeated one counts once.
      bias: added to the logits, one a class or one for all.
      where: positions to keep (True). Dropped: loss 0, gradient 0, nothing read.
      weights: multipliers of the positions. Where 0, not read, but counted by "mean".
      pos_weight: P, multiplies the loss of positives; one a class or one for all.
      label_smoothing: α in [0, 1]: labels become `(1−α)·y + α/2`.
      reduction: as in `jaxent.reduce`.
      memory: bytes for one chunk, as in `linear_softmax_cross_entropy`.
      vocab_axis_name: mesh axis the classes are sliced over (page "Scaling out").
      token_axis_name: automatic mesh axis the tokens are divided over (same page).
    Returns:
      Loss in nats: a scalar, or for "none" an array of shape `batch`; float32 (float64
      for float64). A label out of range: NaN for its position.
    Raises:
      TypeError: activations that are not floats, or labels that are not integers.
      ValueError: shapes that do not meet, options out of range, or zeros and ones for
        labels, where these are known while tracing.
    Example:
      >>> hidden, labels = jnp.eye(2, 4), jnp.array([[0, 1], [1, -1]])
      >>> jaxent.linear_sigmoid_binary_cross_entropy(
      ...     hidden, jnp.eye(5, 4), labels, bias=jnp.array(-3.0))
      Array(3.8213, dtype=float32)

    Source: Zhai et al. (2023), Sigmoid Loss for Language Image Pre-Training.
    """
    head = linear_head(hidden, classifier, None)
    batch = head.hidden.shape[:-1]
    reduction = _options.reduction(reduction, batch)
    ids = positive_ids(labels, head)
    bias = None if bias is None else _checks.floats("bias", bias)
    bias = per_class_or_one("bias", bias, head)
    pos_weight = per_class_or_one("pos_weight", pos_weight, head)
    given, settings = given_head(
        (head,), labels=None, where=where, weights=weights, ignore_index=None,
        memory=memory, vocab_axis_name=vocab_axis_name,
        token_axis_name=token_axis_name, data=(ids,),
    )  # fmt: skip
    settings = settings._replace(checked=_values.checked("labels"))
    alpha = _options.option("label_smoothing", label_smoothing, 1.0)
    return linear_binary(
        given, bias, pos_weight, alpha, settings=settings, reduction=reduction
    )
