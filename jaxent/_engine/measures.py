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

from .._types import Shape
from .class_axis import classes_last
from .elementary import exp
from .exact import widen, widen_both, xlogy
from .information import entropy_of_logits, kl_of_logits
from .labels import drop
from .ratios import jensen_shannon


@functools.partial(jax.jit, static_argnames=("axis", "unit"), inline=True)
def cross_entropy_of_probs(
    p: Array, q: Array | None, *, axis: Shape, unit: float
) -> Array:
    p, q = (widen(p),) * 2 if q is None else widen_both(p, q)
    return jnp.sum(classes_last(-xlogy(p, q), axis), axis=-1) / unit


@functools.partial(jax.jit, static_argnames=("axis", "unit"), inline=True)
def entropy_on_axes(x: Array, *, axis: Shape, unit: float) -> Array:
    return entropy_of_logits(classes_last(widen(x), axis)) / unit


@functools.partial(jax.jit, static_argnames=("axis", "unit"), inline=True)
def cross_entropy_on_axes(p: Array, q: Array, *, axis: Shape, unit: float) -> Array:
    p, q = (classes_last(x, axis) for x in widen_both(p, q))
    return (entropy_of_logits(p) + kl_of_logits(p, q)) / unit


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
    ratio = jnp.where(settled, 0, log_p - log_q)
    return exp(log_p) * ratio


def js_of_probs(p: Array, q: Array) -> Array:
    return jnp.sum(jensen_shannon(p, q), axis=-1)


@functools.partial(jax.jit, static_argnames=("axis", "unit", "divergence"), inline=True)
def divergence_of(
    a: Array,
    b: Array,
    *,
    axis: Shape,
    unit: float,
    divergence: Callable[[Array, Array], Array],
) -> Array:
    a, b = widen_both(a, b)
    return divergence(classes_last(a, axis), classes_last(b, axis)) / unit
