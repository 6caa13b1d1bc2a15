# SPDX-License-Identifier: Apache-2.0
"""Entropy, cross-entropy and Jensen–Shannon divergence, in nats or another base."""

from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from . import _checks, _options, _values
from ._engine.class_axis import WHOLE, class_axis
from ._engine.inputs import positions
from ._engine.measures import (
    cross_entropy_of,
    cross_entropy_of_probs,
    entropy_of,
    entropy_of_probs,
    js_of,
    js_of_probs,
    measured,
)
from ._errors import door
from ._types import Axis, AxisName, Number, Reduction


@door
def entropy(
    probs: Float[ArrayLike, "*batch classes"],
    *,
    axis: Axis = -1,
    base: float | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "none",
) -> Float[Array, "..."]:
    """Shannon entropy of probabilities, `H(p) = −Σⱼ pⱼ·log pⱼ`, never negative.

    Args:
      probs: p, probabilities of the classes; need not sum to one.
      axis: the class axis, or a tuple of class axes.
      base: of the logarithm; None for nats, 2 for bits.
      where: positions to keep (True). Dropped: value 0, gradient 0, nothing read.
      weights: multipliers of the values. Where 0, not read, but counted by "mean".
      reduction: as in `jaxent.reduce`, over the kept positions.
    Returns:
      Entropy, shape `batch`, float32 (float64 for float64). 0·log 0 = 0, in the
      gradient too (`−log pⱼ − 1` elsewhere).
    Raises:
      TypeError: probabilities that are not floats.
      ValueError: an axis that does not fit, or a base that is not above 1.
    Example:
      >>> jaxent.entropy(jnp.array([0.5, 0.5]), base=2)
      Array(1., dtype=float32)

    Source: Shannon (1948), A Mathematical Theory of Communication, §6.
    """
    p = _checks.floats("probs", probs)
    axes, shape = _checks.class_axes(axis, "probs", p)
    keep, average = positions(shape, where, weights, reduction, of="probs")
    _values.within("probs", p, _values.UNIT, keep, axes)
    unit, measure = _options.unit(base), entropy_of_probs
    return average(measured((p,), keep, WHOLE, axis=axes, unit=unit, measure=measure))


@door
def cross_entropy(
    p: Float[ArrayLike, "*batch classes"],
    q: Float[ArrayLike, "*batch classes"],
    *,
    axis: Axis = -1,
    base: float | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "none",
) -> Float[Array, "..."]:
    """Cross-entropy of two distributions, `H(p, q) = −Σⱼ pⱼ·log qⱼ`.

    The mean length of a code made for q where p is the truth.

    Args:
      p: the true probabilities.
      q: the coding probabilities, shape of `p`.
      axis: the class axis, or a tuple of class axes.
      base: of the logarithm; None for nats, 2 for bits.
      where: positions to keep (True). Dropped: value 0, gradient 0, nothing read.
      weights: multipliers of the losses. Where 0, not read, but counted by "mean".
      reduction: as in `jaxent.reduce`, over the kept positions.
    Returns:
      Cross-entropy, shape `batch`, float32 (float64 if either input is); inf where q
      is 0 and p is not.
    Raises:
      TypeError: probabilities that are not floats.
      ValueError: shapes that differ, an axis that does not fit, or a bad base.
    Example:
      >>> p, q = jnp.array([0.5, 0.5]), jnp.array([0.25, 0.75])
      >>> jaxent.cross_entropy(p, q, base=2)
      Array(1.2075, dtype=float32)

    Source: Cover & Thomas (2006), Elements of Information Theory, thm. 5.4.3.
    """
    given = _checks.paired(("p", "q"), p, q)
    axes, shape = _checks.class_axes(axis, "p", given[0])
    keep, average = positions(shape, where, weights, reduction, of="p q")
    for name, x in zip("pq", given, strict=True):
        _values.within(name, x, _values.UNIT, keep, axes)
    unit, measure = _options.unit(base), cross_entropy_of_probs
    return average(measured(given, keep, WHOLE, axis=axes, unit=unit, measure=measure))


@door
def entropy_from_logits(
    logits: Float[ArrayLike, "*batch classes"],
    *,
    axis: Axis = -1,
    base: float | None = None,
    temperature: Number | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "none",
    vocab_axis_name: AxisName | None = None,
) -> Float[Array, "..."]:
    """Shannon entropy of softmax(logits), never negative, exact when it is tiny.

    `H = Σⱼ pⱼ·(−log pⱼ)`, with gradient `pⱼ·(−log pⱼ − H)`. A confident prediction
    keeps its entropy where `-sum(p·log_softmax)` rounds it away.

    Args:
      logits: unnormalised log-probabilities; −inf forbids a class (it adds 0).
      axis: the class axis, or a tuple of class axes.
      base: of the logarithm; None for nats, 2 for bits.
      temperature: T > 0, divides the logits (after differences are taken); None for 1.
      where: positions to keep (True). Dropped: value 0, gradient 0, nothing read.
      weights: multipliers of the values. Where 0, not read, but counted by "mean".
      reduction: as in `jaxent.reduce`, over the kept positions.
      vocab_axis_name: mesh axis the classes are sliced over (page "Scaling out").
    Returns:
      Entropy, shape `batch`, float32 (float64 for float64). All logits −inf, or a
      NaN or +inf among them: NaN.
    Raises:
      TypeError: logits that are not floats.
      ValueError: an axis that does not fit, or a base that is not above 1.
    Example:
      >>> jaxent.entropy_from_logits(jnp.array([20.0, 0.0, 0.0]))
      Array(8.6568e-08, dtype=float32)

    Source: Shannon (1948), A Mathematical Theory of Communication, §6.
    """
    x = _checks.floats("logits", logits)
    axes, shape = _checks.class_axes(axis, "logits", x)
    keep, average = positions(shape, where, weights, reduction, of="logits")
    classes, unit = class_axis(vocab_axis_name, temperature), _options.unit(base)
    values = measured((x,), keep, classes, axis=axes, unit=unit, measure=entropy_of)
    return average(values)


@door
def cross_entropy_from_logits(
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
    """`H(p, q) = −Σⱼ pⱼ·log qⱼ` for p = softmax(p_logits), q = softmax(q_logits).

    Computed as `H(p) + KL(p‖q)`, both exact, so that the gradient with respect to
    `q_logits`, q − p, stays accurate where the two are near.

    Args:
      p_logits: logits of the true distribution (a teacher's, say).
      q_logits: logits of the coding distribution (the student's), shape of `p_logits`.
      axis: the class axis, or a tuple of class axes.
      base: of the logarithm; None for nats, 2 for bits.
      temperature: T > 0, divides both logits (after differences are taken); None for 1.
      where: positions to keep (True). Dropped: value 0, gradient 0, nothing read.
      weights: multipliers of the losses. Where 0, not read, but counted by "mean".
      reduction: as in `jaxent.reduce`, over the kept positions.
      vocab_axis_name: mesh axis the classes are sliced over (page "Scaling out").
    Returns:
      Cross-entropy, shape `batch`, float32 (float64 if either input is); inf where q
      forbids a class that p allows.
    Raises:
      TypeError: logits that are not floats.
      ValueError: shapes that differ, an axis that does not fit, or a bad base.
    Example:
      >>> jaxent.cross_entropy_from_logits(jnp.array([1.0, 0]), jnp.array([0.0, 1]))
      Array(1.0443, dtype=float32)

    Source: Cover & Thomas (2006), Elements of Information Theory, §2.3.
    """
    a, b = _checks.paired_logits(p_logits, q_logits)
    axes, shape = _checks.class_axes(axis, "p_logits", a)
    keep, average = positions(shape, where, weights, reduction, of="p_logits q_logits")
    classes, unit = class_axis(vocab_axis_name, temperature), _options.unit(base)
    return average(measured(
        (a, b), keep, classes, axis=axes, unit=unit, measure=cross_entropy_of
    ))  # fmt: skip


@door
def js_divergence(
    p: Float[ArrayLike, "*batch classes"],
    q: Float[ArrayLike, "*batch classes"],
    *,
    weight: Number = 0.5,
    axis: Axis = -1,
    base: float | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "none",
) -> Float[Array, "..."]:
    """Jensen–Shannon divergence, `w·KL(p‖m) + (1−w)·KL(q‖m)`, `m = w·p + (1−w)·q`.

    At w = ½ symmetric, between 0 and log 2, and computed so: never negative, and
    accurate between near distributions. At 0 and at 1 it is 0.

    Args:
      p: probabilities of the classes.
      q: probabilities of the classes, shape of `p`.
      weight: w in [0, 1], the share of p in the mixture; differentiable.
      axis: the class axis, or a tuple of class axes.
      base: of the logarithm; None for nats, 2 for bits.
      where: positions to keep (True). Dropped: value 0, gradient 0, nothing read.
      weights: multipliers of the values. Where 0, not read, but counted by "mean".
      reduction: as in `jaxent.reduce`, over the kept positions.
    Returns:
      Divergence, shape `batch`, float32 (float64 if either input is). A probability
      of 0 is settled, as in 0·log 0: its own gradient is taken as 0.
    Raises:
      TypeError: probabilities that are not floats.
      ValueError: shapes that differ, an axis that does not fit, or a bad base.
    Example:
      >>> jaxent.js_divergence(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]), base=2)
      Array(1., dtype=float32)

    Source: Lin (1991), Divergence Measures Based on the Shannon Entropy.
    """
    given = _checks.paired(("p", "q"), p, q)
    axes, shape = _checks.class_axes(axis, "p", given[0])
    keep, average = positions(shape, where, weights, reduction, of="p q")
    for name, x in zip("pq", given, strict=True):
        _values.within(name, x, _values.UNIT, keep, axes)
    unit, w = _options.unit(base), _options.number("weight", weight, (0.0, 1.0))
    return average(measured(
        given, keep, WHOLE, axis=axes, unit=unit, measure=js_of_probs, weight=(w,)
    ))  # fmt: skip


@door
def js_divergence_from_logits(
    p_logits: Float[ArrayLike, "*batch classes"],
    q_logits: Float[ArrayLike, "*batch classes"],
    *,
    weight: Number = 0.5,
    axis: Axis = -1,
    base: float | None = None,
    temperature: Number | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "none",
    vocab_axis_name: AxisName | None = None,
) -> Float[Array, "..."]:
    """Jensen–Shannon divergence of softmax(p_logits) and softmax(q_logits).

    As `js_divergence`, with the ratio of the two from the logits: accurate if near.

    Args:
      p_logits: logits of p; −inf forbids a class.
      q_logits: logits of q, shape of `p_logits`.
      weight: w in [0, 1], the share of p in the mixture; differentiable.
      axis: the class axis, or a tuple of class axes.
      base: of the logarithm; None for nats, 2 for bits.
      temperature: T > 0, divides both logits (after differences are taken); None for 1.
      where: positions to keep (True). Dropped: value 0, gradient 0, nothing read.
      weights: multipliers of the values. Where 0, not read, but counted by "mean".
      reduction: as in `jaxent.reduce`, over the kept positions.
      vocab_axis_name: mesh axis the classes are sliced over (page "Scaling out").
    Returns:
      Divergence, shape `batch`, float32 (float64 if either input is).
    Raises:
      TypeError: logits that are not floats.
      ValueError: shapes that differ, an axis that does not fit, or a bad base.
    Example:
      >>> p_logits = jnp.array([1.0, 2.0, 3.0])
      >>> jaxent.js_divergence_from_logits(p_logits, p_logits.at[0].add(1e-3))
      Array(1.0246e-08, dtype=float32)

    Source: Lin (1991), Divergence Measures Based on the Shannon Entropy.
    """
    a, b = _checks.paired_logits(p_logits, q_logits)
    axes, shape = _checks.class_axes(axis, "p_logits", a)
    keep, average = positions(shape, where, weights, reduction, of="p_logits q_logits")
    classes, unit = class_axis(vocab_axis_name, temperature), _options.unit(base)
    w = _options.number("weight", weight, (0.0, 1.0))
    return average(measured(
        (a, b), keep, classes, axis=axes, unit=unit, measure=js_of, weight=(w,)
    ))  # fmt: skip
