# SPDX-License-Identifier: Apache-2.0
"""The dense engine: the few numbers that every softmax loss is a function of.

Let c = max_j x_j and y a class. All that the losses need is c, x_y and the rest,
t = Σ_{j≠y} exp(x_j − c): sums of non-negative terms, taken over x − c, so that
nothing cancels and no offset of the logits matters. c is a constant to
differentiation: every quantity built here is independent of it.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from ._exact import Pair, exp_difference, softmax_pair, widen
from ._types import Shape


class SoftmaxStatistics(NamedTuple):
    """What a loss of your own may need of one position's logits x and label y.

    Each array has the shape of the labels. All but `correct` are differentiable
    any number of times, and keep their relative accuracy at saturation.
    """

    nll: Array
    """−log p_y in nats: the cross-entropy. Accurate near p_y = 1, where it is tiny."""
    one_minus_prob: Array
    """1 − p_y. Accurate near p_y = 1."""
    log_normalizer: Array
    """log Σ_j exp(x_j)."""
    label_logit: Array
    """x_y."""
    correct: Array
    """Whether x_y is the largest logit (bool; a tie for the largest counts)."""


def classes_last(x: Array, axis: Shape) -> Array:
    """`x` with the class axes moved to the end and flattened into one, as in optax."""
    batch = tuple(a for a in range(x.ndim) if a not in axis)
    count = math.prod(x.shape[a] for a in axis)
    return x.transpose(batch + axis).reshape(*(x.shape[a] for a in batch), count)


def allowed_logits(logits: Array, axis: Shape, class_where: Array | None) -> Array:
    """The logits in the computing dtype, classes last, forbidden classes at −inf."""
    if class_where is not None:
        logits = jnp.where(
            jnp.broadcast_to(class_where, logits.shape), logits, -jnp.inf
        )
    return classes_last(widen(logits), axis)


def one_hot(labels: Array, like: Array) -> Array:
    """Whether class j is the label; never a gather, so that sharded classes stay so."""
    return labels[..., None] == lax.broadcasted_iota(
        jnp.int32, like.shape, like.ndim - 1
    )


def top_class(x: Array) -> Array:
    """The class of the largest logit, the first of equals."""
    return lax.argmax(x, x.ndim - 1, jnp.int32)


class Parts(NamedTuple):
    """The numbers of the module's text for one class y of each position."""

    largest: Array
    label_logit: Array
    pair: Pair
    total: Array
    """Z = Σ_j exp(x_j − c)."""
    log_total: Array
    others: Array
    """exp(x_j − c) for j ≠ y and 0 at y; the only array here with the class axis."""
    hit: Array


def parts(x: Array, labels: Array) -> Parts:
    """The engine: a max, a masked exp and two sums over the classes, the last axis."""
    hit = one_hot(labels, x)
    largest = lax.stop_gradient(jnp.max(x, axis=-1))
    others = jnp.where(hit, 0, exp_difference(x, largest[..., None]))
    rest = jnp.sum(others, axis=-1)
    # A label out of range, −1, reads them all: its gradient is then NaN throughout.
    read = hit | (labels < 0)[..., None]
    label_logit = jnp.sum(jnp.where(read, x, 0), axis=-1)
    margin = label_logit - largest
    total = rest + jnp.exp(margin)
    pair = softmax_pair(margin, rest)
    return Parts(largest, label_logit, pair, total, jnp.log(total), others, hit)


def statistics(x: Array, labels: Array) -> SoftmaxStatistics:
    """The statistics of logits x [..., V] for class ids [...] in [0, V)."""
    nll, one_minus_prob, log_normalizer = _label_numbers(x, labels)
    s = parts(x, labels)
    correct = s.label_logit == s.largest
    return SoftmaxStatistics(
        nll, one_minus_prob, log_normalizer, s.label_logit, correct
    )


@jax.custom_jvp
def _label_numbers(x: Array, labels: Array) -> tuple[Array, Array, Array]:
    """−log p_y, 1 − p_y and log Σ exp(x)."""
    s = parts(x, labels)
    return s.pair.nll, s.pair.one_minus_prob, s.largest + s.log_total


@_label_numbers.defjvp
def _label_numbers_jvp(primals, tangents):
    (x, labels), (dx, _) = primals, tangents
    nll, one_minus_prob, log_normalizer = _label_numbers(x, labels)
    others, own = _probabilities(x, labels)
    d_label = jnp.sum(jnp.where(one_hot(labels, x), dx, 0), axis=-1)
    d_rest = jnp.sum(others * dx, axis=-1)
    # −(1 − p) for the label, not p − 1: that difference is what other losses lose.
    d_nll = d_rest - one_minus_prob * d_label
    out = nll, one_minus_prob, log_normalizer
    return out, (d_nll, own * d_nll, d_rest + own * d_label)


@jax.custom_jvp
def _probabilities(x: Array, labels: Array) -> tuple[Array, Array]:
    """p of each class but the label, 0 there, [..., V]; and that of the label."""
    s = parts(x, labels)
    return s.others / s.total[..., None], s.pair.prob


@_probabilities.defjvp
def _probabilities_jvp(primals, tangents):
    (x, labels), (dx, _) = primals, tangents
    others, own = _probabilities(x, labels)
    # dp_j = p_j·(dx_j − Σ p·dx), dx counted from that of the likeliest class: its own
    # is then 0, and no p near 1 is left to subtract from 1.
    top = jnp.sum(jnp.where(one_hot(top_class(x), x), dx, 0), axis=-1, keepdims=True)
    d = jnp.where(x == -jnp.inf, 0, dx - top)
    d_label = jnp.sum(jnp.where(one_hot(labels, x), d, 0), axis=-1)
    mean = jnp.sum(others * d, axis=-1) + own * d_label
    return (others, own), (others * (d - mean[..., None]), own * (d_label - mean))


def class_pairs(x: Array) -> Pair:
    """−log p_j, 1 − p_j and p_j of every class, [..., V].

    The engine's label is the likeliest class: only there can 1 − p cancel, since
    every other p is at most ½.
    """
    s = parts(x, top_class(x))
    distance = s.largest[..., None] - x
    prob = s.others / s.total[..., None]
    top = Pair(*(part[..., None] for part in s.pair))
    return Pair(
        jnp.where(s.hit, top.nll, distance + s.log_total[..., None]),
        jnp.where(s.hit, top.one_minus_prob, 1 - prob),
        jnp.where(s.hit, top.prob, prob),
    )
