# SPDX-License-Identifier: Apache-2.0
"""exp, log, their like and division, each as accurate as a platform has it.

By default TPUs compute these to as few as 12 bits of 24 (`docs/accelerators.md`). They
have better, and use it where it is asked for; elsewhere the question changes nothing.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

exp = functools.partial(lax.exp, accuracy=lax.AccuracyMode.HIGHEST)
expm1 = functools.partial(lax.expm1, accuracy=lax.AccuracyMode.HIGHEST)
log = functools.partial(lax.log, accuracy=lax.AccuracyMode.HIGHEST)
_log1p = functools.partial(lax.log1p, accuracy=lax.AccuracyMode.HIGHEST)


@jax.custom_jvp
def log1p(x: Array) -> Array:
    """log(1 + x), also where XLA's own float64 one on CPU is off by 128 ULP: below −0.3
    (measured in JAX 0.10 and 0.12). There 1 + x is rounded by less than the logarithm.
    """
    if x.dtype != jnp.float64:
        return _log1p(x)
    low = x < -0.3
    return jnp.where(low, log(1 + jnp.where(low, x, 0)), _log1p(x))


@log1p.defjvp
def _log1p_jvp(primals, tangents):
    (x,) = primals
    return log1p(x), tangents[0] / (1 + x)


@jax.custom_jvp
def tanh(x: Array) -> Array:
    return lax.tanh(x, accuracy=lax.AccuracyMode.HIGHEST)


@tanh.defjvp
def _tanh_jvp(primals, tangents):
    # JAX's own rule at this accuracy takes two logistic functions, which are coarse.
    value = tanh(*primals)
    return value, (tangents[0] + tangents[0] * value) * (1 - value)


def quotient(x: Array, y: Array) -> Array:
    """x / y, whose derivatives do not take y²; a TPU's own is off by up to 198 ULP."""
    return _quotient(_platform_division, *jnp.broadcast_arrays(x, y))


def _platform_division(x: Array, y: Array) -> Array:
    corrected = functools.partial(_corrected, lax.div)
    return lax.platform_dependent(x, y, tpu=corrected, default=lax.div)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _quotient(divide: Callable, x: Array, y: Array) -> Array:
    return divide(x, y)


@_quotient.defjvp
def _quotient_jvp(divide, primals, tangents):
    (x, y), (dx, dy) = primals, tangents
    value = _quotient(divide, x, y)
    # Not by a platform's division: JAX transposes no choice between platforms.
    return value, _quotient(lax.div, dx - value * dy, y)


def _corrected(divide: Callable, x: Array, y: Array) -> Array:
    """What `divide` leaves of x, divided too: x − q·y loses nothing where q is near."""
    q = divide(x, y)
    left = divide(x - q * y, y)
    return q + jnp.where(jnp.isfinite(left), left, 0)
