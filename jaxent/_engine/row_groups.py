# SPDX-License-Identifier: Apache-2.0
"""On CPU, rows of logits a few at a time: what is made of them stays in the cache.

XLA on CPU writes each intermediate array to memory whole. Of a group of rows they fit
in the cache, and the logits are then read from memory once. No number changes by it.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from .class_axis import WHOLE, ClassAxis
from .placement import is_sharded

# Logits in a group of rows: 1 MiB of float32, that two cores' caches hold (measured
# from 4096 × 1000 to 256 × 131072; twice or half is as good).
GROUP = 2**18


def in_row_groups(function: Callable, *rows: Array, classes: ClassAxis = WHOLE) -> Any:
    """`function`, row by row, of arrays [..., V].

    On CPU a few rows at a time, so that what it makes of them stays in the cache.
    """
    if classes.names:
        # What devices send each other is of all rows at once.
        return function(*rows)
    grouped = functools.partial(by_groups, function)
    return lax.platform_dependent(*rows, cpu=grouped, default=function)


def by_groups(sums: Callable, x: Array, *rows: Array) -> Any:
    """`sums` of x [..., V] and arrays with its batch axes, a group of rows at a time.

    Rows of a group lie a stride apart, so that it has a share of each device's rows.
    """
    *batch, classes = x.shape
    count = math.prod(batch)
    size = _group_size(count, classes)
    if size == count or is_sharded(x):
        return sums(x, *rows)
    given = (x, *rows)
    arrays = [
        _bits(a).reshape(size, count // size, *a.shape[len(batch) :]) for a in given
    ]

    def group(k: Array) -> Any:
        taken = (lax.dynamic_index_in_dim(a, k, 1, False) for a in arrays)
        return sums(*(_unbits(a, b.dtype) for a, b in zip(taken, given, strict=True)))

    by_group = lax.map(group, jnp.arange(count // size, dtype=jnp.int32))
    return jax.tree.map(lambda a: a.T.reshape(batch), by_group)


def _bits(a: Array) -> Array:
    """`a`, its bfloat16 as integers.

    Of a bfloat16 array XLA would widen all of it, and then take the slice.
    """
    return lax.bitcast_convert_type(a, jnp.uint16) if a.dtype == jnp.bfloat16 else a


def _unbits(a: Array, dtype: jnp.dtype) -> Array:
    return lax.bitcast_convert_type(a, dtype) if dtype == jnp.bfloat16 else a


def _group_size(count: int, classes: int) -> int:
    """How many of `count` rows to take together: a divisor of it, or all."""
    # Fewer logits are in the cache anyway. Where no divisor is near, all rows at once.
    if is_known(count * classes) and count * classes >= 4 * GROUP:
        most = max(GROUP // classes, 1)
        for size in range(most, most // 4, -1):
            if count % size == 0:
                return size
    return count


def is_known(length: int) -> bool:
    """Whether a length is a number, and not a symbol that `jax.export` has for it.

    With a symbol one can calculate, but not decide.
    """
    return isinstance(length, int)
