# SPDX-License-Identifier: Apache-2.0
"""Terms of divergences: scalar functions of two probabilities, as in `exact`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from .elementary import exp, expm1, log, log1p, quotient
from .exact import phi


@jax.custom_jvp
def relative_entropy(p: Array, log_q: Array) -> Array:
    """p·(log p − log q), 0 at p = 0 whatever q is; there ∂/∂p is −log q."""
    log_p = log(jnp.where(p == 0, 1, p))
    return p * (log_p - jnp.where((p == 0) & ~jnp.isnan(log_q), 0, log_q))


@relative_entropy.defjvp
def _relative_entropy_jvp(primals, tangents):
    p, log_q = primals
    d_p, d_log_q = tangents
    zero = p == 0
    log_p = jnp.where(zero, 0, log(jnp.where(zero, 1, p)) + 1)
    slope = log_p - jnp.where(zero & jnp.isinf(log_q), 0, log_q)
    return relative_entropy(p, log_q), slope * d_p - p * d_log_q


def divergence(p: Array, q: Array, ratio: Array) -> Array:
    """p·(log p − log q) + q − p = p·φ(ratio) ≥ 0, of the ratio log q − log p."""
    near = (jnp.abs(ratio) < 1) & (p != 0)
    far = q - p - p * jnp.where(p == 0, 0, ratio)
    return jnp.where(near, p * phi(jnp.where(near, ratio, 0)), far)


def change(p: Array, q: Array, ratio: Array) -> Array:
    """q − p, accurate where it is small."""
    near = (jnp.abs(ratio) < 1) & (p != 0)
    return jnp.where(near, p * expm1(jnp.where(near, ratio, 0)), q - p)


@jax.custom_jvp
def generalized_relative_entropy(p: Array, log_q: Array) -> Array:
    """p·(log p − log q) + q − p = p·φ(log q − log p) ≥ 0."""
    ratio = log_q - log(jnp.where(p == 0, 1, p))
    return divergence(p, exp(log_q), ratio)


@generalized_relative_entropy.defjvp
def _generalized_relative_entropy_jvp(primals, tangents):
    p, log_q = primals
    d_p, d_log_q = tangents
    zero = p == 0
    ratio = log_q - log(jnp.where(zero, 1, p))
    slope = -jnp.where(zero & jnp.isinf(log_q), 0, ratio)
    tangent = slope * d_p + change(p, exp(log_q), ratio) * d_log_q
    return generalized_relative_entropy(p, log_q), tangent


@jax.custom_jvp
def jensen_shannon(p: Array, q: Array, weight: Array) -> Array:
    """w·p·log(p/m) + (1 − w)·q·log(q/m) with m = w·p + (1 − w)·q, never negative.

    By halves w·p·φ(log(m/p)) + (1 − w)·q·φ(log(m/q)), which is small where p is near q.
    """
    return weighted_halves(weight, *_halves(p, q, weight))


@jensen_shannon.defjvp
def _jensen_shannon_jvp(primals, tangents):
    weight = primals[2]
    d_p, d_q, d_weight = tangents
    of_p, of_q = _halves(*primals)
    # A zero probability counts as settled, as 0·log 0 does: no derivative there.
    by_p, by_q = -weight * of_p.ratio, (weight - 1) * of_q.ratio
    by_weight = of_p.excess - of_q.excess
    tangent = by_p * d_p + by_q * d_q + by_weight * d_weight
    return jensen_shannon(*primals), tangent


class Half(NamedTuple):
    """One of two distributions beside their mixture m."""

    ratio: Array
    """log(m/p); 0 where p or m is."""
    excess: Array
    """p·φ(log(m/p)) = m − p − p·log(m/p)."""


def half(p: Array, mix: Array, ratio: Array) -> Half:
    return Half(ratio, divergence(p, mix, ratio))


def weighted_halves(weight: Array, of_p: Half, of_q: Half) -> Array:
    return weight * of_p.excess + (1 - weight) * of_q.excess


def _halves(p: Array, q: Array, weight: Array) -> tuple[Half, Half]:
    m = mixture(p, q, weight)
    return (
        half(p, m, log_of_mixture(p, q, m, 1 - weight)),
        half(q, m, log_of_mixture(q, p, m, weight)),
    )


def mixture(p: Array, q: Array, weight: Array) -> Array:
    """w·p + (1 − w)·q; p or q itself where w is 1 or 0."""
    return weight * p + (1 - weight) * q


@jax.custom_jvp
def log_of_mixture(p: Array, q: Array, m: Array, share: Array) -> Array:
    """log(m/p) of m = p + share·(q − p), q's share; 0 where p or m is.

    Not by 1 − p's share: of a small share of q that is rounded to few digits.
    """
    moved = share * (q - p)
    near, void = jnp.abs(moved) < p / 2, (p == 0) | (m == 0)
    m, safe = (jnp.where(void, 1, x) for x in (m, p))
    part = safe / m
    tiny = part < jnp.finfo(p.dtype).tiny
    far = jnp.where(tiny, log(m) - log(safe), -log(jnp.where(tiny, 1, part)))
    close = log1p(quotient(jnp.where(near, moved, 0), jnp.where(p == 0, 1, p)))
    return jnp.where(void, 0, jnp.where(near, close, far))


@log_of_mixture.defjvp
def _log_of_mixture_jvp(primals, tangents):
    p, q, m, share = primals
    d_p, d_q, _, d_share = tangents
    void = (p == 0) | (m == 0)
    m, safe = (jnp.where(void, 1, x) for x in (m, p))
    # m moves with the others: dm/m − dp/p is share·(p·dq − q·dp)/(m·p). Over the larger
    # of p and q nothing of it cancels or underflows, whatever their sizes.
    larger = jnp.maximum(safe, q)
    moved = quotient(p, larger) * d_q - quotient(q, larger) * d_p
    moved = share * quotient(larger, m) * moved / safe
    moved += (q - p) * d_share / m
    return log_of_mixture(*primals), jnp.where(void, 0, moved)
