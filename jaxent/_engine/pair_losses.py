# SPDX-License-Identifier: Apache-2.0
"""Any loss of (−log p, 1 − p), of rows of logits, with every option.

docs/mathematics.md, "Two numbers a position", has the pair, and "Label smoothing" the
sum that smoothing adds. The doors (`_softmax`, `_focal`) choose a loss and call one of
the two jitted functions here; `statistics` makes the pair. Read that next.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from .._types import Shape
from .class_axis import ClassAxis, allowed_logits, classes_last, per_class
from .exact import (
    as_logits,
    product,
    rounded,
    sigmoid_pair,
    widen_both,
)
from .inputs import ClassInputs
from .labels import class_ids, drop, kept, uniform
from .placement import placed_as
from .statistics import class_pairs, expected_nll, label_numbers, log_normalizer
from .terms import one_hot

PairLoss = Callable[..., Array]
"""A loss of (−log p, 1 − p, *parameters) for a class of probability p."""


def cross_entropy_of(nll: Array, one_minus_prob: Array) -> Array:
    del one_minus_prob
    return nll


@functools.partial(
    jax.jit, static_argnames=("checked", "axis", "ignore_index", "loss"), inline=True
)
def integer_label_loss(
    inputs: ClassInputs,
    parameters: tuple[ArrayLike, ...] = (),
    *,
    checked: str | None,
    axis: Shape,
    ignore_index: int | None,
    loss: PairLoss,
) -> Array:
    """Any pair loss at the label, with every option; one value per position."""
    given = allowed_logits(inputs.logits, axis, inputs.class_where)
    x, classes = inputs.classes.carry(as_logits(given))
    labels = placed_as(x, inputs.labels)
    dtype, keep = x.dtype, kept(labels, inputs.where, ignore_index)
    labels, poison = class_ids(checked, labels, keep, classes.count(x.shape[-1]))
    numbers = tuple(jnp.asarray(v, dtype) for v in parameters)
    # All that is below is made of a few numbers a position, but for the options that
    # look at every class: their weights and smoothing.
    n = label_numbers(x, labels, keep, given=given, classes=classes)
    value = loss(n.nll, n.one_minus_prob, *numbers)
    weights = None
    if inputs.class_weights is not None:
        weights = per_class(inputs.class_weights, x)
        label_weight = classes.sum(jnp.where(one_hot(labels, x, classes), weights, 0))
        value = product(label_weight, value)
    smooth = None
    if inputs.label_smoothing is not None:
        spread = _uniform(x, weights, classes)
        if loss is cross_entropy_of:
            # Linear in the logits: no second exponential of each.
            distance = product(spread, classes.scaled(n.largest[..., None] - x))
            smooth = classes.sum(distance) + classes.sum(spread) * n.log_total
        else:
            smooth = _expected(x, spread, keep, loss, numbers, classes)
    value = regularized(
        value, smooth, n.log_normalizer(classes), inputs.label_smoothing, inputs.z_loss
    )
    # Last, so that no option hides a label that is out of range.
    return drop(value * poison.astype(dtype), keep)


@functools.partial(jax.jit, static_argnames=("axis", "loss"), inline=True)
def distribution_label_loss(
    inputs: ClassInputs,
    parameters: tuple[ArrayLike, ...] = (),
    *,
    axis: Shape,
    loss: PairLoss,
) -> Array:
    """Any pair loss, averaged over the label distribution; one value per position."""
    given = allowed_logits(inputs.logits, axis, inputs.class_where)
    as_given = classes_last(inputs.labels, axis)
    x, labels = widen_both(given, as_given)
    x, classes = inputs.classes.carry(rounded(x))
    dtype, keep = x.dtype, inputs.where
    labels = drop(labels, keep)
    numbers = tuple(jnp.asarray(v, dtype) for v in parameters)
    if inputs.label_smoothing is not None:
        alpha = jnp.asarray(inputs.label_smoothing, dtype)
        labels = (1 - alpha) * labels + alpha * _uniform(x, None, classes)
    if inputs.class_weights is not None:
        labels *= per_class(inputs.class_weights, x)
    if loss is cross_entropy_of:
        # Labels that no option has changed are summed as they came: halves as halves.
        plain = inputs.label_smoothing is None and inputs.class_weights is None
        weights = as_given if plain else labels
        value = expected_nll(x, labels, keep, classes, given=(given, weights))
    else:
        value = _expected(x, labels, keep, loss, numbers, classes)
    if inputs.z_loss is not None:
        log_z = log_normalizer(x, keep, classes)
        value += jnp.asarray(inputs.z_loss, dtype) * log_z**2
    return drop(value, keep)


def _uniform(x: Array, weights: Array | None, classes: ClassAxis) -> Array:
    """The uniform distribution over the classes that x allows, times their weights."""
    spread = uniform(x > -jnp.inf, classes).astype(x.dtype)
    return spread if weights is None else spread * weights


def _expected(
    x: Array,
    weights: Array,
    keep: Array | None,
    loss: PairLoss,
    numbers: tuple[Array, ...],
    classes: ClassAxis,
) -> Array:
    """Σ_j w_j·loss of class j."""
    nll, one_minus_prob, _ = class_pairs(x, keep, classes)
    return classes.sum(product(weights, loss(nll, one_minus_prob, *numbers)))


def regularized(
    value: Array,
    smooth: Array | None,
    log_normalizer: Array,
    label_smoothing: ArrayLike | None,
    z_loss: ArrayLike | None,
) -> Array:
    """The label's loss, with its mean over the classes mixed in, and the z-loss."""
    if label_smoothing is not None and smooth is not None:
        alpha = jnp.asarray(label_smoothing, value.dtype)
        value = product(1 - alpha, value) + alpha * smooth
    if z_loss is not None:
        value += jnp.asarray(z_loss, value.dtype) * log_normalizer**2
    return value


def smoothed(y: Array, label_smoothing: ArrayLike | None) -> Array:
    """Labels of binary decisions, (1 − α)·y + α/2."""
    if label_smoothing is None:
        return y
    alpha = jnp.asarray(label_smoothing, y.dtype)
    return (1 - alpha) * y + alpha / 2


@jax.custom_jvp
def binary_cross_entropy_of(x: Array, y: Array, positive: Array) -> Array:
    """The binary loss of logits x, labels y and weights of positives."""
    yes, no = sigmoid_pair(x), sigmoid_pair(-x)
    return product(positive * y, yes.nll) + product(1 - y, no.nll)


@binary_cross_entropy_of.defjvp
def _binary_cross_entropy_jvp(primals, tangents):
    x, y, positive = primals
    dx, dy, d_positive = tangents
    yes, no = sigmoid_pair(x), sigmoid_pair(-x)
    wrt_x = (1 - y) * no.one_minus_prob - positive * y * yes.one_minus_prob
    # P·softplus(−x) − softplus(x) without its cancellation. An infinite logit has
    # settled its label: no derivative there.
    finite = jnp.where(jnp.isinf(x), 0, x)
    smaller = jnp.minimum(yes.nll, no.nll)
    wrt_y = (positive - 1) * smaller - finite * jnp.where(x >= 0, 1, positive)
    tangent = (
        wrt_x * dx + wrt_y * dy + y * jnp.where(jnp.isinf(x), 0, yes.nll) * d_positive
    )
    return binary_cross_entropy_of(x, y, positive), tangent
