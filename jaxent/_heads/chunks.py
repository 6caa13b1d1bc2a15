# SPDX-License-Identifier: Apache-2.0
"""Positions, cut into chunks, and the loop over these."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.core import min_dim

from .._engine.class_axis import WHOLE, ClassAxis
from .._engine.placement import zeros_of
from .._engine.row_groups import is_known
from .._types import Number, PyTree


class Rows(NamedTuple):
    """What comes with each position: a weight, a mask, a label, and the user's own."""

    weights: Array
    keep: Array
    labels: Array | None
    classes: ClassAxis = WHOLE
    floats: tuple[Array, ...] = ()
    """Data of the user's, [N, ...]: these are differentiated, as the weights are."""
    others: tuple[Array, ...] = ()
    """Integers and booleans among them."""

    @property
    def differentiable(self) -> tuple[Array, tuple[Array, ...]]:
        return self.weights, self.floats

    def with_differentiable(self, arrays: tuple[Array, tuple[Array, ...]]) -> "Rows":
        return self._replace(weights=arrays[0], floats=arrays[1])


class Shared(NamedTuple):
    """What all positions share, and a loss may be differentiated in; None is off."""

    class_weights: Array | None = None
    """[V], sliced as the classifier's rows are. All else is whole on every device."""
    label_smoothing: Number | None = None
    z_loss: Number | None = None
    softcap: Number | None = None
    temperature: Number | None = None
    weight: Number | None = None
    """Of the first of two distributions in their mixture."""
    constants: tuple[Array, ...] = ()
    """What a function of the user's own closes over."""


class Plan(NamedTuple):
    """How N positions are cut: `chunks` of `size`, the last padded."""

    size: int
    chunks: int
    compact: bool
    """Whether dropped positions go last, so that whole chunks of them are skipped."""
    devices: int
    """Over how many XLA may have spread the rows: each has a share of every chunk."""
    block: int = 0
    """Bytes of the classifier's gradient that are computed before they are added to
    what there is; 0 for all of it."""
    multiple: int = 1
    """Of how many rows `size` is, where that many fit."""
    pieces: int = 1
    """In how many the logits of a chunk are made, where its slopes are `gathered`."""


class Plans(NamedTuple):
    """How positions are cut in a program that is compiled for a CPU, or for a chip."""

    cpu: Plan
    chip: Plan

    def run(self, function: Callable[..., PyTree], *args: PyTree) -> PyTree:
        """`function(plan, *args)`, by the plan for what the program is compiled for."""
        if self.cpu == self.chip:
            return function(self.cpu, *args)
        return lax.platform_dependent(
            *args,
            cpu=functools.partial(function, self.cpu),
            default=functools.partial(function, self.chip),
        )


def plan_chunks(
    rows: int,
    fit: int,
    *,
    compact: bool,
    devices: int,
    block: int = 0,
    multiple: int = 1,
    pieces: int = 1,
) -> Plan:
    """Chunks of equal size, none with more rows than fit.

    There are a few more of them than need be, where the rows then need no padding,
    which is a copy: on a mesh XLA would even gather the rows for it. It would gather
    them to reorder them too, so that there dropped rows are not put last.
    """
    compact = compact and devices == 1
    # Where all rows are one chunk, or few fit, they are as many as they are.
    multiple = multiple if is_known(rows) and multiple <= fit < rows else 1
    fit = fit // multiple * multiple
    if not is_known(rows):
        # All but the last are full then: symbols are to stay simple, for JAX to reason
        # with them and to lower each line that they are in.
        return Plan(min_dim(rows, fit), over(rows, fit), compact, devices, block)
    chunks = max(over(rows, max(fit, 1)), 1)
    limit = 4 * chunks if devices > 1 else chunks + chunks // 4
    step = multiple * devices
    even = (k for k in range(chunks, limit + 1) if rows % (k * step) == 0)
    chunks = next(even, chunks)
    size = over(over(rows, chunks), multiple) * multiple
    count = over(rows, size or 1) or 1
    pieces = pieces if count > 1 else 1
    return Plan(size, count, compact, devices, block, multiple, pieces)


def quartered(plan: Plan, rows: int) -> Plan:
    """A quarter of the rows a chunk, or the same plan where they are not known."""
    if not is_known(rows):
        return plan
    fit, compact, devices = over(plan.size, 4), plan.compact, plan.devices
    return plan_chunks(rows, fit, compact=compact, devices=devices)


def gathered(plan: Plan, rows: int) -> Plan:
    """Twice the rows a chunk in the same memory, for slopes that are halves.

    A chunk of n rows has room for two arrays of float32, its logits and one more. The
    slopes of 2·n rows are as large as one of them, where they are halves; and the
    logits of a quarter of these, which is all there are at once, as half of one.
    """
    apart = plan._replace(pieces=1)
    # Runs of rows that XLA has spread would be moved between the devices.
    if plan.pieces == 1 or plan.devices > 1:
        return apart
    whole = plan_chunks(
        rows, 2 * plan.size, compact=plan.compact, devices=1, block=plan.block,
        multiple=plan.pieces * plan.multiple,
    )  # fmt: skip
    # All of them, where they are one chunk, may not be so divided.
    divides = whole.size % plan.pieces == 0
    return whole._replace(pieces=plan.pieces) if divides else apart


def in_pieces(
    step: Callable[..., PyTree], carry: PyTree, room: list[Array], chunk: PyTree,
    plan: Plan,
) -> tuple[PyTree, list[Array], PyTree]:  # fmt: skip
    """`step` of a chunk in so many pieces, one after another.

    Of its results, (large, small), the small are put together, and the large are
    written into the room for those of the whole chunk: the loop would copy them.
    """
    if plan.pieces == 1:
        carry, (large, small) = step(carry, chunk)
        return carry, large, small

    def put(room: list[Array], large: list[Array], i: Array) -> list[Array]:
        pairs = zip(room, large, strict=True)
        return [
            lax.dynamic_update_slice_in_dim(all_of_it, x, i * x.shape[0], axis=0)
            for all_of_it, x in pairs
        ]

    def run(state, numbered):
        (carry, room), (i, piece) = state, numbered
        carry, (large, small) = step(carry, piece)
        return (carry, put(room, large, i)), small

    def skip(state, numbered):
        (carry, room), (i, piece) = state, numbered
        like = jax.eval_shape(step, carry, piece)[1]
        large, small = jax.tree.map(zeros_of, like)
        # Hidden is 0 there, so what the room has does no harm; but where one branch
        # writes into it and the other does not, XLA on a GPU copies all of it.
        return (carry, put(room, large, i)), small

    def maybe(state, numbered):
        kept = jnp.any(numbered[1][1].keep)
        return lax.cond(kept, run, skip, state, numbered)

    def split(x: Array) -> Array:
        return x.reshape(plan.pieces, -1, *x.shape[1:])

    xs = jnp.arange(plan.pieces), jax.tree.map(split, chunk)
    # A derivative computes each piece again, as `scan` does each chunk.
    step_again = jax.checkpoint(maybe, prevent_cse=False)
    (carry, room), small = lax.scan(step_again, (carry, room), xs)
    return carry, room, jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:]), small)


def over(count: int, size: int) -> int:
    """How many of a size it takes to hold the count; of symbolic lengths too."""
    return -(-count // size)


def scan(body, start, heads, rows, plan):
    """Scan `body` over the chunks; its results come back one per position."""
    n = rows.keep.shape[0]
    # Dropped rows last (stable: the others keep their order), if the plan says so.
    hiddens = tuple(head.hidden for head in heads)
    order = jnp.argsort(~rows.keep, stable=True) if plan.compact else None
    xs = jax.tree.map(lambda x: _split(x, order, plan), (hiddens, rows))
    # Under `checkpoint` a derivative computes each chunk again, and keeps none. It is
    # around the branch, which would hand out what it keeps: a classifier a chunk.
    step = jax.checkpoint(_skipping(body), prevent_cse=False)
    carry, ys = lax.scan(step, start, xs)
    back = None if order is None else jnp.argsort(order)
    return carry, jax.tree.map(lambda y: _join(y, back, n), ys)


def _skipping(step):
    """`step`, or zeros at no cost where the whole chunk is dropped.

    The branch also keeps XLA from giving the chunk's arrays buffers of their own
    beside the loop's: a third of the memory, measured on CPU.
    """

    def skip(carry, chunk):
        like = jax.eval_shape(step, carry, chunk)[1]
        return carry, jax.tree.map(zeros_of, like)

    def maybe(carry, chunk):
        return lax.cond(jnp.any(chunk[1].keep), step, skip, carry, chunk)

    return maybe


def _split(x: Array, order: Array | None, plan: Plan) -> Array:
    """[N, ...] to [chunks, size, ...], padded with zeros: dropped rows of weight 0.

    In the given order chunks are runs. Else they are strided, each with a share of
    every device's rows, so that a sharded token axis stays sharded.
    """
    if order is not None:
        x = x[order]
    x = of_length(x, plan.size * plan.chunks)
    if order is not None:
        return x.reshape(plan.chunks, plan.size, *x.shape[1:])
    return x.reshape(plan.size, plan.chunks, *x.shape[1:]).swapaxes(0, 1)


def _join(y: Array, back: Array | None, n: int) -> Array:
    """The inverse of `_split`."""
    if back is None:
        return of_length(y.swapaxes(0, 1).reshape(-1, *y.shape[2:]), n)
    return of_length(y.reshape(-1, *y.shape[2:]), n)[back]


def of_length(x: Array, length: int) -> Array:
    """x, its first axis cut off or filled with zeros; of which may not be known yet."""
    if length == x.shape[0]:
        return x
    last = (0, length - x.shape[0], 0)
    return lax.pad(x, jnp.zeros((), x.dtype), [last, *[(0, 0, 0)] * (x.ndim - 1)])
