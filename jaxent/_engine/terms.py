# SPDX-License-Identifier: Apache-2.0
"""What the sums over the classes are, and the exponential that all are made of."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from .class_axis import WHOLE, ClassAxis
from .elementary import exp
from .exact import rounded, widen_both

traced_once = functools.partial(jax.jit, inline=True)
"""For what a program asks for several times: it is traced once for arrays of a shape,
and each time its steps become the caller's own."""


class Rest(NamedTuple):
    """All classes but the label's, and the label's, of each position."""

    largest: Array
    """c' = max_{j≠y} x_j; −inf if there are no others."""
    total: Array
    """Σ_{j≠y} exp((x_j − c')/T)."""
    label_logit: Array
    classes: ClassAxis = WHOLE


class Weights(NamedTuple):
    """Sums of w ≥ 0, a weight for each class, of each position."""

    distance: Array
    """Σ_j w_j·(c − x_j)/T, c = max_j x_j."""
    at_top: Array
    """Σ w_j of the class with the largest logit; of some with it, where they tie."""
    off_top: Array
    """Σ w_j of all others."""


def one_hot(labels: Array, like: Array, classes: ClassAxis = WHOLE) -> Array:
    """Whether class j is the label; never a gather, so that sharded classes stay so."""
    ids = lax.broadcasted_iota(jnp.int32, like.shape, like.ndim - 1)
    return classes.local(labels, like.shape[-1])[..., None] == ids


def exp_from(
    x: Array, largest: Array, classes: ClassAxis = WHOLE, exp: Callable = exp
) -> Array:
    """exp((x − largest)/T); 1 for what is larger, and 0 where none is > −inf."""
    # The minimum keeps a logit that is a product from being subtracted as it is made
    # (see `rounded`), and takes +inf. XLA on CPU sums exponentials of it, but of no
    # select, at its fastest.
    largest = jnp.maximum(largest, jnp.finfo(largest.dtype).min)
    return exp(classes.scaled(jnp.minimum(x, largest) - largest))


def distance_from(top: Array, x: Array, classes: ClassAxis = WHOLE) -> Array:
    """(top − x)/T ≥ 0, of the largest logit; the minimum is that of `exp_from`."""
    top = jnp.maximum(top, jnp.finfo(top.dtype).min)
    return classes.scaled(top - jnp.minimum(x, top))


def tied(rest: Rest, others: Array) -> Rest:
    """`rest` with `others` classes more, a number ≥ 0, that are as large as the top."""
    below, total, top, classes = rest
    tied = total * exp_from(below, top, classes) + others
    return rest._replace(
        largest=jnp.where(others > 0, top, below),
        total=jnp.where(others > 0, tied, total),
    )


def weights_of(classes: ClassAxis, x: Array, weights: Array, top: Array) -> Weights:
    distance = distance_of(classes, x, weights, top)
    x, weights = widen_both(x, weights)
    hit = rounded(x) == top[..., None]
    at_top, off_top = jnp.where(hit, weights, 0), jnp.where(hit, 0, weights)
    return Weights(distance, jnp.sum(at_top, axis=-1), jnp.sum(off_top, axis=-1))


def distance_of(classes: ClassAxis, x: Array, weights: Array, top: Array) -> Array:
    """`Weights.distance`, of logits and weights [..., V], any dtypes."""
    x, weights = widen_both(x, weights)
    distance = distance_from(top[..., None], x, classes)
    # Faster than `product`; a NaN is in the top, and in all else that is made of it.
    return jnp.sum(weights * jnp.where(weights == 0, 0, distance), axis=-1)
