# SPDX-License-Identifier: Apache-2.0
"""Distillation from one fused head to another, neither side's logits kept."""

from typing import Any

from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from . import _options, _values
from ._engine.labels import looked_at
from ._engine.linear import linear_head, two_heads
from ._engine.top_k import name_masses_above_1, top_k_inputs
from ._errors import door
from ._heads.chunks import Shared
from ._heads.given import given_head
from ._heads.losses import (
    js_rows,
    kl_and_statistics_rows,
    kl_rows,
    reduced_jit,
)
from ._heads.top_k import linear_top_k
from ._types import AxisName, Number, Reduction, Tail


@door
def linear_kl_divergence(
    student_hidden: Float[ArrayLike, "*batch d"],
    student_classifier: Float[ArrayLike, "vocab d"],
    teacher_hidden: Float[ArrayLike, "*batch e"],
    teacher_classifier: Float[ArrayLike, "vocab e"],
    *,
    temperature: Number | None = None,
    student_bias: Float[ArrayLike, " vocab"] | None = None,
    teacher_bias: Float[ArrayLike, " vocab"] | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "mean",
    statistics: bool = False,
    memory: int | str | None = None,
    vocab_axis_name: AxisName | None = None,
    token_axis_name: AxisName | None = None,
) -> Any:
    """`KL(teacher ‖ student)` of two heads' softmaxes, without either's logits.

    Exact as `kl_divergence_from_logits` of `teacher_logits / T` and
    `student_logits / T`: never negative, accurate however near the two are. The
    gradients' usual factor T² is left to you.

    Args:
      student_hidden: the student's last activations, any real float dtype.
      student_classifier: the student's classifier, one row a class.
      teacher_hidden: the teacher's activations; wrap them in `jax.lax.stop_gradient`
        for a teacher that is not trained, and its gradient is not computed.
      teacher_classifier: the teacher's classifier, of the same classes.
      temperature: T > 0, divides both logits (after differences are taken); None for 1.
      student_bias: added to the student's logits.
      teacher_bias: added to the teacher's logits.
      where: positions to keep (True). Dropped: 0, gradient 0, nothing read.
      weights: multipliers of the positions. Where 0, not read, but counted by "mean".
      reduction: as in `jaxent.reduce`.
      statistics: return the student's `.log_normalizer`, `.entropy` and `.top_id` of
        every position as well, from the same sweep, and not differentiated.
      memory: bytes for one chunk, as in `linear_softmax_cross_entropy`.
      vocab_axis_name: mesh axis the classes are sliced over (page "Scaling out").
      token_axis_name: automatic mesh axis the tokens are divided over (same page).
    Returns:
      Divergence in nats: a scalar, or for "none" an array of shape `batch`; float32
      (float64 for float64).
    Raises:
      TypeError: activations that are not floats, or a mask that is not boolean.
      ValueError: shapes that do not meet, or a temperature that is not above 0.
    Example:
      >>> teacher, student = jnp.eye(3, 4), jnp.ones((3, 2))
      >>> jaxent.linear_kl_divergence(
      ...     student, jnp.ones((5, 2)), teacher, jnp.eye(5, 4), temperature=2.0)
      Array(0.0239, dtype=float32)

    Source: Hinton, Vinyals & Dean (2015), Distilling the Knowledge in a Neural Network.
    """
    heads = two_heads(
        (student_hidden, student_classifier, student_bias),
        (teacher_hidden, teacher_classifier, teacher_bias),
    )
    reduction = _options.reduction(reduction, heads[0].hidden.shape[:-1])
    given, settings = given_head(
        heads, labels=None, where=where, weights=weights,
        ignore_index=None, memory=memory, vocab_axis_name=vocab_axis_name,
        token_axis_name=token_axis_name,
    )  # fmt: skip
    shared = Shared(temperature=_options.off_at_1("temperature", temperature))
    beside = _options.flag("statistics", statistics)
    rows = kl_and_statistics_rows if beside else kl_rows
    loss, s = reduced_jit(
        given, shared, settings=settings, reduction=reduction, loss=rows
    )
    return (loss, s) if statistics else loss


@door
def linear_js_divergence(
    student_hidden: Float[ArrayLike, "*batch d"],
    student_classifier: Float[ArrayLike, "vocab d"],
    teacher_hidden: Float[ArrayLike, "*batch e"],
    teacher_classifier: Float[ArrayLike, "vocab e"],
    *,
    weight: Number = 0.5,
    temperature: Number | None = None,
    student_bias: Float[ArrayLike, " vocab"] | None = None,
    teacher_bias: Float[ArrayLike, " vocab"] | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "mean",
    memory: int | str | None = None,
    vocab_axis_name: AxisName | None = None,
    token_axis_name: AxisName | None = None,
) -> Float[Array, "..."]:
    """Jensen–Shannon divergence of two heads' softmaxes, without either's logits.

    `w·KL(teacher ‖ m) + (1−w)·KL(student ‖ m)` with `m = w·teacher + (1−w)·student`:
    `js_divergence_from_logits(teacher, student, weight=w)`, as exact.

    Args:
      student_hidden: the student's last activations, any real float dtype.
      student_classifier: the student's classifier, one row a class.
      teacher_hidden: the teacher's activations, wrapped in `jax.lax.stop_gradient` if
        it is not trained.
      teacher_classifier: the teacher's classifier, of the same classes.
      weight: w in [0, 1], the teacher's share of the mixture; differentiable.
      temperature: T > 0, divides both logits (after differences are taken); None for 1.
      student_bias: added to the student's logits.
      teacher_bias: added to the teacher's logits.
      where: positions to keep (True). Dropped: 0, gradient 0, nothing read.
      weights: multipliers of the positions. Where 0, not read, but counted by "mean".
      reduction: as in `jaxent.reduce`.
      memory: bytes for one chunk, as in `linear_softmax_cross_entropy`.
      vocab_axis_name: mesh axis the classes are sliced over (page "Scaling out").
      token_axis_name: automatic mesh axis the tokens are divided over (same page).
    Returns:
      Divergence in nats: a scalar, or for "none" an array of shape `batch`; float32
      (float64 for float64).
    Raises:
      TypeError: activations that are not floats, or a mask that is not boolean.
      ValueError: shapes that do not meet, or a weight outside [0, 1].
    Example:
      >>> teacher, student = jnp.eye(3, 4), jnp.ones((3, 2))
      >>> jaxent.linear_js_divergence(
      ...     student, jnp.ones((5, 2)), teacher, jnp.eye(5, 4), weight=0.9)
      Array(0.0087, dtype=float32)

    Source: Agarwal et al. (2024), On-Policy Distillation of Language Models, eq. 1.
    """
    heads = two_heads(
        (student_hidden, student_classifier, student_bias),
        (teacher_hidden, teacher_classifier, teacher_bias),
    )
    reduction = _options.reduction(reduction, heads[0].hidden.shape[:-1])
    given, settings = given_head(
        heads, labels=None, where=where, weights=weights,
        ignore_index=None, memory=memory, vocab_axis_name=vocab_axis_name,
        token_axis_name=token_axis_name,
    )  # fmt: skip
    share = _options.number("weight", weight, (0.0, 1.0))
    temperature = _options.off_at_1("temperature", temperature)
    shared = Shared(temperature=temperature, weight=share)
    return reduced_jit(
        given, shared, settings=settings, reduction=reduction, loss=js_rows
    )[0]


@door
def linear_kl_divergence_from_top_k(
    hidden: Float[ArrayLike, "*batch d"],
    classifier: Float[ArrayLike, "vocab d"],
    ids: Int[ArrayLike, "*batch k"],
    log_probs: Float[ArrayLike, "*batch k"],
    *,
    bias: Float[ArrayLike, " vocab"] | None = None,
    tail: Tail = "category",
    tail_log_prob: Float[ArrayLike, "*batch"] | None = None,
    temperature: Number | None = None,
    softcap: Number | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "mean",
    statistics: bool = False,
    memory: int | str | None = None,
    vocab_axis_name: AxisName | None = None,
    token_axis_name: AxisName | None = None,
) -> Any:
    """`KL(teacher ‖ student)` of a head's softmax from a teacher's K likeliest classes.

    `kl_divergence_from_top_k` of `hidden @ classifier.T + bias`, without these logits:
    the teacher is K numbers a position, stored or sent, and not a second head.

    Args:
      hidden: the student's last activations, any real float dtype.
      classifier: the student's classifier, one row a class.
      ids: the teacher's classes, each once; −1 is no entry, and its log_prob not read.
      log_probs: their log-probabilities for the teacher (at the temperature), shape
        of `ids`; differentiable. −inf is a class of mass 0.
      bias: added to the logits.
      tail: what becomes of all other classes: "category", "renormalize" or "drop", as
        in `kl_divergence_from_top_k`.
      tail_log_prob: log of the category's mass; None for what `log_probs` leave of 1.
      temperature: T > 0, divides the logits (after differences are taken); None for 1.
      softcap: logits become `cap·tanh(logits/cap)`, before the temperature.
      where: positions to keep (True). Dropped: 0, gradient 0, nothing read.
      weights: multipliers of the positions. Where 0, not read, but counted by "mean".
      reduction: as in `jaxent.reduce`.
      statistics: return the student's `.log_normalizer`, `.entropy` and `.top_id` of
        every position as well, from the same sweep, and not differentiated.
      memory: bytes for one chunk, as in `linear_softmax_cross_entropy`.
      vocab_axis_name: mesh axis the classes are sliced over (page "Scaling out").
      token_axis_name: automatic mesh axis the tokens are divided over (same page).
    Returns:
      Divergence in nats: a scalar, or for "none" an array of shape `batch`; float32
      (float64 for float64).
    Raises:
      TypeError: activations or log-probabilities that are not floats, ids no integers.
      ValueError: shapes that do not meet, or a tail_log_prob with another tail.
    Example:
      >>> hidden, ids = jnp.eye(2, 4), jnp.array([[0, 1], [1, -1]])
      >>> log_probs = jnp.log(jnp.array([[0.5, 0.2], [0.9, 0.0]]))
      >>> jaxent.linear_kl_divergence_from_top_k(hidden, jnp.eye(5, 4), ids, log_probs)
      Array(0.2934, dtype=float32)

    Source: Hinton, Vinyals & Dean (2015), Distilling the Knowledge in a Neural Network.
    """
    head = linear_head(hidden, classifier, bias)
    batch = head.hidden.shape[:-1]
    reduction = _options.reduction(reduction, batch)
    data = top_k_inputs(ids, log_probs, tail_log_prob, tail, batch)
    given, settings = given_head(
        (head,), labels=None, where=where, weights=weights, ignore_index=None,
        memory=memory, vocab_axis_name=vocab_axis_name,
        token_axis_name=token_axis_name, data=data,
    )  # fmt: skip
    name_masses_above_1(data, looked_at(given.where, given.weights))
    settings = settings._replace(checked=_values.checked("ids"))
    temperature = _options.off_at_1("temperature", temperature)
    shared = Shared(softcap=_options.cap(softcap), temperature=temperature)
    beside = _options.flag("statistics", statistics)
    loss, s = linear_top_k(
        given, shared, settings=settings, reduction=reduction, tail=tail, beside=beside
    )
    return (loss, s) if beside else loss
