# SPDX-License-Identifier: Apache-2.0
"""The GPU kernels: their arithmetic, the plan of their memory, and a run of them.

More of it, and what the compiler makes of them, in `tests/accelerators`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import tolerance
from interpreted import check, draw, regimes
from interpreted_gpu import interpreted, simulated, with_gradients

from jaxent._engine.linear import Head
from jaxent._heads.kernels import fused_head, gpu, hopper

WIDTH, PARTS, PIECES = 48, 2, 3


def pieces(x, labels):
    """Of logits [N, V], in columns that go on beyond them, where there is NaN."""
    classes, columns = x.shape[1], PARTS * PIECES * WIDTH
    x = jnp.pad(x, ((0, 0), (0, columns - classes)), constant_values=jnp.nan)
    place = jnp.broadcast_to(jnp.arange(columns)[None], x.shape)
    arrays = x, place >= classes, place == labels[:, None]
    for i in range(0, columns, WIDTH):
        x, outside, hit = (a[:, i : i + WIDTH] for a in arrays)
        yield hopper.Piece(x, None, outside, hit)


@jax.jit
def piece_by_piece(x, labels, cotangent):
    """The loss and the gradient of the logits."""
    tiles = list(pieces(x, labels))
    none, low = jnp.zeros(labels.size), jnp.full(labels.size, -jnp.inf)
    parts = []
    for i in range(0, len(tiles), PIECES):
        found = low, none, low, none, none
        for piece in tiles[i : i + PIECES]:
            found = gpu.sums_with(found, piece)
        parts.append(found)
    sums = gpu.merged(labels, *map(jnp.stack, zip(*parts, strict=True)))
    pair, *_ = fused_head.pair_of(sums.rest)
    numbers = fused_head.HeadNumbers(cotangent, none, None)
    slopes = fused_head._slopes(sums, numbers)
    gradient = [gpu.slopes_of(piece, slopes) for piece in tiles]
    return pair.nll, jnp.concatenate(gradient, axis=1)[:, : x.shape[1]], sums


def test_a_piece_is_exact_in_every_regime():
    x, labels = regimes()
    cotangent = np.where(np.arange(labels.size) % 2, 0.5, -2).astype(np.float32)
    loss, gradient, sums = piece_by_piece(x, labels, cotangent)
    for got, f in (
        (loss, oracle.softmax_cross_entropy_with_integer_labels),
        (gradient / cotangent[:, None], oracle.label_gradient),
    ):
        truth = f(x, labels)
        spread = tolerance.spread(
            lambda a, _, f=f: f(*a), tolerance.of_logits, (x, labels), {}
        )
        tolerance.check(got, truth, tolerance.budget(truth, spread, "float32"))
    others = oracle.wide(x)
    others[np.arange(labels.size), labels] = np.nan
    distances = np.nanmax(others, axis=1, keepdims=True) - others
    truth = np.nansum(distances, axis=1)
    # A sum of V terms, and one rounding of each x − c.
    tolerance.check(sums.distance, truth, truth * x.shape[1] * 2.0**-24)
    assert np.all(sums.allowed == x.shape[1] - 1)


def head(positions, classes, dtype="bfloat16"):
    return Head(
        jax.ShapeDtypeStruct((positions, 2048), dtype),
        jax.ShapeDtypeStruct((classes, 2048), dtype),
        None,
    )


@pytest.mark.parametrize(
    ("positions", "classes", "memory", "slab"),
    [
        (8192, 131_072, None, 8192),  # 16 slabs, where 144 MB would do for 17 × 512
        (8192, 131_072, "64MiB", 4096),
        (1, 50_257, None, 50_432),
        (2**20, 131_072, None, 256),  # the least there is
    ],
)
def test_slabs_are_of_whole_tiles_and_within_memory(positions, classes, memory, slab):
    assert gpu.tiles(head(positions, classes), memory).slab == slab


def test_shared_memory_holds_the_ring():
    """Of 227 KiB, four pairs of tiles, or three beside a tile that is written."""
    tile = hopper.POSITIONS * hopper.CLASSES * hopper.HALF
    assert (hopper.stages(0), hopper.stages(tile)) == (4, 3)
    registers = 128 * (hopper.FETCHING + hopper.MULTIPLIERS * hopper.MULTIPLYING)
    assert registers <= 2**16


@pytest.mark.parametrize(
    ("blocks", "tiles", "parts"), [(64, 512, 2), (1, 512, 8), (132, 9, 1), (1, 1, 1)]
)
def test_blocks_fill_the_processors(blocks, tiles, parts):
    assert hopper.splits(blocks, tiles) == parts


@simulated
def test_a_run(monkeypatch):
    options = {"label_smoothing": 0.1, "z_loss": 0.01}
    args = draw("bfloat16")
    with interpreted(monkeypatch):
        got = with_gradients(args, **options)
    assert [x.dtype for x in got[1:3]] == [jnp.bfloat16] * 2
    check(args, got, **options)
