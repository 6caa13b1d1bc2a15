# SPDX-License-Identifier: Apache-2.0
"""Information measures of softmax distributions, from logits; classes last, in nats.

Two distributions enter through the difference of their logits less its p-weighted
mean, d = (b − a) − Σ p·(b − a), for which q = p·exp(d − KL): what is small is then
computed as such, and not as a difference of what is large.

docs/mathematics.md, "Information measures of logits", has the formulas; `class_pairs`
of `statistics` is what they are made of. Divergences of probabilities are in `ratios`.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from .class_axis import WHOLE, ClassAxis
from .elementary import exp, expm1, log, log1p, quotient
from .exact import difference, phi, product, rounded
from .ratios import Half, change, half, log_of_mixture, mixture, weighted_halves
from .row_groups import in_row_groups
from .statistics import (
    class_pairs,
    class_pairs_from,
    from_top,
    log_total,
    pair_of,
)
from .sums import fall_of, top_of
from .terms import Rest, distance_from, one_hot, traced_once


@jax.custom_jvp
def entropy_of_logits(x: Array, classes: ClassAxis = WHOLE) -> Array:
    """−Σ p·log p = log Σ exp(−D) + Σ p·D, D the distance from the largest logit."""
    return log_total(x, classes=classes)[1] + _mean_distance(x, classes)


@entropy_of_logits.defjvp
def _entropy_of_logits_jvp(primals, tangents):
    x, classes = primals
    # ∂H/∂xⱼ = pⱼ·(Dⱼ − Σ p·D): log Z, all that −log p and H are made of at saturation,
    # has dropped out.
    prob, distance, mean = _around_mean(x, classes)
    slope = prob * (distance - mean)
    return entropy_of_logits(*primals), classes.sum(slope * classes.per(tangents[0]))


@jax.custom_jvp
def _mean_distance(x: Array, classes: ClassAxis) -> Array:
    """Σ p·D."""
    top = top_of(x, classes)
    return pair_of(top)[2] * fall_of(x, top)


@_mean_distance.defjvp
def _mean_distance_jvp(primals, tangents):
    (x, classes), dx = primals, tangents[0]
    prob, distance, mean = _around_mean(x, classes)
    dz = from_top(x, top_of(x, classes), classes.per(dx))
    tangent = classes.sum(prob * (distance - mean - 1) * dz)
    return _mean_distance(*primals), tangent


def _around_mean(x: Array, classes: ClassAxis) -> tuple[Array, Array, Array]:
    """p and D of each class, and Σ p·D, keeping the class axis."""
    prob = class_pairs(x, classes=classes).prob
    distance = _distance(x, top_of(x, classes))
    return prob, distance, _mean_distance(x, classes)[..., None]


@jax.custom_jvp
def _distance(x: Array, top: Rest) -> Array:
    """D of each class; 0 of what is forbidden, where p is 0 too."""
    distance = distance_from(top.label_logit[..., None], x, top.classes)
    return jnp.where(x == -jnp.inf, 0, distance)


@_distance.defjvp
def _distance_jvp(primals, tangents):
    x, top = primals
    # Of the likeliest, alone, it stays 0 to every order.
    return _distance(x, top), -from_top(x, top, top.classes.per(tangents[0]))


class _Divergence(NamedTuple):
    """What is known of two distributions, one number a position."""

    kl: Array
    mean: Array
    """Σ p·(b − a − shift)/T."""
    shift: Array
    """b − a of a class that is likeliest under p."""
    shift_low: Array
    """And what that rounds off."""


def kl_of_logits(a: Array, b: Array, classes: ClassAxis = WHOLE) -> Array:
    """KL(softmax(a) ‖ softmax(b)) = log(1 + Σ p·φ(d)), φ(d) = e^d − 1 − d ≥ 0."""
    return _divergence(a, b, classes).kl


@jax.custom_jvp
def _divergence(a: Array, b: Array, classes: ClassAxis) -> _Divergence:
    each = functools.partial(_divergence_of_rows, classes=classes)
    return in_row_groups(each, a, b, classes=classes)


@traced_once
def _divergence_of_rows(a: Array, b: Array, classes: ClassAxis) -> _Divergence:
    # Here, and not before the groups of rows: of all rows it would be a copy.
    a, b = rounded(a), rounded(b)
    tops = [top_of(x, classes) for x in (a, b)]
    p = class_pairs_from(a, None, tops[0]).prob
    log_z_a, log_z_b = (pair_of(top)[1][..., None] for top in tops)
    largest_a, largest_b = (top.label_logit[..., None] for top in tops)
    raw, low = _raw_difference(a, b, p)
    # Centred at the likeliest class first: what an offset between a and b rounds off
    # b − a is in `low`, and taking one b − a from another is exact where they are near.
    top = one_hot(classes.top(a), a, classes)
    shift, shift_low = (
        classes.sum(jnp.where(top, x, 0), keepdims=True) for x in (raw, low)
    )
    raw = classes.scaled(jnp.where(p == 0, 0, (raw - shift) + (low - shift_low)))
    mean = classes.sum(product(p, raw), keepdims=True)
    # Twice: the first mean has the rounding of Σ p, which is not quite 1.
    mean += classes.sum(product(p, raw - mean), keepdims=True)
    d = raw - mean
    gap, gap_low = difference(largest_b, largest_a)
    gap = classes.scaled((gap - shift) + (gap_low - shift_low)) - mean
    # p·φ(d) by a series where d is small; elsewhere p·exp(d) − p·(1 + d), whose terms
    # are then of different size.
    near = (jnp.abs(d) < 1) & (p != 0)
    # p·exp(d) as one exponential, for where p underflows or exp(d) overflows.
    mass = exp(classes.scaled(b - largest_b) + (gap - log_z_a))
    far = mass - product(p, 1 + d)
    excess = jnp.where(near, p * phi(jnp.where(near, d, 0)), far)
    # The divergence as a difference of normalisers, for where the sum over the classes
    # may overflow: from 20 on its rounding no longer shows.
    direct = (gap + (log_z_b - log_z_a))[..., 0]
    # A class of mass under p that q forbids; not where q forbids every class (NaN).
    forbidden = classes.any((p > 0) & (b == -jnp.inf)) & jnp.isfinite(log_z_b)
    kl = jnp.where(direct < 20, log1p(classes.sum(excess)), direct)
    kl = jnp.where(forbidden[..., 0], jnp.inf, kl)
    return _Divergence(kl, mean[..., 0], shift[..., 0], shift_low[..., 0])


def _raw_difference(a: Array, b: Array, p: Array) -> tuple[Array, Array]:
    """b − a, and what that rounds off; 0 where p is 0."""
    return difference(*(jnp.where(p == 0, 0, x) for x in (b, a)))


@_divergence.defjvp
def _divergence_jvp(primals, tangents):
    a, b, classes = primals
    n, (da, db) = _divergence(*primals), tangents[:2]
    # ∂KL/∂b_j = q_j − p_j = p_j·(exp(d_j − KL) − 1), and ∂KL/∂a_j = −p_j·d_j: both go
    # to 0 with d, class by class, where q_j − p_j of rounded q and p would not.
    p, q, d, ratio = _centred(a, b, n, classes)
    of_a, of_b = product(p, d) * classes.per(da), change(p, q, ratio)
    d_kl = classes.sum(of_b * classes.per(db) - of_a)
    moved = from_top(a, top_of(a, classes), classes.per(db - da))
    d_mean = classes.sum(p * moved + of_a)
    constant = jnp.zeros_like(n.shift)
    return n, _Divergence(d_kl, d_mean, constant, constant)


def _centred(
    a: Array, b: Array, n: _Divergence, classes: ClassAxis
) -> tuple[Array, Array, Array, Array]:
    """p, q, d and log(q/p) of each class, these two meaningless where p is 0."""
    p, q = (class_pairs(x, classes=classes).prob for x in (a, b))
    d = _from_mean(a, b, lax.stop_gradient(p), n, classes)
    return p, q, d, _log_of_quotient(a, b, p, q, d - n.kl[..., None], classes)


@jax.custom_jvp
def _from_mean(
    a: Array, b: Array, p: Array, n: _Divergence, classes: ClassAxis
) -> Array:
    raw, low = _raw_difference(rounded(a), rounded(b), p)
    raw = (raw - n.shift[..., None]) + (low - n.shift_low[..., None])
    return classes.scaled(jnp.where(p == 0, 0, raw)) - n.mean[..., None]


@_from_mean.defjvp
def _from_mean_jvp(primals, tangents):
    a, _, p, _, classes = primals
    da, db, _, dn, _ = tangents
    moved = from_top(a, top_of(a, classes), classes.per(db - da))
    return _from_mean(*primals), jnp.where(p == 0, 0, moved) - dn.mean[..., None]


@jax.custom_jvp
def _log_of_quotient(
    a: Array, b: Array, p: Array, q: Array, ratio: Array, classes: ClassAxis
) -> Array:
    """The ratio as it is, with a derivative that has all digits of q and of p."""
    return ratio


@_log_of_quotient.defjvp
def _log_of_quotient_jvp(primals, tangents):
    a, _, p, q, ratio, classes = primals
    da, db = (classes.per(dx) for dx in tangents[:2])
    # d log(q_j/p_j) = (db − da)_j − Σ (q·db − p·da), tangents less that of the class
    # likeliest under p. In the sum the smaller of p and q takes db − da, and q − p the
    # rest: so that a small q has none of p's rounding, nor a small p of q's, and where
    # p is near q and both move alike, nothing large is subtracted.
    top = top_of(a, classes)
    moved, own = from_top(a, top, db - da), from_top(a, top, da)
    less = q < p
    shift = change(p, q, ratio) * jnp.where(less, own, own + moved)
    shift += jnp.where(less, q, p) * moved
    moved = jnp.where(p == 0, 0, moved)
    return _log_of_quotient(*primals), moved - classes.sum(shift, keepdims=True)


@jax.custom_jvp
def js_of_logits(
    a: Array, b: Array, weight: Array, classes: ClassAxis = WHOLE
) -> Array:
    """w·KL(p‖m) + (1 − w)·KL(q‖m), m = w·p + (1 − w)·q, by the terms of `ratios`."""
    each = functools.partial(_js, weight=weight, classes=classes)
    return in_row_groups(each, a, b, classes=classes)


def _js(a: Array, b: Array, weight: Array, classes: ClassAxis) -> Array:
    halves = _mixed(a, b, weight, classes)
    return classes.sum(weighted_halves(weight, halves.of_p, halves.of_q))


class _Mixed(NamedTuple):
    p: Array
    q: Array
    of_p: Half
    of_q: Half
    near: Array
    """Whether log(q/p) is small, and known as such."""


@traced_once
def _mixed(a: Array, b: Array, weight: Array, classes: ClassAxis) -> _Mixed:
    """Both distributions beside their mixture m, from log(q/p) where it is small."""
    p, q, ratio, near = _log_ratio(a, b, classes)
    m, halves = mixture(p, q, weight), []
    for prob, other, share, r in ((p, q, 1 - weight, ratio), (q, p, weight, -ratio)):
        far = log_of_mixture(prob, other, m, share)
        halves.append(half(prob, m, jnp.where(near, log1p(share * expm1(r)), far)))
    of_p, of_q = halves
    return _Mixed(p, q, of_p, of_q, near)


@js_of_logits.defjvp
def _js_of_logits_jvp(primals, tangents):
    value, (_, _, weight, classes) = js_of_logits(*primals), primals
    p, q, of_p, of_q, near = _mixed(*primals)
    da, db = (classes.per(dx) for dx in tangents[:2])
    tangent = classes.sum(of_p.excess - of_q.excess) * tangents[2]
    rest = 1 - weight
    sides = ((p, q, of_p, weight, rest, da), (q, p, of_q, rest, weight, db))
    for prob, other, side, share, of_other, dx in sides:
        # ∂JS/∂xⱼ = pⱼ·(sⱼ − Σ p·s), s = w·log(p/m): 0 for p = q, −w·log w for p ≫ q.
        # Which of the two the likeliest class is near is not computed, but left out,
        # and then that class's own s: so that no 1 − p is left to cancel.
        top = one_hot(classes.top(prob), prob, classes)
        apart = classes.any(top & ~near)
        safe = jnp.where(share == 0, 1, share)
        # log(m/(w·p)), of a p that most of m is.
        most = ~near & (of_other * other < safe * prob)
        left = jnp.where(most, of_other * other, 0)
        above = log1p(quotient(left, jnp.where(most, safe * prob, 1)))
        moved = jnp.where(most, above, side.ratio - log(safe))
        slope = -jnp.where(apart, moved, side.ratio)
        slope -= classes.sum(jnp.where(top, slope, 0), keepdims=True)
        mean = classes.sum(prob * slope, keepdims=True)
        # Twice, as in `_difference`: where most classes share a slope, what is left of
        # it is small beside the rounding of Σ p.
        mean += classes.sum(prob * (slope - mean), keepdims=True)
        tangent += share * classes.sum(prob * (slope - mean) * dx)
    return value, tangent


def _log_ratio(
    a: Array, b: Array, classes: ClassAxis
) -> tuple[Array, Array, Array, Array]:
    """p, q, log(q/p) where it is small, and where that is (elsewhere it reads 0)."""
    n = _divergence(a, b, classes)
    p, q, _, ratio = _centred(a, b, n, classes)
    near = (jnp.abs(ratio) < 1) & (p != 0)
    return p, q, jnp.where(near, ratio, 0), near
