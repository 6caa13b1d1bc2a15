# SPDX-License-Identifier: Apache-2.0
"""The sums over the classes that softmax is made of, as fast as a platform has them.

All are taken over x − c, c the largest logit that enters them, so that no offset of
the logits matters; at a temperature T, over (x − c)/T. Each is one arithmetic in two
shapes: on CPU a few rows at a time, which stay in the cache while XLA masks them, finds
the largest and sums; elsewhere in one pass that carries the sums of what it has seen.
None is differentiated: the rules of `statistics` are.

docs/mathematics.md, "Two numbers a position", says why the label is left out of the
sum, and "Label smoothing" what is weighted. Read `statistics` next, which makes a
loss's numbers of these.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from .class_axis import WHOLE, ClassAxis
from .elementary import exp
from .exact import as_logits, product, rounded, widen_both
from .placement import is_sharded
from .row_groups import by_groups


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
    """Σ w_j of the classes with the largest logit."""
    off_top: Array
    """Σ w_j of all others."""


def one_hot(labels: Array, like: Array, classes: ClassAxis = WHOLE) -> Array:
    """Whether class j is the label; never a gather, so that sharded classes stay so."""
    ids = lax.broadcasted_iota(jnp.int32, like.shape, like.ndim - 1)
    return classes.local(labels, like.shape[-1])[..., None] == ids


def rest_of(x: Array, labels: Array, classes: ClassAxis = WHOLE) -> Rest:
    """`Rest` of logits [..., V], any float dtype, and class ids [...].

    Where an id is no class, all classes are the rest, and the label's logit is any
    finite number or −inf.
    """
    own, whole = classes.local(labels, x.shape[-1]), _constant(classes)
    rest = lax.platform_dependent(
        lax.stop_gradient(x),
        own,
        cpu=functools.partial(by_groups, functools.partial(_rest, whole)),
        default=functools.partial(_rest_in_one_pass, whole),
    )
    here = (own >= 0) & (own < x.shape[-1])
    rest = _merged(rest, here, classes) if classes.names else rest
    return rest._replace(classes=classes)


def _constant(classes: ClassAxis) -> ClassAxis:
    """What a device's own sums are of: all of its classes, and no derivative."""
    return WHOLE.at(lax.stop_gradient(classes.temperature))


def _merged(rest: Rest, here: Array, classes: ClassAxis) -> Rest:
    """`Rest` of all slices, made of each slice's own; the label is in one of them."""
    # Each slice's sum is moved to the largest of all; both numbers in one psum.
    largest = classes.pmax(rest.largest)
    total = rest.total * exp_from(rest.largest, largest, classes)
    label_logit = jnp.where(here, rest.label_logit, 0)
    total, label_logit = classes.psum(jnp.stack([total, label_logit]))
    return Rest(_unless_nan(largest, total), total, label_logit, classes)


def _unless_nan(largest: Array, total: Array) -> Array:
    """A collective maximum may miss a NaN; the sum never does."""
    return jnp.where(jnp.isnan(total), total, largest)


def top_of(x: Array, classes: ClassAxis = WHOLE) -> Rest:
    """`Rest` with the likeliest class, or one of the likeliest, as the label."""
    whole = _constant(classes)
    rest = lax.platform_dependent(
        lax.stop_gradient(x),
        cpu=functools.partial(by_groups, functools.partial(_top, whole)),
        default=functools.partial(_top_in_one_pass, whole),
    )
    rest = _merged_tops(rest, classes) if classes.names else rest
    return rest._replace(classes=classes)


# Three functions put tops together: `_merged_tops` of slices, `_tied` of equals, and
# `_top_of_two` of two parts of a pass. One class is the top, and all others are the
# rest: those that are as large too, and then the largest of the rest is the top's own
# logit. A slice or part that does not lead adds its top to the rest as one class more.
def _merged_tops(own: Rest, classes: ClassAxis) -> Rest:
    """`Rest` of all slices, whose tops but for one that leads join the rest."""
    top = classes.pmax(own.label_logit)
    leads = own.label_logit == top
    below = classes.pmax(jnp.where(leads, own.largest, own.label_logit))
    total = own.total * exp_from(own.largest, below, classes)
    total += jnp.where(leads, 0, exp_from(own.label_logit, below, classes))
    total, leaders = classes.psum(jnp.stack([total, leads.astype(total.dtype)]))
    top = _unless_nan(top, total)
    return _tied(Rest(below, total, top, classes), leaders - 1)


def _tied(rest: Rest, others: Array) -> Rest:
    """`rest` with `others` classes more, a number ≥ 0, that are as large as the top."""
    below, total, top, classes = rest
    tied = total * exp_from(below, top, classes) + others
    return rest._replace(
        largest=jnp.where(others > 0, top, below),
        total=jnp.where(others > 0, tied, total),
    )


def weighted_of(
    x: Array, weights: Array, classes: ClassAxis = WHOLE
) -> tuple[Rest, Weights]:
    """`top_of` logits [..., V], and the sums of weights [..., V]; any dtypes."""
    x, weights = lax.stop_gradient(x), lax.stop_gradient(weights)
    whole = _constant(classes)
    if classes.names:
        # Distances are from the top of all slices, which has to be known before.
        top = top_of(x, classes)
        x, weights = widen_both(x, weights)
        sums = jnp.stack(_weights(whole, rounded(x), weights, top.label_logit))
        return top, Weights(*classes.psum(sums))
    top, sums = lax.platform_dependent(
        x,
        weights,
        cpu=functools.partial(by_groups, functools.partial(_weighted, whole)),
        default=functools.partial(_weighted_in_one_pass, whole),
    )
    return top._replace(classes=classes), sums


def _weighted(classes: ClassAxis, x: Array, weights: Array) -> tuple[Rest, Weights]:
    x, weights = widen_both(x, weights)
    x = rounded(x)
    top = _top(classes, x)
    return top, _weights(classes, x, weights, top.label_logit)


def _weights(classes: ClassAxis, x: Array, weights: Array, top: Array) -> Weights:
    hit = x == top[..., None]
    distance = product(weights, classes.scaled(top[..., None] - x))
    at_top, off_top = jnp.where(hit, weights, 0), jnp.where(hit, 0, weights)
    return Weights(*(jnp.sum(a, axis=-1) for a in (distance, at_top, off_top)))


def _rest(classes: ClassAxis, x: Array, labels: Array) -> Rest:
    x = as_logits(x)
    hit = one_hot(labels, x)
    largest, total = _sum_outside(classes, hit, x)
    if is_sharded(x):
        # Of classes on several devices a gather would bring all of them to each.
        label_logit = jnp.sum(jnp.where(hit, x, 0), axis=-1)
    else:
        label = labels[..., None]
        label_logit = jnp.take_along_axis(x, label, axis=-1, mode="clip")[..., 0]
    return Rest(largest, total, label_logit)


def _top(classes: ClassAxis, x: Array) -> Rest:
    x = as_logits(x)
    top = jnp.max(x, axis=-1)
    hit = x == top[..., None]
    below, total = _sum_outside(classes, hit, x)
    others = jnp.sum(hit.astype(x.dtype), axis=-1) - 1
    return _tied(Rest(below, total, top, classes), others)._replace(classes=WHOLE)


def _sum_outside(classes: ClassAxis, hit: Array, x: Array) -> tuple[Array, Array]:
    """The largest of the logits that are not hit, and the sum of their exponentials."""
    # Written once, for both passes: XLA's sum of exponentials does not take a mask.
    others = lax.optimization_barrier(jnp.where(hit, -jnp.inf, x))
    largest = jnp.max(others, axis=-1)
    return largest, jnp.sum(exp_from(others, largest[..., None], classes), axis=-1)


def exp_from(
    x: Array, largest: Array, classes: ClassAxis = WHOLE, exp: Callable = exp
) -> Array:
    """exp((x − largest)/T); 0 where there is none, −inf."""
    return exp(classes.scaled(x - jnp.where(largest == -jnp.inf, 0, largest)))


def _rest_in_one_pass(classes: ClassAxis, x: Array, labels: Array) -> Rest:
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


def _top_in_one_pass(classes: ClassAxis, x: Array) -> Rest:
    x = as_logits(x)
    low, zero = jnp.asarray(-jnp.inf, x.dtype), jnp.zeros((), x.dtype)
    each = jnp.full_like(x, low), jnp.zeros_like(x), x
    start = (low, zero, low)
    below, total, top = _in_one_pass(classes, each, start, _top_of_two)
    return Rest(below, total, top)


def _weighted_in_one_pass(
    classes: ClassAxis, x: Array, weights: Array
) -> tuple[Rest, Weights]:
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
