# SPDX-License-Identifier: Apache-2.0
"""What the fused heads are given: checked at the door, laid out for the engine."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike

from .. import _checks, _options, _values
from .._engine.class_axis import ClassAxis, class_axis
from .._engine.exact import computing_dtype
from .._engine.labels import class_ids, drop, kept, looked_at
from .._engine.linear import Head, multiplied_in
from .._engine.placement import known_mesh, spread_over
from .._engine.row_groups import is_known
from .._errors import fail
from .._types import AxisName, PyTree, Shape
from .chunked import BUFFERS
from .chunks import Plan, Plans, Rows, plan_chunks

# On a CPU more rows a chunk are no faster. A chip is to have so many of them that to
# add up the classifier's gradient, 8 bytes an element a chunk, takes no longer than its
# product, 2 operations a row and element: docs/fused-heads.md has the chips.
CPU_MEMORY = 144 * 10**6
CHIP_MEMORY = 2**30
CHIP_ROWS = 128
"""Of a multiple: else XLA on a GPU adds two gradients up in a third array."""
CHIP_PIECES = 4
"""Of a chunk of twice the rows, whose slopes are then multiplied at once."""
CPU_BLOCK = 16 * 2**20
"""Bytes of the classifier's gradient that are computed before they are added up."""


class HeadInputs(NamedTuple):
    """The arrays, as they came: hidden and labels with any batch axes."""

    heads: tuple[Head, ...]
    labels: Array | None
    where: Array | None
    weights: Array | None
    classes: ClassAxis
    data: tuple[Array, ...] = ()
    """What a loss of the user's own is given of each position, [*batch, ...]."""


class HeadSettings(NamedTuple):
    """What a head's loss is compiled for."""

    plans: Plans
    ignore_index: int | None
    checked: str | None
    tokens: NamedSharding | None = None
    """The automatic axes that divide the first axis of `hidden`, where that is said."""


def given_head(
    heads: tuple[Head, ...],
    *,
    labels: ArrayLike | None,
    where: ArrayLike | None,
    weights: ArrayLike | None,
    ignore_index: int | None,
    memory: int | str | None,
    vocab_axis_name: AxisName | None,
    token_axis_name: AxisName | None = None,
    data: PyTree = (),
) -> tuple[HeadInputs, HeadSettings]:
    """The checks that all fused heads share, and how they are cut into chunks."""
    batch = heads[0].hidden.shape[:-1]
    index = _options.ignored(ignore_index)
    if labels is not None:
        full = (*batch, heads[0].classifier.shape[0])
        soft = "jaxent.softmax_cross_entropy(hidden @ classifier.T, labels)"
        labels = _checks.class_ids(labels, batch, full, soft=soft)
        _options.heeded(index, labels)
    where = _checks.positions(where, batch)
    if weights is not None:
        weights = _checks.weights("weights", weights)
        _checks.same_shape("weights", weights, batch, "labels")
    compact = drops(where, weights, index)
    plans = _plans(heads, memory, compact=compact)
    tokens = _tokens(token_axis_name, vocab_axis_name, heads[0])
    settings = HeadSettings(plans, index, _values.checked(), tokens)
    classes = class_axis(vocab_axis_name)
    each = _data(data, batch)
    return HeadInputs(heads, labels, where, weights, classes, each), settings


def _tokens(
    name: AxisName | None, vocab_axis_name: AxisName | None, head: Head
) -> NamedSharding | None:
    """Which automatic axes of which mesh divide the first axis of `hidden`."""
    if name is None:
        return None
    names = _options.axes("token_axis_name", name)
    if vocab_axis_name is not None:
        remedy = "Inside a `jax.shard_map` each device has its own tokens; or leave "
        remedy += "the classes to the compiler."
        must = "be left out with vocab_axis_name"
        fail(ValueError, "token_axis_name", must, repr(name), remedy)
    hidden = head.hidden
    mesh = known_mesh(hidden, head.classifier)
    sizes = dict(zip(mesh.axis_names, mesh.axis_sizes, strict=True))
    if not sizes:
        must, remedy = "name axes of a mesh", "Call it under `jax.set_mesh(mesh)`."
        fail(ValueError, "token_axis_name", must, f"{name!r} and no mesh", remedy)
    if not sizes.keys() >= set(names):
        must = "name axes of the mesh, " + ", ".join(map(repr, sizes))
        remedy = "They are those that divide the tokens."
        fail(ValueError, "token_axis_name", must, repr(name), remedy)
    if set(mesh.axis_types) != {AxisType.Auto}:
        must = "be left out where a mesh has explicit or manual axes"
        remedy = "Types tell it of explicit ones; along manual ones each has its own."
        fail(ValueError, "token_axis_name", must, repr(name), remedy)
    shards = math.prod(sizes[axis] for axis in names)
    if hidden.ndim < 2 or (is_known(hidden.shape[0]) and hidden.shape[0] % shards):
        must = f"have a first axis that {shards} devices divide, of token_axis_name"
        remedy = "Pad the batch, and drop what is added by `where`."
        fail(ValueError, "hidden", must, hidden.shape, remedy)
    return NamedSharding(mesh, P(names))


def _data(data: PyTree, batch: Shape) -> tuple[Array, ...]:
    """The arrays of the user's own, each with the batch axes first."""
    leaves = tuple(_checks.weights("data", x) for x in jax.tree.leaves(data))
    for x in leaves:
        if x.shape[: len(batch)] != batch:
            shape = ", ".join([*map(str, batch), "..."])
            must = f"have shape ({shape}): an entry for each position"
            remedy = "What all positions share, the function closes over."
            fail(ValueError, "data", must, x.shape, remedy)
    return leaves


def drops(where: Array | None, weights: Array | None, index: int | None) -> bool:
    """Whether some positions may be dropped."""
    return any(x is not None for x in (where, weights, index))


def _plans(
    heads: tuple[Head, ...], memory: int | str | None, *, compact: bool
) -> Plans:
    """As many positions a chunk as the budget has room for the logits of."""
    row = sum(
        BUFFERS * h.classifier.shape[0] * max(h.hidden.dtype.itemsize, 4) for h in heads
    )
    if _options.size(memory, row) < row:
        must = f"be at least {row} bytes, the logits of one position and their gradient"
        remedy = "Raise it, or leave it out."
        fail(ValueError, "memory", must, memory, remedy)
    positions = math.prod(heads[0].hidden.shape[:-1])
    devices = spread_over(heads[0].hidden)
    gradient = max(
        h.classifier.size * computing_dtype(h.classifier).itemsize for h in heads
    )

    pieces = CHIP_PIECES if _halves(heads) else 1

    def plan(default: int, block: int, multiple: int, pieces: int) -> Plan:
        return plan_chunks(
            positions, _options.size(memory, max(default, row)) // row,
            compact=compact, devices=devices, block=block if gradient > block else 0,
            multiple=multiple, pieces=pieces,
        )  # fmt: skip

    cpu = plan(CPU_MEMORY, CPU_BLOCK, 1, 1)
    return Plans(cpu, plan(CHIP_MEMORY, 0, CHIP_ROWS, pieces))


def _halves(heads: tuple[Head, ...]) -> bool:
    """Whether all slopes are multiplied as such."""
    return all(multiplied_in(h.hidden, h.classifier).itemsize == 2 for h in heads)


class Flat(NamedTuple):
    """`HeadInputs` with one axis of N positions, in place of the batch axes."""

    heads: tuple[Head, ...]
    rows: Rows
    batch: Shape


def flatten_batch(given: HeadInputs, settings: HeadSettings) -> Flat:
    """The inputs for the chunks: positions flat, ids valid or −1, dropped rows 0."""
    batch = given.heads[0].hidden.shape[:-1]
    where, weights, labels = (
        None if x is None else x.reshape(-1)
        for x in (given.where, given.weights, given.labels)
    )
    keep = where if labels is None else kept(labels, where, settings.ignore_index)
    seen = looked_at(keep, weights)
    if labels is not None:
        count = given.classes.count(given.heads[0].classifier.shape[0])
        # Ids out of range become −1: the loss of the chunk makes that NaN.
        labels, _ = class_ids(settings.checked, labels, seen, count)
    heads = []
    for x, w, bias in given.heads:
        dtype = multiplied_in(x, w)
        # Dropped here, where it is cheap, and not from the logits of each chunk.
        x = drop(x.reshape(-1, x.shape[-1]).astype(dtype), seen)
        # A wider classifier is rounded in the chunks, so that its gradient is not.
        w = w if w.dtype.itemsize > dtype.itemsize else w.astype(dtype)
        heads.append(Head(x, w, bias))
    n, dtype = heads[0].hidden.shape[0], computing_dtype(heads[0].hidden)
    factor = jnp.ones(n, dtype) if weights is None else weights.astype(dtype)
    seen = jnp.ones(n, bool) if seen is None else seen
    data = [x.reshape(n, *x.shape[len(batch) :]) for x in given.data]
    floats = tuple(x for x in data if jnp.issubdtype(x.dtype, jnp.floating))
    others = tuple(x for x in data if not jnp.issubdtype(x.dtype, jnp.floating))
    rows = Rows(factor, seen, labels, given.classes, floats, others)
    return Flat(tuple(heads), rows, batch)
