# SPDX-License-Identifier: Apache-2.0
"""Kullback–Leibler divergences."""

import math
from collections.abc import Callable

from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from . import _checks, _options, _values
from ._engine.class_axis import class_axis
from ._engine.inputs import positions
from ._engine.measures import (
    kl_of,
    measured,
    relative_to_log_targets,
    summed_terms,
)
from ._engine.ratios import (
    generalized_relative_entropy,
    relative_entropy,
)
from ._engine.top_k import name_masses_above_1, top_k_divergence, top_k_inputs
from ._errors import door
from ._types import Axis, AxisName, Number, Reduction, Tail
from ._values import Bounds

ANY = (-math.inf, math.inf)
"""A measure may have any size: its logarithm any sign."""


@door
def kl_divergence(
    log_predictions: Float[ArrayLike, "*batch classes"],
    targets: Float[ArrayLike, "*batch classes"],
    *,
    axis: Axis = -1,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "none",
) -> Float[Array, "..."]:
    """Kullback–Leibler divergence of log-predictions from target probabilities.

    `Σⱼ tⱼ·(log tⱼ − log_predictionsⱼ)`, in nats. For near distributions it is
    ill-conditioned in its arguments, and a rounded pair can come out negative: with
    logits at hand use `kl_divergence_from_logits`, which never does.

    Args:
      log_predictions: log-probabilities of the prediction.
      targets: target probabilities t, shape of `log_predictions`.
      axis: the class axis, or a tuple of class axes.
      where: positions to keep (True). Dropped: value 0, gradient 0, nothing read.
      weights: multipliers of the values. Where 0, not read, but counted by "mean".
      reduction: as in `jaxent.reduce`, over the kept positions.
    Returns:
      Divergence in nats, shape `batch`, float32 (float64 if either input is); inf
      where a positive target is predicted −inf. A zero target adds 0 whatever was
      predicted, and its gradient is `−log_predictions` (0 if that is infinite).
    Raises:
      TypeError: inputs that are not floats, or a mask that is not boolean.
      ValueError: shapes or axes that do not fit.
    Example:
      >>> predictions, targets = jnp.array([0.2, 0.8]), jnp.array([0.5, 0.5])
      >>> jaxent.kl_divergence(jnp.log(predictions), targets)
      Array(0.2231, dtype=float32)

    Source: Kullback & Leibler (1951), On Information and Sufficiency.
    """
    return _from_predictions(
        "targets", log_predictions, targets, axis, where, weights, reduction,
        relative_entropy, (_values.DOWN, _values.UNIT),
    )  # fmt: skip


@door
def kl_divergence_with_log_targets(
    log_predictions: Float[ArrayLike, "*batch classes"],
    log_targets: Float[ArrayLike, "*batch classes"],
    *,
    axis: Axis = -1,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "none",
) -> Float[Array, "..."]:
    """Kullback–Leibler divergence of log-predictions from log-targets, in nats.

    `Σⱼ exp(log_targetsⱼ)·(log_targetsⱼ − log_predictionsⱼ)`.

    Args:
      log_predictions: log-probabilities of the prediction.
      log_targets: log-probabilities of the target, shape of `log_predictions`.
      axis: the class axis, or a tuple of class axes.
      where: positions to keep (True). Dropped: value 0, gradient 0, nothing read.
      weights: multipliers of the values. Where 0, not read, but counted by "mean".
      reduction: as in `jaxent.reduce`, over the kept positions.
    Returns:
      Divergence in nats, shape `batch`, float32 (float64 if either input is). A −inf
      target adds 0, whatever was predicted, and has no gradient.
    Raises:
      TypeError: inputs that are not floats, or a mask that is not boolean.
      ValueError: shapes or axes that do not fit.
    Example:
      >>> predictions, targets = jnp.log(jnp.array([[0.2, 0.8], [0.5, 0.5]]))
      >>> jaxent.kl_divergence_with_log_targets(predictions, targets)
      Array(0.2231, dtype=float32)

    Source: Kullback & Leibler (1951), On Information and Sufficiency.
    """
    return _from_predictions(
        "log_targets", log_predictions, log_targets, axis, where, weights, reduction,
        relative_to_log_targets, (_values.DOWN, _values.DOWN),
    )  # fmt: skip


@door
def generalized_kl_divergence(
    log_predictions: Float[ArrayLike, "*batch classes"],
    targets: Float[ArrayLike, "*batch classes"],
    *,
    axis: Axis = -1,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "none",
) -> Float[Array, "..."]:
    """Generalised (I-)divergence, for measures that need not sum to one.

    `Σⱼ tⱼ·(log tⱼ − log_predictionsⱼ) + exp(log_predictionsⱼ) − tⱼ`, in nats. Each
    term is computed as a whole, so it is exact between near measures, and ≥ 0.

    Args:
      log_predictions: logs of the predicted measure.
      targets: target measure t ≥ 0, shape of `log_predictions`.
      axis: the class axis, or a tuple of class axes.
      where: positions to keep (True). Dropped: value 0, gradient 0, nothing read.
      weights: multipliers of the values. Where 0, not read, but counted by "mean".
      reduction: as in `jaxent.reduce`, over the kept positions.
    Returns:
      Divergence in nats, shape `batch`, float32 (float64 if either input is).
    Raises:
      TypeError: inputs that are not floats, or a mask that is not boolean.
      ValueError: shapes or axes that do not fit.
    Example:
      >>> predictions, targets = jnp.array([0.2, 0.8]), jnp.array([1.0, 1.0])
      >>> jaxent.generalized_kl_divergence(jnp.log(predictions), targets)
      Array(0.8326, dtype=float32)

    Source: Csiszár (1991), Why Least Squares and Maximum Entropy?, eq. 1.11.
    """
    return _from_predictions(
        "targets", log_predictions, targets, axis, where, weights, reduction,
        generalized_relative_entropy, (ANY, _values.UP),
    )  # fmt: skip


@door
def kl_divergence_from_logits(
    p_logits: Float[ArrayLike, "*batch classes"],
    q_logits: Float[ArrayLike, "*batch classes"],
    *,
    axis: Axis = -1,
    base: float | None = None,
    temperature: Number | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "none",
    vocab_axis_name: AxisName | None = None,
) -> Float[Array, "..."]:
    """`KL(p‖q) = Σⱼ pⱼ·log(pⱼ/qⱼ)` for p = softmax(p_logits), q = softmax(q_logits).

    Never negative, and accurate however near the two are: with d the difference of
    the logits less its p-weighted mean, it is `log(1 + Σⱼ pⱼ·(exp dⱼ − 1 − dⱼ))`, and
    its gradients are `pⱼ·(exp(dⱼ − KL) − 1)` in q_logits and `−pⱼ·dⱼ` in p_logits.

    Args:
      p_logits: logits of p, the distribution averaged over (a teacher's, say).
      q_logits: logits of q, shape of `p_logits`.
      axis: the class axis, or a tuple of class axes.
      base: of the logarithm; None for nats, 2 for bits.
      temperature: T > 0, divides both logits (after differences are taken); None for 1.
      where: positions to keep (True). Dropped: value 0, gradient 0, nothing read.
      weights: multipliers of the values. Where 0, not read, but counted by "mean".
      reduction: as in `jaxent.reduce`, over the kept positions.
      vocab_axis_name: mesh axis the classes are sliced over (page "Scaling out").
    Returns:
      Divergence, shape `batch`, float32 (float64 if either input is); inf where q
      forbids (−inf) a class that p allows. A class p forbids adds only its q.
    Raises:
      TypeError: logits that are not floats.
      ValueError: shapes that differ, an axis that does not fit, or a bad base.
    Example:
      >>> p_logits = jnp.array([1.0, 2.0, 3.0])
      >>> jaxent.kl_divergence_from_logits(p_logits, p_logits.at[0].add(1e-3))
      Array(4.0978e-08, dtype=float32)

    Source: Kullback & Leibler (1951); the form is the cumulant generating function of
      the log-ratio, McCullagh (1987), Tensor Methods in Statistics, §2.2.
    """
    a, b = _checks.paired_logits(p_logits, q_logits)
    axes, shape = _checks.class_axes(axis, "p_logits", a)
    keep, average = positions(shape, where, weights, reduction, of="p_logits q_logits")
    classes, unit = class_axis(vocab_axis_name, temperature), _options.unit(base)
    values = measured((a, b), keep, classes, axis=axes, unit=unit, measure=kl_of)
    return average(values)


def _from_predictions(
    name: str,
    log_predictions: ArrayLike,
    targets: ArrayLike,
    axis: Axis,
    where: ArrayLike | None,
    weights: ArrayLike | None,
    reduction: Reduction,
    term: Callable[[Array, Array], Array],
    bounds: tuple[Bounds, Bounds],
) -> Array:
    """The door of the divergences that optax has: one term a class, summed."""
    names = ("log_predictions", name)
    log_q, target = _checks.paired(names, log_predictions, targets)
    axes, shape = _checks.class_axes(axis, "log_predictions", log_q)
    keep, average = positions(shape, where, weights, reduction, of=" ".join(names))
    for name, x, each in zip(names, (log_q, target), bounds, strict=True):
        _values.within(name, x, each, keep, axes)
    return average(summed_terms(log_q, target, keep, axis=axes, term=term))


@door
def kl_divergence_from_top_k(
    logits: Float[ArrayLike, "*batch classes"],
    ids: Int[ArrayLike, "*batch k"],
    log_probs: Float[ArrayLike, "*batch k"],
    *,
    tail: Tail = "category",
    tail_log_prob: Float[ArrayLike, "*batch"] | None = None,
    temperature: Number | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "none",
    vocab_axis_name: AxisName | None = None,
) -> Float[Array, "..."]:
    """`KL(teacher ‖ student)` from a teacher's K likeliest classes, in nats.

    All other classes are one category, of which the student's mass is added up and
    never 1 − Σ q: exact where it is 1e-12. Never negative where the masses sum to 1.

    Args:
      logits: the student's, classes last; −inf forbids a class.
      ids: the teacher's classes, each once; −1 is no entry, and its log_prob not read.
      log_probs: their log-probabilities for the teacher (at the temperature), shape
        of `ids`; differentiable. −inf is a class of mass 0.
      tail: what becomes of all other classes. "category": they are one category.
        "renormalize": both sides are given the K. "drop": `Σₖ pₖ·(log pₖ − log qₖ)` of
        the K alone, which may be negative.
      tail_log_prob: log of the category's mass; None for what `log_probs` leave of 1.
      temperature: T > 0, divides the logits (after differences are taken); None for 1.
      where: positions to keep (True). Dropped: loss 0, gradient 0, nothing read.
      weights: multipliers of the losses. Where 0, not read, but counted by "mean".
      reduction: as in `jaxent.reduce`, over the kept positions.
      vocab_axis_name: mesh axis the classes are sliced over (page "Scaling out").
    Returns:
      Divergence, shape `batch`, float32 (float64 if either input is): 0 without an
      entry, inf where the student forbids what has mass; an id out of range: NaN, and
      so is its gradient.
    Raises:
      TypeError: logits or log-probabilities that are not floats, ids no integers.
      ValueError: shapes that do not meet, or a tail_log_prob with another tail.
    Example:
      >>> logits, ids = jnp.array([3.0, 2.0, 0.0, 0.0]), jnp.array([0, 1])
      >>> jaxent.kl_divergence_from_top_k(logits, ids, jnp.log(jnp.array([0.6, 0.3])))
      Array(0.0163, dtype=float32)

    Source: Hinton, Vinyals & Dean (2015), Distilling the Knowledge in a Neural Network.
    """
    x = _checks.floats("logits", logits)
    _, shape = _checks.class_axes(-1, "logits", x)
    keep, average = positions(shape, where, weights, reduction, of="logits")
    given = top_k_inputs(ids, log_probs, tail_log_prob, tail, shape)
    name_masses_above_1(given, keep)
    classes, checked = class_axis(vocab_axis_name, temperature), _values.checked("ids")
    return average(
        top_k_divergence(x, given, keep, classes, checked=checked, tail=tail)
    )
