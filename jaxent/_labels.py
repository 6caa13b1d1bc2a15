# SPDX-License-Identifier: Apache-2.0
"""Labels, made of others: smoothed, or of the next token."""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import min_dim
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from . import _checks, _options
from ._engine.exact import widen
from ._engine.placement import placed_as, whole_along
from ._errors import door, fail
from ._types import Axis, Shape


@door
def smooth_labels(
    labels: Float[ArrayLike, "..."],
    alpha: ArrayLike,
    *,
    axis: Axis = -1,
    class_where: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    """Label distributions mixed with the uniform one: `(1−α)·y + α/V`.

    V counts the allowed classes only; forbidden ones get no mass. The losses do the
    same inside, without the array, by `label_smoothing=`.

    Args:
      labels: weights of the classes, such as one-hot rows; any real dtype.
      alpha: share of the uniform distribution, in [0, 1].
      axis: the class axis or axes.
      class_where: classes allowed (True), broadcastable to `labels`.
    Returns:
      Smoothed labels, shape of `labels`, float32 (float64 for float64).
    Raises:
      TypeError: class ids, which are integers of one axis, or a mask of no booleans.
      ValueError: `alpha` outside [0, 1], or an axis or mask that does not fit.
    Example:
      >>> jaxent.smooth_labels(jnp.array([0., 0., 1., 0.]), 0.1)
      Array([0.025, 0.025, 0.925, 0.025], dtype=float32)

    Source: Szegedy et al. (2016), Rethinking the Inception Architecture, §7.
    """
    y = _checks.not_ids("labels", labels, ", or `label_smoothing=` of the loss")
    axes, _ = _checks.class_axes(axis, "labels", y)
    alpha = _options.number("alpha", alpha, (0.0, 1.0))
    allowed = _checks.classes(class_where, y)
    return _smooth_labels(y, alpha, allowed, axis=axes)


@functools.partial(jax.jit, static_argnames="axis", inline=True)
def _smooth_labels(
    labels: Array, alpha: ArrayLike, allowed: Array | None, *, axis: Shape
):
    y = widen(labels)
    alpha = jnp.asarray(alpha, y.dtype)
    allowed = jnp.broadcast_to(True if allowed is None else allowed, y.shape)
    allowed = placed_as(y, allowed)
    share = alpha / jnp.sum(allowed, axis=axis, keepdims=True).astype(y.dtype)
    return jnp.where(allowed, (1 - alpha) * y + share, 0)


@door
def next_token_labels(
    tokens: Int[ArrayLike, "*batch length"],
    *,
    shift: int = 1,
    where: Bool[ArrayLike, "*batch length"] | None = None,
    segment_ids: Int[ArrayLike, "*batch length"] | None = None,
) -> tuple[Int[Array, "*batch length"], Bool[Array, "*batch length"]]:
    """Labels for predicting each next token, and which positions have one.

    Position i is labelled with token i + shift: the next one, or for a head that
    predicts several the one so many ahead. It is kept if there is such a token, if
    `where` keeps that token, and if both tokens are of one segment. Shapes stay as
    they are, so the logits need no slicing: `loss(logits, labels, where=where)`.

    Args:
      tokens: token ids.
      shift: how far ahead the label is, from 1 up; static.
      where: tokens to learn to predict (True); padding and prompts are False.
      segment_ids: which document each token of a packed row is of; 0 is padding.
    Returns:
      `(labels, where)`, both of the tokens' shape. Labels of dropped positions are
      ids in range (the last are 0); a loss does not read them.
    Raises:
      TypeError: `tokens` or `segment_ids` are not integers, or `where` not boolean.
      ValueError: shapes that differ, tokens without an axis, or a shift below 1.
    Example:
      >>> labels, where = jaxent.next_token_labels(
      ...     jnp.array([7, 8, 9, 4]), segment_ids=jnp.array([1, 1, 2, 2]))
      >>> labels
      Array([8, 9, 4, 0], dtype=int32)
      >>> where
      Array([ True, False,  True, False], dtype=bool)

    Source: Bengio et al. (2003), A Neural Probabilistic Language Model, eq. 1;
      several ahead: Gloeckle et al. (2024), Better & Faster LLMs via Multi-token
      Prediction, eq. 2.
    """
    ids = _checks.integers("tokens", tokens)
    if ids.ndim == 0:
        remedy = "The last axis is the sequence."
        fail(ValueError, "tokens", "have an axis", ids.shape, remedy)
    keep = _checks.positions(where, ids.shape)
    if segment_ids is not None:
        segment_ids = _checks.segment_ids("segment_ids", segment_ids)
        _checks.same_shape("segment_ids", segment_ids, ids.shape, "tokens")
    ahead = _options.count("shift", shift, 1)
    return _next_token_labels(ids, keep, segment_ids, shift=ahead)


@functools.partial(jax.jit, static_argnames="shift", inline=True)
def _next_token_labels(
    tokens: Array, where: Array | None, segments: Array | None, *, shift: int
):
    shift = min_dim(shift, tokens.shape[-1])

    # Devices that each hold a part of the length are told all of it, and keep theirs.
    def following(x: Array) -> Array:
        x = whole_along(x, -1)
        ends = jnp.zeros_like(x[..., :shift])
        moved = jnp.concatenate([x[..., shift:], ends], axis=-1)
        return placed_as(tokens, moved)

    keep = following(jnp.ones(tokens.shape, bool) if where is None else where)
    if segments is not None:
        segments = placed_as(tokens, segments)
        keep &= (following(segments) == segments) & (segments != 0)
    return following(tokens), keep
