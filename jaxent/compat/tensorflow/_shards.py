# SPDX-License-Identifier: Apache-2.0
"""TensorFlow's arrays of classes, cut into shards."""

from collections.abc import Sequence
from typing import cast

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ... import _checks, _options
from ..._errors import fail


def whole(
    argument: str,
    given: ArrayLike | Sequence[ArrayLike],
    num_classes: int,
    strategy: str,
) -> Array:
    """The rows of shards in the order of their ids."""
    _options.one_of("partition_strategy", strategy, ("mod", "div"))
    count = _options.count("num_classes", num_classes, 1)
    if not isinstance(given, (list, tuple)):
        rows = _checks.floats(argument, cast(ArrayLike, given))
        return _rows(argument, rows, count)
    shards = _listed(argument, given)
    rows = _rows(argument, jnp.concatenate(shards), count)
    if strategy == "div":
        return rows
    for i, shard in enumerate(shards):
        _rows(f"{argument}[{i}]", shard, len(range(i, count, len(shards))))
    starts = [sum(s.shape[0] for s in shards[:i]) for i in range(len(shards))]
    ids = jnp.arange(count)
    return rows[jnp.asarray(starts)[ids % len(shards)] + ids // len(shards)]


def _listed(argument: str, given: Sequence[ArrayLike]) -> list[Array]:
    """Arrays that can stand in one."""
    if not given:
        remedy = "Pass an array, or a list of its shards."
        fail(ValueError, argument, "have a shard", "none", remedy)
    names = [f"{argument}[{i}]" for i in range(len(given))]
    shards = [_checks.floats(*a) for a in zip(names, given, strict=True)]
    for name, shard in zip(names, shards, strict=True):
        if shard.ndim == 0 or shard.shape[1:] != shards[0].shape[1:]:
            rest = "".join(f", {n}" for n in shards[0].shape[1:])
            must = f"have shape (rows{rest}), as the first shard"
            remedy = "Shards are cut along the classes, the first axis."
            fail(ValueError, name, must, shard.shape, remedy)
    return shards


def _rows(argument: str, x: Array, count: int) -> Array:
    if x.ndim == 0 or x.shape[0] < count:
        must = f"have at least {count} rows, one a class"
        remedy = "There are `num_classes`, along the first axis."
        fail(ValueError, argument, must, x.shape, remedy)
    return x
