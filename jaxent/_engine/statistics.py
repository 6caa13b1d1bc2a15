# SPDX-License-Identifier: Apache-2.0
"""The dense engine: the few numbers that every softmax loss is a function of.

All are made of the sums of `sums` over x − c, non-negative terms in which nothing
cancels. The sums are constants to differentiation: each function here has a rule of
its own, written in functions that have one, so that every order stays accurate.

docs/mathematics.md, "Two numbers a position", derives `pair_of`, and "Label smoothing"
what `expected_nll` adds to it. Read `pair_losses` next, where a loss is a function of
these numbers, or `softmax_statistics`, which hands them to users.
"""

import functools
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from .class_axis import WHOLE, ClassAxis
from .elementary import exp, log, log1p, quotient
from .exact import Pair, difference, divided, product
from .labels import drop, nan_unless
from .sums import rest_of, top_of, weighted_of
from .terms import Rest, Weights, distance_from, exp_from, one_hot


class LabelNumbers(NamedTuple):
    """What is known of one class y of each position; all but c are differentiable."""

    nll: Array
    one_minus_prob: Array
    log_total: Array
    """log Σ_j exp((x_j − c)/T)."""
    label_logit: Array
    largest: Array
    """c = max_j x_j, a constant."""

    def log_normalizer(self, classes: ClassAxis) -> Array:
        """log Σ_j exp(x_j/T)."""
        return classes.per(self.largest) + self.log_total


def label_numbers(
    x: Array,
    labels: Array,
    keep: Array | None = None,
    *,
    given: Array,
    classes: ClassAxis = WHOLE,
) -> LabelNumbers:
    """The numbers of logits x [..., V], widened from those `given`.

    At a temperature x carries its tangent (`ClassAxis.carry`).

    The sums are taken of `given`, which need less memory to read than x does. They are
    taken of all rows, and those of dropped positions are dropped after: a mask over the
    logits would be a pass and a copy more, and only a few numbers a row are left of
    it here. What is dropped is never read again, so that a NaN in it harms nothing.
    """
    sums = _dropped(rest_of(given, labels, classes), keep)
    return numbers_of(x, labels, keep, sums)


Sums = TypeVar("Sums", Rest, tuple[Rest, Weights])


def _dropped(sums: Sums, keep: Array | None) -> Sums:
    return jax.tree.map(
        lambda a: a if isinstance(a, ClassAxis) else drop(a, keep),
        sums,
        is_leaf=lambda a: isinstance(a, ClassAxis),
    )


def pair_of(sums: Rest) -> tuple[Pair, Array, Array]:
    """The label's pair, the log total, and p of a class at the others' largest.

    With m = (x_y − c')/T it is, over the larger of both (Blanchard, Higham & Higham
    2021, Alg. 4.1), log1p(t·exp(−m)), or log(t + exp(m)) − m: no term cancels. What m
    rounds off is carried along: there is one of it, not V.
    """
    label_logit = sums.label_logit
    # A label without others is ahead of them by 0, with a total of 0: p is then 1.
    others = jnp.where(sums.largest == -jnp.inf, label_logit, sums.largest)
    m, low = difference(label_logit, others)
    # +inf, rounded to the largest float, is no logit: nothing is a number then.
    infinite = jnp.maximum(sums.largest, label_logit) >= jnp.finfo(m.dtype).max
    m *= nan_unless(~infinite).astype(m.dtype)
    if sums.classes.temperature is not None:
        m, low = divided(m, low, jnp.asarray(sums.classes.temperature, m.dtype))
    ahead = m >= 0
    # exp(−|m + low|), to first order in low.
    e = exp(-jnp.abs(m))
    e -= e * jnp.where(ahead, low, -low)
    # All terms are over exp of the larger: the label's is 1 where it is ahead, else the
    # largest of the rest is. Neither sum has a term that cancels another.
    rest, own = jnp.where(ahead, sums.total * e, sums.total), jnp.where(ahead, 1, e)
    total = rest + own
    log_total = jnp.where(ahead, log1p(rest), log(total))
    nll = log_total - jnp.where(ahead, 0, m)
    return (
        Pair(nll, quotient(rest, total), quotient(own, total)),
        log_total,
        quotient(jnp.where(ahead, e, 1), total),
    )


@jax.custom_jvp
def numbers_of(x: Array, labels: Array, keep: Array | None, sums: Rest) -> LabelNumbers:
    """`label_numbers`, of sums that are there already."""
    del x, labels, keep
    pair, log_total, _ = pair_of(sums)
    largest = jnp.maximum(sums.largest, sums.label_logit)
    return LabelNumbers(
        pair.nll, pair.one_minus_prob, log_total, sums.label_logit, largest
    )


@numbers_of.defjvp
def _numbers_of_jvp(primals, tangents):
    x, labels, _, sums = primals
    n, classes = numbers_of(*primals), sums.classes
    others, own = _probabilities(*primals)
    dz, hit = classes.per(tangents[0]), one_hot(labels, x, classes)
    # −(1 − p) for the label, not p − 1: that difference is what other losses lose.
    d_nll = classes.sum(jnp.where(hit, -n.one_minus_prob[..., None], others) * dz)
    d_log_total = classes.sum(jnp.where(hit, own[..., None], others) * dz)
    # A label out of range, −1, reads them all: its gradient is then NaN throughout.
    d_label = classes.sum(jnp.where(hit | (labels < 0)[..., None], tangents[0], 0))
    constant = jnp.zeros_like(n.largest)
    return n, LabelNumbers(d_nll, own * d_nll, d_log_total, d_label, constant)


@jax.custom_jvp
def _probabilities(
    x: Array, labels: Array, keep: Array | None, sums: Rest
) -> tuple[Array, Array]:
    """p of each class but the label, [..., V], and p of the label, [...]."""
    pair, _, scale = pair_of(sums)
    p = exp_from(x, sums.largest[..., None], sums.classes) * scale[..., None]
    return drop(p, keep), pair.prob


@_probabilities.defjvp
def _probabilities_jvp(primals, tangents):
    x, labels, _, sums = primals
    (others, own), classes = _probabilities(*primals), sums.classes
    hit = one_hot(labels, x, classes)
    # dp_j = p_j·(dx_j − Σ p·dx), which no common shift of dx changes.
    d = from_top(x, sums, classes.per(tangents[0]))
    d -= classes.sum(jnp.where(hit, own[..., None], others) * d, keepdims=True)
    d_label = classes.sum(jnp.where(hit, d, 0))
    return (others, own), (others * d, own * d_label)


def from_top(x: Array, sums: Rest, dx: Array) -> Array:
    """The tangent dx less that of the likeliest class, whose own is then 0.

    In dp_j = p_j·(dx_j − Σ p·dx) no p near 1 is then left to subtract from 1.
    """
    top = x == jnp.maximum(sums.largest, sums.label_logit)[..., None]
    count = sums.classes.sum(top.astype(dx.dtype), keepdims=True)
    shift = sums.classes.sum(jnp.where(top, dx, 0), keepdims=True)
    # Not dx − shift there: transposed, that is a difference of what the others add to.
    return jnp.where(top & (count == 1), 0, dx - shift / jnp.maximum(count, 1))


# Jitted to be traced once a program: a divergence takes it up to fifty times.
@functools.partial(jax.jit, inline=True)
def class_pairs(
    x: Array, keep: Array | None = None, classes: ClassAxis = WHOLE
) -> Pair:
    """−log p_j, 1 − p_j and p_j of every class, [..., V]."""
    return class_pairs_from(x, keep, _dropped(top_of(x, classes), keep))


def _distance(x: Array, keep: Array | None, top: Rest) -> Array:
    """How far each class is below the likeliest, (c − x_j)/T."""
    return drop(distance_from(top.label_logit[..., None], x, top.classes), keep)


@jax.custom_jvp
def class_pairs_from(x: Array, keep: Array | None, top: Rest) -> Pair:
    """`class_pairs`, of sums that are there already."""
    pair, log_total, scale = pair_of(top)
    distance = _distance(x, keep, top)
    # From the largest of the rest, to which `scale` has what the margin rounds off.
    prob = exp_from(x, top.largest[..., None], top.classes) * scale[..., None]
    prob = jnp.where(distance == 0, pair.prob[..., None], drop(prob, keep))
    # Only at the top can 1 − p cancel, since every other p is at most ½.
    at_top = pair.one_minus_prob[..., None]
    one_minus_prob = jnp.where(distance == 0, at_top, 1 - prob)
    return Pair(distance + log_total[..., None], one_minus_prob, prob)


@class_pairs_from.defjvp
def _class_pairs_from_jvp(primals, tangents):
    x, keep, top = primals
    pairs, classes = class_pairs_from(*primals), top.classes
    dz, is_top = classes.per(tangents[0]), _distance(x, keep, top) == 0
    d_rest = classes.sum(jnp.where(is_top, 0, pairs.prob) * dz, keepdims=True)
    d_log_total = classes.sum(pairs.prob * dz, keepdims=True)
    # dz_j leaves 1 − p_j of itself: only a top of its own may have next to nothing.
    alone = is_top & (top.largest < top.label_logit)[..., None]
    d_nll = jnp.where(alone, d_rest - pairs.one_minus_prob * dz, d_log_total - dz)
    return pairs, Pair(d_nll, pairs.prob * d_nll, -pairs.prob * d_nll)


def log_normalizer(
    x: Array, keep: Array | None = None, classes: ClassAxis = WHOLE
) -> Array:
    """log Σ_j exp(x_j/T)."""
    largest, log_sum = log_total(x, keep, classes)
    return classes.per(largest) + log_sum


def log_total(
    x: Array, keep: Array | None = None, classes: ClassAxis = WHOLE
) -> tuple[Array, Array]:
    """c = max_j x_j, a constant, and log Σ_j exp((x_j − c)/T)."""
    top = _dropped(top_of(x, classes), keep)
    return top.label_logit, _log_total(x, keep, top)


@jax.custom_jvp
def _log_total(x: Array, keep: Array | None, top: Rest) -> Array:
    del x, keep
    return pair_of(top)[1]


@_log_total.defjvp
def _log_total_jvp(primals, tangents):
    # Σ p·dz, with p from functions that have rules: so that it has all derivatives.
    prob, classes = class_pairs_from(*primals).prob, primals[2].classes
    return _log_total(*primals), classes.sum(prob * classes.per(tangents[0]))


def expected_nll(
    x: Array,
    weights: Array,
    keep: Array | None = None,
    classes: ClassAxis = WHOLE,
    *,
    given: tuple[Array, Array],
) -> Array:
    """Σ_j w_j·(−log p_j) = Σ w_j·(c − x_j)/T + (Σ w)·(the log total), for w ≥ 0.

    Logits and weights are widened from those `given`, whose sums need less memory.
    """
    top, sums = _dropped(weighted_of(*given, classes), keep)
    return _expected_nll(x, weights, keep, top, sums)


@jax.custom_jvp
def _expected_nll(
    x: Array, weights: Array, keep: Array | None, top: Rest, sums: Weights
) -> Array:
    del x, weights, keep
    return sums.distance + product(sums.at_top + sums.off_top, pair_of(top)[1])


@_expected_nll.defjvp
def _expected_nll_jvp(primals, tangents):
    x, weights, keep, top, _ = primals
    dz, d_weights = top.classes.per(tangents[0]), tangents[1]
    nll, one_minus_prob, prob = class_pairs_from(x, keep, top)
    at_top, off_top = _shares(*primals)
    # (Σ w)·p − w = p·(Σ w − w) − w·(1 − p); Σ w − w cancels where w is nearly all,
    # which only matters where p is not small: at the top.
    is_top = _distance(x, keep, top) == 0
    top_first = off_top + (at_top - weights)
    others = jnp.where(is_top, top_first, at_top + off_top - weights)
    slope = prob * others - weights * one_minus_prob
    # An infinite loss is settled: it does not move with its weight.
    finite = jnp.where(jnp.isinf(nll), 0, nll)
    tangent = top.classes.sum(slope * dz + finite * d_weights)
    return _expected_nll(*primals), tangent


@jax.custom_jvp
def _shares(
    x: Array, weights: Array, keep: Array | None, top: Rest, sums: Weights
) -> tuple[Array, Array]:
    """The weight at the top and off it, keeping the class axis."""
    del x, weights, keep, top
    return sums.at_top[..., None], sums.off_top[..., None]


@_shares.defjvp
def _shares_jvp(primals, tangents):
    x, _, keep, top, _ = primals
    # They are sums of the weights alone: which class is at the top does not vary.
    is_top, classes = _distance(x, keep, top) == 0, top.classes
    d_at_top = classes.sum(jnp.where(is_top, tangents[1], 0), keepdims=True)
    d_off_top = classes.sum(jnp.where(is_top, 0, tangents[1]), keepdims=True)
    return _shares(*primals), (d_at_top, d_off_top)
