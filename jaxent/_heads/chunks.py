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
    return Plan(size, over(rows, size or 1) or 1, compact, devices, block, multiple)


def quartered(plan: Plan, rows: int) -> Plan:
    """A quarter of the rows a chunk, or the same plan where they are not known."""
    if not is_known(rows):
        return plan
    fit, compact, devices = over(plan.size, 4), plan.compact, plan.devices
    return plan_chunks(rows, fit, compact=compact, devices=devices)


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
