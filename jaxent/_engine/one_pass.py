# SPDX-License-Identifier: Apache-2.0
"""The sums over the classes in one pass, which carries the sums of what it has seen."""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from jax import Array, lax

from .class_axis import ClassAxis
from .exact import as_logits, product, rounded, widen, widen_both
from .terms import Rest, Weights, distance_from, exp_from, one_hot


def rest(classes: ClassAxis, x: Array, labels: Array) -> Rest:
    x = as_logits(x)
    hit = one_hot(labels, x)
    low, zero = jnp.asarray(-jnp.inf, x.dtype), jnp.zeros((), x.dtype)

    # Each class alone is (its logit, exp(0) = 1, −inf), and the label (−inf, 0, its
    # logit). In any order they join to (largest, total, the label's logit).
    def merge(classes: ClassAxis, a: tuple, b: tuple) -> tuple:
        return *_joined(classes, a[:2], b[:2]), jnp.maximum(a[2], b[2])

    others, label = jnp.where(hit, low, x), jnp.where(hit, x, low)
    counts = (others > low).astype(x.dtype)
    each, start = (others, counts, label), (low, zero, low)
    largest, total, label_logit = _in_one_pass(classes, each, start, merge)
    return Rest(largest, total, label_logit)


def _in_one_pass(
    classes: ClassAxis, each: tuple, start: tuple, merge: Callable
) -> list[Array]:
    """The classes' arrays merged; a merge closes over nothing, so T is one of them."""
    axis = each[0].ndim - 1
    if classes.temperature is None:
        return lax.reduce(each, start, functools.partial(merge, classes), (axis,))
    temperature = jnp.full_like(each[0], classes.temperature)
    of_nothing = jnp.asarray(jnp.finfo(temperature.dtype).max, temperature.dtype)

    def both(a: tuple, b: tuple) -> tuple:
        lower = jnp.minimum(a[-1], b[-1])
        return *merge(classes.at(lower), a[:-1], b[:-1]), lower

    merged = lax.reduce((*each, temperature), (*start, of_nothing), both, (axis,))
    return merged[:-1]


def top(classes: ClassAxis, x: Array) -> Rest:
    x = as_logits(x)
    low, zero = jnp.asarray(-jnp.inf, x.dtype), jnp.zeros((), x.dtype)
    each = jnp.full_like(x, low), jnp.zeros_like(x), x
    start = (low, zero, low)
    below, total, top = _in_one_pass(classes, each, start, _top_of_two)
    return Rest(below, total, top)


def weighted(classes: ClassAxis, x: Array, weights: Array) -> tuple[Rest, Weights]:
    x, weights = widen_both(x, weights)
    x = rounded(x)
    low, zero = jnp.asarray(-jnp.inf, x.dtype), jnp.zeros((), x.dtype)

    # When a part's top is not that of both, its distances grow by how far it is below,
    # and the weight it had at the top is off it.
    def seen_from(classes: ClassAxis, top: Array, own: Array, *sums: Array) -> Weights:
        distance, at_top, off_top = sums
        is_top, all_of_it = own == top, at_top + off_top
        fall = classes.scaled(jnp.where(top == -jnp.inf, 0, top - own))
        return Weights(
            distance + product(all_of_it, fall),
            jnp.where(is_top, at_top, 0),
            jnp.where(is_top, off_top, all_of_it),
        )

    def merge(classes: ClassAxis, a: tuple, b: tuple) -> tuple:
        top = _top_of_two(classes, a[:3], b[:3])
        both = (seen_from(classes, top[2], *c[2:]) for c in (a, b))
        return *top, *(p + q for p, q in zip(*both, strict=True))

    none = jnp.zeros_like(x)
    each = jnp.full_like(x, low), none, x, none, weights, none
    start = low, zero, low, zero, zero, zero
    below, total, top, *sums = _in_one_pass(classes, each, start, merge)
    return Rest(below, total, top), Weights(*sums)


def fall(classes: ClassAxis, x: Array, largest: Array, top: Array) -> Array:
    """Σ D·exp((x − largest)/T), D = (top − x)/T, which leaves the top out."""
    x = widen(x)
    # Of an infinite distance, whose exponential is 0, nothing is to be left.
    most = jnp.finfo(x.dtype).max
    distance = jnp.minimum(distance_from(top[..., None], x, classes), most)
    return jnp.sum(distance * exp_from(x, largest[..., None], classes), axis=-1)


def _top_of_two(classes: ClassAxis, a: tuple, b: tuple) -> tuple:
    """Two parts of a pass, as (largest, total, top): the smaller top joins the rest."""
    other = jnp.minimum(a[2], b[2])
    alone = other, (other > -jnp.inf).astype(other.dtype)
    rest = _joined(classes, _joined(classes, a[:2], b[:2]), alone)
    return *rest, jnp.maximum(a[2], b[2])


def _joined(classes: ClassAxis, a: tuple, b: tuple) -> tuple[Array, Array]:
    """Two pairs (largest, sum of exponentials) as one, by a single exponential."""
    (x, s), (y, t) = a, b
    # Only the smaller side is to be moved, so that one exponential serves both cases.
    largest = jnp.maximum(x, y)
    shrink = exp_from(jnp.minimum(x, y), largest, classes)
    return largest, jnp.where(x >= y, s + t * shrink, s * shrink + t)
