# SPDX-License-Identifier: Apache-2.0
"""Losses worked by hand, and the three derivatives every test of a rule looks at.

At logits x = log p the derivative of a loss f(p_y) is p_y·f'(p_y)·(onehot(y) − p), so
that a value f and a slope p·f'(p) say all there is to know of it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from cases import losses
from given import put

# 8 units in the last place of float32: one for the rounding of each input, log p, the
# 2–3 of the functions themselves, and room for the terms of the focal slope.
RTOL = 1e-6

INF, NAN = np.inf, np.nan

PROBS = np.array(
    [[1 / 8, 2 / 8, 5 / 8], [5 / 8, 1 / 8, 2 / 8], [3 / 8, 4 / 8, 1 / 8], [1 / 3] * 3]
)
LOGITS = np.log(PROBS).astype(np.float32)
LABELS = np.array([2, 1, 0, 2], np.int32)
SOFT = np.array([[0.5, 0.3, 0.2], [0, 0.6, 0.4], [1, 0, 0], [0, 2, 1]], np.float32)


# Losses of one class's probability; and functions of two float arrays.
INTEGER = losses(lambda x: x.value and x.kind.ids)
DISTRIBUTION = losses(lambda x: x.value and not x.kind.ids)
SOFTMAX = losses(lambda x: x.value and x.of_logits)
PAIRS = losses(lambda x: x.of_two_floats)


def array(*x, dtype=jnp.float32):
    return put(x, dtype)


def worked(loss, probs, weights):
    """Value and gradient in the logits of Σⱼ weightsⱼ·f(pⱼ), in float64."""
    value = sum(q * loss.value(p) for p, q in zip(probs, weights, strict=True) if q)
    slopes = np.array([q * loss.slope(p) for p, q in zip(probs, weights, strict=True)])
    return value, slopes - np.asarray(probs) * slopes.sum() * loss.of_logits


def modes(f, *xs, fixed=()):
    """Values, gradients and a tangent per position, of a function of float arrays.

    One program, so that a test compiles once; what is `fixed` follows the floats.
    """

    def all_modes(xs, fixed):
        def of(*xs):
            return f(*xs, *fixed)

        value, pull = jax.vjp(of, *xs)
        steps = (jnp.arange(1, x.size + 1, dtype=x.dtype).reshape(x.shape) for x in xs)
        return value, pull(jnp.ones_like(value)), jax.jvp(of, xs, tuple(steps))[1]

    return jax.jit(all_modes)(xs, fixed)


def curvature(f, *xs):
    """The Hessian of the sum times a vector of ones, in all arguments."""
    grad = jax.grad(lambda *xs: f(*xs).sum(), tuple(range(len(xs))))
    ones = tuple(jnp.ones_like(x) for x in xs)
    return jax.jit(lambda *xs: jax.jvp(grad, xs, ones)[1])(*xs)


def same_bits(actual, expected, rows=...):
    """Exact equality of every mode on some rows, NaN equal to NaN."""
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(np.asarray(a)[rows], np.asarray(e)[rows])


def all_of(tree, rows, holds):
    """Whether a predicate holds of every entry of some rows, in every mode."""
    return all(np.all(holds(np.asarray(leaf)[rows])) for leaf in jax.tree.leaves(tree))
