# SPDX-License-Identifier: Apache-2.0
"""Tiles of logits on NVIDIA Hopper: tensor cores fed by copies that overtake them.

A block of three warpgroups has 128 positions and walks over tiles of 256 classes. One
warpgroup only fetches tiles of hidden and classifier, into a ring in shared memory;
two multiply them, 64 positions each, and have the logits in their registers.
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from ..._engine.linear import Head

# wgmma: the 128 threads of a warpgroup multiply 64 rows by at most 256 columns.
ROWS, CLASSES = 64, 256
MULTIPLIERS = 2
"""Warpgroups that multiply. The one that fetches waits for nothing else."""
POSITIONS = MULTIPLIERS * ROWS
HALF = 2
"""Bytes of a float16 or bfloat16."""
# Rows of 128 bytes, 64 halves, in groups of 8, that wgmma reads together: the widest
# swizzle puts each of the 8 in banks of its own. TMA sees arrays in the same tiles.
LINES, DEPTH = 8, 64
SWIZZLE = (plgpu.TilingTransform((LINES, DEPTH)), plgpu.SwizzleTransform(DEPTH * HALF))
PIECE = DEPTH
"""Columns of logits to compute with at once: with all 256, registers spill."""
# Of a block's 64 Ki registers, most to the threads that hold 128 logits each. They
# change hands by the 8.
FETCHING, MULTIPLYING = 40, 232
SHARED = 227 * 1024
"""Bytes of shared memory that a block may have."""
BARRIERS = 1024
"""Bytes of it that are left for barriers and alignment."""
PROCESSORS = 132
"""Those of an H100. Each runs one block, which takes most of its shared memory."""
TILE = plgpu.Layout.WGMMA
"""Which thread holds which logits of a tile: some of two rows, each shared by four."""
ROW, COLUMN = TILE.reduce(1), TILE.reduce(0)
AXES = ("block", "part", "group")
"""Blocks of positions, parts of the classes, and the warpgroups of each block. Parts
are counted first, so that few blocks are on the chip at once: every walk reads its 128
rows of hidden anew for each tile, and 17 blocks' stay in the cache where 132 would not.
"""
COPIES = 2
"""That fill a slot of the ring: of hidden and of classifier."""
# JAX 0.10 has an index to load at.
_idx = inspect.signature(plgpu.load).parameters.get("idx")
WHOLE = ((),) if _idx is not None and _idx.default is _idx.empty else ()


class Piece(NamedTuple):
    """Some columns of a tile of logits, each [64, 64]."""

    x: Array
    share: Array | None
    """Where logits are capped: x = softcap·share."""
    outside: Array
    """Whether this is no class."""
    hit: Array
    """Whether it is the label."""


class Walk(NamedTuple):
    """The way of one multiplying warpgroup over its tiles of classes."""

    place: tuple[Array, Array, Array]
    """Its part of the classes, its block of positions, and which of two it is."""
    tiles: Array
    """How many there are on its way."""
    pieces: Callable[[Array, Array], Iterator[tuple[slice, Piece]]]
    """The n-th of them, given the labels of the rows. Once each, in order."""
    within: Callable[[Any, Array], Any]
    """The n-th tile's place in an array [N, V]."""


class Ring(NamedTuple):
    """Pairs of tiles in shared memory, and who waits for them."""

    hidden: Any
    classifier: Any
    full: Any
    empty: Any


def stages(scratch: int) -> int:
    """Pairs of tiles in a ring: as many as shared memory has room for."""
    return (SHARED - BARRIERS - scratch) // ((POSITIONS + CLASSES) * DEPTH * HALF)


def splits(blocks: int, tiles: int) -> int:
    """Parts of the classes: few processors idle in the last wave of blocks."""

    def busy(parts: int) -> float:
        return blocks * parts / pl.cdiv(blocks * parts, PROCESSORS)

    return max(range(1, min(tiles, 8) + 1), key=busy)


def aligned(head: Head) -> Head:
    """Padded with zeros, that add nothing to a product, to the tiles that TMA sees.

    Not a copy where 8 divides N and 64 divides d, as they do in practice.
    """
    n, d = head.hidden.shape
    lines = max(pl.cdiv(n, LINES), 1) * LINES - n
    return head._replace(
        hidden=jnp.pad(head.hidden, ((0, lines), (0, -d % DEPTH))),
        classifier=jnp.pad(head.classifier, ((0, 0), (0, -d % DEPTH))),
    )


def part(head: Head, start: Array | int, size: int, *, padded_to: int = 1) -> Head:
    """The head of `size` classes from `start` on, and zeros up to a multiple."""

    def padded(x: Array) -> Array:
        rows = lax.dynamic_slice_in_dim(x, start, size)
        return jnp.pad(rows, [(0, -size % padded_to)] + [(0, 0)] * (x.ndim - 1))

    bias = None if head.bias is None else padded(head.bias)
    return Head(head.hidden, padded(head.classifier), bias)


def across(rows: Array, x: Array) -> Array:
    return lax.broadcast_in_dim(rows, x.shape, (0,))


def filled(value: float) -> Array:
    """A number of each row."""
    return plgpu.layout_cast(jnp.full((ROWS,), value, jnp.float32), ROW)


def launch(
    consume: Callable[..., None],
    head: Head,
    rows: tuple[Array | None, ...],
    outs: tuple[jax.ShapeDtypeStruct, ...],
    *,
    parts: int,
    classes: int,
    softcap: float | None,
    scratch: tuple[Any, ...] = (),
) -> tuple[Array, ...]:
    """Run `consume(walk, rows, outs, *scratch)` in every warpgroup that multiplies.

    The head is aligned, and the first `classes` of its classifier's rows are classes.
    Of each of the rows [N] the consumer has 64.
    """
    blocks = pl.cdiv(head.hidden.shape[0], POSITIONS)
    total, depth = pl.cdiv(classes, CLASSES), head.hidden.shape[1] // DEPTH
    most = pl.cdiv(total, parts)

    def kernel(head, rows, *outs, ring, scratch):
        block, part, group = map(lax.axis_index, AXES)
        first = part * most
        count = jnp.minimum(most, total - first)

        @pl.when(group == MULTIPLIERS)
        def _fetch():
            plgpu.set_max_registers(FETCHING, action="decrease")
            _fetch_all(head, ring, block, first, count, depth)

        def pieces(n: Array, labels: Array) -> Iterator[tuple[slice, Piece]]:
            product = functools.partial(_product, ring, group, n * depth, depth)
            tile = pl.run_scoped(product, plgpu.WGMMAAccumulatorRef((ROWS, CLASSES)))
            for start in range(0, CLASSES, PIECE):
                columns = slice(start, start + PIECE)
                x, share = tile[:, columns], None
                if head.bias is not None:
                    bias = _loaded(head.bias.at[first + n, columns], COLUMN)
                    x += lax.broadcast_in_dim(bias, x.shape, (1,))
                if softcap is not None:
                    share = jnp.tanh(x / softcap)
                    # A class that a bias of −inf forbids stays so.
                    x = jnp.where(x == -jnp.inf, x, softcap * share)
                place = plgpu.broadcasted_iota(jnp.int32, x.shape, 1, layout=TILE)
                place += (first + n) * CLASSES + start
                hit = place == across(labels, x)
                yield columns, Piece(x, share, place >= classes, hit)

        def within(ref: Any, n: Array) -> Any:
            row = (block * MULTIPLIERS + group) * ROWS
            return ref.at[pl.ds(row, ROWS), pl.ds((first + n) * CLASSES, CLASSES)]

        @pl.when(group < MULTIPLIERS)
        def _multiply():
            plgpu.set_max_registers(MULTIPLYING, action="increase")
            own = jax.tree.map(lambda ref: _loaded(ref.at[block, group], ROW), rows)
            walk = Walk((part, block, group), count, pieces, within)
            consume(walk, own, outs, *scratch)

    def padded(x: Array, *shape: int) -> Array:
        return jnp.pad(x, (0, math.prod(shape) - x.size)).reshape(shape)

    bias = None
    if head.bias is not None:
        bias = padded(head.bias[:classes].astype(jnp.float32), total, CLASSES)
    rows = jax.tree.map(lambda x: padded(x, blocks, MULTIPLIERS, ROWS), rows)
    return plgpu.kernel(
        kernel,
        out_type=outs,
        grid=(blocks, parts),
        grid_names=AXES[:2],
        num_threads=MULTIPLIERS + 1,
        thread_name=AXES[2],
        scratch_types={"ring": _ring(head.hidden.dtype, scratch), "scratch": scratch},
    )(head._replace(bias=bias), rows)


def _ring(dtype: Any, scratch: tuple[Any, ...]) -> Ring:
    size = stages(sum(math.prod(x.shape) * HALF for x in scratch))
    return Ring(
        plgpu.SMEM((size, POSITIONS, DEPTH), dtype, transforms=SWIZZLE),
        plgpu.SMEM((size, CLASSES, DEPTH), dtype, transforms=SWIZZLE),
        full=plgpu.Barrier(num_arrivals=COPIES, num_barriers=size),
        empty=plgpu.Barrier(num_arrivals=MULTIPLIERS, num_barriers=size),
    )


def _fetch_all(head, ring, block, first, count, depth):
    size, depth = jnp.int32(ring.hidden.shape[0]), jnp.int32(depth)

    @pl.loop(jnp.int32(0), count * depth)
    def _fetch(i):
        slot = lax.rem(i, size)
        # Until both multipliers have read what is there.
        pl.when(i >= size)(lambda: plgpu.barrier_wait(ring.empty.at[slot]))
        columns = pl.ds(lax.rem(i, depth) * DEPTH, DEPTH)
        places = block, first + lax.div(i, depth)
        # Past the end of an array TMA fills in 0.
        for array, tiles, place in zip(head[:2], ring[:2], places, strict=True):
            rows = pl.ds(place * tiles.shape[1], tiles.shape[1])
            plgpu.copy_gmem_to_smem(
                array.at[rows, columns], tiles.at[slot], ring.full.at[slot]
            )


def _product(ring, group, start, depth, total):
    """hidden @ classifier.T of a tile, whose slots are counted from `start` on."""

    def slot(k: Array) -> Array:
        return lax.rem(start + k, jnp.int32(ring.hidden.shape[0]))

    def done_with(k: Array, under_way: int) -> None:
        # wgmma reads shared memory until it is waited for.
        plgpu.wgmma_wait(under_way)
        pl.when(k >= 0)(lambda: plgpu.barrier_arrive(ring.empty.at[slot(k)]))

    def add(k: Array, _: None) -> None:
        plgpu.barrier_wait(ring.full.at[slot(k)])
        hidden = ring.hidden.at[slot(k), pl.ds(group * ROWS, ROWS)]
        plgpu.wgmma(total, hidden, ring.classifier.at[slot(k)].transpose((1, 0)))
        # The next is begun before this one ends, so that the tensor cores never wait.
        done_with(k - 1, under_way=1)

    lax.fori_loop(jnp.int32(0), jnp.int32(depth), add, None)
    done_with(jnp.int32(depth - 1), under_way=0)
    return total[...]


def _loaded(ref: Any, layout: Any) -> Array:
    # Not optimized: from device memory, as the layout has it.
    return plgpu.load(ref, *WHOLE, layout=layout, optimized=False)
