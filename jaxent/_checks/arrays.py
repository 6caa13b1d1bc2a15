# SPDX-License-Identifier: Apache-2.0
"""What an argument is: an array, and of which type."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from .._errors import fail


def array(argument: str, x: ArrayLike) -> Array:
    if isinstance(x, Array):
        return x
    try:
        # Text could be the name of a dtype.
        return jnp.asarray(None if isinstance(x, (str, bytes)) else _narrowed(x))
    except (TypeError, ValueError, OverflowError):
        remedy = "Pass a JAX or NumPy array, or nested lists of numbers."
        dtype = getattr(x, "dtype", None)
        got = type(x).__name__ + (f" of {dtype}" if dtype is not None else "")
        fail(TypeError, argument, "be an array of numbers", got, remedy)


def _narrowed(x: ArrayLike) -> ArrayLike:
    """Integers of 64 bits, where JAX has 32, at the ends of these.

    JAX keeps their lower half: 2**32 + 1 would be class 1, and trained silently.
    """
    made = hasattr(x, "__jax_array__")
    if made or any(isinstance(leaf, Array) for leaf in jax.tree.leaves(x)):
        return x
    wide = np.asarray(x)
    if wide.dtype.kind not in "iu" or wide.dtype.itemsize < 8:
        return x
    limits = np.iinfo(jax.dtypes.canonicalize_dtype(wide.dtype))
    return np.clip(wide, limits.min, limits.max)


def cast(argument: str, x: ArrayLike, dtype: str) -> str:
    """The line that casts what was given; a list, or a number, is no array yet."""
    if hasattr(x, "astype"):
        return f"`{argument}.astype(jnp.{dtype})`"
    return f"`jnp.asarray({argument}, jnp.{dtype})`"


REAL = "Take `.real`, or `jnp.abs` of it."


def floats(argument: str, x: ArrayLike) -> Array:
    given, x = x, array(argument, x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        remedy = f"Cast it: {cast(argument, given, 'float32')}."
        if argument in ("hidden", "classifier"):
            remedy += " Class ids are `labels`, after `hidden` and `classifier`."
        remedy = REAL if jnp.issubdtype(x.dtype, jnp.complexfloating) else remedy
        fail(TypeError, argument, "be real floats", x, remedy)
    return x


def integers(argument: str, x: ArrayLike) -> Array:
    given, x = x, array(argument, x)
    if not jnp.issubdtype(x.dtype, jnp.integer):
        remedy = f"Cast it: {cast(argument, given, 'int32')}."
        fail(TypeError, argument, "be integers", x, remedy)
    return x


def segment_ids(argument: str, x: ArrayLike) -> Array:
    """Ids that are only compared, and 0: those too wide for JAX are renumbered."""
    ids = integers(argument, x)
    if isinstance(x, np.ndarray) and x.dtype.itemsize > ids.dtype.itemsize:
        _, numbers = np.unique(x, return_inverse=True)
        numbers = np.where(x == 0, 0, numbers.reshape(x.shape) + 1)
        ids = jnp.asarray(numbers, ids.dtype)
    return ids


def weights(argument: str, x: ArrayLike) -> Array:
    """Numbers that multiply: of any real dtype, integers and booleans too."""
    x = array(argument, x)
    real = jnp.issubdtype(x.dtype, jnp.number) or x.dtype == jnp.bool_
    if not real or jnp.issubdtype(x.dtype, jnp.complexfloating):
        remedy = REAL
        fail(TypeError, argument, "be real numbers", x, remedy)
    return x


def mask(
    argument: str, x: ArrayLike, otherwise: str = "multipliers are `weights`"
) -> Array:
    """Booleans; `otherwise` says where to put numbers that multiply."""
    x = array(argument, x)
    if x.dtype != jnp.bool_:
        remedy = f"Write `{argument} != 0`; {otherwise}."
        fail(TypeError, argument, "be booleans, True to keep", x, remedy)
    return x
