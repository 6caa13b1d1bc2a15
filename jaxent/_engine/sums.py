# SPDX-License-Identifier: Apache-2.0
"""The sums over the classes that softmax is made of, as fast as a platform has them.

All are taken over x − c, c the largest logit that enters them, so that no offset of
the logits matters; at a temperature T, over (x − c)/T. Each is one arithmetic in two
shapes: on CPU in blocks of classes (`cpu_sums`), elsewhere in one pass (`one_pass`).
None is differentiated: the rules of `statistics` are.

docs/mathematics.md, "Two numbers a position", says why the label is left out of the
sum, and "Label smoothing" what is weighted. Read `statistics` next, which makes a
loss's numbers of these.
"""

import functools

import jax.numpy as jnp
from jax import Array, lax

from . import cpu_sums, one_pass
from .class_axis import WHOLE, ClassAxis
from .terms import Rest, Weights, exp_from, tied, traced_once, weights_of


@traced_once
def rest_of(x: Array, labels: Array, classes: ClassAxis = WHOLE) -> Rest:
    """`Rest` of logits [..., V], any float dtype, and class ids [...].

    Where an id is no class, all classes are the rest, and the label's logit is any
    finite number or −inf.
    """
    own, whole = classes.local(labels, x.shape[-1]), _constant(classes)
    rest = lax.platform_dependent(
        lax.stop_gradient(x),
        own,
        cpu=functools.partial(cpu_sums.rest, whole),
        default=functools.partial(one_pass.rest, whole),
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


@traced_once
def top_of(x: Array, classes: ClassAxis = WHOLE) -> Rest:
    """`Rest` with the likeliest class, or one of the likeliest, as the label."""
    whole = _constant(classes)
    rest = lax.platform_dependent(
        lax.stop_gradient(x),
        cpu=functools.partial(cpu_sums.top, whole),
        default=functools.partial(one_pass.top, whole),
    )
    rest = _merged_tops(rest, classes) if classes.names else rest
    return rest._replace(classes=classes)


# Three functions put tops together: `_merged_tops` of slices, `tied` of equals, and
# `one_pass` of two parts. One class is the top, and all others are the rest: those that
# are as large too, and then the largest of the rest is the top's own logit. A slice or
# part that does not lead adds its top to the rest as one class more.
def _merged_tops(own: Rest, classes: ClassAxis) -> Rest:
    """`Rest` of all slices, whose tops but for one that leads join the rest."""
    top = classes.pmax(own.label_logit)
    leads = own.label_logit == top
    below = classes.pmax(jnp.where(leads, own.largest, own.label_logit))
    total = own.total * exp_from(own.largest, below, classes)
    total += jnp.where(leads, 0, exp_from(own.label_logit, below, classes))
    total, leaders = classes.psum(jnp.stack([total, leads.astype(total.dtype)]))
    top = _unless_nan(top, total)
    return tied(Rest(below, total, top, classes), leaders - 1)


@traced_once
def weighted_of(
    x: Array, weights: Array, classes: ClassAxis = WHOLE
) -> tuple[Rest, Weights]:
    """`top_of` logits [..., V], and the sums of weights [..., V]; any dtypes."""
    x, weights = lax.stop_gradient(x), lax.stop_gradient(weights)
    whole = _constant(classes)
    if classes.names:
        # Distances are from the top of all slices, which has to be known before.
        top = top_of(x, classes)
        sums = jnp.stack(weights_of(whole, x, weights, top.label_logit))
        return top, Weights(*classes.psum(sums))
    top, sums = lax.platform_dependent(
        x,
        weights,
        cpu=functools.partial(cpu_sums.weighted, whole),
        default=functools.partial(one_pass.weighted, whole),
    )
    return top._replace(classes=classes), sums


@traced_once
def fall_of(x: Array, top: Rest) -> Array:
    """Σ_j D_j·exp((x_j − c')/T), D_j the distance (x_y − x_j)/T from the top y."""
    x, classes = lax.stop_gradient(x), _constant(top.classes)
    fall = lax.platform_dependent(
        x,
        lax.stop_gradient(top.largest),
        lax.stop_gradient(top.label_logit),
        cpu=functools.partial(cpu_sums.fall, classes),
        default=functools.partial(one_pass.fall, classes),
    )
    return top.classes.psum(fall)
