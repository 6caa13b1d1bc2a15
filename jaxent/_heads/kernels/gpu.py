# SPDX-License-Identifier: Apache-2.0
"""Fused heads on NVIDIA Hopper, in Pallas (Mosaic GPU): logits stay in registers.

Their gradient does not: no block has room for the float32 sums of whole rows of the
products with it, and for parts of rows it would compute all logits once each. So a
slab of it goes to memory, and XLA multiplies: four products of N·d·V in all.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from ... import _options
from ..._engine.linear import Head, matmul
from ..._engine.terms import Rest
from ..._engine.terms import exp_from as _exp_from
from ..._errors import fail
from .fused_head import HeadSums, How, Slopes
from .hopper import (
    CLASSES,
    HALF,
    LINES,
    MULTIPLIERS,
    POSITIONS,
    ROWS,
    SWIZZLE,
    Piece,
    Walk,
    across,
    aligned,
    filled,
    launch,
    part,
    splits,
)

# Good to 2 ULP as it is; Mosaic's compiler refuses to be asked for an accuracy.
exp_from = functools.partial(_exp_from, exp=jnp.exp)


SLAB = 144 * 10**6
"""Bytes of the logits' gradient in memory at once: of 8192 positions 8800 classes, and
1200 would do for the gradient of hidden to be added up as fast as it is multiplied."""


class Tiles(NamedTuple):
    """What the kernels are compiled for."""

    slab: int
    """Classes whose logits' gradient is in memory at once."""


def tiles(head: Head, memory: int | str | None) -> Tiles:
    """A slab that fits; refuses what tensor cores do not multiply."""
    x, w = head.hidden, head.classifier
    kernels = 'with implementation="pallas_gpu"'
    if x.dtype not in (jnp.bfloat16, jnp.float16):
        must = f"be bfloat16 or float16 {kernels}"
        remedy = 'Tensor cores round float32 to 10 bits (TF32): use "xla".'
        fail(NotImplementedError, "hidden", must, x, remedy)
    if w.dtype != x.dtype:
        must = f"be {x.dtype.name}, as `hidden` is, {kernels}"
        remedy = "Tensor cores multiply like by like: cast one of them."
        fail(NotImplementedError, "classifier", must, w, remedy)
    least = max(math.prod(x.shape[:-1]), 1) * CLASSES * HALF
    budget = _options.size(memory, max(SLAB, least))
    if budget < least:
        must = f"be at least {least} bytes {kernels}"
        remedy = f"That is the gradient of {CLASSES} logits a position."
        fail(ValueError, "memory", must, memory, remedy)
    total = pl.cdiv(w.shape[0], CLASSES)
    slabs = pl.cdiv(total, budget // least)
    return Tiles(pl.cdiv(total, slabs) * CLASSES)


def sums(head: Head, labels: Array, how: How) -> HeadSums:
    """`HeadSums` of each position, in one pass over the classes."""
    n, classes = labels.size, head.classifier.shape[0]
    head = aligned(head)
    whole = classes - classes % CLASSES if classes % LINES else classes
    parts = [_sums(part(head, 0, whole), labels, whole, how)] if whole else []
    if last := classes - whole:
        # Of the rows that TMA could not see a copy is made; and of the others none.
        tail = part(head, whole, last, padded_to=LINES)
        parts.append(_sums(tail, labels - whole, last, how))
    together = (jnp.concatenate(x)[:, :n] for x in zip(*parts, strict=True))
    return merged(labels, *together)


def _sums(head: Head, labels: Array, classes: int, how: How) -> tuple[Array, ...]:
    """Sums of each position, [parts, N]: each part of the classes is summed apart."""
    start = (-jnp.inf, 0.0, -jnp.inf, 0.0, 0.0)[: 5 if how.smoothing else 3]

    def consume(walk: Walk, rows: tuple[Array, ...], outs: tuple) -> None:
        def add(n: Array, so_far: tuple[Array, ...]) -> tuple[Array, ...]:
            for _, piece in walk.pieces(n, rows[0]):
                so_far = sums_with(so_far, piece)
            return so_far

        so_far = lax.fori_loop(jnp.int32(0), walk.tiles, add, tuple(map(filled, start)))
        for out, values in zip(outs, so_far, strict=True):
            out[walk.place] = values

    blocks = pl.cdiv(head.hidden.shape[0], POSITIONS)
    parts = splits(blocks, pl.cdiv(classes, CLASSES))
    out = jax.ShapeDtypeStruct((parts, blocks, MULTIPLIERS, ROWS), jnp.float32)
    sums_of_parts = launch(
        consume,
        head,
        (labels,),
        (out,) * len(start),
        parts=parts,
        classes=classes,
        softcap=how.softcap,
    )
    return tuple(x.reshape(parts, -1) for x in sums_of_parts)


def sums_with(so_far: tuple[Array, ...], piece: Piece) -> tuple[Array, ...]:
    """The sums of each row, with those of a piece of its logits."""
    largest, total, label_logit, *smoothing = so_far
    x, _, outside, hit = piece
    others = jnp.where(outside | hit, -jnp.inf, x)
    top = jnp.maximum(largest, jnp.max(others, axis=1))
    above = across(top, x)
    total = total * exp_from(largest, top) + jnp.sum(exp_from(others, above), axis=1)
    label_logit = jnp.maximum(label_logit, jnp.max(jnp.where(hit, x, -jnp.inf), axis=1))
    if not smoothing:
        return top, total, label_logit
    distance, allowed = smoothing
    there = others > -jnp.inf
    moved = jnp.where(allowed == 0, 0, allowed * (top - largest))
    distance += moved + jnp.sum(jnp.where(there, above - x, 0), axis=1)
    allowed += jnp.sum(jnp.where(there, jnp.ones_like(x), 0), axis=1)
    return top, total, label_logit, distance, allowed


def merged(labels, largest, total, label_logit, distance=None, allowed=None):
    """`HeadSums`, of sums of parts [parts, N] that are each over their own largest."""
    top = jnp.max(largest, axis=0, keepdims=True)
    total = jnp.sum(total * exp_from(largest, top), axis=0)
    label_logit = jnp.where(labels < 0, 0, jnp.max(label_logit, axis=0))
    rest = Rest(top[0], total, label_logit)
    if distance is None or allowed is None:
        return HeadSums(rest, None, None)
    distance += jnp.where(allowed == 0, 0, allowed * (top - largest))
    return HeadSums(rest, jnp.sum(distance, axis=0), jnp.sum(allowed, axis=0))


def gradient(head: Head, labels: Array, slopes: Slopes, how: How) -> Head:
    """The gradients of a head, in its dtypes, made a slab of classes at a time."""
    given, slab = head, how.tiles.slab
    head = aligned(head)
    whole, last = divmod(head.classifier.shape[0], slab)

    def add(start: Array | int, size: int, d: Head) -> Head:
        def put(x: Array, rows: Array) -> Array:
            rows = rows[:size].astype(x.dtype)
            return lax.dynamic_update_slice_in_dim(x, rows, start, 0)

        rows = part(head, start, size, padded_to=CLASSES)
        slope = _slopes(rows, labels - start, slopes, size, how)
        return Head(
            d.hidden + matmul(slope, rows.classifier, (1, 0)),
            put(d.classifier, matmul(slope, head.hidden, (0, 0))),
            None if d.bias is None else put(d.bias, jnp.sum(slope, 0, jnp.float32)),
        )

    d = jax.tree.map(jnp.zeros_like, head)
    d = d._replace(hidden=d.hidden.astype(jnp.float32))
    if whole:
        count = jnp.int32(0), jnp.int32(whole)
        d = lax.fori_loop(*count, lambda i, d: add(i * slab, slab, d), d)
    if last:
        # Not before: then two slabs would be in memory.
        head, d = lax.optimization_barrier((head, d))
        d = add(whole * slab, last, d)
    return jax.tree.map(
        lambda x, d: d[tuple(map(slice, x.shape))].astype(x.dtype), given, d
    )


def _slopes(head: Head, labels: Array, slopes: Slopes, classes: int, how: How) -> Array:
    """The gradient of the logits [N, V], rounded to the dtype that is multiplied."""
    shape, dtype = (head.hidden.shape[0], head.classifier.shape[0]), head.hidden.dtype

    def consume(walk: Walk, rows: tuple, outs: tuple, tile: Any) -> None:
        group = walk.place[-1]
        labels, *of_rows = rows

        def store(n: Array, _: None) -> None:
            # Until the copy of the last tile has read it.
            plgpu.wait_smem_to_gmem(0, wait_read_only=True)
            for columns, piece in walk.pieces(n, labels):
                tile[group, :, columns] = slopes_of(piece, Slopes(*of_rows)).astype(
                    dtype
                )
            # TMA sees what threads wrote from here on.
            plgpu.commit_smem()
            # Past the last position it writes nothing.
            plgpu.copy_smem_to_gmem(tile.at[group], walk.within(outs[0], n))

        lax.fori_loop(jnp.int32(0), walk.tiles, store, None)
        plgpu.wait_smem_to_gmem(0)

    parts = splits(pl.cdiv(shape[0], POSITIONS), shape[1] // CLASSES)
    tile = plgpu.SMEM((MULTIPLIERS, ROWS, CLASSES), dtype, transforms=SWIZZLE)
    (slope,) = launch(
        consume,
        head,
        (labels, *slopes),
        (jax.ShapeDtypeStruct(shape, dtype),),
        parts=parts,
        classes=classes,
        softcap=how.softcap,
        scratch=(tile,),
    )
    return slope


def slopes_of(piece: Piece, slopes: Slopes) -> Array:
    """The gradient of a piece of logits, before they are capped."""
    x, share, _, hit = piece
    # No class is above the largest, but where a position is dropped: 0 times 1 there.
    top = across(slopes.largest, x)
    d = across(slopes.others, x) * exp_from(jnp.minimum(x, top), top)
    d = jnp.where(hit, across(slopes.label, x), d)
    if slopes.everywhere is not None:
        d += jnp.where(x > -jnp.inf, across(slopes.everywhere, x), 0)
    if share is not None:
        d *= (1 + share) * (1 - share)
    # Past the last class it is finite, which is enough: the classifier is 0 there.
    return d
