# SPDX-License-Identifier: Apache-2.0
"""Values and gradients by definition, in NumPy's widest float, on the host.

What `certify` holds a device against, so it shares nothing with the library: for
class j, −log p_j = log(1 + Σ_{i≠j} e_i / e_j), every sum a masked one over the classes
i ≠ j, [..., V, V] numbers where the library has V. Nothing here subtracts near numbers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Wide = Any
"""A NumPy array of long doubles."""


class Sized(NamedTuple):
    """A number, and what it is a sum of: rounding is in proportion to that."""

    number: Wide
    terms: Wide


class Truth(NamedTuple):
    value: Sized
    gradients: tuple[Sized, ...]
    """By the first arguments, pulled back from ones."""


def wide(x) -> Wide:
    return np.asarray(x).astype(np.longdouble)


def plain(x: Wide) -> Sized:
    return Sized(x, np.abs(x))


def total(terms: Wide, keepdims: bool = False) -> Wide:
    return np.sum(terms, axis=-1, keepdims=keepdims)


def times(weight: Wide, value: Wide) -> Wide:
    """A zero weight takes nothing from infinity."""
    return np.where((weight == 0) & np.isinf(value), 0, weight * value)


def length(x: Wide) -> Wide:
    return np.sqrt(total(x * x, keepdims=True))


def of_rows(x: Wide) -> Sized:
    """Errors of an entry count relative to the length of its row."""
    return Sized(x, np.broadcast_to(length(x), x.shape))


def others(x: Wide) -> Wide:
    """Σ_{i≠j} x_i for every j."""
    return total(np.where(np.eye(x.shape[-1], dtype=bool), 0, x[..., None, :]))


class Classes(NamedTuple):
    """−log p, 1 − p and p of every class."""

    nll: Wide
    rest: Wide
    p: Wide


def of_logits(x: Wide) -> Classes:
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    rest = others(e)
    return Classes(np.log1p(rest / e), rest / (e + rest), e / (e + rest))


def of_margins(x: Wide) -> Classes:
    return Classes(np.log1p(np.exp(-x)), 1 / (1 + np.exp(x)), 1 / (1 + np.exp(-x)))


# A loss of one class: a function of these three, whose slope follows from it.


def cross_entropy(c: Classes) -> Wide:
    return c.nll


def focal(c: Classes) -> Wide:
    """γ = 2."""
    return c.nll * c.rest**2


def poly(c: Classes) -> Wide:
    """ε = 2."""
    return c.nll + 2 * c.rest


def generalized(c: Classes) -> Wide:
    """q = 0.75."""
    return -np.expm1(-0.75 * c.nll) / 0.75


def one_minus_prob(c: Classes) -> Wide:
    return c.rest


PairLoss = Callable[[Classes], Wide]
STEP = np.sqrt(np.finfo(np.longdouble).smallest_normal)
"""So small that its square is not seen beside the square of any 1 − p."""
FAR = wide(1e100)


def slope_of(loss: PairLoss, c: Classes) -> Wide:
    """ℓ' by −log p: the imaginary part of ℓ after an imaginary step.

    Nothing is subtracted, so the slope is as accurate as the loss. Where p is 0, an
    infinite −log p would make it NaN, and one that is merely large has the limit.
    """
    step = 1j * STEP
    nll = np.where(np.isinf(c.nll), FAR, c.nll)
    moved = Classes(nll + step, c.rest + step * c.p, c.p - step * c.p)
    return np.imag(loss(moved)) / STEP


def pulled(weights: Wide, slope: Wide, c: Classes) -> Sized:
    """∂ Σ_j w_j·ℓ(−log p_j) / ∂x = p·Σ_{i≠j} w_i·ℓ'_i − w_j·ℓ'_j·(1 − p_j).

    Errors of classes that are no label count relative to the length of their row.
    """
    s = times(weights, slope)
    to, fro = c.p * others(s), s * c.rest
    return Sized(to - fro, np.where(s == 0, length(to), to + fro))


def of_distribution(loss: PairLoss) -> Callable[..., Truth]:
    def truth(x, q) -> Truth:
        c, q = of_logits(wide(x)), wide(q)
        of_class, slope = loss(c), slope_of(loss, c)
        value = plain(total(times(q, of_class)))
        # An infinite loss is settled: it does not move with its label.
        by_q = np.where(np.isinf(of_class), 0, of_class)
        return Truth(value, (pulled(q, slope, c), plain(by_q)))

    return truth


def hit(y, count: int):
    return np.asarray(y)[..., None] == np.arange(count)


def of_label(loss: PairLoss) -> Callable[..., Truth]:
    def truth(x, y) -> Truth:
        c, one = of_logits(wide(x)), hit(y, np.shape(x)[-1])
        of_class, slope = loss(c), slope_of(loss, c)
        poison = np.where(one.any(-1), wide(1), np.nan)
        g = pulled(wide(one), slope, c)
        # exp(−q·(−log p)) is as uncertain as its exponent is large.
        exponent = total(times(wide(one), c.nll), keepdims=True)
        steep = 1 + (0.75 * exponent if loss is generalized else 0)
        return Truth(
            plain(total(times(wide(one), of_class)) * poison),
            (Sized(g.number * poison[..., None], g.terms * steep),),
        )

    return truth


def log_normalizer(x, y) -> Truth:
    """Whatever the label is: one out of range does not change it."""
    c, top = of_logits(wide(x)), np.max(wide(x), axis=-1)
    log_z = np.min(c.nll, axis=-1)
    return Truth(Sized(top + log_z, np.abs(top) + log_z), (of_rows(c.p),))


def binary(loss: PairLoss) -> Callable[..., Truth]:
    """Of logits and hard labels."""

    def truth(x, y) -> Truth:
        sign = 2 * wide(y) - 1
        c = of_margins(sign * wide(x))
        slope = -sign * slope_of(loss, c) * c.rest
        return Truth(plain(loss(c)), (plain(slope),))

    return truth


# Of heads, the sum over the positions: x = hidden @ classifier.T.


def of_head(h: Wide, w: Wide, slope: Sized) -> tuple[Sized, Sized]:
    """∂x pulled back to both factors; a product adds up its terms."""
    size = slope.terms
    by_h = Sized(slope.number @ w, size @ np.abs(w))
    return by_h, Sized(slope.number.T @ h, size.T @ np.abs(h))


def head(loss: Callable[..., Truth]) -> Callable[..., Truth]:
    """A loss of logits, and of labels or a teacher, of a head's."""

    def truth(hidden, classifier, *given) -> Truth:
        h, w = wide(hidden), wide(classifier)
        value, (slope, *others) = loss(h @ w.T, *given)
        return Truth(Sized(*map(np.sum, value)), (*of_head(h, w, slope), *others))

    return truth


def two_heads(divergence: Callable[..., Truth]) -> Callable[..., Truth]:
    """A divergence of a teacher's logits and a student's, the student given first."""

    def truth(student, classifier, teacher, classifier_of_teacher) -> Truth:
        s, v, t, w = map(wide, (student, classifier, teacher, classifier_of_teacher))
        value, (by_t, by_s) = divergence(t @ w.T, s @ v.T)
        gradients = *of_head(s, v, by_s), *of_head(t, w, by_t)
        return Truth(Sized(*map(np.sum, value)), gradients)

    return truth


def decisions(x: Wide, ids) -> Truth:
    """Is a class one of these? For all classes of a position."""
    return binary(cross_entropy)(x, hit(ids, x.shape[-1]).any(-2))


def among(x: Wide, y, ids) -> Truth:
    """Cross-entropy among the label and some classes."""
    count = x.shape[-1]
    known = hit(y, count) | hit(ids, count).any(0)
    return of_label(cross_entropy)(np.where(known, x, -np.inf), y)


def best(x: Wide, ids, number: int):
    """The ids with the largest log Σ exp(x) over the positions."""
    scores = np.sum(np.exp(x - np.max(x)), axis=0)[ids]
    return np.asarray(ids)[np.argsort(-scores)[:number]]


def noise_contrastive(x: Wide, y, ids) -> Truth:
    """Is a class the label, or one of these?"""
    yes, no = (
        hit(y, x.shape[-1]),
        np.broadcast_to(hit(ids, x.shape[-1]).any(0), x.shape),
    )
    p, q = of_margins(x), of_margins(-x)
    up, down = no * q.rest, yes * p.rest
    slope = Sized(up - down, up + down)
    return Truth(plain(total(yes * p.nll + no * q.nll)), (slope,))
