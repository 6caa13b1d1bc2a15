# SPDX-License-Identifier: Apache-2.0
"""Terms of divergences: scalar functions of two probabilities, as in `exact`."""

import jax
import jax.numpy as jnp
from jax import Array

from .elementary import exp, expm1, log, log1p
from .exact import atanh, phi, xlogy


@jax.custom_jvp
def relative_entropy(p: Array, log_q: Array) -> Array:
    """p·(log p − log q), 0 at p = 0 whatever q is; there ∂/∂p is −log q."""
    log_p = log(jnp.where(p == 0, 1, p))
    return jnp.where((p == 0) & ~jnp.isnan(log_q), 0, p * (log_p - log_q))


@relative_entropy.defjvp
def _relative_entropy_jvp(primals, tangents):
    p, log_q = primals
    d_p, d_log_q = tangents
    zero = p == 0
    log_p = jnp.where(zero, 0, log(jnp.where(zero, 1, p)) + 1)
    slope = log_p - jnp.where(zero & jnp.isinf(log_q), 0, log_q)
    return relative_entropy(p, log_q), slope * d_p - p * d_log_q


@jax.custom_jvp
def generalized_relative_entropy(p: Array, log_q: Array) -> Array:
    """p·(log p − log q) + q − p = p·φ(log q − log p) ≥ 0."""
    zero = p == 0
    ratio = log_q - log(jnp.where(zero, 1, p))
    near = (jnp.abs(ratio) < 1) & ~zero
    far = exp(log_q) - p - jnp.where(zero, 0, p * ratio)
    return jnp.where(near, p * phi(jnp.where(near, ratio, 0)), far)


@generalized_relative_entropy.defjvp
def _generalized_relative_entropy_jvp(primals, tangents):
    p, log_q = primals
    d_p, d_log_q = tangents
    zero = p == 0
    ratio = log_q - log(jnp.where(zero, 1, p))
    near = (jnp.abs(ratio) < 1) & ~zero
    excess = jnp.where(near, p * expm1(jnp.where(near, ratio, 0)), exp(log_q) - p)
    slope = -jnp.where(zero & jnp.isinf(log_q), 0, ratio)
    return generalized_relative_entropy(p, log_q), slope * d_p + excess * d_log_q


@jax.custom_jvp
def jensen_shannon(p: Array, q: Array) -> Array:
    """½·(p·log(p/m) + q·log(q/m)) with m = (p + q)/2, never negative.

    With v = (q − p)/(q + p) it is ½·m·((1 + v)·log(1 + v) + (1 − v)·log(1 − v)),
    near v = 0 better written ½·m·(2·v·atanh(v) + log(1 − v²)).
    """
    m, v, near = _jensen_shannon_parts(p, q)
    small = m / 2 * (2 * v * atanh(v) + log1p(-v * v))
    return jnp.where(near, small, 0.5 * (xlogy(p, p / m) + xlogy(q, q / m)))


@jensen_shannon.defjvp
def _jensen_shannon_jvp(primals, tangents):
    p, q = primals
    d_p, d_q = tangents
    m, v, near = _jensen_shannon_parts(p, q)
    # A zero probability counts as settled, as 0·log 0 does: no derivative there.
    log_p = jnp.where(near, log1p(-v), log(jnp.where(p == 0, m, p) / m))
    log_q = jnp.where(near, log1p(v), log(jnp.where(q == 0, m, q) / m))
    return jensen_shannon(p, q), 0.5 * (log_p * d_p + log_q * d_q)


def _jensen_shannon_parts(p: Array, q: Array) -> tuple[Array, Array, Array]:
    """m (1 where both vanish), v (0 where it is large), and where v is small."""
    m = (p + q) / 2
    m = jnp.where(m == 0, 1, m)
    v = (q - p) / 2 / m
    near = jnp.abs(v) < 0.5
    return m, jnp.where(near, v, 0), near
