# SPDX-License-Identifier: Apache-2.0
"""How large the tiles of the TPU kernels are: a model of VMEM, and nothing measured.

A kernel reads the streaming matrix once for every block of the one that stays. Each
of its rows, in 16 bits, feeds as many operations a byte as the block has rows, times
the products made of it. More rows than the chip's ratio of speed to bandwidth buy
nothing; more VMEM than there is does not compile.
"""

import itertools
from typing import NamedTuple

import jax.numpy as jnp

from ... import _options
from ..._engine.exact import computing_dtype
from ..._engine.linear import Head
from ..._errors import fail

LANES = 128
"""Blocks are whole tiles of registers: 8 × 128 float32, or 16 × 128 bfloat16."""

VMEM = 64 * 2**20
"""Bytes of a core, where there is least: v5p and v7x. v5e and v6e have twice that."""
DEFAULT_MEMORY = 48 * 2**20
ROWS = 1024
"""That stay, of one product: the power of 2 above v6e's 561 operations a byte."""
STREAMED = 512
"""Rows that stream past at a time: enough to hide what a step costs besides."""
LIVE = 6
"""float32 arrays of a tile of logits that are alive at once."""


class Tiles(NamedTuple):
    """Rows of the matrix whose block stays, and of the one that streams past it."""

    sums: tuple[int, int]
    slopes: tuple[int, int]


def tiles(head: Head, memory: int | str | None) -> Tiles:
    """The tiles for a head: its sums make one product, its slopes two."""
    dtype = head.hidden.dtype
    if dtype != head.classifier.dtype:
        dtype = computing_dtype(head.hidden, head.classifier)
    if dtype not in (jnp.float32, jnp.bfloat16):
        must = 'be float32 or bfloat16 with implementation="pallas_tpu"'
        remedy = 'The matrix units take no other: cast it, or use "xla".'
        fail(NotImplementedError, "hidden", must, dtype.name, remedy)
    d, size = head.hidden.shape[-1], dtype.itemsize
    least = used(LANES, LANES, d, size, 2)
    if least > VMEM:
        must = f"have rows that fit, {LANES} of each matrix, in {VMEM} bytes of VMEM"
        remedy = 'Use implementation="xla".'
        fail(ValueError, "hidden", must, head.hidden.shape, remedy)
    budget = _options.size(memory, DEFAULT_MEMORY)
    if not least <= budget <= VMEM:
        must = f"be from {least} to {VMEM} bytes of VMEM, for d = {d}"
        remedy = 'With implementation="pallas_tpu" it is for the tiles of one core.'
        fail(ValueError, "memory", must, memory or budget, remedy)
    return Tiles(*(_largest(d, size, products, budget) for products in (1, 2)))


def _largest(d: int, itemsize: int, products: int, budget: int) -> tuple[int, int]:
    """Rows that stay come first: it is they that spare bandwidth."""
    stay, stream = ROWS // products, STREAMED
    for rows in itertools.product(_halves(stay), _halves(stream)):
        if used(*rows, d, itemsize, products) <= budget:
            return rows
    return LANES, LANES


def _halves(rows: int) -> list[int]:
    return [rows >> i for i in range((rows // LANES).bit_length())]


def used(stay: int, stream: int, d: int, itemsize: int, products: int) -> int:
    """Bytes of VMEM of a kernel."""
    width = -(-d // LANES) * LANES
    # Two of each block: one is fetched while the other is computed with.
    inputs = 2 * (stay + stream) * width * itemsize
    logits = LIVE * stay * stream * 4
    if products == 1:
        return inputs + logits
    # The float32 sum, the product to add to it, and two blocks of the result.
    return inputs + logits + 2 * stay * width * (4 + itemsize)
