# SPDX-License-Identifier: Apache-2.0
"""The fused head on NVIDIA Hopper, in Pallas (Mosaic GPU): one kernel in two uses.

A block of three warpgroups walks over the classes. One fetches tiles of hidden and
classifier into a ring in shared memory; two multiply them, 64 positions each, and
make of each tile of logits, in registers, sums or slopes.

Slopes go to memory, a slab of classes at a time, and XLA multiplies them: no block has
room for float32 sums of whole rows of the products, and with parts of them it would
compute all logits again for each. Four products of N·d·V in all, and one slab.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from .. import _checks, _options
from .._chunked import Head, matmul
from .._heads import DEFAULT_MEMORY
from .._sums import Rest, exp_from
from ._fused_head import HeadSums, How, Slopes

# wgmma: the 128 threads of a warpgroup multiply 64 rows by at most 256 columns.
ROWS, CLASSES = 64, 256
# A row of a tile is 64 halves, 128 bytes, the widest swizzle: of the 8 rows that wgmma
# reads together each then lies in banks of its own.
DEPTH = 64
HALF = 2
"""Bytes of a number that is multiplied."""
SWIZZLE = (plgpu.TilingTransform((8, DEPTH)), plgpu.SwizzleTransform(DEPTH * HALF))
MULTIPLIERS = 2
"""Warpgroups that multiply. One more fetches, for them to wait for nothing else."""
POSITIONS = MULTIPLIERS * ROWS
# Of the 64 Ki registers of a block, most to those whose threads hold 128 logits each.
# They are handed over by the 8.
MULTIPLYING, FETCHING = 232, 40
SHARED = 227 * 1024
"""Bytes of shared memory that a block may have."""
BARRIERS = 1024
"""Bytes of it that are left for barriers and alignment."""
COPY = 16
"""Bytes: TMA copies from rows that start at multiples of it."""
TILE = plgpu.Layout.WGMMA
"""Which thread holds which of the 64 × 256 logits; four of them share a row."""
ROW, COLUMN = TILE.reduce(1), TILE.reduce(0)
PROCESSORS = 132
"""Of an H100. With this much shared memory, each runs one block."""


class Tiles(NamedTuple):
    """What the kernels are compiled for."""

    slab: int
    """Classes whose slopes are in memory at once."""


def tiles(call: str, head: Head, memory: int | str | None) -> Tiles:
    """A slab that fits; refuses what the kernels cannot multiply."""
    x, w = head.hidden, head.classifier
    kernels = 'with implementation="pallas_gpu"'
    if x.dtype not in (jnp.bfloat16, jnp.float16):
        remedy = 'Tensor cores round float32 to 10 bits (TF32): use "xla".'
        must = f"be bfloat16 or float16 {kernels}"
        _checks.fail(NotImplementedError, call, "hidden", must, x, remedy)
    if w.dtype != x.dtype:
        remedy = "Tensor cores multiply like by like: cast one of them."
        must = f"be {x.dtype.name}, as `hidden` is, {kernels}"
        _checks.fail(NotImplementedError, call, "classifier", must, w, remedy)
    if x.shape[-1] * HALF % COPY:
        remedy = "TMA copies rows that start at multiples of 16 bytes: pad with zeros."
        must = f"have a last axis that 8 divides {kernels}"
        _checks.fail(NotImplementedError, call, "hidden", must, x, remedy)
    least = max(math.prod(x.shape[:-1]), 1) * CLASSES * HALF
    budget = _options.size(call, memory, max(DEFAULT_MEMORY, least))
    if budget < least:
        must = f"be at least {least} bytes, the gradient of {CLASSES} classes' logits,"
        remedy = "Raise it, or leave it out."
        _checks.fail(ValueError, call, "memory", f"{must} {kernels}", memory, remedy)
    total = pl.cdiv(w.shape[0], CLASSES)
    slabs = pl.cdiv(total, budget // least)
    return Tiles(min(pl.cdiv(total, slabs) * CLASSES, w.shape[0]))


def stages(scratch: int) -> int:
    """Pairs of tiles in the ring: as many as shared memory has room for."""
    return (SHARED - BARRIERS - scratch) // ((POSITIONS + CLASSES) * DEPTH * HALF)


def splits(blocks: int, total: int) -> int:
    """Blocks to share out the classes, so that few processors idle in the last wave."""

    def busy(parts: int) -> float:
        return blocks * parts / pl.cdiv(blocks * parts, PROCESSORS)

    return max(range(1, min(total, 8) + 1), key=busy)


def sums(head: Head, labels: Array, how: How) -> HeadSums:
    """Of each position, in one pass over the classes."""
    start = (-jnp.inf, 0.0, -jnp.inf, 0.0, 0.0)[: 5 if how.smoothing else 3]

    def consume(walk: Walk, rows: tuple[Array, ...], outs: tuple) -> None:
        def add(n: Array, found: tuple[Array, ...]) -> tuple[Array, ...]:
            x, _ = walk.logits(n)
            return sums_with(found, x, *walk.masks(n, rows[0]))

        found = lax.fori_loop(0, walk.count, add, tuple(map(_rows, start)))
        for out, values in zip(outs, found, strict=True):
            out[walk.place] = values

    blocks, total = _blocks(head)
    shape = (splits(blocks, total), blocks, MULTIPLIERS, ROWS)
    outs = (jax.ShapeDtypeStruct(shape, jnp.float32),) * len(start)
    parts = _launch(consume, head, (labels,), outs, how)
    return _merged(labels, *(x.reshape(shape[0], -1)[:, : labels.size] for x in parts))


def sums_with(found, x, inside, hit):
    """The sums, of each row, with those of one tile of logits x."""
    largest, total, label_logit, *distances = found
    others = jnp.where(inside & ~hit, x, -jnp.inf)
    top = jnp.maximum(largest, jnp.max(others, axis=1))
    above = _across(top, x)
    total = total * exp_from(largest, top) + jnp.sum(exp_from(others, above), axis=1)
    label_logit = jnp.maximum(label_logit, jnp.max(jnp.where(hit, x, -jnp.inf), axis=1))
    if not distances:
        return top, total, label_logit
    distance, allowed = distances
    there = others > -jnp.inf
    distance += jnp.where(allowed == 0, 0, allowed * (top - largest))
    distance += jnp.sum(jnp.where(there, above - x, 0), axis=1)
    allowed += jnp.sum(jnp.where(there, jnp.ones_like(x), 0), axis=1)
    return top, total, label_logit, distance, allowed


def _merged(labels, largest, total, label_logit, distance=None, allowed=None):
    """Of the sums of the parts [parts, N], each over its largest, those of all."""
    top = jnp.max(largest, axis=0)
    rest = Rest(
        top,
        jnp.sum(total * exp_from(largest, top), axis=0),
        jnp.where(labels < 0, 0, jnp.max(label_logit, axis=0)),
    )
    if distance is None or allowed is None:
        return HeadSums(rest, None, None)
    distance += jnp.where(allowed == 0, 0, allowed * (top - largest))
    return HeadSums(rest, jnp.sum(distance, axis=0), jnp.sum(allowed, axis=0))


def gradient(head: Head, labels: Array, slopes: Slopes, how: How) -> Head:
    """Of hidden, classifier and bias, in their dtypes; a slab of classes at a time."""
    slab = how.tiles.slab
    whole, last = divmod(head.classifier.shape[0], slab)

    def add(start: Array | int, size: int, sums: Head) -> Head:
        part = Head(head.hidden, *(_cut(x, start, size) for x in head[1:]))
        slope = _slab(part, labels - start, slopes, how)
        new = matmul(slope, head.hidden, (0, 0)), jnp.sum(slope, 0, jnp.float32)
        return Head(
            sums.hidden + matmul(slope, part.classifier, (1, 0)),
            *(_put(x, rows, start) for x, rows in zip(sums[1:], new, strict=True)),
        )

    sums = jax.tree.map(jnp.zeros_like, head)
    sums = sums._replace(hidden=sums.hidden.astype(jnp.float32))
    sums = lax.fori_loop(0, whole, lambda i, s: add(i * slab, slab, s), sums)
    sums = add(whole * slab, last, sums) if last else sums
    return sums._replace(hidden=sums.hidden.astype(head.hidden.dtype))


def _cut(x: Array | None, start: Array | int, size: int) -> Array | None:
    return None if x is None else lax.dynamic_slice_in_dim(x, start, size)


def _put(x: Array | None, rows: Array, start: Array | int) -> Array | None:
    if x is None:
        return None
    return lax.dynamic_update_slice_in_dim(x, rows.astype(x.dtype), start, 0)


def _slab(head: Head, labels: Array, slopes: Slopes, how: How) -> Array:
    """The gradient of the logits [N, V], rounded to the dtype that is multiplied."""
    dtype = head.hidden.dtype

    def consume(walk: Walk, rows: tuple, outs: tuple, tile: Any) -> None:
        labels, *slopes = rows

        def store(n: Array, _: None) -> None:
            x, share = walk.logits(n)
            d = slopes_of(x, share, *walk.masks(n, labels), Slopes(*slopes))
            # Until the copy of the last tile has read it all.
            plgpu.wait_smem_to_gmem(0, wait_read_only=True)
            tile[walk.place[-1]] = d.astype(dtype)
            # For TMA to see what threads have written.
            plgpu.commit_smem()
            # What is past the end of the array it does not write.
            plgpu.copy_smem_to_gmem(tile.at[walk.place[-1]], walk.part(outs[0], n))

        lax.fori_loop(0, walk.count, store, None)
        plgpu.wait_smem_to_gmem(0)

    (n, _), classes = head.hidden.shape, head.classifier.shape[0]
    out = jax.ShapeDtypeStruct((n, pl.cdiv(classes * HALF, COPY) * COPY // HALF), dtype)
    tile = plgpu.SMEM((MULTIPLIERS, ROWS, CLASSES), dtype, transforms=SWIZZLE)
    (found,) = _launch(consume, head, (labels, *slopes), (out,), how, tile=tile)
    return found[:, :classes]


def slopes_of(x, share, inside, hit, slopes):
    """The gradient of a tile's logits, before they are capped: x = cap·share."""
    # No class is above the largest, but where a position is dropped, and that is 0.
    top = _across(slopes.largest, x)
    d = _across(slopes.others, x) * exp_from(jnp.minimum(x, top), top)
    d = jnp.where(hit, _across(slopes.label, x), d)
    if slopes.everywhere is not None:
        d += jnp.where(x > -jnp.inf, _across(slopes.everywhere, x), 0)
    if share is not None:
        d *= (1 + share) * (1 - share)
    return jnp.where(inside, d, 0)


class Walk(NamedTuple):
    """The way of one multiplying warpgroup over its tiles of classes."""

    place: tuple[Array, Array, Array]
    """Its part of the classes, its block of positions, and which of two it is."""
    count: Array
    """How many tiles there are on its way."""
    logits: Callable[[Array], tuple[Array, Array | None]]
    """The n-th tile [64, 256], and its share of the cap; of each once, in order."""
    masks: Callable[[Array, Array], tuple[Array, Array]]
    """Which of its columns are classes, and which are the rows' labels."""
    part: Callable[[Any, Array], Any]
    """The tile's place in an array [N, V]."""


def _launch(
    consume: Callable[..., None],
    head: Head,
    rows: tuple[Array | None, ...],
    outs: tuple[jax.ShapeDtypeStruct, ...],
    how: How,
    **scratch: Any,
) -> tuple[Array, ...]:
    """Run `consume(walk, rows, outs, **scratch)` in every multiplying warpgroup."""
    blocks, total = _blocks(head)
    parts = splits(blocks, total)
    classes, depth = head.classifier.shape[0], pl.cdiv(head.hidden.shape[1], DEPTH)
    bias = None if head.bias is None else head.bias.astype(jnp.float32)
    bias = _tiled(bias, total, CLASSES)
    rows = tuple(_tiled(x, blocks, MULTIPLIERS, ROWS) for x in rows)
    ring = stages(sum(math.prod(x.shape) * HALF for x in scratch.values()))

    def kernel(head, rows, *refs, hiddens, classifiers, full, empty, **scratch):
        part, block, group = map(lax.axis_index, ("part", "block", "group"))
        first = part * pl.cdiv(total, parts)
        count = jnp.minimum(total - first, pl.cdiv(total, parts))

        @pl.when(group == MULTIPLIERS)
        def _fetch():
            plgpu.set_max_registers(FETCHING, action="decrease")

            @pl.loop(0, count * depth)
            def _copy(i):
                slot = lax.rem(i, ring)
                # Until both multipliers are done with what is there.
                pl.when(i >= ring)(lambda: plgpu.barrier_wait(empty.at[slot]))
                tile = block, first + lax.div(i, depth)
                columns = pl.ds(lax.rem(i, depth) * DEPTH, DEPTH)
                # Past the end of an array TMA fills in 0, which adds none to a product.
                for ref, ring_ref, n in zip(head[:2], (hiddens, classifiers), tile):
                    size = ring_ref.shape[1]
                    plgpu.copy_gmem_to_smem(
                        ref.at[pl.ds(n * size, size), columns],
                        ring_ref.at[slot],
                        full.at[slot],
                    )

        @pl.when(group < MULTIPLIERS)
        def _multiply():
            plgpu.set_max_registers(MULTIPLYING, action="increase")

            def products(n: Array, total: Any) -> Array:
                def add(k: Array, _: None) -> None:
                    slot = lax.rem(n * depth + k, ring)
                    plgpu.barrier_wait(full.at[slot])
                    own = hiddens.at[slot, pl.ds(group * ROWS, ROWS)]
                    plgpu.wgmma(total, own, classifiers.at[slot].transpose((1, 0)))
                    # It reads until then.
                    plgpu.wgmma_wait(0)
                    plgpu.barrier_arrive(empty.at[slot])

                lax.fori_loop(0, depth, add, None)
                return total[...]

            def logits(n: Array) -> tuple[Array, Array | None]:
                x = pl.run_scoped(
                    functools.partial(products, n), plgpu.ACC((ROWS, CLASSES))
                )
                if head.bias is not None:
                    bias = plgpu.load(
                        head.bias.at[first + n], layout=COLUMN, optimized=False
                    )
                    x += lax.broadcast_in_dim(bias, x.shape, (1,))
                if how.softcap is None:
                    return x, None
                share = jnp.tanh(x / how.softcap)
                return how.softcap * share, share

            def masks(n: Array, labels: Array) -> tuple[Array, Array]:
                shape = ROWS, CLASSES
                column = plgpu.broadcasted_iota(jnp.int32, shape, 1, layout=TILE)
                column += (first + n) * CLASSES
                hit = column == lax.broadcast_in_dim(labels, shape, (0,))
                return column < classes, hit

            def part_of(ref: Any, n: Array) -> Any:
                row = (block * MULTIPLIERS + group) * ROWS
                column = (first + n) * CLASSES
                return ref.at[pl.ds(row, ROWS), pl.ds(column, CLASSES)]

            values = jax.tree.map(
                lambda ref: plgpu.load(
                    ref.at[block, group], layout=ROW, optimized=False
                ),
                rows,
            )
            walk = Walk((part, block, group), count, logits, masks, part_of)
            consume(walk, values, refs, **scratch)

    dtype = head.hidden.dtype
    launch = plgpu.kernel(
        kernel,
        out_type=outs,
        grid=(parts, blocks),
        grid_names=("part", "block"),
        num_threads=MULTIPLIERS + 1,
        thread_name="group",
        scratch_types={
            "hiddens": plgpu.SMEM((ring, POSITIONS, DEPTH), dtype, transforms=SWIZZLE),
            "classifiers": plgpu.SMEM(
                (ring, CLASSES, DEPTH), dtype, transforms=SWIZZLE
            ),
            # Two copies arrive, or two multipliers.
            "full": plgpu.Barrier(num_arrivals=2, num_barriers=ring),
            "empty": plgpu.Barrier(num_arrivals=MULTIPLIERS, num_barriers=ring),
            **scratch,
        },
    )
    return launch(head._replace(bias=bias), rows)


def _blocks(head: Head) -> tuple[int, int]:
    """Blocks of positions, and tiles of classes."""
    n, classes = head.hidden.shape[0], head.classifier.shape[0]
    return pl.cdiv(n, POSITIONS), pl.cdiv(classes, CLASSES)


def _tiled(x: Array | None, count: int, *shape: int) -> Array | None:
    """[n] to [count, *shape], padded at the end."""
    if x is None:
        return None
    return jnp.pad(x, (0, count * math.prod(shape) - x.size)).reshape(count, *shape)


def _rows(value: float) -> Array:
    return plgpu.layout_cast(jnp.full((ROWS,), value, jnp.float32), ROW)


def _across(rows: Array, x: Array) -> Array:
    return lax.broadcast_in_dim(rows, x.shape, (0,))
