# SPDX-License-Identifier: Apache-2.0
"""Checks of options, and of all that a softmax loss takes together."""

import difflib
import math
import operator
import re
from numbers import Real
from typing import cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from . import _values
from ._checks import integer
from ._errors import fail, shown, static, traced
from ._habits import FUNCTION, FUNCTION_FIRST
from ._types import AxisName, Implementation, Reduction, Shape
from ._values import Bounds

MEANINGS = {
    "alpha": "It is a share: of the positives, or of the uniform distribution.",
    "distortion": "It is an exponent: 0 draws all alike, 1 by the weights.",
    "div_value": "Each cluster is as many times narrower than the one before.",
    "eps": "Probabilities are clipped to [eps, 1 − eps].",
    "epsilon": "Below −1 the loss would fall as the probability does.",
    "gamma": "It is an exponent of 1 − p: 0 is cross-entropy.",
    "label_smoothing": "It is the share of the uniform distribution; 0 is off.",
    "q": "It goes from cross-entropy, near 0, to the mean absolute error, 1.",
    "softcap": "Logits are kept between −softcap and softcap; None is off.",
    "temperature": "Logits are divided by it; 1 is off.",
    "z_loss": "It is the weight of a penalty; 0 is off.",
}
"""What the bounds of an option are for."""


EACH = {
    "temperature": "For one a position divide the logits, or a head's activations, by "
    "`temperature[..., None]`."
}
"""How an option is told to each position."""


def meaning(argument: str) -> str:
    return MEANINGS.get(argument, "Other values have no meaning here.")


def number(
    argument: str, x: object, bounds: Bounds, *, above: bool = False
) -> float | Array:
    """A finite real scalar within bounds; a traced one is taken at its word.

    `above`: the lower bound is out of them.
    """
    dtype = getattr(x, "dtype", jnp.bool_)
    real = jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.floating)
    scalar = real and getattr(x, "shape", None) == ()
    if isinstance(x, Tracer) and scalar:
        _values.scalar(argument, x, bounds, above=above)
        return x
    if isinstance(x, bool) or not (isinstance(x, Real) or scalar):
        remedy = "Pass a Python number, or a scalar such as a schedule's value."
        if argument in EACH and getattr(x, "ndim", 0):
            remedy = EACH[argument]
        fail(TypeError, argument, "be one real number", shown(x), remedy)
    value, (low, high) = float(cast(float, x)), bounds
    outside = not low <= value <= high or (above and value == low)
    if outside or math.isinf(value):
        must = _values.range_of(bounds, above=above)
        fail(ValueError, argument, must, value if scalar else x, meaning(argument))
    return value


def count(argument: str, x: object, low: int) -> int:
    """A Python integer from `low` up."""
    value = None if isinstance(x, bool) else integer(x)
    if value is None:
        remedy = "It is a size, and fixed when the call is traced."
        remedy = static(argument) if traced(x) else remedy
        fail(TypeError, argument, "be one integer", shown(x), remedy)
    if value < low:
        fail(ValueError, argument, f"be from {low} up", x, "It is a size.")
    return value


def flag(argument: str, x: object) -> bool:
    if not isinstance(x, bool):
        remedy = "It is fixed when the call is traced."
        remedy = static(argument) if traced(x) else remedy
        fail(TypeError, argument, "be True or False", shown(x), remedy)
    return x


def truth(argument: str, x: object) -> bool:
    """A flag as other frameworks take it: whatever equals True or False."""
    try:
        known = x in (True, False)
    except (TypeError, ValueError):
        # A traced one, or an array of several.
        known = False
    return flag(argument, bool(x) if known else x)


def function(x: object):
    if not callable(x):
        fail(TypeError, "function", FUNCTION, shown(x), FUNCTION_FIRST)


def cap(softcap: object) -> float | Array | None:
    return None if softcap is None else positive("softcap", softcap)


def option(argument: str, x: object, high: float) -> float | Array | None:
    """An option that is off at 0, and then costs nothing."""
    x = number(argument, x, (0.0, high))
    return None if isinstance(x, float) and x == 0 else x


MASK = "Pass an int, such as -100; for several, `where` takes any mask."


def ignored(index: int | None, remedy: str = MASK) -> int | None:
    value = None if isinstance(index, (bool, np.bool_)) else integer(index)
    if index is not None and value is None:
        remedy = static("ignore_index") if traced(index) else remedy
        fail(TypeError, "ignore_index", "be one integer", shown(index), remedy)
    return value


HELD = "Cast `labels` to a type that holds it, or drop positions by `where`."


def heeded(index: int | None, labels: Array, remedy: str = HELD):
    """That the labels can be what is ignored: −1 in a uint8 mask is 255."""
    limits = jnp.iinfo(labels.dtype)
    if index is not None and not limits.min <= index <= limits.max:
        must = f"be an id that {labels.dtype.name} labels can be"
        fail(ValueError, "ignore_index", must, index, remedy)


def unit(base: float | None) -> float:
    """Nats in a unit of information with logarithms to the base."""
    if base is None:
        return 1.0
    if not isinstance(base, Real) or not 1 < base < math.inf:
        remedy = "2 gives bits, 10 hartleys; leave it out for nats."
        fail(ValueError, "base", "be a number above 1", repr(base), remedy)
    return math.log(base)


RENAMED = {"elementwise_mean": "mean"}
"""What an option's value was called in older versions of other frameworks."""


def one_of(argument: str, x: object, allowed: tuple[str, ...]):
    if not isinstance(x, str) or x not in allowed:
        must = "be one of " + ", ".join(map(repr, allowed))
        name = RENAMED.get(str(x).lower(), str(x).lower())
        near = difflib.get_close_matches(name, allowed, 1)
        remedy = f"Did you mean {near[0]!r}?" if near else "There are no others."
        fail(ValueError, argument, must, shown(x), remedy)


def reduction(x: object, shape: Shape) -> Reduction:
    """How values of a shape are reduced."""
    one_of("reduction", x, get_args(Reduction))
    if x in ("batch_mean", "sequence_mean") and not shape:
        remedy = 'Of a single value take "mean".'
        must = "be one that a value without axes has"
        fail(ValueError, "reduction", must, repr(x), remedy)
    return cast(Reduction, x)


def kernels(implementation: object, **only_xla: object) -> str | None:
    """A chip's kernels, or None for "xla", which alone takes `only_xla`."""
    if implementation is None:
        return None
    one_of("implementation", implementation, get_args(Implementation))
    if implementation == "xla":
        return None
    for name, x in only_xla.items():
        if x is not None:
            must = f'be left out with implementation="{implementation}"'
            remedy = 'Only "xla", the default, has it.'
            fail(NotImplementedError, name, must, x, remedy)
    return str(implementation)


def axes(argument: str, x: AxisName) -> tuple[str, ...]:
    """The names of one mesh axis or of several."""
    names = x if isinstance(x, tuple) else (x,)
    if not names or not all(isinstance(name, str) for name in names):
        must, remedy = "be the name of a mesh axis, or a tuple of names", "None is off."
        fail(TypeError, argument, must, repr(x), remedy)
    return names


def positive(argument: str, x: object) -> float | Array:
    return number(argument, x, (0.0, math.inf), above=True)


def off_at_1(argument: str, x: object) -> float | Array | None:
    """A positive number that divides, so that at 1 it is off."""
    value = None if x is None else positive(argument, x)
    return None if isinstance(value, float) and value == 1 else value


def key(argument: str, x: Array) -> Array:
    """One random key, of either kind that JAX has."""
    typed = jnp.issubdtype(getattr(x, "dtype", jnp.bool_), jax.dtypes.prng_key)
    if typed and x.shape == ():
        return x
    try:
        jax.eval_shape(jax.random.bits, x)
    except (TypeError, ValueError):
        remedy = "Pass a key such as `jax.random.key(0)`."
        fail(TypeError, argument, "be one JAX random key", shown(x), remedy)
    return x


UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def size(memory: int | str | None, default: int) -> int:
    """Bytes, from a count of them or from text such as "256MB" or "1.5GiB"."""
    if memory is None:
        return default
    text = re.fullmatch(r"\s*([\d.]+)\s*([KMG]?I?B)\s*", str(memory).upper())
    if isinstance(memory, str) and text and text[2] in UNITS:
        return int(float(text[1]) * UNITS[text[2]])
    if isinstance(memory, str) or not hasattr(memory, "__index__"):
        must = "be a number of bytes, or text with a unit"
        remedy = 'For example memory=2**28, or memory="256MB".'
        fail(TypeError, "memory", must, repr(memory), remedy)
    return operator.index(memory)
