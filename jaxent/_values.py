# SPDX-License-Identifier: Apache-2.0
"""Checks of the values of arrays, made at run time, under `jax.experimental.checkify`.

Outside of it nothing is added to a program.
"""

import math
import sys

import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import checkify

from ._errors import quoted


def checked(argument: str = "labels") -> str | None:
    """The call and the argument to name at run time, if `checkify` is tracing, or None.

    A check is an effect: in every program it would take each caller's step off JAX's
    fast dispatch path (400 µs a call, measured). Only the stack tells who traces.
    """
    frame, checkify_module = sys._getframe(), checkify.checkify.__module__
    while frame is not None and frame.f_globals.get("__name__") != checkify_module:
        frame = frame.f_back
    return None if frame is None else quoted(argument)


Bounds = tuple[float, float]
UNIT, UP, DOWN = (0.0, 1.0), (0.0, math.inf), (-math.inf, 0.0)
"""What probabilities, weights of classes and log-probabilities lie in."""


def range_of(bounds: Bounds, *, above: bool = False) -> str:
    low, high = bounds
    if above:
        return f"be above {low:g}"
    if math.isinf(low):
        return f"be at most {high:g}"
    return f"be from {low:g} {'up' if math.isinf(high) else f'to {high:g}'}"


def within(
    argument: str,
    x: Array,
    bounds: Bounds,
    keep: Array | None = None,
    axes: tuple[int, ...] = (),
):
    """Name a value out of bounds, or NaN; `keep` is of the shape without the axes."""
    if (call := checked(argument)) is None:
        return
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)
    bad = ~((x >= bounds[0]) & (x <= bounds[1]))
    if keep is not None:
        keep = jnp.broadcast_to(jnp.expand_dims(keep, axes), x.shape)
    remedy = "Drop its position with `where`, or mend it."
    _name_first(call, range_of(bounds), bad, x, keep, remedy)


def scalar(argument: str, x: Array, bounds: Bounds, *, above: bool = False):
    """Name an option that is traced, where it is not finite or out of bounds."""
    if (call := checked(argument)) is None:
        return
    good = (x >= bounds[0]) & (x <= bounds[1]) & (abs(x) < jnp.inf)
    if above:
        good &= x > bounds[0]
    must = range_of(bounds, above=above)
    remedy = "It is an option of the whole call."
    _name_first(call, must, ~good, x, None, remedy, "")


def in_range(checked: str, labels: Array, keep: Array | None, count: int):
    """Name a label outside [0, count)."""
    bad = (labels < 0) | (labels >= count)
    remedy = "Its loss is NaN. Drop it with `where` or `ignore_index`, or mend it."
    _name_first(checked, f"be in [0, {count})", bad, labels, keep, remedy)


def distinct(checked: str, ids: Array):
    """Name an id that its position has before, at run time; negative ones are none."""
    same = ids[..., None] == ids[..., None, :]
    again = jnp.any(jnp.tril(same, -1), axis=-1) & (ids >= 0)
    remedy = "Its mass counts twice: leave one, and −1 for the other."
    _name_first(checked, "differ within a position", again, ids, None, remedy)


def drawable(checked: str, labels: Array, keep: Array | None, counts: Array):
    """Name a label that its sampler never draws."""
    must = "be classes that the sampler can draw (expected count above 0)"
    remedy = "Its loss is NaN. Drop it with `where`, or give the class a weight."
    _name_first(checked, must, counts <= 0, labels, keep, remedy)


def _name_first(
    checked: str,
    must: str,
    bad: Array,
    x: Array,
    keep: Array | None,
    remedy: str,
    place: str = " at flat position {position}",
):
    bad = (bad if keep is None else bad & keep).ravel()
    if bad.size == 0:
        return
    position = lax.stop_gradient(jnp.argmax(bad))
    checkify.debug_check(
        ~jnp.any(bad),
        f"{checked} must {must}; got {{value}}{place}. {remedy}",
        value=lax.stop_gradient(x).ravel()[position],
        position=position,
    )
