# SPDX-License-Identifier: Apache-2.0
"""Checks of the values of arrays, made at run time, under `jax.experimental.checkify`.

Outside of it nothing is added to a program.
"""

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


def in_range(checked: str, labels: Array, keep: Array | None, count: int):
    """Name a label outside [0, count), at run time, through `checkify`."""
    bad = (labels < 0) | (labels >= count)
    remedy = "Drop it with `where` or `ignore_index`, or mend the label."
    _name_first(checked, f"be in [0, {count})", bad, labels, keep, remedy)


def distinct(checked: str, ids: Array):
    """Name an id that its position has before, at run time; negative ones are none."""
    same = ids[..., None] == ids[..., None, :]
    again = jnp.any(jnp.tril(same, -1), axis=-1) & (ids >= 0)
    remedy = "Its mass counts twice: leave one, and −1 for the other."
    _name_first(checked, "differ within a position", again, ids, None, remedy)


def drawable(checked: str, labels: Array, keep: Array | None, counts: Array):
    """Name a label that its sampler never draws, at run time, through `checkify`."""
    must = "be classes that the sampler can draw (expected count above 0)"
    remedy = "Drop it with `where`, or give the class a weight."
    _name_first(checked, must, counts <= 0, labels, keep, remedy)


def _name_first(
    checked: str, must: str, bad: Array, labels: Array, keep: Array | None, remedy: str
):
    bad = (bad if keep is None else bad & keep).ravel()
    if bad.size == 0:
        return
    position = lax.stop_gradient(jnp.argmax(bad))
    checkify.debug_check(
        ~jnp.any(bad),
        f"{checked} must {must}; got {{label}} at flat position {{position}}. "
        f"Its loss and gradient are NaN. {remedy}",
        label=labels.ravel()[position],
        position=position,
    )
