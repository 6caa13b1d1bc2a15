# SPDX-License-Identifier: Apache-2.0
"""Entropy and cross-entropy as information measures, in nats or in another base."""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from . import _checks, _options
from ._engine.class_axis import classes_last
from ._engine.exact import widen, widen_both, xlogy
from ._engine.information import entropy_of_logits, kl_of_logits
from ._types import Axis, Shape


def entropy(
    probs: Float[ArrayLike, "*batch classes"],
    *,
    axis: Axis = -1,
    base: float | None = None,
) -> Float[Array, "*batch"]:
    """Shannon entropy of probabilities, `H(p) = −Σⱼ pⱼ·log pⱼ`, never negative.

    Args:
      probs: p, probabilities of the classes; need not sum to one.
      axis: the class axis, or a tuple of class axes.
      base: of the logarithm; None for nats, 2 for bits.
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
    call = "entropy"
    p = _checks.floats(call, "probs", probs)
    axes, _ = _checks.class_axes(call, axis, "probs", p)
    unit = _options.unit(call, base)
    return _cross_entropy(p, None, axis=axes, unit=unit)


def cross_entropy(
    p: Float[ArrayLike, "*batch classes"],
    q: Float[ArrayLike, "*batch classes"],
    *,
    axis: Axis = -1,
    base: float | None = None,
) -> Float[Array, "*batch"]:
    """Cross-entropy of two distributions, `H(p, q) = −Σⱼ pⱼ·log qⱼ`.

    The mean length of a code made for q where p is the truth.

    Args:
      p: the true probabilities.
      q: the coding probabilities, shape of `p`.
      axis: the class axis, or a tuple of class axes.
      base: of the logarithm; None for nats, 2 for bits.
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
    call = "cross_entropy"
    first, second = _checks.paired(call, ("p", "q"), p, q)
    axes, _ = _checks.class_axes(call, axis, "p", first)
    return _cross_entropy(first, second, axis=axes, unit=_options.unit(call, base))


def entropy_from_logits(
    logits: Float[ArrayLike, "*batch classes"],
    *,
    axis: Axis = -1,
    base: float | None = None,
) -> Float[Array, "*batch"]:
    """Shannon entropy of softmax(logits), never negative, exact when it is tiny.

    `H = Σⱼ pⱼ·(−log pⱼ)`, with gradient `pⱼ·(−log pⱼ − H)`. A confident prediction
    keeps its entropy where `-sum(p·log_softmax)` rounds it away.

    Args:
      logits: unnormalised log-probabilities; −inf forbids a class (it adds 0).
      axis: the class axis, or a tuple of class axes.
      base: of the logarithm; None for nats, 2 for bits.
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
    call = "entropy_from_logits"
    x = _checks.floats(call, "logits", logits)
    axes, _ = _checks.class_axes(call, axis, "logits", x)
    return _entropy_from_logits(x, axis=axes, unit=_options.unit(call, base))


def cross_entropy_from_logits(
    p_logits: Float[ArrayLike, "*batch classes"],
    q_logits: Float[ArrayLike, "*batch classes"],
    *,
    axis: Axis = -1,
    base: float | None = None,
) -> Float[Array, "*batch"]:
    """`H(p, q) = −Σⱼ pⱼ·log qⱼ` for p = softmax(p_logits), q = softmax(q_logits).

    Computed as `H(p) + KL(p‖q)`, both exact, so that the gradient with respect to
    `q_logits`, q − p, stays accurate where the two are near.

    Args:
      p_logits: logits of the true distribution (a teacher's, say).
      q_logits: logits of the coding distribution (the student's), shape of `p_logits`.
      axis: the class axis, or a tuple of class axes.
      base: of the logarithm; None for nats, 2 for bits.
    Returns:
      Cross-entropy, shape `batch`, float32 (float64 if either input is); inf where q
      forbids a class that p allows.
    Raises:
      TypeError: logits that are not floats.
      ValueError: shapes that differ, an axis that does not fit, or a bad base.
    Example:
      >>> p_logits, q_logits = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
      >>> jaxent.cross_entropy_from_logits(p_logits, q_logits)
      Array(1.0443, dtype=float32)

    Source: Cover & Thomas (2006), Elements of Information Theory, §2.3.
    """
    call = "cross_entropy_from_logits"
    a, b = _checks.paired_logits(call, p_logits, q_logits)
    axes, _ = _checks.class_axes(call, axis, "p_logits", a)
    return _cross_entropy_from_logits(a, b, axis=axes, unit=_options.unit(call, base))


@functools.partial(jax.jit, static_argnames=("axis", "unit"), inline=True)
def _cross_entropy(p: Array, q: Array | None, *, axis: Shape, unit: float) -> Array:
    p, q = (widen(p),) * 2 if q is None else widen_both(p, q)
    return jnp.sum(classes_last(-xlogy(p, q), axis), axis=-1) / unit


@functools.partial(jax.jit, static_argnames=("axis", "unit"), inline=True)
def _entropy_from_logits(x: Array, *, axis: Shape, unit: float) -> Array:
    return entropy_of_logits(classes_last(widen(x), axis)) / unit


@functools.partial(jax.jit, static_argnames=("axis", "unit"), inline=True)
def _cross_entropy_from_logits(
    p: Array, q: Array, *, axis: Shape, unit: float
) -> Array:
    p, q = (classes_last(x, axis) for x in widen_both(p, q))
    return (entropy_of_logits(p) + kl_of_logits(p, q)) / unit
