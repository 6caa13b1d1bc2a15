# SPDX-License-Identifier: Apache-2.0
"""Any loss of (−log p, 1 − p), of rows of logits, with every option: the kernels."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ._classes import Classes, ClassInputs, allowed_logits, classes_last
from ._exact import computing_dtype, product, widen, widen_both
from ._labels import class_ids, drop, kept, uniform
from ._statistics import (
    class_pairs,
    expected_nll,
    label_numbers,
    log_normalizer,
)
from ._sums import one_hot
from ._types import Shape

PairLoss = Callable[[Array, Array, Array | None], Array]
"""A loss of (−log p, 1 − p, parameter) for a class of probability p."""


def cross_entropy_of(
    nll: Array, one_minus_prob: Array, parameter: Array | None
) -> Array:
    del one_minus_prob, parameter
    return nll


@functools.partial(
    jax.jit, static_argnames=("checked", "axis", "ignore_index", "loss"), inline=True
)
def integer_label_loss(
    inputs: ClassInputs,
    parameter: ArrayLike | None = None,
    *,
    checked: str | None,
    axis: Shape,
    ignore_index: int | None,
    loss: PairLoss,
) -> Array:
    """Any pair loss at the label, with every option; one value per position."""
    given = allowed_logits(inputs.logits, axis, inputs.class_where)
    x, dtype = widen(given), computing_dtype(given)
    keep = kept(inputs.labels, inputs.where, ignore_index)
    classes = inputs.classes
    labels, poison = class_ids(checked, inputs.labels, keep, classes.count(x.shape[-1]))
    parameter = None if parameter is None else jnp.asarray(parameter, dtype)
    n = label_numbers(x, labels, keep, given=given, classes=classes)
    value = loss(n.nll, n.one_minus_prob, parameter)
    weights = None
    if inputs.class_weights is not None:
        weights = jnp.broadcast_to(inputs.class_weights.astype(dtype), x.shape)
        label_weight = classes.sum(jnp.where(one_hot(labels, x, classes), weights, 0))
        value = product(label_weight, value)
    if inputs.label_smoothing is not None:
        alpha = jnp.asarray(inputs.label_smoothing, dtype)
        spread = _uniform(x, weights, classes)
        if loss is cross_entropy_of:
            # Linear in the logits: no second exponential of each.
            distance = product(spread, n.largest[..., None] - x)
            smooth = classes.sum(distance) + classes.sum(spread) * n.log_total
        else:
            smooth = _expected(x, spread, keep, loss, parameter, classes)
        value = product(1 - alpha, value) + alpha * smooth
    if inputs.z_loss is not None:
        value += jnp.asarray(inputs.z_loss, dtype) * (n.largest + n.log_total) ** 2
    return drop(value * poison.astype(dtype), keep)


@functools.partial(jax.jit, static_argnames=("axis", "loss"), inline=True)
def distribution_label_loss(
    inputs: ClassInputs,
    parameter: ArrayLike | None = None,
    *,
    axis: Shape,
    loss: PairLoss,
) -> Array:
    """Any pair loss, averaged over the label distribution; one value per position."""
    given = allowed_logits(inputs.logits, axis, inputs.class_where)
    as_given = classes_last(inputs.labels, axis)
    x, labels = widen_both(given, as_given)
    dtype, keep, classes = x.dtype, inputs.where, inputs.classes
    labels = drop(labels, keep, classes=True)
    parameter = None if parameter is None else jnp.asarray(parameter, dtype)
    if inputs.label_smoothing is not None:
        alpha = jnp.asarray(inputs.label_smoothing, dtype)
        labels = (1 - alpha) * labels + alpha * _uniform(x, None, classes)
    if inputs.class_weights is not None:
        labels *= jnp.broadcast_to(inputs.class_weights.astype(dtype), x.shape)
    if loss is cross_entropy_of:
        plain = inputs.label_smoothing is None and inputs.class_weights is None
        weights = as_given if plain else labels
        value = expected_nll(x, labels, keep, classes, given=(given, weights))
    else:
        value = _expected(x, labels, keep, loss, parameter, classes)
    if inputs.z_loss is not None:
        log_z = log_normalizer(x, keep, classes)
        value += jnp.asarray(inputs.z_loss, dtype) * log_z**2
    return drop(value, keep)


def _uniform(x: Array, weights: Array | None, classes: Classes) -> Array:
    """The uniform distribution over the classes that x allows, times their weights."""
    spread = uniform(x > -jnp.inf, classes).astype(x.dtype)
    return spread if weights is None else spread * weights


def _expected(
    x: Array,
    weights: Array,
    keep: Array | None,
    loss: PairLoss,
    parameter: Array | None,
    classes: Classes,
) -> Array:
    """Σ_j w_j·loss of class j."""
    nll, one_minus_prob, _ = class_pairs(x, keep, classes)
    return classes.sum(product(weights, loss(nll, one_minus_prob, parameter)))
