# SPDX-License-Identifier: Apache-2.0
"""A loss of the user's own in a chunk: a function of statistics, and of their data.

It is traced once, on blocks of a number of positions that no other length is equal to.
So it cannot close over an array with one entry a position (shapes then do not fit), and
that it keeps positions apart can be read off its jaxpr. What it closes over is made an
argument, for gradients to reach it.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from .._engine.exact import computing_dtype
from .._engine.softmax_statistics import SoftmaxStatistics
from .._errors import fail, noted, outside
from .._types import PyTree
from .apart import mixing, traced
from .chunks import Rows, Shared, of_length, over
from .explicit import inside
from .given import HeadInputs, HeadSettings
from .losses import statistics_rows

NOTE = (
    "`jaxent.linear_softmax_loss` calls the function on some positions at a time, with "
    f"their {', '.join(SoftmaxStatistics._fields)}. "
    "Arrays with an entry for each position are its `*data`: it is given those "
    "entries, and must not close over them."
)


class _Own(NamedTuple):
    """The function, of flat data and what it closes over, and how it is called."""

    function: Callable[..., Any]
    block: int
    """Positions that it is called on."""
    is_float: tuple[bool, ...]
    """Of each array of data."""
    has_aux: bool


def own_loss(
    function: Callable[..., Any],
    given: HeadInputs,
    settings: HeadSettings,
    tree: Any,
    has_aux: bool,
) -> tuple[Callable, tuple[Array, ...]]:
    """The loss of a chunk's rows, and the numbers that the function closes over.

    `tree` is the structure of the data that the function takes.
    """
    hidden, classifier, _ = given.heads[0]
    batch, dtype = hidden.shape[:-1], computing_dtype(hidden)
    trailing = [x.shape[len(batch) :] for x in given.data]
    lengths = {math.prod(batch), *hidden.shape, *classifier.shape, *sum(trailing, ())}

    def of_flat(statistics: SoftmaxStatistics, *leaves: Array) -> Any:
        return outside(function)(statistics, *jax.tree.unflatten(tree, leaves))

    def examples(count: int) -> tuple:
        x = jnp.zeros(count, dtype)
        s = SoftmaxStatistics(x, x, x, x, x > 0, x, x.astype(jnp.int32))
        arrays = zip(given.data, trailing, strict=True)
        return s, *(jnp.zeros((count, *shape), a.dtype) for a, shape in arrays)

    with noted(NOTE):
        count, jaxpr = traced(of_flat, examples, lengths)
    _check_result(jax.eval_shape(of_flat, *examples(count)), count, has_aux)
    if mixing(jaxpr, count):
        # Or the function makes an array of that length itself: of another it does not.
        count, jaxpr = traced(of_flat, examples, lengths | {count})
    if step := mixing(jaxpr, count):
        must = "keep the positions apart: it is called on some of them at a time"
        remedy = "Use `linear_softmax_statistics`, and any function of all positions."
        fail(ValueError, "function", must, f"one that mixes them, by {step}", remedy)
    with inside(given, settings):
        closed, constants = jax.closure_convert(of_flat, *examples(count))
    is_float = tuple(jnp.issubdtype(a.dtype, jnp.floating) for a in given.data)
    own = _Own(closed, count, is_float, has_aux)
    return functools.partial(_own_rows, own), tuple(constants)


def _check_result(result: Any, count: int, has_aux: bool):
    """One loss for each position; and of each position what else there is."""
    if has_aux and not (isinstance(result, tuple) and len(result) == 2):
        must = "return (losses, aux) with has_aux=True"
        got = "one array" if hasattr(result, "shape") else type(result).__name__
        fail(ValueError, "function", must, got, "Return both, or leave has_aux out.")
    losses: Any = result[0] if has_aux else result
    aux = result[1] if has_aux else ()
    floats = jnp.issubdtype(getattr(losses, "dtype", jnp.bool_), jnp.floating)
    if not floats or losses.shape != (count,):
        got = type(losses).__name__
        if hasattr(losses, "shape"):
            got = f"{losses.dtype}{list(losses.shape)}"
        must = f"return one float for each position, here of shape {(count,)}"
        remedy = "Reductions are the business of `reduction`; more goes by `has_aux`."
        fail(ValueError, "function", must, got, remedy)
    for leaf in jax.tree.leaves(aux):
        if leaf.shape[:1] != (count,):
            must = f"return aux of each position, here of shape ({count}, ...)"
            remedy = "Reduce it outside, where all positions are."
            fail(ValueError, "function", must, leaf.shape, remedy)


def _own_rows(
    own: _Own, logits: tuple[Array, ...], rows: Rows, shared: Shared
) -> tuple[Array, PyTree]:
    """The function of a chunk's rows, in blocks of positions."""
    statistics = statistics_rows(logits, rows, shared)
    floats, others = iter(rows.floats), iter(rows.others)
    data = [next(floats if is_float else others) for is_float in own.is_float]
    size, dtype = rows.keep.shape[0], statistics.nll.dtype
    blocks = over(size, own.block)
    first = jnp.argmax(rows.keep)

    def cut(x: Array) -> Array:
        # What is dropped, or fills a block, is taken for a position that is kept: its
        # gradient is then 0 times a number, and not times what the function makes of 0.
        keep, each = (of_length(a, blocks * own.block) for a in (rows.keep, x))
        keep = keep.reshape(-1, *(1,) * (x.ndim - 1))
        x = jnp.where(keep, each, jnp.broadcast_to(x[first], each.shape))
        return x.reshape(blocks, own.block, *x.shape[1:])

    given = jax.tree.map(cut, (statistics, *data))
    result = jax.vmap(lambda *block: own.function(*block, *shared.constants))(*given)
    result = jax.tree.map(
        lambda x: of_length(x.reshape(-1, *x.shape[2:]), size), result
    )
    losses, aux = result if own.has_aux else (result, ())
    return losses.astype(dtype), aux
