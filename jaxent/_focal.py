# SPDX-License-Identifier: Apache-2.0
"""Softmax losses that reweigh by confidence: functions of (−log p, 1 − p) alone."""

import math

from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from . import _options, _values
from ._engine.exact import box_cox, focal
from ._engine.inputs import softmax_inputs
from ._engine.pair_losses import distribution_label_loss, integer_label_loss
from ._errors import door
from ._types import Axis, AxisName, Number, Reduction


@door
def softmax_focal_loss(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    gamma: Number = 2.0,
    axis: Axis = -1,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    class_where: Bool[ArrayLike, "*#batch #classes"] | None = None,
    ignore_index: int | None = None,
    class_weights: Float[ArrayLike, " classes"] | None = None,
    label_smoothing: Number = 0.0,
    z_loss: Number = 0.0,
    temperature: Number | None = None,
    reduction: Reduction = "none",
    vocab_axis_name: AxisName | None = None,
) -> Float[Array, "..."]:
    """Focal loss against class ids, one value per position, in nats.

    `ℓ = (1 − p_y)^γ·(−log p_y)`. No gradient is NaN for any γ ≥ 0, saturated or not.
    With the options, as `softmax_cross_entropy_with_integer_labels` of this ℓ.

    Args:
      logits: unnormalised log-probabilities, any real float dtype.
      labels: class ids in [0, classes).
      gamma: focusing exponent γ ≥ 0; 0 is the cross-entropy.
      axis: the class axis, or a tuple of class axes.
      where: positions to keep (True). Dropped: loss 0, gradient 0, nothing read.
      weights: multipliers of the losses. Where 0, not read, but counted by "mean".
      class_where: classes allowed (True), broadcastable to the logits.
      ignore_index: positions with this label are dropped; any integer.
      class_weights: one weight a class (the α of the paper).
      label_smoothing: α in [0, 1]: ℓ averaged over the smoothed label.
      z_loss: weight of the squared log-normaliser.
      temperature: T > 0, divides the logits (after differences are taken); None for 1.
      reduction: as in `jaxent.reduce`, over the kept positions.
      vocab_axis_name: mesh axis the classes are sliced over (page "Scaling out").
    Returns:
      Loss in nats, shape `batch`, float32 (float64 for float64). Out-of-range label:
      NaN, gradient NaN. Forbidden label: inf, gradient finite.
    Raises:
      TypeError: logits that are not floats, or labels that are not integers.
      ValueError: shapes, axes or options that do not fit.
    Example:
      >>> jaxent.softmax_focal_loss(jnp.array([[2.0, 4.0, 0.5]]), jnp.array([1]))
      Array([0.0031], dtype=float32)

    Source: Lin et al. (2017), Focal Loss for Dense Object Detection, eq. 4.
    """
    index = _options.ignored(ignore_index)
    inputs, axes, average = softmax_inputs(
        logits, labels, axis=axis, where=where, weights=weights,
        class_where=class_where, class_weights=class_weights,
        label_smoothing=label_smoothing, z_loss=z_loss, temperature=temperature,
        reduction=reduction, vocab_axis_name=vocab_axis_name,
        integer=True, ignore_index=index,
    )  # fmt: skip
    gamma = _options.number("gamma", gamma, (0.0, math.inf))
    checked = _values.checked()
    losses = integer_label_loss(
        inputs, (gamma,), checked=checked, axis=axes, ignore_index=index, loss=focal
    )
    return average(losses)


@door
def generalized_cross_entropy(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    q: Number = 0.7,
    axis: Axis = -1,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    class_where: Bool[ArrayLike, "*#batch #classes"] | None = None,
    ignore_index: int | None = None,
    class_weights: Float[ArrayLike, " classes"] | None = None,
    label_smoothing: Number = 0.0,
    z_loss: Number = 0.0,
    temperature: Number | None = None,
    reduction: Reduction = "none",
    vocab_axis_name: AxisName | None = None,
) -> Float[Array, "..."]:
    """Generalised cross-entropy against class ids, one value per position.

    `ℓ = (1 − p_y^q)/q`: the cross-entropy as q → 0, the mean absolute error at q = 1;
    bounded by 1/q, so robust to wrong labels. Accurate where p_y is near 1.

    Args:
      logits: unnormalised log-probabilities, any real float dtype.
      labels: class ids in [0, classes).
      q: exponent in [0, 1]; 0 is the cross-entropy.
      axis: the class axis, or a tuple of class axes.
      where: positions to keep (True). Dropped: loss 0, gradient 0, nothing read.
      weights: multipliers of the losses. Where 0, not read, but counted by "mean".
      class_where: classes allowed (True), broadcastable to the logits.
      ignore_index: positions with this label are dropped; any integer.
      class_weights: one weight a class.
      label_smoothing: α in [0, 1]: ℓ averaged over the smoothed label.
      z_loss: weight of the squared log-normaliser.
      temperature: T > 0, divides the logits (after differences are taken); None for 1.
      reduction: as in `jaxent.reduce`, over the kept positions.
      vocab_axis_name: mesh axis the classes are sliced over (page "Scaling out").
    Returns:
      Loss, shape `batch`, float32 (float64 for float64). Out-of-range label: NaN,
      gradient NaN. Forbidden label: 1/q, gradient 0.
    Raises:
      TypeError: logits that are not floats, or labels that are not integers.
      ValueError: shapes, axes or options that do not fit.
    Example:
      >>> jaxent.generalized_cross_entropy(jnp.array([[2.0, 4.0, 0.5]]), jnp.array([1]))
      Array([0.145], dtype=float32)

    Source: Zhang & Sabuncu (2018), Generalized Cross Entropy Loss, eq. 6.
    """
    index = _options.ignored(ignore_index)
    inputs, axes, average = softmax_inputs(
        logits, labels, axis=axis, where=where, weights=weights,
        class_where=class_where, class_weights=class_weights,
        label_smoothing=label_smoothing, z_loss=z_loss, temperature=temperature,
        reduction=reduction, vocab_axis_name=vocab_axis_name,
        integer=True, ignore_index=index,
    )  # fmt: skip
    q = _options.number("q", q, (0.0, 1.0))
    checked = _values.checked()
    losses = integer_label_loss(
        inputs, (q,), checked=checked, axis=axes, ignore_index=index, loss=_box_cox_of
    )
    return average(losses)


@door
def poly_loss_cross_entropy(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Float[ArrayLike, "*batch classes"],
    *,
    epsilon: Number = 2.0,
    axis: Axis = -1,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    class_where: Bool[ArrayLike, "*#batch #classes"] | None = None,
    class_weights: Float[ArrayLike, " classes"] | None = None,
    label_smoothing: Number = 0.0,
    z_loss: Number = 0.0,
    temperature: Number | None = None,
    reduction: Reduction = "none",
    vocab_axis_name: AxisName | None = None,
) -> Float[Array, "..."]:
    """Poly-1 loss against label distributions, one value per position, in nats.

    `ℓ = Σⱼ qⱼ·(−log pⱼ + ε·(1 − pⱼ))`: cross-entropy with the first coefficient of
    its expansion in 1 − p raised by ε.

    Args:
      logits: unnormalised log-probabilities, any real float dtype.
      labels: weights q ≥ 0 of the classes, shape of the logits; any real dtype.
      epsilon: ε ≥ −1 (below, the loss falls as p falls).
      axis: the class axis, or a tuple of class axes.
      where: positions to keep (True). Dropped: loss 0, gradient 0, nothing read.
      weights: multipliers of the losses. Where 0, not read, but counted by "mean".
      class_where: classes allowed (True), broadcastable to the logits.
      class_weights: one weight a class.
      label_smoothing: α in [0, 1], spread over the allowed classes.
      z_loss: weight of the squared log-normaliser.
      temperature: T > 0, divides the logits (after differences are taken); None for 1.
      reduction: as in `jaxent.reduce`, over the kept positions.
      vocab_axis_name: mesh axis the classes are sliced over (page "Scaling out").
    Returns:
      Loss in nats, shape `batch`, float32 (float64 if either input is). A positive
      label on a forbidden class: inf, with a finite gradient.
    Raises:
      TypeError: logits that are not floats, masks that are not booleans.
      ValueError: shapes, axes or options that do not fit.
    Example:
      >>> one_hot = jnp.array([[0.0, 1.0, 0.0]])
      >>> jaxent.poly_loss_cross_entropy(jnp.array([[2.0, 4.0, 0.5]]), one_hot)
      Array([0.4372], dtype=float32)

    Source: Leng et al. (2022), PolyLoss, eq. 2.
    """
    inputs, axes, average = softmax_inputs(
        logits, labels, axis=axis, where=where, weights=weights,
        class_where=class_where, class_weights=class_weights,
        label_smoothing=label_smoothing, z_loss=z_loss, temperature=temperature,
        reduction=reduction, vocab_axis_name=vocab_axis_name,
        integer=False,
    )  # fmt: skip
    epsilon = _options.number("epsilon", epsilon, (-1.0, math.inf))
    losses = distribution_label_loss(inputs, (epsilon,), axis=axes, loss=_poly_of)
    return average(losses)


def _box_cox_of(nll: Array, one_minus_prob: Array, q: Array) -> Array:
    del one_minus_prob
    return box_cox(nll, q)


def _poly_of(nll: Array, one_minus_prob: Array, epsilon: Array) -> Array:
    return nll + epsilon * one_minus_prob
