# SPDX-License-Identifier: Apache-2.0
"""Distillation from one fused head to another, neither side's logits kept."""

from typing import Any

from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from . import _options
from ._engine.linear import linear_head
from ._errors import door, fail
from ._heads.chunks import Shared
from ._heads.given import given_head
from ._heads.losses import kl_and_statistics_rows, kl_rows, reduced_jit
from ._types import AxisName, Number, Reduction


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
      weights: multipliers of the positions. Where 0, a position is dropped.
      reduction: as in `jaxent.reduce`.
      statistics: return the student's `.log_normalizer`, `.entropy` and `.top_id` of
        every position as well, from the same sweep, and not differentiated.
      memory: bytes for one chunk, as in `linear_softmax_cross_entropy`.
      vocab_axis_name: mesh axis the classes are sliced over (docs/scaling-out.md).
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
    student = linear_head(student_hidden, student_classifier, student_bias, "student_")
    teacher = linear_head(teacher_hidden, teacher_classifier, teacher_bias, "teacher_")
    batch, count = student.hidden.shape[:-1], student.classifier.shape[0]
    reduction = _options.reduction(reduction, batch)
    if teacher.hidden.shape[:-1] != batch:
        must = f"have shape {(*batch, teacher.hidden.shape[-1])}"
        remedy = "Both heads take the same positions."
        got = teacher.hidden.shape
        fail(ValueError, "teacher_hidden", must, got, remedy)
    if teacher.classifier.shape[0] != count:
        must = f"have the student's {count} classes"
        remedy = "Both heads score the same vocabulary."
        got = teacher.classifier.shape
        fail(ValueError, "teacher_classifier", must, got, remedy)
    given, settings = given_head(
        (student, teacher), labels=None, where=where, weights=weights,
        ignore_index=None, memory=memory, vocab_axis_name=vocab_axis_name,
    )  # fmt: skip
    shared = Shared(temperature=_options.off_at_1("temperature", temperature))
    beside = _options.flag("statistics", statistics)
    rows = kl_and_statistics_rows if beside else kl_rows
    loss, s = reduced_jit(
        given, shared, settings=settings, reduction=reduction, loss=rows
    )
    return (loss, s) if statistics else loss
