# SPDX-License-Identifier: Apache-2.0
"""exp and tanh of float32 inside a kernel, made of sums and products alone.

A TPU's own keep as few as 12 bits of 24, and inside a kernel there is no asking for
more. These keep all but one or two; the matrix unit is busy for longer than they take.
"""

import jax.numpy as jnp
from jax import Array, lax

# log 2 in two parts: any multiple n that occurs leaves n·HIGH exact.
HIGH, LOW = 0.693359375, -2.12194440e-4
LOG2_E = 1.44269504
# (e^r − 1 − r)/r² for |r| ≤ ½·log 2, to 2⁻²⁶ of e^r: Moshier's Cephes, `expf`.
SERIES = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
LEAST, MOST = -87.33654, 88.72284
"""Between these e^x is a normal number."""


def exp(x: Array) -> Array:
    scale, part = _reduced(x)
    value = jnp.where(x > MOST, jnp.inf, scale + scale * part)
    return jnp.where(x < LEAST, 0.0, value)


def tanh(x: Array) -> Array:
    scale, part = _reduced(jnp.maximum(-2 * jnp.abs(x), -40.0))
    # e^(−2|x|) − 1, of which nothing is lost near 0.
    less = scale * part + (scale - 1)
    value = jnp.where(jnp.isnan(x), x, _quotient(-less, 2 + less))
    return jnp.where(x < 0, -value, value)


def _reduced(x: Array) -> tuple[Array, Array]:
    """2^n and e^r − 1, for x = n·log 2 + r."""
    n = jnp.floor(x * LOG2_E + 0.5)
    r = (x - n * HIGH) - n * LOW
    series = jnp.full_like(r, SERIES[0])
    for c in SERIES[1:]:
        series = series * r + c
    # 2^n is made of its bits: the exponent's field has n + 127.
    scale = lax.bitcast_convert_type((n.astype(jnp.int32) + 127) << 23, jnp.float32)
    return scale, series * r * r + r


def _quotient(x: Array, y: Array) -> Array:
    """x / y, and the division once more of what it leaves: a TPU's own is coarse."""
    q = x / y
    return q + (x - q * y) / y
