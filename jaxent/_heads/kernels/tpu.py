# SPDX-License-Identifier: Apache-2.0
"""Fused heads on TPU, in Pallas (Mosaic): tiles of logits that never leave VMEM.

A tile is [classes, tokens]. So a number of each token is a row along the lanes, which
HBM holds without padding (a column would take 128 times its size there), and a sum
over the classes adds whole registers, not the lanes of each.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from ..._engine.exact import widen
from ..._engine.linear import Head
from ..._engine.terms import Rest
from ..._engine.terms import exp_from as _exp_from
from .functions import exp, tanh
from .fused_head import HeadSums, How, Slopes
from .vmem import LANES, VMEM
from .vmem import tiles as tiles

exp_from = functools.partial(_exp_from, exp=exp)

# The first axis of a grid is of blocks that stay, and cores may share it. Along the
# second the other matrix streams past, in turn and on one core: sums are carried.
SEMANTICS = ("parallel", "arbitrary")
CLASSES, TOKENS = 0, 1


class Tile(NamedTuple):
    """What a kernel knows of its tiles: a pair is of classes and of tokens."""

    shape: tuple[int, int]
    axes: tuple[int, int]
    """The grid's axes that count the blocks."""
    limits: tuple[int, int]
    """How many there are: what the last block holds beyond is garbage."""
    softcap: float | None


class Blocks(NamedTuple):
    """`pl.BlockSpec` of arrays with a row or a number of each class or token."""

    hidden: Any
    classifier: Any
    per_class: Any
    per_token: Any


def sums(head: Head, labels: Array, how: How) -> HeadSums:
    tile, blocks = _tiling(head, how, how.tiles.sums, token_axis=0)
    row: Any = jax.ShapeDtypeStruct((1, labels.size), jnp.float32)
    extra = row if how.smoothing else None
    out = HeadSums(Rest(row, row, row), extra, extra)
    specs = jax.tree.map(lambda _: blocks.per_token, out)
    rows = _call(_sums_kernel, tile, blocks, (head, labels, None), out, specs, ())
    return jax.tree.map(lambda x: x[0], rows)


def gradient(head: Head, labels: Array, slopes: Slopes, how: How) -> Head:
    args = head, labels, slopes, how
    return Head(_d_hidden(*args), *_d_classifier(*args))


def _d_hidden(head: Head, labels: Array, slopes: Slopes, how: How) -> Array:
    tile, blocks = _tiling(head, how, how.tiles.slopes, token_axis=0)
    out = jax.ShapeDtypeStruct(head.hidden.shape, head.hidden.dtype)
    # Sums in float32, whatever the result's type: it is written once.
    total = pltpu.VMEM(blocks.hidden.block_shape, jnp.float32)
    args = head, labels, slopes
    return _call(_d_hidden_kernel, tile, blocks, args, out, blocks.hidden, (total,))


def _d_classifier(
    head: Head, labels: Array, slopes: Slopes, how: How
) -> tuple[Array, Array | None]:
    tile, blocks = _tiling(head, how, how.tiles.slopes, token_axis=1)
    out = jax.ShapeDtypeStruct(head.classifier.shape, head.classifier.dtype), None
    specs = blocks.classifier, None
    totals = pltpu.VMEM(blocks.classifier.block_shape, jnp.float32), None
    if head.bias is not None:
        out = out[0], jax.ShapeDtypeStruct((1, head.bias.size), jnp.float32)
        specs = blocks.classifier, blocks.per_class
        totals = totals[0], pltpu.VMEM((tile.shape[CLASSES], LANES), jnp.float32)
    args = head, labels, slopes
    d, d_bias = _call(_d_classifier_kernel, tile, blocks, args, out, specs, (totals,))
    return d, None if head.bias is None else d_bias[0].astype(head.bias.dtype)


def _tiling(
    head: Head, how: How, rows: tuple[int, int], *, token_axis: int
) -> tuple[Tile, Blocks]:
    """Blocks that stay have their index on the grid's axis 0, others on axis 1."""
    axes = 1 - token_axis, token_axis
    limits = head.classifier.shape[0], head.hidden.shape[0]
    shape = tuple(
        # A block of both a matrix and a row is of whole 128s: sublanes and lanes.
        min(rows[axis], max(pl.cdiv(limit, LANES), 1) * LANES)
        for axis, limit in zip(axes, limits, strict=True)
    )
    (classes, tokens), d = shape, head.hidden.shape[1]

    def block(shape: tuple[int, int], axis: int, dim: int) -> pl.BlockSpec:
        def index(*i):
            # Not a bare 0, which has 64 bits where double precision is enabled.
            place = i[axis], jnp.int32(0)
            return place if dim == 0 else place[::-1]

        return pl.BlockSpec(shape, index)

    blocks = Blocks(
        block((tokens, d), axes[TOKENS], 0),
        block((classes, d), axes[CLASSES], 0),
        block((1, classes), axes[CLASSES], 1),
        block((1, tokens), axes[TOKENS], 1),
    )
    return Tile((classes, tokens), axes, limits, how.softcap), blocks


def _call(
    kernel: Callable,
    tile: Tile,
    blocks: Blocks,
    args: tuple[Head, Array, Slopes | None],
    out: Any,
    out_specs: Any,
    scratch: tuple,
) -> Any:
    head, labels, slopes = args
    if labels.size == 0:
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), out)
    bias = None if head.bias is None else widen(head.bias)[None]
    rows = jax.tree.map(lambda x: x[None], (labels, slopes))
    per_class = None if bias is None else blocks.per_class
    head_specs = Head(blocks.hidden, blocks.classifier, per_class)
    grid = [0, 0]
    for axis, limit, size in zip(tile.axes, tile.limits, tile.shape, strict=True):
        grid[axis] = pl.cdiv(limit, size)
    products = 1 if slopes is None else 2
    matrices = head.hidden, head.classifier
    streamed = matrices[1 - tile.axes[TOKENS]]
    (result,) = pl.pallas_call(
        functools.partial(kernel, tile=tile),
        grid=tuple(grid),
        in_specs=(head_specs, *jax.tree.map(lambda _: blocks.per_token, rows)),
        out_shape=(out,),
        out_specs=(out_specs,),
        scratch_shapes=scratch,
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=SEMANTICS, vmem_limit_bytes=VMEM
        ),
        cost_estimate=pl.CostEstimate(
            flops=2 * products * tile.limits[0] * head.hidden.size,
            transcendentals=tile.limits[0] * tile.limits[1],
            bytes_accessed=sum(m.nbytes for m in matrices)
            + (grid[0] - 1) * streamed.nbytes,
        ),
        name=f"jaxent{kernel.__name__}",
    )(head._replace(bias=bias), *rows)
    return result


def _sums_kernel(head, labels, _, out, *, tile):
    @pl.when(pl.program_id(1) == 0)
    def _start():
        _clear(out)
        out.rest.largest[...] = jnp.full_like(out.rest.largest, -jnp.inf)

    x, _ = _logits(head, tile)
    hit = _hit(labels, tile)
    others = _within(jnp.where(hit, -jnp.inf, x), tile, CLASSES, 0, -jnp.inf)
    before = out.rest.largest[...]
    largest = jnp.maximum(before, jnp.max(others, axis=0, keepdims=True))
    total = out.rest.total[...] * exp_from(before, largest)
    out.rest.largest[...] = largest
    out.rest.total[...] = total + _over_classes(exp_from(others, largest))
    out.rest.label_logit[...] += _over_classes(jnp.where(hit, x, 0))
    if out.distance is not None:
        allowed, passed = others > -jnp.inf, out.allowed[...]
        moved = jnp.where(passed == 0, 0, passed * (largest - before))
        distance = jnp.where(allowed, largest - others, 0)
        out.distance[...] += moved + _over_classes(distance)
        out.allowed[...] = passed + _over_classes(allowed.astype(jnp.float32))


def _d_hidden_kernel(head, labels, slopes, out, total, *, tile):
    @pl.when(pl.program_id(1) == 0)
    def _start():
        _clear(total)

    slope = _within(_slope(head, labels, slopes, tile), tile, CLASSES, 0, 0)
    classifier = _within(head.classifier[...], tile, CLASSES, 0, 0)
    total[...] += _dot(slope.astype(classifier.dtype), classifier, (0, 0))

    @pl.when(pl.program_id(1) == pl.num_programs(1) - 1)
    def _end():
        out[...] = total[...].astype(out.dtype)


def _d_classifier_kernel(head, labels, slopes, out, totals, *, tile):
    @pl.when(pl.program_id(1) == 0)
    def _start():
        _clear(totals)

    (d, d_bias), (total, total_bias) = out, totals
    slope = _within(_slope(head, labels, slopes, tile), tile, TOKENS, 1, 0)
    hidden = _within(head.hidden[...], tile, TOKENS, 0, 0)
    total[...] += _dot(slope.astype(hidden.dtype), hidden, (1, 0))
    if total_bias is not None:
        for i in range(0, slope.shape[1], LANES):
            total_bias[...] += slope[:, i : i + LANES]

    @pl.when(pl.program_id(1) == pl.num_programs(1) - 1)
    def _end():
        d[...] = total[...].astype(d.dtype)
        if total_bias is not None:
            d_bias[...] = _over_classes(total_bias[...].T)


def _logits(head: Head, tile: Tile) -> tuple[Array, Array | None]:
    """x [classes, tokens], and where it is capped, x/cap."""
    x = _dot(head.classifier[...], head.hidden[...], (1, 1))
    if head.bias is not None:
        x += head.bias[...].T
    if tile.softcap is None:
        return x, None
    share = tanh(x * (1 / tile.softcap))
    # A class that a bias of −inf forbids stays so: the tanh gives it −cap.
    return jnp.where(x == -jnp.inf, x, tile.softcap * share), share


def _slope(head: Head, labels: Any, slopes: Slopes, tile: Tile) -> Array:
    """The gradient of a tile's logits, before they are capped."""
    x, share = _logits(head, tile)
    others = slopes.others[...] * exp_from(x, slopes.largest[...])
    slope = jnp.where(_hit(labels, tile), slopes.label[...], others)
    if slopes.everywhere is not None:
        slope += jnp.where(x > -jnp.inf, slopes.everywhere[...], 0)
    return slope if share is None else slope * (1 + share) * (1 - share)


def _hit(labels: Any, tile: Tile) -> Array:
    return labels[...] == _places(tile, CLASSES, tile.shape, 0)


def _within(x: Array, tile: Tile, dim: int, axis: int, fill: float) -> Array:
    """x, or `fill` beyond the last class or token, of which x has one along `axis`."""
    if tile.limits[dim] % tile.shape[dim] == 0:
        return x
    return jnp.where(_places(tile, dim, x.shape, axis) < tile.limits[dim], x, fill)


def _places(tile: Tile, dim: int, shape: tuple[int, ...], axis: int) -> Array:
    """Which class or token this is."""
    first = pl.program_id(tile.axes[dim]) * tile.shape[dim]
    return first + lax.broadcasted_iota(jnp.int32, shape, axis)


def _over_classes(x: Array) -> Array:
    return jnp.sum(x, axis=0, keepdims=True)


def _dot(a: Array, b: Array, axes: tuple[int, int]) -> Array:
    # The matrix unit takes bfloat16: float32 needs several passes, or loses 16 bits.
    exact = lax.Precision.HIGHEST if a.dtype == jnp.float32 else lax.Precision.DEFAULT
    contract = (((axes[0],), (axes[1],)), ((), ()))
    return lax.dot_general(
        a, b, contract, precision=exact, preferred_element_type=jnp.float32
    )


def _clear(refs: Any):
    for ref in jax.tree.leaves(refs):
        ref[...] = jnp.zeros_like(ref)
