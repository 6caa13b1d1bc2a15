# SPDX-License-Identifier: Apache-2.0
"""The sums over the classes that softmax is made of, as fast as a platform has them.

All are taken over x − c, c the largest logit that enters them, so that no offset of
the logits matters. Each is one arithmetic in two shapes: on CPU a few rows at a time,
which stay in the cache while XLA masks them, finds the largest and sums; elsewhere in
one pass that carries the sums of what it has seen. None is differentiated: the rules
of `_statistics` are.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from ._elementary import exp
from ._exact import product, widen

# Logits in a group of rows: 1 MiB of float32, that two cores' caches hold (measured
# from 4096 × 1000 to 256 × 131072; twice or half is as good).
GROUP = 2**18


class Rest(NamedTuple):
    """All classes but the label's, and the label's, of each position."""

    largest: Array
    """c' = max_{j≠y} x_j; −inf if there are no others."""
    total: Array
    """Σ_{j≠y} exp(x_j − c')."""
    label_logit: Array


class Weights(NamedTuple):
    """Sums of w ≥ 0, a weight for each class, of each position."""

    distance: Array
    """Σ_j w_j·(c − x_j), c = max_j x_j."""
    at_top: Array
    """Σ w_j of the classes with the largest logit."""
    off_top: Array
    """Σ w_j of all others."""


def one_hot(labels: Array, like: Array) -> Array:
    """Whether class j is the label; never a gather, so that sharded classes stay so."""
    return labels[..., None] == lax.broadcasted_iota(
        jnp.int32, like.shape, like.ndim - 1
    )


def rest_of(x: Array, labels: Array) -> Rest:
    """Of logits [..., V], any float dtype, and class ids [...]; an id may be none."""
    found = lax.platform_dependent(
        lax.stop_gradient(x),
        labels,
        cpu=functools.partial(_by_groups, _rest),
        default=_rest_in_one_pass,
    )
    return Rest(*found)


def top_of(x: Array) -> Rest:
    """As `rest_of`, where the label is the likeliest class, or one of the likeliest."""
    found = lax.platform_dependent(
        lax.stop_gradient(x),
        cpu=functools.partial(_by_groups, _top),
        default=_top_in_one_pass,
    )
    return Rest(*found)


def weighted_of(x: Array, weights: Array) -> tuple[Rest, Weights]:
    """`top_of` logits [..., V], and the sums of weights [..., V]."""
    found = lax.platform_dependent(
        lax.stop_gradient(x),
        lax.stop_gradient(weights),
        cpu=functools.partial(_by_groups, _weighted),
        default=_weighted_in_one_pass,
    )
    return Rest(*found[:3]), Weights(*found[3:])


def _weighted(x: Array, weights: Array) -> tuple[Array, ...]:
    x = widen(x)
    top = _top(x)
    hit = x == top.label_logit[..., None]
    distance = product(weights, top.label_logit[..., None] - x)
    at_top, off_top = jnp.where(hit, weights, 0), jnp.where(hit, 0, weights)
    return *top, *(jnp.sum(a, axis=-1) for a in (distance, at_top, off_top))


def _rest(x: Array, labels: Array) -> Rest:
    x = widen(x)
    hit = one_hot(labels, x)
    largest, total = _sum_outside(hit, x)
    if _is_sharded(x):
        label_logit = jnp.sum(jnp.where(hit, x, 0), axis=-1)
    else:
        label = labels[..., None]
        label_logit = jnp.take_along_axis(x, label, axis=-1, mode="clip")[..., 0]
    return Rest(largest, total, label_logit)


def _top(x: Array) -> Rest:
    x = widen(x)
    top = jnp.max(x, axis=-1)
    hit = x == top[..., None]
    below, total = _sum_outside(hit, x)
    others = jnp.sum(hit.astype(x.dtype), axis=-1) - 1
    tied = total * exp_from(below, top) + others
    return Rest(
        jnp.where(others > 0, top, below), jnp.where(others > 0, tied, total), top
    )


def _sum_outside(hit: Array, x: Array) -> tuple[Array, Array]:
    """The largest of the logits that are not hit, and Σ exp(x − largest) of them."""
    # Written once, for both passes: XLA's sum of exponentials does not take a mask.
    others = lax.optimization_barrier(jnp.where(hit, -jnp.inf, x))
    largest = jnp.max(others, axis=-1)
    return largest, jnp.sum(exp_from(others, largest[..., None]), axis=-1)


def exp_from(x: Array, largest: Array, exp: Callable = exp) -> Array:
    """exp(x − largest); 0 where there is none, −inf."""
    return exp(x - jnp.where(largest == -jnp.inf, 0, largest))


def _is_sharded(x: Array) -> bool:
    """By its type, where the mesh's axes are explicit: then XLA chooses no slices."""
    return any(jax.typeof(x).sharding.spec)


def _by_groups(sums: Callable, x: Array, *rows: Array) -> tuple:
    """`sums` of x [..., V] and arrays with its batch axes, a group of rows at a time.

    Rows of a group lie a stride apart: so a share of each device's rows is in it.
    """
    *batch, classes = x.shape
    count = math.prod(batch)
    size = _group_size(count, classes)
    if size == count or _is_sharded(x):
        return sums(x, *rows)
    dtype = x.dtype
    if dtype == jnp.bfloat16:
        # XLA would widen the whole of it first: of bits it takes a slice.
        x = lax.bitcast_convert_type(x, jnp.uint16)
    arrays = [
        a.reshape(size, count // size, *a.shape[len(batch) :]) for a in (x, *rows)
    ]

    def group(k: Array) -> tuple:
        x, *rows = (lax.dynamic_index_in_dim(a, k, 1, False) for a in arrays)
        if dtype == jnp.bfloat16:
            x = lax.bitcast_convert_type(x, dtype)
        return sums(x, *rows)

    found = lax.map(group, jnp.arange(count // size, dtype=jnp.int32))
    return jax.tree.map(lambda a: a.T.reshape(batch), found)


def _group_size(count: int, classes: int) -> int:
    """How many of `count` rows to take together: a divisor of it, or all."""
    most = max(GROUP // max(classes, 1), 1)
    if count * classes >= 4 * GROUP:
        for size in range(most, most // 4, -1):
            if count % size == 0:
                return size
    return count


def _rest_in_one_pass(x: Array, labels: Array) -> Rest:
    x = widen(x)
    hit = one_hot(labels, x)
    low, zero = jnp.asarray(-jnp.inf, x.dtype), jnp.zeros((), x.dtype)

    def merge(a: tuple, b: tuple) -> tuple:
        return *_joined(a[:2], b[:2]), jnp.maximum(a[2], b[2])

    others, label = jnp.where(hit, low, x), jnp.where(hit, x, low)
    counts = (others > low).astype(x.dtype)
    found = lax.reduce((others, counts, label), (low, zero, low), merge, (x.ndim - 1,))
    return _without_infinity(*found)


def _top_in_one_pass(x: Array) -> Rest:
    x = widen(x)
    low, zero = jnp.asarray(-jnp.inf, x.dtype), jnp.zeros((), x.dtype)
    each = jnp.full_like(x, low), jnp.zeros_like(x), x
    return _without_infinity(
        *lax.reduce(each, (low, zero, low), _top_of_two, (x.ndim - 1,))
    )


def _weighted_in_one_pass(x: Array, weights: Array) -> tuple[Array, ...]:
    x = widen(x)
    low, zero = jnp.asarray(-jnp.inf, x.dtype), jnp.zeros((), x.dtype)

    def seen_from(top: Array, own: Array, *sums: Array) -> Weights:
        distance, at_top, off_top = sums
        is_top, all_of_it = own == top, at_top + off_top
        fall = jnp.where(top == -jnp.inf, 0, top - own)
        return Weights(
            distance + product(all_of_it, fall),
            jnp.where(is_top, at_top, 0),
            jnp.where(is_top, off_top, all_of_it),
        )

    def merge(a: tuple, b: tuple) -> tuple:
        top = _top_of_two(a[:3], b[:3])
        both = (seen_from(top[2], *c[2:]) for c in (a, b))
        return *top, *(p + q for p, q in zip(*both, strict=True))

    none = jnp.zeros_like(x)
    each = jnp.full_like(x, low), none, x, none, weights.astype(x.dtype), none
    start = low, zero, low, zero, zero, zero
    found = lax.reduce(each, start, merge, (x.ndim - 1,))
    return *_without_infinity(*found[:3]), *found[3:]


def _top_of_two(a: tuple, b: tuple) -> tuple:
    """Of two tops the smaller joins the others."""
    other = jnp.minimum(a[2], b[2])
    alone = other, (other > -jnp.inf).astype(other.dtype)
    return *_joined(_joined(a[:2], b[:2]), alone), jnp.maximum(a[2], b[2])


def _joined(a: tuple, b: tuple) -> tuple[Array, Array]:
    """The largest of both, and the sum of both over it, by one exponential."""
    (x, s), (y, t) = a, b
    largest = jnp.maximum(x, y)
    shrink = exp_from(jnp.minimum(x, y), largest)
    return largest, jnp.where(x >= y, s + t * shrink, s * shrink + t)


def _without_infinity(largest: Array, total: Array, label_logit: Array) -> Rest:
    """NaN in place of a sum over +inf: no exponential met it."""
    return Rest(largest, jnp.where(largest == jnp.inf, jnp.nan, total), label_logit)
