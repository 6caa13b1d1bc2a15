# SPDX-License-Identifier: Apache-2.0
"""Losses of probabilities and of log-probabilities.

A probability near 1 has lost its distance from 1 already: where you have logits,
the losses on logits are the accurate ones.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from . import _checks, _options, _values
from ._engine.class_axis import classes_last, per_class
from ._engine.exact import product, widen, widen_both, xlog1py, xlogy
from ._engine.inputs import positions
from ._engine.labels import class_ids, drop, kept
from ._engine.placement import placed_as
from ._engine.terms import one_hot
from ._errors import door
from ._types import Axis, Reduction, Shape


@door
def binary_cross_entropy(
    probs: Float[ArrayLike, "*shape"],
    labels: Float[ArrayLike, "*shape"],
    *,
    eps: float | None = None,
    where: Bool[ArrayLike, "*shape"] | None = None,
    weights: Float[ArrayLike, "*shape"] | None = None,
    reduction: Reduction = "none",
) -> Float[Array, "..."]:
    """Binary cross-entropy of probabilities, elementwise, in nats.

    `ℓ = −y·log p − (1−y)·log(1−p)`, exact: 0 for a sure and right p, inf for a sure
    and wrong one. `eps` clips p to [eps, 1−eps] as other frameworks do (Keras 1e-7,
    old scikit-learn 1e-15); both ends are kept even where 1−eps rounds to 1.

    Args:
      probs: p, the probability of label 1, in [0, 1] (only `checkify` looks).
      labels: y in [0, 1], shape of `probs`; any real dtype.
      eps: clip, in [0, 0.5]; None does not clip. A clipped p has gradient 0.
      where: elements to keep (True). Dropped: loss 0, gradient 0, nothing read.
      weights: multipliers of the losses. Where 0, not read, but counted by "mean".
      reduction: as in `jaxent.reduce`, over the kept elements.
    Returns:
      Loss in nats, shape of `probs`, float32 (float64 if either input is).
    Raises:
      TypeError: probabilities that are not floats, or a mask that is not boolean.
      ValueError: shapes that differ (nothing broadcasts), or `eps` out of range.
    Example:
      >>> jaxent.binary_cross_entropy(jnp.array([0.8, 1.0]), jnp.array([1.0, 1.0]))
      Array([0.2231, 0.    ], dtype=float32)

    Source: Good (1952), Rational Decisions, §8.
    """
    p, y = _checks.paired(("probs", "labels"), probs, labels)
    keep, average = positions(p.shape, where, weights, reduction)
    _values.within("probs", p, _values.UNIT, keep)
    _values.within("labels", y, _values.UNIT, keep)
    return average(_binary_cross_entropy(p, y, keep, _clip(eps)))


@functools.partial(jax.jit, inline=True)
def _binary_cross_entropy(
    p: Array, y: Array, keep: Array | None, eps: ArrayLike | None
):
    p, y = (drop(a, keep) for a in widen_both(p, y))
    if eps is None:
        return drop(0 - xlogy(y, p) - xlog1py(1 - y, -p), keep)
    loss = 0 - xlogy(y, _clipped(p, eps)) - xlogy(1 - y, _clipped(1 - p, eps))
    return drop(loss, keep)


@door
def categorical_cross_entropy(
    probs: Float[ArrayLike, "*batch classes"],
    labels: Float[ArrayLike, "*batch classes"],
    *,
    axis: Axis = -1,
    eps: float | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "none",
) -> Float[Array, "..."]:
    """Cross-entropy of probabilities against label distributions, in nats.

    `ℓ = −Σⱼ qⱼ·log pⱼ`, one value per position, exact: inf where a class with a
    positive label has probability 0, and 0·log 0 = 0. Nothing is renormalised.

    Args:
      probs: p, probabilities of the classes.
      labels: weights q ≥ 0 of the classes, shape of `probs`; any real dtype.
      axis: the class axis, or a tuple of class axes.
      eps: clips p to [eps, 1−eps], in [0, 0.5]; None does not clip. A clipped p has
        gradient 0.
      where: positions to keep (True). Dropped: loss 0, gradient 0, nothing read.
      weights: multipliers of the losses. Where 0, not read, but counted by "mean".
      reduction: as in `jaxent.reduce`, over the kept positions.
    Returns:
      Loss in nats, shape `batch`, float32 (float64 if either input is).
    Raises:
      TypeError: probabilities that are not floats, or a mask that is not boolean.
      ValueError: shapes or axes that do not fit, or `eps` out of range.
    Example:
      >>> probs, labels = jnp.array([0.3, 0.7, 0.0]), jnp.array([0.0, 0.0, 1.0])
      >>> jaxent.categorical_cross_entropy(probs, labels)
      Array(inf, dtype=float32)
      >>> jaxent.categorical_cross_entropy(probs, labels, eps=1e-7)
      Array(16.1181, dtype=float32)

    Source: Goodfellow, Bengio & Courville (2016), Deep Learning, eq. 3.51.
    """
    p, q = _checks.paired(("probs", "labels"), probs, labels)
    axes, shape = _checks.class_axes(axis, "probs", p)
    keep, average = positions(shape, where, weights, reduction, of="probs")
    _values.within("probs", p, _values.UNIT, keep, axes)
    _values.within("labels", q, _values.UP, keep, axes)
    return average(_categorical_cross_entropy(p, q, keep, _clip(eps), axis=axes))


@functools.partial(jax.jit, static_argnames="axis", inline=True)
def _categorical_cross_entropy(
    p: Array, q: Array, keep: Array | None, eps: ArrayLike | None, *, axis: Shape
) -> Array:
    p, q = widen_both(p, q)
    p, q = (drop(classes_last(a, axis), keep) for a in (p, q))
    return drop(jnp.sum(-xlogy(q, _clipped(p, eps)), axis=-1), keep)


def _clip(eps: float | None) -> ArrayLike | None:
    return None if eps is None else _options.number("eps", eps, (0.0, 0.5))


def _clipped(p: Array, eps: ArrayLike | None) -> Array:
    if eps is None:
        return p
    eps = jnp.asarray(eps, p.dtype)
    return jnp.clip(p, eps, 1 - eps)


@door
def negative_log_likelihood(
    log_probs: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    axis: Axis = -1,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    ignore_index: int | None = None,
    class_weights: Float[ArrayLike, " classes"] | None = None,
    reduction: Reduction = "none",
) -> Float[Array, "..."]:
    """Negative log-likelihood of class ids under given log-probabilities, in nats.

    `ℓ = −w_y·log p_y`, one value per position. The log-probabilities are taken as
    they are, normalised or not.

    Args:
      log_probs: log p of the classes, any real float dtype.
      labels: class ids in [0, classes).
      axis: the class axis, or a tuple of class axes.
      where: positions to keep (True). Dropped: loss 0, gradient 0, nothing read.
      weights: multipliers of the values. Where 0, not read, but counted by "mean".
      ignore_index: positions with this label are dropped; any integer.
      class_weights: w, one weight a class.
      reduction: as in `jaxent.reduce`, over the kept positions.
    Returns:
      Loss in nats, shape `batch`, float32 (float64 for float64). Out-of-range label:
      NaN, gradient NaN. Label with log-probability −inf: inf.
    Raises:
      TypeError: log-probabilities that are not floats, or labels not integers.
      ValueError: shapes or axes that do not fit.
    Example:
      >>> jaxent.negative_log_likelihood(jnp.log(jnp.array([0.5, 0.5])), jnp.array(1))
      Array(0.6931, dtype=float32)

    Source: Fisher (1922), On the Mathematical Foundations of Theoretical Statistics.
    """
    log_p = _checks.in_order(("log_probs", "labels"), log_probs, labels)
    axes, shape = _checks.class_axes(axis, "log_probs", log_p)
    ids = _checks.class_ids(labels, shape, log_p.shape, movable=True)
    index = _options.ignored(ignore_index)
    _options.heeded(index, ids)
    keep, average = positions(
        shape, where, weights, reduction, labels=ids, ignore_index=index
    )
    heeded = kept(ids, keep, index)
    _values.within("log_probs", log_p, _values.DOWN, heeded, axes)
    checked = _values.checked()
    count = math.prod(log_p.shape[a] for a in axes)
    each = _checks.per_class(class_weights, count)
    losses = _negative_log_likelihood(
        log_p, ids, keep, each, checked=checked, axis=axes, ignore_index=index
    )
    return average(losses)


@functools.partial(
    jax.jit, static_argnames=("checked", "axis", "ignore_index"), inline=True
)
def _negative_log_likelihood(
    log_p: Array,
    labels: Array,
    where: Array | None,
    weights: Array | None,
    *,
    checked: str | None,
    axis: Shape,
    ignore_index: int | None,
) -> Array:
    log_p = classes_last(widen(log_p), axis)
    labels = placed_as(log_p, labels)
    keep = kept(labels, where, ignore_index)
    log_p = drop(log_p, keep)
    count = log_p.shape[-1]
    labels, poison = class_ids(checked, labels, keep, count)
    # A label out of range reads every class, so that every gradient is NaN.
    hit = one_hot(labels, log_p) | (labels < 0)[..., None]
    if weights is not None:
        log_p = product(per_class(weights, log_p), log_p)
    loss = jnp.sum(jnp.where(hit, -log_p, 0), axis=-1)
    return drop(loss * poison.astype(log_p.dtype), keep)
