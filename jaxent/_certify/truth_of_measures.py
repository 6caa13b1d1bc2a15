# SPDX-License-Identifier: Apache-2.0
"""Losses of probabilities and information measures by definition, as in `truth`.

Their slopes are by hand: a difference of two distributions is of second order where
they are near, so that its derivative, by any step, is a difference of larger numbers.
"""

import numpy as np

from .truth import (
    Sized,
    Truth,
    Wide,
    hit,
    length,
    of_logits,
    of_rows,
    plain,
    times,
    total,
    wide,
)


def log(x: Wide, settled: Wide) -> Wide:
    """0 where 0·log 0 is settled: a constant."""
    return np.log(np.where(settled, 1, x))


def ratio(x: Wide, y: Wide) -> Wide:
    return np.where(x == 0, 0, x / y)


def binary_of_probs(p, y) -> Truth:
    p, y = wide(p), wide(y)
    yes, no = -log(p, (p == 0) & (y == 0)), -np.log1p(-np.where(p == y, 0, p))
    no = np.where((p == y) & (p < 1), -np.log1p(-p), no)
    value = times(y, yes) + times(1 - y, no)
    up, down = ratio(1 - y, 1 - p), ratio(y, p)
    return Truth(plain(value), (Sized(up - down, up + down), Sized(yes - no, yes + no)))


def cross_entropy_of_probs(p, q) -> Truth:
    """−Σ p·log q."""
    p, q = wide(p), wide(q)
    nll = -log(q, (p == 0) & (q == 0))
    return Truth(plain(total(times(p, nll))), (plain(nll), plain(-ratio(p, q))))


def categorical(p, q) -> Truth:
    value, gradients = cross_entropy_of_probs(q, p)
    return Truth(value, gradients[::-1])


def entropy(p) -> Truth:
    p = wide(p)
    nll = -log(p, p == 0)
    return Truth(plain(total(p * nll)), (Sized(nll - (p > 0), nll + 1),))


def negative_log_likelihood(log_p, y) -> Truth:
    one = hit(y, np.shape(log_p)[-1])
    poison = np.where(one.any(-1), wide(1), np.nan)
    value = total(-times(wide(one), wide(log_p)))
    return Truth(plain(value * poison), (plain(-wide(one) * poison[..., None]),))


def kl(log_q, t) -> Truth:
    log_q, t = wide(log_q), wide(t)
    log_t = np.log(t)
    value = Sized(total(t * (log_t - log_q)), total(t * (abs(log_t) + abs(log_q))))
    slope = Sized(log_t - log_q + 1, abs(log_t) + abs(log_q) + 1)
    return Truth(value, (plain(-t), slope))


def kl_of_logs(log_q, log_t) -> Truth:
    log_q, log_t = wide(log_q), wide(log_t)
    t, r = np.exp(log_t), log_t - log_q
    value = Sized(total(t * r), total(t * abs(r)))
    return Truth(value, (plain(-t), Sized(t * (r + 1), t * (abs(r) + 1))))


def phi(d: Wide) -> Wide:
    """e^d − 1 − d ≥ 0."""
    small = np.abs(d) < 0.5
    near, series = np.where(small, d, 0), np.ones_like(d)
    for n in range(24, 2, -1):
        series = 1 + near / n * series
    return np.where(small, near * near / 2 * series, np.expm1(d) - d)


def generalized_kl(log_q, t) -> Truth:
    log_q, t = wide(log_q), wide(t)
    log_t, q = np.log(t), np.exp(log_q)
    # log t is rounded as a number: as t would be, moved by |log t| of its size.
    value = total(t * phi(log_q - log_t))
    moved = total(abs(q - t) * np.maximum(1, abs(log_t)))
    by_log_q = Sized(q - t, q + t * np.maximum(1, abs(log_t)))
    by_t = Sized(log_t - log_q, abs(log_t) + abs(log_q))
    return Truth(Sized(value, value + moved), (by_log_q, by_t))


def js_parts(p: Wide, q: Wide, r: Wide) -> tuple[Wide, Wide, Wide]:
    """The divergence, ½·log(p/m) and ½·log(q/m), for r = log(q/p), inf where p is 0.

    ½·KL(p‖m) + ½·KL(q‖m) with m = (p + q)/2, each as Σ p·φ(log(m/p)): Σ (m − p) and
    Σ (m − q) make up 0.
    """
    of_p, of_q = (np.log1p(np.expm1(s) / 2) for s in (r, -r))
    p_terms = np.where(p == 0, (p + q) / 2, p * phi(np.where(p == 0, 0, of_p)))
    return total(p_terms + q * phi(of_q)) / 2, -of_p / 2, -of_q / 2


def js(p, q) -> Truth:
    p, q = wide(p), wide(q)
    near = np.abs(q - p) < p / 2
    r = np.where(near, np.log1p(np.where(near, (q - p) / p, 0)), np.log(q / p))
    value, by_p, by_q = js_parts(p, q, r)
    return Truth(plain(value), (plain(by_p), plain(by_q)))


# Of logits.


def centred(p: Wide, s: Wide) -> Wide:
    """p·(s − Σ p·s), where p near 1 would cancel if s were not 0 there."""
    top = np.argmax(p, axis=-1)[..., None]
    terms = times(p, s - np.take_along_axis(s, top, axis=-1))
    return terms - p * total(terms, keepdims=True)


def entropy_of_logits(x) -> Truth:
    x = wide(x)
    c = of_logits(x)
    return Truth(plain(total(times(c.p, c.nll))), (of_rows(centred(c.p, -x)),))


def log_ratio(a: Wide, b: Wide) -> tuple[Wide, Wide, Wide]:
    """p, q and log(q/p), accurate where it is small, and inf where p is 0."""
    p, q = of_logits(a).p, of_logits(b).p
    d = np.where(p == 0, 0, b - a)
    d = d - np.take_along_axis(d, np.argmax(a, axis=-1)[..., None], axis=-1)
    new = total(np.where(p == 0, q, 0), keepdims=True)
    shift = np.log1p(total(p * np.expm1(d), keepdims=True)) - np.log1p(-new)
    return p, q, np.where(p == 0, np.inf, d - shift)


def kl_of_logits(a, b) -> Truth:
    p, q, r = log_ratio(wide(a), wide(b))
    new, finite = p == 0, np.where(p == 0, 0, r)
    value = total(np.where(new, q, p * phi(finite)))
    by_b = np.where(new, q, p * np.expm1(finite))
    return Truth(plain(value), (of_rows(-centred(p, r)), of_rows(by_b)))


def js_of_logits(a, b) -> Truth:
    p, q, r = log_ratio(wide(a), wide(b))
    value, by_p, by_q = js_parts(p, q, r)
    both = ((p, by_p, r), (q, by_q, -r))
    return Truth(plain(value), tuple(of_rows(js_slope(*one)) for one in both))


def js_slope(p: Wide, s: Wide, r: Wide) -> Wide:
    """Of ½·log(p/m); ½·log 2 less, where the likeliest class has about that."""
    top = np.take_along_axis(r, np.argmax(p, axis=-1)[..., None], axis=-1)
    return centred(p, np.where(top < -1, -np.log1p(np.exp(r)) / 2, s))


def cross_entropy_of_logits(a, b) -> Truth:
    """H(p) + KL(p‖q): what its gradients are sums of."""
    p, nll = of_logits(wide(a)).p, of_logits(wide(b)).nll
    (of_entropy,), (by_a, by_b) = entropy_of_logits(a).gradients, kl_of_logits(a, b)[1]
    by_a = Sized(centred(p, nll), of_entropy.terms + by_a.terms)
    return Truth(plain(total(times(p, nll))), (by_a, by_b))


def kl_from_top_k(x, log_p, ids) -> Truth:
    """From a teacher's K classes, and one category of all others.

    log p is rounded as a number; what is left of 1 is as uncertain as 1 is beside it.
    """
    x, hits = wide(x), hit(ids, np.shape(x)[-1])
    members = np.concatenate([hits, ~hits.any(-2, keepdims=True)], axis=-2)
    e = np.where(members, np.exp(x - np.max(x, -1, keepdims=True))[..., None, :], 0)
    c, within = of_logits(np.log(total(e))), ratio(e, total(e, keepdims=True))
    log_p = np.where(hits.any(-1), wide(log_p), -np.inf)
    left = 1 - total(np.exp(log_p), keepdims=True)
    log_p = np.concatenate([log_p, np.log(left)], axis=-1)
    p, finite = np.exp(log_p), np.where(log_p == -np.inf, 0, log_p)
    r = np.where(p == 0, 0, -c.nll - finite)
    unsure = np.maximum(1, abs(finite))
    unsure[..., -1:] = 1 / left
    change = np.where(p == 0, c.p, p * np.expm1(r))
    value = total(np.where(p == 0, c.p, p * phi(r)))
    moved = total(np.maximum(abs(change), p * abs(r)) * unsure)
    by_x = np.sum(within * change[..., None], axis=-2)
    terms = np.sum(within * (c.p + p * unsure)[..., None], axis=-2)
    terms = np.broadcast_to(length(terms), x.shape)
    by_log_p = p * (r[..., -1:] - r)
    size = times(p, unsure + c.nll) + p * (unsure + c.nll)[..., -1:]
    slope = Sized(by_log_p[..., :-1], size[..., :-1])
    return Truth(Sized(value, value + moved), (Sized(by_x, terms), slope))
