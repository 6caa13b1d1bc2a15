# SPDX-License-Identifier: Apache-2.0
"""Information measures of softmax distributions, from logits; classes last, in nats.

Two distributions enter through the difference of their logits less its p-weighted
mean, d = (b − a) − Σ p·(b − a), for which q = p·exp(d − KL): what is small is then
computed as such, and not as a difference of what is large.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ._exact import difference, log1p, phi, product
from ._ratios import jensen_shannon
from ._statistics import class_pairs, top_class
from ._sums import in_cache, one_hot


@jax.custom_jvp
def entropy_of_logits(x: Array) -> Array:
    """−Σ p·log p, a sum of non-negative terms."""
    return in_cache(_entropy, x)


def _entropy(x: Array) -> Array:
    nll, _, prob = class_pairs(x)
    return jnp.sum(product(prob, nll), axis=-1)


@entropy_of_logits.defjvp
def _entropy_of_logits_jvp(primals, tangents):
    (x,) = primals
    prob = class_pairs(x).prob
    # ∂H/∂xⱼ = pⱼ·(Dⱼ − Σ p·D), D the distance from the largest logit: log Z, all that
    # −log p and H are made of at saturation, has dropped out.
    # Differentiated too: what is at the top stays at distance 0, to every order.
    largest = jnp.max(x, axis=-1, keepdims=True)
    distance = jnp.where(x == -jnp.inf, 0, largest - x)
    mean = jnp.sum(prob * distance, axis=-1, keepdims=True)
    slope = prob * (distance - mean)
    return entropy_of_logits(x), jnp.sum(slope * tangents[0], axis=-1)


class _Difference(NamedTuple):
    p: Array
    q: Array
    centred: Array
    """d; meaningless where p is 0."""
    gap: Array
    """max b − max a, centred as d is, keeping the class axis."""


def _difference(a: Array, b: Array) -> _Difference:
    p, q = class_pairs(a).prob, class_pairs(b).prob
    raw, low = difference(b, a)
    # Centred at the likeliest class first: what an offset between a and b rounds off
    # b − a is in `low`, and taking one b − a from another is exact where they are near.
    top = one_hot(top_class(p), p)
    shift, shift_low = (
        jnp.sum(jnp.where(top, x, 0), axis=-1, keepdims=True) for x in (raw, low)
    )
    raw = jnp.where(p == 0, 0, (raw - shift) + (low - shift_low))
    mean = jnp.sum(product(p, raw), axis=-1, keepdims=True)
    # Twice: the first mean has the rounding of Σ p, which is not quite 1.
    mean += jnp.sum(product(p, raw - mean), axis=-1, keepdims=True)
    gap, gap_low = difference(*(jnp.max(x, axis=-1, keepdims=True) for x in (b, a)))
    gap = (gap - shift) + (gap_low - shift_low) - mean
    return _Difference(p, q, raw - mean, gap)


@jax.custom_jvp
def kl_of_logits(a: Array, b: Array) -> Array:
    """KL(softmax(a) ‖ softmax(b)) = log(1 + Σ p·φ(d)), φ(d) = e^d − 1 − d ≥ 0."""
    return in_cache(_kl, a, b)


def _kl(a: Array, b: Array) -> Array:
    p, _, d, gap = _difference(a, b)
    largest_b = jnp.max(b, axis=-1, keepdims=True)
    log_z_a, log_z_b = (
        jnp.min(class_pairs(x).nll, axis=-1, keepdims=True) for x in (a, b)
    )
    near = (jnp.abs(d) < 1) & (p != 0)
    # p·exp(d) as one exponential, for where p underflows or exp(d) overflows.
    mass = jnp.exp(b - largest_b + (gap - log_z_a))
    far = mass - product(p, 1 + d)
    excess = jnp.sum(jnp.where(near, p * phi(jnp.where(near, d, 0)), far), axis=-1)
    direct = (gap + (log_z_b - log_z_a))[..., 0]
    forbidden = jnp.any((p > 0) & (b == -jnp.inf), axis=-1)
    value = jnp.where(direct < 20, jnp.log1p(excess), direct)
    return jnp.where(forbidden & jnp.isfinite(largest_b[..., 0]), jnp.inf, value)


@kl_of_logits.defjvp
def _kl_of_logits_jvp(primals, tangents):
    a, b = primals
    da, db = tangents
    kl = kl_of_logits(a, b)
    p, q, d, _ = _difference(a, b)
    ratio = d - kl[..., None]
    near = (jnp.abs(ratio) < 1) & (p != 0)
    excess = jnp.where(near, p * jnp.expm1(jnp.where(near, ratio, 0)), q - p)
    return kl, jnp.sum(excess * db - product(p, d) * da, axis=-1)


@jax.custom_jvp
def js_of_logits(a: Array, b: Array) -> Array:
    """½·KL(p‖m) + ½·KL(q‖m); with r = log(q/p), ½·m·(r·tanh(r/2) + log(1 − tanh²))."""
    return in_cache(_js, a, b)


def _js(a: Array, b: Array) -> Array:
    p, q, ratio, near = _log_ratio(a, b)
    v = jnp.tanh(ratio / 2)
    small = (p + q) / 4 * (ratio * v + log1p(-v * v))
    return jnp.sum(jnp.where(near, small, jensen_shannon(p, q)), axis=-1)


@js_of_logits.defjvp
def _js_of_logits_jvp(primals, tangents):
    p, q, ratio, near = _log_ratio(*primals)
    v = jnp.tanh(ratio / 2)
    tangent = jnp.zeros_like(p[..., 0])
    for prob, other, sign, dx in ((p, q, -1, tangents[0]), (q, p, 1, tangents[1])):
        # ∂JS/∂xⱼ = pⱼ·(sⱼ − Σ p·s), s = ½·log(p/m): 0 for p = q and ½·log 2 for p ≫ q.
        # Which of the two the likeliest class is near is not computed, but left out,
        # and then that class's own s: so that no 1 − p is left to cancel.
        top = one_hot(top_class(prob), prob)
        apart = jnp.any(top & ~near, axis=-1, keepdims=True)
        log_2 = jnp.log(jnp.asarray(2, p.dtype))
        far = jnp.where(apart, 0, log_2) - log1p(other / jnp.where(prob == 0, 1, prob))
        close = log1p(sign * v) - jnp.where(apart, log_2, 0)
        slope = jnp.where(near, close, far) / 2
        slope -= jnp.sum(jnp.where(top, slope, 0), axis=-1, keepdims=True)
        mean = jnp.sum(prob * slope, axis=-1, keepdims=True)
        tangent += jnp.sum(prob * (slope - mean) * dx, axis=-1)
    return js_of_logits(*primals), tangent


def _log_ratio(a: Array, b: Array) -> tuple[Array, Array, Array, Array]:
    """p, q, log(q/p) where it is small, and where that is (elsewhere it reads 0)."""
    p, q, d, _ = _difference(a, b)
    ratio = d - kl_of_logits(a, b)[..., None]
    near = (jnp.abs(ratio) < 1) & (p != 0)
    return p, q, jnp.where(near, ratio, 0), near
