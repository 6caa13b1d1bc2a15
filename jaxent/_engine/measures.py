# SPDX-License-Identifier: Apache-2.0
"""Information measures of probabilities and of logits on any class axes, per position.

The measures of logits themselves are in `information`, the terms of those of
probabilities in `ratios`.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from .._types import Shape
from .class_axis import ClassAxis, classes_last
from .elementary import exp
from .exact import computing_dtype, widen_both, xlogy
from .information import entropy_of_logits, js_of_logits, kl_of_logits
from .labels import drop
from .placement import placed_as
from .ratios import jensen_shannon


def entropy_of_probs(p: Array, classes: ClassAxis) -> Array:
    return cross_entropy_of_probs(p, p, classes)


def cross_entropy_of_probs(p: Array, q: Array, classes: ClassAxis) -> Array:
    return classes.sum(-xlogy(p, q))


def entropy_of(x: Array, classes: ClassAxis) -> Array:
    x, classes = classes.carry(x)
    return entropy_of_logits(x, classes)


def cross_entropy_of(p: Array, q: Array, classes: ClassAxis) -> Array:
    return entropy_of(p, classes) + kl_of(p, q, classes)


def kl_of(p: Array, q: Array, classes: ClassAxis) -> Array:
    (p, _), (q, classes) = classes.carry(p), classes.carry(q)
    return kl_of_logits(p, q, classes)


def js_of(p: Array, q: Array, weight: ArrayLike, classes: ClassAxis) -> Array:
    (p, _), (q, classes) = classes.carry(p), classes.carry(q)
    return js_of_logits(p, q, jnp.asarray(weight, p.dtype), classes)


@functools.partial(jax.jit, static_argnames=("axis", "term"), inline=True)
def summed_terms(
    log_q: Array,
    target: Array,
    keep: Array | None,
    *,
    axis: Shape,
    term: Callable[[Array, Array], Array],
) -> Array:
    log_q, target = (
        drop(classes_last(x, axis), keep) for x in widen_both(log_q, target)
    )
    return drop(jnp.sum(term(target, log_q), axis=-1), keep)


def relative_to_log_targets(log_p: Array, log_q: Array) -> Array:
    settled = (log_p == -jnp.inf) & ~jnp.isnan(log_q)
    of_p, of_q = (jnp.where(settled, 0, x) for x in (log_p, log_q))
    return exp(log_p) * (of_p - of_q)


def js_of_probs(p: Array, q: Array, weight: ArrayLike, classes: ClassAxis) -> Array:
    return classes.sum(jensen_shannon(p, q, jnp.asarray(weight, p.dtype)))


@functools.partial(jax.jit, static_argnames=("axis", "unit", "measure"), inline=True)
def measured(
    arrays: tuple[Array, ...],
    keep: Array | None,
    classes: ClassAxis,
    *,
    axis: Shape,
    unit: float,
    measure: Callable[..., Array],
    weight: tuple[ArrayLike, ...] = (),
) -> Array:
    """A measure of one or two arrays of classes on any axes, in a unit."""
    dtype = computing_dtype(*arrays)
    arrays = tuple(placed_as(arrays[0], x.astype(dtype)) for x in arrays)
    given = (drop(classes_last(x, axis), keep) for x in arrays)
    return drop(measure(*given, *weight, classes) / unit, keep)
