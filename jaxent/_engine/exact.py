# SPDX-License-Identifier: Apache-2.0
"""Scalar functions whose values and derivatives keep their relative accuracy.

Everything here is elementwise. Each rule is written in terms of functions that
carry rules of their own, so that derivatives of any order stay accurate.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from .elementary import exp, expm1, log, log1p, quotient
from .placement import placed_as


def computing_dtype(*arrays: Array) -> jnp.dtype:
    """What the library computes in: float64 if any of the arrays is, else float32."""
    double = any(x.dtype == jnp.float64 for x in arrays)
    return jnp.dtype(jnp.float64 if double else jnp.float32)


def widen(x: Array) -> Array:
    return x.astype(computing_dtype(x))


def widen_both(x: Array, y: Array) -> tuple[Array, Array]:
    """Both in one dtype, and in one place: that of x."""
    dtype = computing_dtype(x, y)
    return x.astype(dtype), placed_as(x, y.astype(dtype))


@jax.custom_jvp
def rounded(x: Array) -> Array:
    """x as it is, and to every use of it the same rounded number.

    Where a program makes its logits by a product, XLA recomputes that in each use, and
    fuses it with a subtraction that follows: `top − x` is then a rounding error where
    it should be 0, of the size of the logits. A minimum in between is not fused. (So
    are a select and a clamp; but XLA sums exponentials of no select on its fast path
    on CPU, and a lower bound would move −inf. Barriers and `reduce_precision` do not
    help in every version.) +inf, which is no logit, becomes the largest float.
    """
    return lax.min(x, jnp.full_like(x, jnp.finfo(x.dtype).max))


@rounded.defjvp
def _rounded_jvp(primals, tangents):
    return rounded(*primals), tangents[0]


def as_logits(x: Array) -> Array:
    """Logits of any float dtype as the engine takes them: widened, then `rounded`."""
    return rounded(widen(x))


def difference(x: Array, y: Array) -> tuple[Array, Array]:
    """x − y, and its rounding error, exactly (Knuth's two-sum); 0 if not finite."""
    d = x - y
    back = d - x
    low = (x - (d - back)) - (y + back)
    return d, lax.stop_gradient(jnp.where(jnp.isfinite(d), low, 0))


def divided(x: Array, low: Array, y: Array) -> tuple[Array, Array]:
    """(x + low)/y, and what that rounds off; low is small beside x."""
    q = quotient(x, jnp.broadcast_to(y, x.shape))
    # x − q·y, of halves whose products are exact (Dekker 1971): contracted or not.
    halves = 11 if x.dtype == jnp.float32 else 25
    exponent = jnp.finfo(x.dtype).nexp

    def split(a: Array) -> tuple[Array, Array]:
        high = lax.reduce_precision(a, exponent, halves)
        return high, a - high

    (q_high, q_low), (y_high, y_low) = split(q), split(y)
    left = ((x - q_high * y_high) - q_high * y_low - q_low * y_high) - q_low * y_low
    low = (left + low) / y
    return q, lax.stop_gradient(jnp.where(jnp.isfinite(low), low, 0))


class Pair(NamedTuple):
    """What a loss may know of the label's probability p, each to its own accuracy."""

    nll: Array
    """−log p, accurate near p = 1."""
    one_minus_prob: Array
    """1 − p, accurate near p = 1."""
    prob: Array
    """p, accurate near p = 0."""


@jax.custom_jvp
def sigmoid_pair(margin: Array) -> Pair:
    """The pair of a binary label that is right by `margin`: softplus(−m), σ(−m), σ(m).

    ±inf are settled: (0, 0, 1) and (inf, 1, 0), with finite derivatives.
    """
    # exp(−|m|) never overflows, and all below is made of positive terms.
    e = exp(-jnp.abs(margin))
    right = margin >= 0
    nll = jnp.maximum(-margin, 0) + log1p(e)
    wrong, true = jnp.where(right, e, 1), jnp.where(right, 1, e)
    return Pair(nll, quotient(wrong, 1 + e), quotient(true, 1 + e))


@sigmoid_pair.defjvp
def _sigmoid_pair_jvp(primals, tangents):
    pair = sigmoid_pair(*primals)
    d_nll = -pair.one_minus_prob * tangents[0]
    return pair, Pair(d_nll, pair.prob * d_nll, -pair.prob * d_nll)


def product(weight: Array, value: Array) -> Array:
    """weight · value, where a zero weight takes nothing from an infinite value."""
    return weight * jnp.where((weight == 0) & jnp.isinf(value), 0, value)


@jax.custom_jvp
def weighted(weight: Array, loss: Array) -> Array:
    """weight · loss; an infinite loss is settled, and does not move with its weight."""
    return product(weight, loss)


@weighted.defjvp
def _weighted_jvp(primals, tangents):
    weight, loss = primals
    finite = jnp.where(jnp.isinf(loss), 0, loss)
    return weighted(weight, loss), weight * tangents[1] + finite * tangents[0]


@jax.custom_jvp
def xlogy(x: Array, y: Array) -> Array:
    """x·log y with 0·log 0 = 0, a constant: there its derivatives are 0 too."""
    # Of 1, and not chosen after: a NaN that is not chosen is still one to checks.
    return x * log(jnp.where((x == 0) & ~jnp.isnan(y), 1, y))


@xlogy.defjvp
def _xlogy_jvp(primals, tangents):
    x, y = primals
    dx, dy = tangents
    settled = (x == 0) & (y == 0)
    safe_y = jnp.where(settled, 1, y)
    return xlogy(x, y), log(safe_y) * dx + quotient(x, safe_y) * dy


@jax.custom_jvp
def xlog1py(x: Array, y: Array) -> Array:
    """x·log(1 + y), with 0·log 0 = 0 as in `xlogy`."""
    return x * log1p(jnp.where((x == 0) & ~jnp.isnan(y), 0, y))


@xlog1py.defjvp
def _xlog1py_jvp(primals, tangents):
    x, y = primals
    dx, dy = tangents
    safe_y = jnp.where((x == 0) & (y == -1), 0, y)
    return xlog1py(x, y), log1p(safe_y) * dx + quotient(x, 1 + safe_y) * dy


@jax.custom_jvp
def box_cox(nll: Array, exponent: Array) -> Array:
    """(1 − p^q)/q of −log p and q ≥ 0; −log p itself at q = 0."""
    safe = jnp.where(exponent == 0, 1, exponent)
    return jnp.where(exponent == 0, nll, -expm1(-safe * nll) / safe)


@box_cox.defjvp
def _box_cox_jvp(primals, tangents):
    nll, exponent = primals
    power_q = exp(-product(exponent, nll))
    value = box_cox(nll, exponent)
    # p^q, not 1 − (1 − p^q), which loses it; and (p^q·(−log p) − value)/q.
    settled = jnp.isinf(nll) & (exponent != 0)
    finite = jnp.where(settled, 0, nll)
    z = exponent * finite
    near = z < 1
    tiny = finite * finite / 2 * _relative_phi(jnp.where(near, z, 0))
    safe = jnp.where(near & ~settled, 1, exponent)
    far = (power_q * finite - value) / safe
    slope = jnp.where(near & ~settled, -power_q * tiny, far)
    return value, power_q * tangents[0] + slope * tangents[1]


@jax.custom_jvp
def power(base: Array, exponent: ArrayLike) -> Array:
    """base**exponent for base ≥ 0, its derivatives at 0 taken as 0, never NaN.

    And below the smallest normal number, that a GPU keeps, where 1/base overflows.
    """
    return jnp.power(base, exponent)


@power.defjvp
def _power_jvp(primals, tangents):
    base, exponent = primals
    value = power(base, exponent)
    zero = base < jnp.finfo(base.dtype).tiny
    safe = jnp.where(zero, 1, base)
    slope = jnp.where(zero, 0, exponent * power(safe, exponent - 1))
    log_slope = jnp.where(zero, 0, log(safe) * value)
    return value, slope * tangents[0] + log_slope * tangents[1]


@jax.custom_jvp
def focal(nll: Array, one_minus_prob: Array, gamma: ArrayLike) -> Array:
    """(1 − p)^γ · (−log p), differentiable where 1 − p underflows and for γ < 1.

    The chain rule's (1 − p)^(γ−1) is infinite at p = 1 when γ < 1. It is written
    as (1 − p)^γ · r, where r = −log p / (1 − p) tends to 1 there.
    """
    return nll * power(one_minus_prob, gamma)


@focal.defjvp
def _focal_jvp(primals, tangents):
    nll, one_minus_prob, gamma = primals
    d_nll, d_one_minus_prob, d_gamma = tangents
    weight = power(one_minus_prob, gamma)
    # An infinite loss comes with p = 0, where 1 − p no longer moves.
    infinite = jnp.isinf(nll)
    finite = jnp.where(infinite, 0, nll)
    zero = one_minus_prob < jnp.finfo(one_minus_prob.dtype).tiny
    ratio = jnp.where(zero, 1, quotient(finite, jnp.where(zero, 1, one_minus_prob)))
    tangent = weight * d_nll + gamma * ratio * weight * d_one_minus_prob
    log_slope = log(jnp.where(zero | infinite, 1, one_minus_prob))
    tangent += log_slope * finite * weight * d_gamma
    return focal(nll, one_minus_prob, gamma), tangent


def phi(d: Array) -> Array:
    """e^d − 1 − d ≥ 0 to full relative accuracy; for |d| ≤ 1 (Taylor beyond d²/2)."""
    return d * d / 2 * _relative_phi(d)


def _relative_phi(d: Array) -> Array:
    """φ(d)/(d²/2)."""
    # Enough terms for |d| ≤ 1: what is left out is below half an ULP.
    order = 11 if d.dtype == jnp.float32 else 19
    series = jnp.ones_like(d)
    for n in range(order, 2, -1):
        series = 1 + d / n * series
    return series
