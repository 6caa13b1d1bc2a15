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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from ._classes import WHOLE, Classes
from ._exact import product, widen, widen_both

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
    classes: Classes = WHOLE


class Weights(NamedTuple):
    """Sums of w ≥ 0, a weight for each class, of each position."""

    distance: Array
    """Σ_j w_j·(c − x_j), c = max_j x_j."""
    at_top: Array
    """Σ w_j of the classes with the largest logit."""
    off_top: Array
    """Σ w_j of all others."""


def one_hot(labels: Array, like: Array, classes: Classes = WHOLE) -> Array:
    """Whether class j is the label; never a gather, so that sharded classes stay so."""
    ids = lax.broadcasted_iota(jnp.int32, like.shape, like.ndim - 1)
    return classes.local(labels, like.shape[-1])[..., None] == ids


def in_cache(
    function: Callable[..., Array], *rows: Array, classes: Classes = WHOLE
) -> Array:
    """`function`, row by row, of arrays [..., V].

    On CPU a few rows at a time, so that what it makes of them stays in the cache.
    """
    if classes.names:
        # What devices send each other is of all rows at once.
        return function(*rows)
    grouped = functools.partial(_by_groups, function)
    return lax.platform_dependent(*rows, cpu=grouped, default=function)


def rest_of(x: Array, labels: Array, classes: Classes = WHOLE) -> Rest:
    """Of logits [..., V], any float dtype, and class ids [...]; an id may be none."""
    own = classes.local(labels, x.shape[-1])
    found = lax.platform_dependent(
        lax.stop_gradient(x),
        own,
        cpu=functools.partial(_by_groups, _rest),
        default=_rest_in_one_pass,
    )
    rest, here = Rest(*found), (own >= 0) & (own < x.shape[-1])
    return _merged(rest, here, classes) if classes.names else rest


def _merged(rest: Rest, here: Array, classes: Classes) -> Rest:
    """Of all slices, each with its own rest and its label, if that is here."""
    largest = classes.most(rest.largest)
    total = rest.total * exp_from(rest.largest, largest)
    label_logit = jnp.where(here, rest.label_logit, 0)
    total, label_logit = classes.merge(jnp.stack([total, label_logit]))
    return Rest(_unless_nan(largest, total), total, label_logit, classes)


def _unless_nan(largest: Array, total: Array) -> Array:
    """A collective maximum may miss a NaN; the sum never does."""
    return jnp.where(jnp.isnan(total), total, largest)


def top_of(x: Array, classes: Classes = WHOLE) -> Rest:
    """As `rest_of`, where the label is the likeliest class, or one of the likeliest."""
    found = lax.platform_dependent(
        lax.stop_gradient(x),
        cpu=functools.partial(_by_groups, _top),
        default=_top_in_one_pass,
    )
    rest = Rest(*found)
    return _merged_tops(rest, classes) if classes.names else rest


def _merged_tops(own: Rest, classes: Classes) -> Rest:
    """Of all slices, each with its own top: the others' tops join the rest."""
    top = classes.most(own.label_logit)
    leads = own.label_logit == top
    below = classes.most(jnp.where(leads, own.largest, own.label_logit))
    total = own.total * exp_from(own.largest, below)
    total += jnp.where(leads, 0, exp_from(own.label_logit, below))
    total, leaders = classes.merge(jnp.stack([total, leads.astype(total.dtype)]))
    top = _unless_nan(top, total)
    return _tied(Rest(below, total, top, classes), leaders - 1)


def _tied(rest: Rest, others: Array) -> Rest:
    """With as many others at the top, a number ≥ 0, as the label."""
    below, total, top, _ = rest
    tied = total * exp_from(below, top) + others
    return rest._replace(
        largest=jnp.where(others > 0, top, below),
        total=jnp.where(others > 0, tied, total),
    )


def weighted_of(
    x: Array, weights: Array, classes: Classes = WHOLE
) -> tuple[Rest, Weights]:
    """`top_of` logits [..., V], and the sums of weights [..., V], of any dtypes."""
    x, weights = lax.stop_gradient(x), lax.stop_gradient(weights)
    if classes.names:
        top = top_of(x, classes)
        sums = jnp.stack(_weights(*widen_both(x, weights), top.label_logit))
        return top, Weights(*classes.merge(sums))
    return lax.platform_dependent(
        x,
        weights,
        cpu=functools.partial(_by_groups, functools.partial(_weighted, _top)),
        default=functools.partial(_weighted, _top_in_one_pass),
    )


def _weighted(find_top: Callable, x: Array, weights: Array) -> tuple[Rest, Weights]:
    x, weights = widen_both(x, weights)
    top = find_top(x)
    return top, _weights(x, weights, top.label_logit)


def _weights(x: Array, weights: Array, top: Array) -> Weights:
    hit = x == top[..., None]
    distance = product(weights, top[..., None] - x)
    at_top, off_top = jnp.where(hit, weights, 0), jnp.where(hit, 0, weights)
    return Weights(*(jnp.sum(a, axis=-1) for a in (distance, at_top, off_top)))


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
    return _tied(Rest(below, total, top), others)


def _sum_outside(hit: Array, x: Array) -> tuple[Array, Array]:
    """The largest of the logits that are not hit, and Σ exp(x − largest) of them."""
    # Written once, for both passes: XLA's sum of exponentials does not take a mask.
    others = lax.optimization_barrier(jnp.where(hit, -jnp.inf, x))
    largest = jnp.max(others, axis=-1)
    return largest, jnp.sum(exp_from(others, largest[..., None]), axis=-1)


def exp_from(x: Array, largest: Array) -> Array:
    """exp(x − largest); 0 where there is none, −inf."""
    return jnp.exp(x - jnp.where(largest == -jnp.inf, 0, largest))


def _is_sharded(x: Array) -> bool:
    """By its type, where the mesh's axes are explicit: then XLA chooses no slices."""
    return any(jax.typeof(x).sharding.spec)


def _by_groups(sums: Callable, x: Array, *rows: Array) -> Any:
    """`sums` of x [..., V] and arrays with its batch axes, a group of rows at a time.

    Rows of a group lie a stride apart: so a share of each device's rows is in it.
    """
    *batch, classes = x.shape
    count = math.prod(batch)
    size = _group_size(count, classes)
    if size == count or _is_sharded(x):
        return sums(x, *rows)
    given = (x, *rows)
    arrays = [
        _bits(a).reshape(size, count // size, *a.shape[len(batch) :]) for a in given
    ]

    def group(k: Array) -> tuple:
        taken = (lax.dynamic_index_in_dim(a, k, 1, False) for a in arrays)
        return sums(*(_unbits(a, b.dtype) for a, b in zip(taken, given, strict=True)))

    found = lax.map(group, jnp.arange(count // size, dtype=jnp.int32))
    return jax.tree.map(lambda a: a.T.reshape(batch), found)


def _bits(a: Array) -> Array:
    """XLA would widen the whole of a bfloat16 array first: of bits it takes a slice."""
    return lax.bitcast_convert_type(a, jnp.uint16) if a.dtype == jnp.bfloat16 else a


def _unbits(a: Array, dtype: jnp.dtype) -> Array:
    return lax.bitcast_convert_type(a, dtype) if dtype == jnp.bfloat16 else a


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
        largest = jnp.maximum(a[0], b[0])
        total = a[1] * exp_from(a[0], largest) + b[1] * exp_from(b[0], largest)
        return largest, total, jnp.maximum(a[2], b[2])

    others = jnp.where(hit, low, x), jnp.where(hit, zero, 1), jnp.where(hit, x, low)
    return Rest(*lax.reduce(others, (low, zero, low), merge, (x.ndim - 1,)))


def _top_in_one_pass(x: Array) -> Rest:
    x = widen(x)
    low, zero = jnp.asarray(-jnp.inf, x.dtype), jnp.zeros((), x.dtype)

    def merge(a: tuple, b: tuple) -> tuple:
        # Of two tops the smaller joins the others.
        top, other = jnp.maximum(a[2], b[2]), jnp.minimum(a[2], b[2])
        largest = jnp.maximum(jnp.maximum(a[0], b[0]), other)
        total = a[1] * exp_from(a[0], largest) + b[1] * exp_from(b[0], largest)
        return largest, total + exp_from(other, largest), top

    none = jnp.full_like(x, low), jnp.zeros_like(x), x
    return Rest(*lax.reduce(none, (low, zero, low), merge, (x.ndim - 1,)))
