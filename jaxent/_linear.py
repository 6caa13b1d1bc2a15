# SPDX-License-Identifier: Apache-2.0
"""The projection and the loss in one: the logits are never all alive."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from . import _checks, _options
from ._engine.linear import linear_head
from ._engine.softmax_statistics import SoftmaxStatistics
from ._errors import door, on_its_chip
from ._heads.chunks import Shared
from ._heads.given import given_head
from ._heads.kernels.fused_head import chosen
from ._heads.losses import (
    cross_entropy_and_statistics_rows,
    cross_entropy_rows,
    kernel_cross_entropy,
    linear_statistics,
    reduced,
    reduced_jit,
)
from ._heads.own_loss import own_loss
from ._types import AxisName, Implementation, Number, PyTree, Reduction


@door
def linear_softmax_cross_entropy(
    hidden: Float[ArrayLike, "*batch d"],
    classifier: Float[ArrayLike, "vocab d"],
    labels: Int[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, " vocab"] | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    ignore_index: int | None = None,
    class_weights: Float[ArrayLike, " vocab"] | None = None,
    label_smoothing: Number = 0.0,
    z_loss: Number = 0.0,
    softcap: Number | None = None,
    temperature: Number | None = None,
    reduction: Reduction = "mean",
    statistics: bool = False,
    memory: int | str | None = None,
    implementation: Implementation | None = None,
    vocab_axis_name: AxisName | None = None,
    token_axis_name: AxisName | None = None,
) -> Any:
    """Softmax cross-entropy of `hidden @ classifier.T + bias`, without the logits.

    The same loss, options and accuracy as `softmax_cross_entropy_with_integer_labels`
    of those logits, reduced as by `jaxent.reduce`, computed for a chunk of positions
    at a time. A reduced loss takes its gradient in the same sweep: three products of
    N×d×vocab in all, as many as with the logits kept. `reduction="none"` takes any
    cotangent, and computes each chunk twice. Every transformation of JAX applies.

    Positions that are dropped by `where` or `ignore_index`, and those of weight 0, are
    gathered in chunks of their own, which are skipped.

    Args:
      hidden: last activations, any real float dtype. Halves are multiplied as halves
        and accumulated in float32, and a float32 classifier is rounded for it; its own
        gradient is not. A float32 `hidden` with a half classifier: in float32.
      classifier: one row a class: an embedding as it is, or `kernel.T` of a Flax Dense
        layer (XLA multiplies by the transpose without making it).
      labels: class ids in [0, vocab).
      bias: added to the logits, one number a class.
      where: positions to keep (True). Dropped: loss 0, gradient 0, nothing read.
      weights: multipliers of the losses. Where 0, not read, but counted by "mean".
      ignore_index: positions with this label are dropped; any integer.
      class_weights: one weight a class.
      label_smoothing: α in [0, 1], spread over the classes.
      z_loss: weight of the squared log-normaliser.
      softcap: s > 0 makes the logits `s·tanh(logits/s)`; None does not.
      temperature: T > 0, divides the logits, capped or not; None for 1.
      reduction: as in `jaxent.reduce`; the mean is over the kept positions.
      statistics: return `SoftmaxStatistics` of every position as well, from the same
        sweep, and not differentiated. Under `jit` what is not used costs nothing.
      memory: bytes for one chunk's logits and their gradient, such as "256MB"; the
        default is "144MB" on a CPU and "1GiB" elsewhere. Temporaries are about that,
        16 MiB for a block of the classifier's gradient, and two copies of `hidden`, at
        any number of positions.
        For "pallas_tpu": bytes of VMEM for the tiles, "48MiB". For "pallas_gpu":
        bytes for the gradient of some classes' logits, which there leaves the chip.
      implementation: "xla", also the default; or a kernel, "pallas_tpu" or
        "pallas_gpu" (bfloat16 and float16 only), that keeps the logits on the chip and
        makes more products, five and four. They have the first derivative only, in
        reverse mode; no `class_weights`, `temperature`, `statistics`,
        `*_axis_name` or traced `softcap`. Nobody has timed them.
      vocab_axis_name: mesh axis the classes are sliced over (page "Scaling out").
      token_axis_name: automatic mesh axis the tokens are divided over (same page).
    Returns:
      A scalar, or for "none" an array of shape `batch`; float32 (float64 for float64).
      A kept label out of range makes it NaN, and the gradient too. With `statistics`
      a pair of that and `SoftmaxStatistics` of shape `batch`, 0 and False where
      dropped.
    Raises:
      TypeError: activations that are not floats, labels that are not integers.
      ValueError: shapes that do not meet, options out of range, or a memory budget
        too small for one position.
      NotImplementedError: what a kernel does not take.
    Example:
      >>> hidden, embedding = jnp.ones((2, 3, 4)), jnp.eye(8, 4)
      >>> labels = jnp.array([[0, 1, 2], [3, 4, -100]])
      >>> jaxent.linear_softmax_cross_entropy(
      ...     hidden, embedding, labels, ignore_index=-100)
      Array(1.8996, dtype=float32)

    Source: gradients in the forward sweep: Hsu et al. (2024), Liger Kernel, §3.2.
    """
    kernels = _options.kernels(
        implementation,
        class_weights=class_weights, temperature=temperature,
        statistics=_options.flag("statistics", statistics) or None,
        vocab_axis_name=vocab_axis_name, token_axis_name=token_axis_name,
    )  # fmt: skip
    head = linear_head(hidden, classifier, bias)
    reduction = _options.reduction(reduction, head.hidden.shape[:-1])
    given, settings = given_head(
        (head,), labels=labels, where=where, weights=weights,
        ignore_index=ignore_index, memory=None if kernels else memory,
        vocab_axis_name=vocab_axis_name, token_axis_name=token_axis_name,
    )  # fmt: skip
    shared = _shared(softcap, temperature)._replace(
        class_weights=_checks.per_class(class_weights, head.classifier.shape[0]),
        label_smoothing=_options.option("label_smoothing", label_smoothing, 1.0),
        z_loss=_options.option("z_loss", z_loss, math.inf),
    )
    if kernels:
        how = chosen(
            kernels, head, softcap=shared.softcap, memory=memory,
            smoothing=shared.label_smoothing is not None,
        )  # fmt: skip
        with on_its_chip(kernels):
            return kernel_cross_entropy(
                given, shared, settings=settings, reduction=reduction, how=how
            )
    rows = cross_entropy_and_statistics_rows if statistics else cross_entropy_rows
    loss, s = reduced_jit(
        given, shared, settings=settings, reduction=reduction, loss=rows
    )
    return (loss, s) if statistics else loss


@door
def linear_softmax_loss(
    function: Callable[..., Any],
    hidden: Float[ArrayLike, "*batch d"],
    classifier: Float[ArrayLike, "vocab d"],
    labels: Int[ArrayLike, "*batch"],
    *data: PyTree,
    bias: Float[ArrayLike, " vocab"] | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    ignore_index: int | None = None,
    softcap: Number | None = None,
    temperature: Number | None = None,
    reduction: Reduction = "mean",
    has_aux: bool = False,
    memory: int | str | None = None,
    vocab_axis_name: AxisName | None = None,
    token_axis_name: AxisName | None = None,
) -> Any:
    """A loss of your own of a fused head, evaluated and differentiated in the chunks.

    `function(statistics, *data)` maps the statistics of n positions, arrays of shape
    [n], and their entries of `data`, arrays [n, ...], to their losses, [n]. It is
    called on some of the positions at a time, and must keep them apart: what has an
    entry for each position is `data`, and a mean is the business of `reduction`. It
    may close over anything that the positions share, traced values included. Gradients
    reach what it closes over, and data of floats. Call it under `jax.jit`: eagerly, it
    is traced anew.

    Args:
      function: from `SoftmaxStatistics`, and data, to one loss a position.
      hidden: last activations, any real float dtype.
      classifier: one row a class.
      labels: class ids in [0, vocab).
      data: arrays or pytrees of arrays `[*batch, ...]`, such as advantages.
      bias: added to the logits, one number a class.
      where: positions to keep (True). Dropped: loss 0, gradient 0, nothing read.
      weights: multipliers of the losses. Where 0, not read, but counted by "mean".
      ignore_index: positions with this label are dropped; any integer.
      softcap: s > 0 makes the logits `s·tanh(logits/s)`; None does not.
      temperature: T > 0, divides the logits, capped or not; None for 1.
      reduction: as in `jaxent.reduce`.
      has_aux: the function returns (losses, aux), aux a pytree of arrays [n, ...] that
        is not differentiated.
      memory: bytes for one chunk, as in `linear_softmax_cross_entropy`.
      vocab_axis_name: mesh axis the classes are sliced over (page "Scaling out").
      token_axis_name: automatic mesh axis the tokens are divided over (same page).
    Returns:
      A scalar, or for "none" an array of shape `batch`; float32 (float64 for float64).
      With `has_aux` a pair of that and aux, arrays `[*batch, ...]`, 0 where dropped.
    Raises:
      TypeError: activations that are not floats, labels that are not integers.
      ValueError: shapes that do not meet, or a function that returns another shape, or
        that mixes positions.
    Example:
      >>> def with_confidence_penalty(s):
      ...     return s.nll - 0.1 * s.entropy
      >>> jaxent.linear_softmax_loss(
      ...     with_confidence_penalty, jnp.ones((3, 4)), jnp.eye(8, 4), jnp.arange(3))
      Array(1.5027, dtype=float32)

    Source: the confidence penalty of the example is Pereyra et al. (2017), eq. 1.
    """
    _options.function(function)
    head = linear_head(hidden, classifier, bias)
    reduction = _options.reduction(reduction, head.hidden.shape[:-1])
    given, settings = given_head(
        (head,), labels=labels, where=where, weights=weights,
        ignore_index=ignore_index, memory=memory, vocab_axis_name=vocab_axis_name,
        token_axis_name=token_axis_name, data=data,
    )  # fmt: skip
    loss, constants = own_loss(
        function, given, settings, jax.tree.structure(data),
        _options.flag("has_aux", has_aux),
    )  # fmt: skip
    shared = _shared(softcap, temperature)._replace(constants=constants)
    losses, aux = reduced(
        given, shared, settings=settings, reduction=reduction, loss=loss
    )
    return (losses, aux) if has_aux else losses


@door
def linear_softmax_statistics(
    hidden: Float[ArrayLike, "*batch d"],
    classifier: Float[ArrayLike, "vocab d"],
    labels: Int[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, " vocab"] | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    ignore_index: int | None = None,
    softcap: Number | None = None,
    temperature: Number | None = None,
    memory: int | str | None = None,
    vocab_axis_name: AxisName | None = None,
    token_axis_name: AxisName | None = None,
) -> SoftmaxStatistics:
    """The statistics of `softmax_statistics`, of a fused head.

    One value per position, all from one sweep over the classes: what you do not use
    is not computed, under `jit`. Differentiable with any cotangents, by computing
    each chunk again.

    Args:
      hidden: last activations, any real float dtype.
      classifier: one row a class.
      labels: class ids in [0, vocab).
      bias: added to the logits, one number a class.
      where: positions to keep (True). Dropped: zeros and False.
      ignore_index: positions with this label are dropped; any integer.
      softcap: s > 0 makes the logits `s·tanh(logits/s)`; None does not.
      temperature: T > 0, divides the logits, capped or not; None for 1.
      memory: bytes for one chunk, as in `linear_softmax_cross_entropy`.
      vocab_axis_name: mesh axis the classes are sliced over (page "Scaling out").
      token_axis_name: automatic mesh axis the tokens are divided over (same page).
    Returns:
      `SoftmaxStatistics`, arrays of shape `batch`, float32 (float64 for float64),
      `correct` bool and `top_id` int32. A label out of range: NaN in all that depends
      on it, with NaN gradients, and not correct.
    Raises:
      TypeError: activations that are not floats, labels that are not integers.
      ValueError: shapes that do not meet, or options out of range.
    Example:
      >>> s = jaxent.linear_softmax_statistics(
      ...     jnp.ones((2, 4)), jnp.eye(8, 4), jnp.array([0, 7]))
      >>> s.nll, s.top_id
      (Array([1.6996, 2.6996], dtype=float32), Array([0, 0], dtype=int32))

    Source: Blanchard, Higham & Higham (2021), IMA J. Numer. Anal. 41.
    """
    head = linear_head(hidden, classifier, bias)
    given, settings = given_head(
        (head,), labels=labels, where=where, weights=None,
        ignore_index=ignore_index, memory=memory, vocab_axis_name=vocab_axis_name,
        token_axis_name=token_axis_name,
    )  # fmt: skip
    shared = _shared(softcap, temperature)
    return linear_statistics(given, shared, settings=settings)


def _shared(softcap: Number | None, temperature: Number | None) -> Shared:
    """What is done to the logits of all heads."""
    t = _options.off_at_1("temperature", temperature)
    return Shared(softcap=_options.cap(softcap), temperature=t)
