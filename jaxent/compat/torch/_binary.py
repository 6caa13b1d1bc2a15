# SPDX-License-Identifier: Apache-2.0
"""Elementwise losses: binary, focal, divergence and Gaussian."""

import math
from numbers import Real

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Float

from ... import _checks, _options
from ..._divergence import kl_divergence, kl_divergence_with_log_targets
from ..._engine.exact import widen, widen_both, xlog1py, xlogy
from ..._errors import door, fail, shown
from ..._sigmoid import sigmoid_binary_cross_entropy
from ..._sigmoid import sigmoid_focal_loss as focal_loss
from ..._types import Number
from ._reduction import NAMES, REDUCTIONS, chosen, reduced

DIVERGENCE_REDUCTIONS = (*REDUCTIONS, "batchmean")


@door(**NAMES)
def binary_cross_entropy(
    input: Float[ArrayLike, "*shape"],
    target: Float[ArrayLike, "*shape"],
    weight: ArrayLike | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    """`F.binary_cross_entropy`: of probabilities, each logarithm cut at −100.

    `−w·(y·max(log p, −100) + (1−y)·max(log(1−p), −100))`. The gradient is torch's,
    `(p − y)/max(p·(1−p), 1e-12)`: 1e12 at a sure and wrong p, never 0.

    Args:
      input: p in [0, 1]; outside, NaN.
      target: y in [0, 1], shape of `input`.
      weight: w, broadcastable to `input`.
    Returns:
      A scalar, or one value an element; NaN for a mean over nothing.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit.
    Example:
      >>> jaxent.compat.torch.binary_cross_entropy(
      ...     jnp.array([0.8, 0.0]), jnp.array([1.0, 1.0]), reduction="none")
      Array([  0.2231, 100.    ], dtype=float32)

    Source: torch 2.13, torch/nn/functional.py; aten/src/ATen/native/Loss.cpp.
    """
    reduction = chosen(reduction, size_average, reduce)
    p, y = widen_both(*_checks.paired(("input", "target"), input, target))
    return reduced(_multiplied(_clamped(p, y), weight), reduction)


@jax.custom_jvp
def _clamped(p: Array, y: Array) -> Array:
    yes, no = 0 - xlogy(jnp.ones_like(p), p), 0 - xlog1py(jnp.ones_like(p), -p)
    return y * jnp.minimum(yes, 100) + (1 - y) * jnp.minimum(no, 100)


@_clamped.defjvp
def _clamped_jvp(primals, tangents):
    p, y = primals
    wrt_p = (p - y) / jnp.maximum(p * (1 - p), 1e-12)
    wrt_y = xlog1py(jnp.ones_like(p), -p) - xlogy(jnp.ones_like(p), p)
    return _clamped(p, y), wrt_p * tangents[0] + wrt_y * tangents[1]


@door(**NAMES)
def binary_cross_entropy_with_logits(
    input: Float[ArrayLike, "*shape"],
    target: Float[ArrayLike, "*shape"],
    weight: ArrayLike | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """`F.binary_cross_entropy_with_logits`: `w·(P·y·softplus(−x) + (1−y)·softplus(x))`.

    Args:
      input: logits x.
      target: y in [0, 1], shape of `input`.
      weight: w, broadcastable to `input`.
      pos_weight: P, broadcastable to `input`.
    Returns:
      A scalar, or one value an element; NaN for a mean over nothing. ±inf logits: 0
      where they match a hard label (torch: NaN), inf where they don't.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit.
    Example:
      >>> jaxent.compat.torch.binary_cross_entropy_with_logits(
      ...     jnp.array([2.0, -1.0]), jnp.array([1.0, 0.0]))
      Array(0.2201, dtype=float32)

    Source: torch 2.13, torch/nn/functional.py.
    """
    reduction = chosen(reduction, size_average, reduce)
    x, y = _checks.paired(("input", "target"), input, target)
    if pos_weight is not None:
        pos_weight = _checks.broadcastable("pos_weight", pos_weight, x, "`input`'s")
    losses = sigmoid_binary_cross_entropy(x, y, pos_weight=pos_weight)
    return reduced(_multiplied(losses, weight), reduction)


@door(**NAMES)
def multilabel_soft_margin_loss(
    input: Float[ArrayLike, "*batch classes"],
    target: Float[ArrayLike, "*batch classes"],
    weight: ArrayLike | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    """`F.multilabel_soft_margin_loss`: binary losses of logits, averaged over classes.

    Args:
      input: logits, classes on the last axis.
      target: y in [0, 1], shape of `input`.
      weight: multipliers of the classes, broadcastable to `input`; not divided by.
    Returns:
      A scalar, or one value a row; NaN for a mean over nothing.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit.
    Example:
      >>> jaxent.compat.torch.multilabel_soft_margin_loss(
      ...     jnp.array([[2.0, -1.0]]), jnp.array([[1.0, 0.0]]), reduction="none")
      Array([0.2201], dtype=float32)

    Source: torch 2.13, torch/nn/functional.py.
    """
    reduction = chosen(reduction, size_average, reduce)
    x, y = _checks.paired(("input", "target"), input, target)
    _checks.has_axes("input", x)
    losses = _multiplied(sigmoid_binary_cross_entropy(x, y), weight)
    return reduced(jnp.sum(losses, axis=-1) / x.shape[-1], reduction)


@door(logits="inputs", labels="targets")
def sigmoid_focal_loss(
    inputs: Float[ArrayLike, "*shape"],
    targets: Float[ArrayLike, "*shape"],
    alpha: float = 0.25,
    gamma: Number = 2,
    reduction: str = "none",
) -> Float[Array, "..."]:
    """torchvision's `sigmoid_focal_loss`: `α_t·(1 − p_t)^γ·CE` of binary logits.

    Args:
      inputs: logits.
      targets: y in [0, 1], shape of `inputs`.
      alpha: weight of positives, 1−α of negatives; a negative number is off.
      gamma: focusing exponent γ ≥ 0.
    Returns:
      One value an element, or their sum or mean.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit.
    Example:
      >>> jaxent.compat.torch.sigmoid_focal_loss(
      ...     jnp.array([1.0, -3.0]), jnp.array([1.0, 1.0]), alpha=-1)
      Array([0.0227, 2.7663], dtype=float32)

    Source: torchvision 0.28, torchvision/ops/focal_loss.py.
    """
    reduction = chosen(reduction)
    x, y = _checks.paired(("inputs", "targets"), inputs, targets)
    losses = focal_loss(x, y, alpha=_balance(alpha), gamma=gamma)
    return reduced(losses, reduction)


def _balance(alpha: float) -> float | None:
    """α, unless it is negative, which is known before anything is traced."""
    if isinstance(alpha, Tracer) or not isinstance(alpha, (Real, Array)):
        remedy = "A negative number is off; a traced one has no sign yet."
        fail(TypeError, "alpha", "be one Python number", shown(alpha), remedy)
    several = isinstance(alpha, Array) and alpha.ndim > 0
    return alpha if several or alpha >= 0 else None


@door(**NAMES)
def kl_div(
    input: Float[ArrayLike, "..."],
    target: Float[ArrayLike, "..."],
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Float[Array, "..."]:
    """`F.kl_div`: `t·(log t − input)` of log-probabilities, elementwise.

    "mean" divides by the number of elements, "batchmean" by the length of the first
    axis; only the latter is a divergence. A zero target adds 0 whatever was predicted.

    Args:
      input: log-probabilities of the prediction.
      target: probabilities t, or their logs; broadcasts against `input`.
      log_target: whether `target` is in logs.
    Returns:
      A scalar, or one value an element; NaN for a mean over nothing.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit.
    Example:
      >>> jaxent.compat.torch.kl_div(
      ...     jnp.log(jnp.array([[0.2, 0.8]])), jnp.array([[0.5, 0.5]]),
      ...     reduction="batchmean")
      Array(0.2231, dtype=float32)

    Source: torch 2.13, torch/nn/functional.py.
    """
    reduction = chosen(reduction, size_average, reduce, DIVERGENCE_REDUCTIONS)
    x, t = (_checks.floats(*a) for a in (("input", input), ("target", target)))
    if not _checks.meets(x.shape, t.shape):
        must = f"broadcast against `input`, of shape {x.shape}"
        remedy = "Their axes must be equal or 1, counted from the last."
        fail(ValueError, "target", must, t.shape, remedy)
    log_target = _options.truth("log_target", log_target)
    shape = jnp.broadcast_shapes(x.shape, t.shape)
    # A last axis of one class: the divergence of each element by itself.
    pair = (jnp.broadcast_to(a, shape)[..., None] for a in (x, t))
    values = (kl_divergence_with_log_targets if log_target else kl_divergence)(*pair)
    if reduction == "batchmean":
        return jnp.sum(values) / (x.shape[0] if x.ndim else 1)
    return reduced(values, reduction)


@door(**NAMES)
def gaussian_nll_loss(
    input: Float[ArrayLike, "..."],
    target: Float[ArrayLike, "..."],
    var: Float[ArrayLike, "..."],
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    """`F.gaussian_nll_loss`: `½·(log v + (input − target)²/v)`, v = max(var, eps).

    The variance is clamped outside of differentiation: its gradient is that at v.

    Args:
      input: means.
      target: observations, broadcastable to `input`.
      var: variances ≥ 0 (not checked): a number, or the shape of `input`, or that
        without the last axis, or with one axis of length 1.
      full: adds `½·log 2π`.
      eps: the least variance.
    Returns:
      A scalar, or one value an element; NaN for a mean over nothing.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit.
    Example:
      >>> jaxent.compat.torch.gaussian_nll_loss(
      ...     jnp.array([1.0]), jnp.array([3.0]), jnp.array([4.0]))
      Array(1.1931, dtype=float32)

    Source: torch 2.13, torch/nn/functional.py.
    """
    reduction = chosen(reduction)
    x = widen(_checks.floats("input", input))
    t = _checks.broadcastable("target", target, x, "`input`'s")
    v = _checks.weights("var", var)
    v = v[..., None] if v.ndim and v.shape == x.shape[:-1] else v
    v = _checks.broadcastable("var", v, x, "`input`'s")
    least = _options.number("eps", eps, (0.0, math.inf))
    full = _options.truth("full", full)
    t, v = (jnp.broadcast_to(a.astype(x.dtype), x.shape) for a in (t, v))
    v += lax.stop_gradient(jnp.maximum(v, least) - v)
    losses = (xlogy(jnp.ones_like(v), v) + (x - t) ** 2 / v) / 2
    return reduced(losses + full * math.log(2 * math.pi) / 2, reduction)


def _multiplied(losses: Array, weight: ArrayLike | None) -> Array:
    if weight is None:
        return losses
    w = _checks.broadcastable("weight", weight, losses, "`input`'s")
    return losses * jnp.broadcast_to(w.astype(losses.dtype), losses.shape)
