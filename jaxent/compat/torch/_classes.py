# SPDX-License-Identifier: Apache-2.0
"""Losses over classes: cross_entropy, nll_loss, linear_cross_entropy."""

import math

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from ... import _checks, _options
from ..._engine.exact import widen
from ..._engine.labels import kept
from ..._engine.linear import matmul
from ..._errors import door, fail
from ..._labels import smooth_labels
from ..._linear import linear_softmax_cross_entropy
from ..._probabilities import negative_log_likelihood
from ..._softmax import softmax_cross_entropy, softmax_cross_entropy_with_integer_labels
from ..._types import Number, Shape
from ._reduction import NAMES, chosen, class_weights, reduced


@door(**NAMES)
def cross_entropy(
    input: Float[ArrayLike, "..."],
    target: ArrayLike,
    weight: ArrayLike | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: Number = 0.0,
) -> Float[Array, "..."]:
    """`F.cross_entropy`: softmax cross-entropy of logits, classes on axis 1.

    For class ids `(1−α)·w_y·(−log p_y) + α/C·Σ_c w_c·(−log p_c)`; the mean divides by
    `Σ w_y` over the positions that are not ignored. For probabilities, floats of the
    shape of `input`, `Σ_c w_c·((1−α)·q_c + α/C)·(−log p_c)`; the mean divides by the
    number of positions, whatever the weights.

    Args:
      input: logits, `[N, C, d1, ...]` or `[C]`.
      target: ids `[N, d1, ...]` or probabilities `[N, C, d1, ...]`.
      weight: w, one weight a class.
      label_smoothing: α in [0, 1].
    Returns:
      A scalar, or one value a position; NaN for a mean over nothing.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit;
        `ignore_index` ≥ 0 with probabilities.
    Example:
      >>> jaxent.compat.torch.cross_entropy(
      ...     jnp.array([[1.2, -0.8, -0.5], [0.9, -1.2, 1.1]]), jnp.array([0, -100]))
      Array(0.2761, dtype=float32)

    Source: torch 2.13, torch/nn/functional.py.
    """
    reduction = chosen(reduction, size_average, reduce)
    alpha = _options.option("label_smoothing", label_smoothing, 1.0)
    index = ignored(ignore_index)
    x, y, axis = _classes(input, target)
    w = class_weights(weight, x.shape[axis])
    if jnp.issubdtype(y.dtype, jnp.floating):
        if index >= 0:
            remedy = "Zero the rows of `target` instead."
            must = "be negative (off) where `target` holds probabilities"
            fail(ValueError, "ignore_index", must, index, remedy)
        y = y if alpha is None else smooth_labels(y, alpha, axis=axis)
        losses = softmax_cross_entropy(x, y, axis=axis, class_weights=w)
        return reduced(losses, reduction)
    keep, weights = _counted(x, y, w, index)
    losses = softmax_cross_entropy_with_integer_labels(
        x, y, axis=axis, where=keep, class_weights=w
    )
    if alpha is not None:
        # jaxent's own `label_smoothing=` spreads α over the allowed classes alone.
        # torch's goes to all C: where one is forbidden (−inf), its loss is inf.
        uniform = jnp.full(x.shape, 1 / x.shape[axis], losses.dtype)
        smooth = softmax_cross_entropy(
            x, uniform, axis=axis, where=keep, class_weights=w
        )
        losses = (1 - alpha) * losses + alpha * smooth
    return reduced(losses, reduction, weights)


@door(**NAMES)
def nll_loss(
    input: Float[ArrayLike, "..."],
    target: ArrayLike,
    weight: ArrayLike | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    """`F.nll_loss`: `−w_y·input_y` of log-probabilities, classes on axis 1.

    The mean divides by `Σ w_y` over the positions that are not ignored.

    Args:
      input: log-probabilities, `[N, C, d1, ...]` or `[C]`, taken as they are.
      target: class ids, `[N, d1, ...]`.
      weight: w, one weight a class.
    Returns:
      A scalar, or one value a position; NaN for a mean over nothing.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit.
    Example:
      >>> jaxent.compat.torch.nll_loss(jnp.log(jnp.array([[0.5, 0.5]])), jnp.array([1]))
      Array(0.6931, dtype=float32)

    Source: torch 2.13, torch/nn/functional.py.
    """
    reduction = chosen(reduction, size_average, reduce)
    index = ignored(ignore_index)
    x, y, axis = _classes(input, target, integer=True)
    w = class_weights(weight, x.shape[axis])
    keep, weights = _counted(x, y, w, index)
    losses = negative_log_likelihood(x, y, axis=axis, where=keep, class_weights=w)
    return reduced(losses, reduction, weights)


@door(
    **NAMES | {"hidden": "input", "classifier": "linear_weight", "bias": "linear_bias"}
)
def linear_cross_entropy(
    input: Float[ArrayLike, "..."],
    linear_weight: Float[ArrayLike, "..."],
    target: ArrayLike,
    *,
    linear_bias: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: Number = 0.0,
    options: object = None,
) -> Float[Array, "..."]:
    """`F.linear_cross_entropy`: `cross_entropy(input @ linear_weight.T + bias, ...)`.

    Class ids take the fused head, which never holds the logits. Probabilities, and
    weights `[C, d1, ..., in]` of K-dimensional losses, take the plain path, as in
    torch. All transformations of JAX apply on both.

    Args:
      input: activations, `[N, in]` or `[in]`.
      linear_weight: `[C, in]` or `[C, d1, ..., in]`.
      target: as `cross_entropy`'s.
      linear_bias: shape of `linear_weight` without its last axis.
      weight: one weight a class.
      ignore_index: None is −100.
      label_smoothing: α in [0, 1].
      options: torch's chunking options, not needed: see `linear_softmax_cross_entropy`.
    Returns:
      A scalar, or one value a position; NaN for a mean over nothing.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit.
    Example:
      >>> jaxent.compat.torch.linear_cross_entropy(
      ...     jnp.ones((3, 4)), jnp.eye(8, 4), jnp.array([0, 1, 2]))
      Array(1.6996, dtype=float32)

    Source: torch 2.13, torch/nn/functional.py.
    """
    del options
    reduction = chosen(reduction)
    x, kernel, bias = _head(input, linear_weight, linear_bias)
    y = _checks.array("target", target)
    w = class_weights(weight, kernel.shape[0])
    index = -100 if ignore_index is None else ignored(ignore_index)
    full = (*x.shape[:-1], *kernel.shape[:-1])
    fused = kernel.ndim == 2 and not jnp.issubdtype(y.dtype, jnp.floating)
    axis = len(full) - 1 if fused else min(1, len(full) - 1)
    _target(target, full, axis, ("the logits without their classes", "the logits"))
    if fused:
        keep, weights = _counted(x, y, w, index)
        losses = linear_softmax_cross_entropy(
            x, kernel, y, bias=bias, where=keep, class_weights=w,
            label_smoothing=label_smoothing,
            reduction="none" if reduction == "none" else "sum",
        )  # fmt: skip
        if reduction != "mean":
            return losses
        # Where none is kept the sum is a constant, or 0 would meet the inf of 1/0.
        some = jnp.any(jnp.ones(y.shape, bool) if keep is None else keep)
        return jnp.where(some, losses, 0) / jnp.sum(weights)
    rows = kernel.reshape(math.prod(kernel.shape[:-1]), kernel.shape[-1])
    logits = matmul(x, rows, (x.ndim - 1, 1)).reshape(full)
    if bias is not None:
        logits += jnp.broadcast_to(bias.astype(logits.dtype), full)
    return cross_entropy(logits, y, w, None, index, None, reduction, label_smoothing)


def _head(
    input: ArrayLike, linear_weight: ArrayLike, linear_bias: ArrayLike | None
) -> tuple[Array, Array, Array | None]:
    """The arrays of a linear layer, shapes checked."""
    x = _checks.has_axes("input", _checks.floats("input", input), "features")
    kernel = _checks.floats("linear_weight", linear_weight)
    if kernel.ndim < 2 or kernel.shape[-1] != x.shape[-1]:
        must = f"have shape (C, {x.shape[-1]}), or (C, d1, ..., {x.shape[-1]})"
        remedy = "Its last axis is that of `input`, as in `torch.nn.Linear`."
        fail(ValueError, "linear_weight", must, kernel.shape, remedy)
    if linear_bias is None:
        return x, kernel, None
    bias = _checks.floats("linear_bias", linear_bias)
    _checks.same_shape("linear_bias", bias, kernel.shape[:-1], "linear_weight[..., 0]")
    return x, kernel, bias


def ignored(index: int) -> int:
    """torch's `ignore_index`, which is always one."""
    remedy = "Pass an int; to ignore several ids, set them to it in `target`."
    value = _options.ignored(index, remedy)
    if value is None:
        fail(TypeError, "ignore_index", "be one integer", index, remedy)
    return value


def _classes(
    input: ArrayLike, target: ArrayLike, *, integer: bool = False
) -> tuple[Array, Array, int]:
    """The arrays, shapes checked, and torch's class axis: 1, or 0 of one position."""
    x = _checks.in_order(("input", "target"), input, target)
    axis = min(1, x.ndim - 1)
    _checks.class_axes(axis, "input", x)
    like = ("`input[:, 0]`" if axis else "`input[0]`", "`input`")
    if integer:
        return x, _class_ids(target, x.shape, axis, like, ALONE), axis
    return x, _target(target, x.shape, axis, like), axis


ALONE = "For probabilities use `jaxent.compat.torch.cross_entropy`, of logits."
EITHER = "Probabilities are floats: {}."


def _target(target: ArrayLike, full: Shape, axis: int, like: tuple[str, str]) -> Array:
    """Class ids, or probabilities of the logits' shape `full`; `like` has names."""
    y = _checks.array("target", target)
    if not jnp.issubdtype(y.dtype, jnp.floating):
        soft = EITHER.format(_checks.cast("target", target, "float32"))
        return _class_ids(target, full, axis, like, soft)
    shape = full[:axis] + full[axis + 1 :]
    if y.shape == shape:
        ids = _checks.cast("target", target, "int32")
        remedy = f"Floats are probabilities, one a class; ids: {ids}."
        fail(TypeError, "target", "be integers, to be class ids", y, remedy)
    if y.shape != full:
        must = f"have shape {full} (that of {like[1]}), to be probabilities"
        remedy = f"Class ids are integers, of shape {shape}."
        fail(ValueError, "target", must, y.shape, remedy)
    return y


def _class_ids(
    target: ArrayLike, full: Shape, axis: int, like: tuple[str, str], soft: str
) -> Array:
    """Class ids; `soft` says what probabilities, of the logits' shape, are for."""
    y = _checks.array("target", target)
    shape = full[:axis] + full[axis + 1 :]
    if not jnp.issubdtype(y.dtype, jnp.integer):
        cast = f"Cast ids: {_checks.cast('target', target, 'int32')}."
        remedy = soft if y.shape == full else cast
        fail(TypeError, "target", "be integer class ids", y, remedy)
    if y.shape != shape:
        remedy = soft if y.shape == full else "Give one class id per position."
        order = _checks.transposed("target", y, shape)
        if y.shape == full[:-1] and like[1] == "`input`":
            remedy = "Classes are axis 1: `jnp.moveaxis(input, -1, 1)`."
        elif order:
            remedy = f"Transpose it: {order}."
        elif y.size == math.prod(shape):
            remedy = f"Reshape it: `target.reshape({shape})`."
        must = f"have shape {shape} (that of {like[0]})"
        fail(ValueError, "target", must, y.shape, remedy)
    return y


def _counted(
    x: Array, ids: Array, weight: ArrayLike | None, ignore_index: int
) -> tuple[Array | None, Array]:
    """Which positions to keep, and what the mean divides by: Σ w_y over them."""
    if ignore_index != -100:
        # The default is off where ids cannot be negative.
        remedy = "Cast `target` to a type that holds it."
        _options.heeded(ignore_index, ids, remedy)
    keep = kept(ids, None, ignore_index)
    ones = jnp.ones(ids.shape, widen(x).dtype)
    heeded = ones if keep is None else keep.astype(ones.dtype)
    if weight is None:
        return keep, heeded
    own = jnp.asarray(weight)[ids if keep is None else jnp.where(keep, ids, 0)]
    return keep, heeded * own.astype(ones.dtype)
