# SPDX-License-Identifier: Apache-2.0
"""Softmax cross-entropy against class ids and against distributions."""

import functools

import jax
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from . import _options, _values
from ._engine.class_axis import allowed_logits
from ._engine.inputs import ClassInputs, softmax_inputs
from ._engine.labels import drop, kept
from ._engine.pair_losses import (
    cross_entropy_of,
    distribution_label_loss,
    integer_label_loss,
)
from ._engine.placement import placed_as
from ._engine.softmax_statistics import SoftmaxStatistics, softmax_statistics_of
from ._errors import door
from ._types import Axis, AxisName, Number, Reduction, Shape


@door
def softmax_cross_entropy_with_integer_labels(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
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
    """Softmax cross-entropy against class ids, one value per position, in nats.

    `ℓ = −log p_y = log Σⱼ exp(xⱼ) − x_y`, and with the options
    `w_y·(1−α)·ℓ + α/V·Σⱼ wⱼ·(−log pⱼ) + z·(log Σⱼ exp(xⱼ))²`.

    Never negative, and exact to a few ULP where `log_softmax` rounds to 0 (label
    ahead by 17 or more in float32), at any common offset of the logits. So is the
    gradient `p − onehot(y)`, whose label entry is computed as `−(1 − p_y)`.

    Args:
      logits: unnormalised log-probabilities x, any real float dtype; half types are
        computed in float32. −inf forbids a class: it adds exactly 0.
      labels: class ids in [0, classes); flat indices if `axis` is a tuple.
      axis: the class axis, or a tuple of class axes.
      where: positions to keep (True). Dropped: loss 0, gradient 0, nothing read.
      weights: multipliers of the losses. Where 0, not read, but counted by "mean".
      class_where: classes allowed (True), broadcastable to the logits.
      ignore_index: positions with this label are dropped; any integer.
      class_weights: w, one weight a class.
      label_smoothing: α in [0, 1], spread over the allowed classes (V of them, −inf
        logits excluded).
      z_loss: weight z ≥ 0 of the squared log-normaliser.
      temperature: T > 0, divides the logits (after differences are taken); None for 1.
      reduction: as in `jaxent.reduce`, over the kept positions.
      vocab_axis_name: mesh axis the classes are sliced over (page "Scaling out").
    Returns:
      Loss in nats, shape `batch`, float32 (float64 for float64 logits). A label
      outside [0, classes): NaN, and so is its gradient. A forbidden label: inf, with
      a finite gradient. All classes forbidden, or a NaN or +inf logit: NaN.
    Raises:
      TypeError: logits that are not floats, labels that are not integers, masks that
        are not booleans.
      ValueError: shapes, axes or options that do not fit.
    Example:
      >>> logits = jnp.array([[1.2, -0.8, -0.5], [0.9, -1.2, 1.1]])
      >>> jaxent.softmax_cross_entropy_with_integer_labels(logits, jnp.array([0, 1]))
      Array([0.2761, 2.9518], dtype=float32)

    Source: Bridle (1990), Probabilistic Interpretation of Feedforward Classification
      Network Outputs; log1p form after Blanchard, Higham & Higham (2021), Alg. 4.1;
      z-loss: de Brébisson & Vincent (2016).
    """
    index = _options.ignored(ignore_index)
    inputs, axes, average = softmax_inputs(
        logits, labels, axis=axis, where=where, weights=weights,
        class_where=class_where, class_weights=class_weights,
        label_smoothing=label_smoothing, z_loss=z_loss, temperature=temperature,
        reduction=reduction, vocab_axis_name=vocab_axis_name,
        integer=True, ignore_index=index,
    )  # fmt: skip
    checked = _values.checked()
    losses = integer_label_loss(
        inputs, checked=checked, axis=axes, ignore_index=index, loss=cross_entropy_of
    )
    return average(losses)


@door
def softmax_cross_entropy(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Float[ArrayLike, "*batch classes"],
    *,
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
    """Softmax cross-entropy against label distributions, one value per position.

    `ℓ = Σⱼ qⱼ·(−log pⱼ)`, in nats; with options
    `Σⱼ wⱼ·((1−α)·qⱼ + α/V)·(−log pⱼ) + z·(log Σⱼ exp(xⱼ))²`.

    One-hot labels give the same numbers as class ids. Rows need not sum to one: the
    gradient is `(Σq)·p − q`. Labels are differentiable too: `∂ℓ/∂qⱼ = −log pⱼ`.

    Args:
      logits: unnormalised log-probabilities x, any real float dtype.
      labels: weights q ≥ 0 of the classes, shape of the logits; any real dtype.
      axis: the class axis, or a tuple of class axes.
      where: positions to keep (True). Dropped: loss 0, gradient 0, nothing read.
      weights: multipliers of the losses. Where 0, not read, but counted by "mean".
      class_where: classes allowed (True), broadcastable to the logits.
      class_weights: w, one weight a class.
      label_smoothing: α in [0, 1], spread over the allowed classes.
      z_loss: weight z ≥ 0 of the squared log-normaliser.
      temperature: T > 0, divides the logits (after differences are taken); None for 1.
      reduction: as in `jaxent.reduce`, over the kept positions.
      vocab_axis_name: mesh axis the classes are sliced over (page "Scaling out").
    Returns:
      Loss in nats, shape `batch`, float32 (float64 if either input is). A −inf logit
      adds exactly 0 where its label is 0; where it is positive the loss is inf.
    Raises:
      TypeError: logits that are not floats, masks that are not booleans.
      ValueError: shapes, axes or options that do not fit.
    Example:
      >>> logits = jnp.array([[1.2, -0.8, -0.5]])
      >>> jaxent.softmax_cross_entropy(logits, jnp.array([[0.7, 0.2, 0.1]]))
      Array([0.8461], dtype=float32)

    Source: Goodfellow, Bengio & Courville (2016), Deep Learning, §6.2.2.3.
    """
    inputs, axes, average = softmax_inputs(
        logits, labels, axis=axis, where=where, weights=weights,
        class_where=class_where, class_weights=class_weights,
        label_smoothing=label_smoothing, z_loss=z_loss, temperature=temperature,
        reduction=reduction, vocab_axis_name=vocab_axis_name,
        integer=False, of_ids="jaxent.softmax_cross_entropy_with_integer_labels",
    )  # fmt: skip
    losses = distribution_label_loss(inputs, axis=axes, loss=cross_entropy_of)
    return average(losses)


@door
def softmax_statistics(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    axis: Axis = -1,
    where: Bool[ArrayLike, "*batch"] | None = None,
    class_where: Bool[ArrayLike, "*#batch #classes"] | None = None,
    ignore_index: int | None = None,
    temperature: Number | None = None,
    vocab_axis_name: AxisName | None = None,
) -> SoftmaxStatistics:
    """The numbers softmax losses are made of, for a loss of your own.

    For logits x and label y, with p = softmax(x): `nll` = −log p_y, `one_minus_prob`
    = 1 − p_y, `log_normalizer` = log Σⱼ exp(xⱼ), `label_logit` = x_y, `entropy` =
    −Σⱼ pⱼ·log pⱼ, `top_id` = argmaxⱼ xⱼ (the first of equals), `correct` = (y is
    `top_id`). Write a loss as a function of these, rather than of p_y, and it keeps
    their accuracy: `nll` and `one_minus_prob` do not vanish near p_y = 1. A position
    that does not count is dropped here, by `where` or `ignore_index`: a mask given to
    `jaxent.reduce` alone keeps its value out of a mean, but not a NaN of its gradient.
    What you do not use is not computed, under `jit`.

    Args:
      logits: unnormalised log-probabilities, any real float dtype.
      labels: class ids in [0, classes).
      axis: the class axis, or a tuple of class axes.
      where: positions to keep (True). Dropped: zeros and False, gradient 0.
      class_where: classes allowed (True), broadcastable to the logits.
      ignore_index: positions with this label are dropped; any integer.
      temperature: T > 0, divides the logits (after differences are taken); None for 1.
      vocab_axis_name: mesh axis the classes are sliced over (page "Scaling out").
    Returns:
      `SoftmaxStatistics`, arrays of shape `batch`, float32 (float64 for float64),
      `correct` bool and `top_id` int32. A label out of range: NaN in all that depends
      on it, with NaN gradients, and not correct.
    Raises:
      TypeError: logits that are not floats, or labels that are not integers.
      ValueError: shapes or axes that do not fit.
    Example:
      >>> s = jaxent.softmax_statistics(jnp.array([2.0, 4.0, 0.5]), jnp.array(1))
      >>> s.nll, s.one_minus_prob
      (Array(0.1532, dtype=float32), Array(0.142, dtype=float32))

    Source: the pair as in Blanchard, Higham & Higham (2021), IMA J. Numer. Anal. 41.
    """
    index = _options.ignored(ignore_index)
    inputs, axes, _ = softmax_inputs(
        logits, labels, axis=axis, where=where, class_where=class_where,
        temperature=temperature, integer=True, vocab_axis_name=vocab_axis_name,
        ignore_index=index,
    )  # fmt: skip
    checked = _values.checked()
    return _softmax_statistics(inputs, checked=checked, axis=axes, ignore_index=index)


@functools.partial(
    jax.jit, static_argnames=("checked", "axis", "ignore_index"), inline=True
)
def _softmax_statistics(
    inputs: ClassInputs,
    *,
    checked: str | None,
    axis: Shape,
    ignore_index: int | None,
) -> SoftmaxStatistics:
    x = allowed_logits(inputs.logits, axis, inputs.class_where)
    labels = placed_as(x, inputs.labels)
    keep = kept(labels, inputs.where, ignore_index)
    x, labels = drop(x, keep), drop(labels, keep)
    s = softmax_statistics_of(x, labels, inputs.classes, checked=checked)
    return jax.tree.map(lambda a: drop(a, keep), s)
