# SPDX-License-Identifier: Apache-2.0
"""Drawing classes: three laws, drawing without repeats, and what is to be expected.

A law proposes classes in blocks, and refuses some of its proposals (−1). The others
are independent draws, one try each, whether or not they repeat an earlier one.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from .. import _options
from .._engine.elementary import expm1, log1p
from .._engine.exact import power, widen
from .._engine.labels import class_ids
from .._engine.placement import placed_as, taken, whole
from .._errors import fail
from .._types import Number


class Candidates(NamedTuple):
    """Classes drawn for a batch, and how often each class was to be expected.

    The same three arrays, in the same order, as the `sampled_values` of TensorFlow.
    """

    ids: Array
    """The classes drawn, int32 [num_sampled]; all labels share them."""
    true_count: Array
    """Expected number of draws of each label, in the labels' shape."""
    sampled_count: Array
    """Expected number of draws of each drawn class, [num_sampled]."""


class Sizes(NamedTuple):
    """What a sampler is compiled for."""

    num_sampled: int
    num_classes: int
    unique: bool


def sizes_of(
    num_sampled: int,
    num_classes: int,
    unique: bool,
    num_reserved: int = 0,
) -> Sizes:
    """The sizes, checked."""
    classes = _options.count("num_classes", num_classes, 1)
    sampled = _options.count("num_sampled", num_sampled, 1)
    drawable = classes - num_reserved
    if _options.flag("unique", unique) and sampled > drawable:
        must = f"be at most {drawable}, the classes there are to draw"
        remedy = "Draw fewer, or with unique=False."
        fail(ValueError, "num_sampled", must, sampled, remedy)
    return Sizes(sampled, classes, unique)


class Law(NamedTuple):
    """A distribution over the classes."""

    propose: Callable[[Array, int], Array]
    """(key, count) -> ids, −1 where a proposal is refused."""
    prob: Callable[[Array], Array]
    """Probabilities of ids in range."""
    support: int | Array
    """How many classes can be drawn at all."""


def uniform_law(num_classes: int, weights: None) -> Law:
    del weights
    return Law(
        lambda key, count: jax.random.randint(key, (count,), 0, num_classes, jnp.int32),
        lambda ids: jnp.full(ids.shape, 1 / num_classes, jnp.float32),
        num_classes,
    )


def log_uniform_law(num_classes: int, weights: None) -> Law:
    """P(c) = log((c + 2)/(c + 1)) / log(num_classes + 1).

    Drawn by rejection, in integers: a power of two, an integer y from it up to the
    next, and y = c + 1 kept with probability 2^k·log(1 + 1/y). The usual
    exp(u·log(num_classes + 1)) skips classes in float32: near 10 million, 18 of 19.
    """
    del weights

    def propose(key: Array, count: int) -> Array:
        octave, place, chance = jax.random.bits(key, (3, count), jnp.uint32)
        low = jnp.uint32(1) << octave % num_classes.bit_length()
        y = low | place & (low - 1)
        share = low.astype(jnp.float32) * log1p(1 / y.astype(jnp.float32))
        kept = (chance >> 8).astype(jnp.float32) < 2.0**24 * share
        return jnp.where(kept & (y <= num_classes), y - 1, -1).astype(jnp.int32)

    def prob(ids: Array) -> Array:
        return log1p(1 / (ids + 1).astype(jnp.float32)) / math.log1p(num_classes)

    return Law(propose, prob, num_classes)


FAN_OUT = 64


def weighted_law(num_classes: int, weights: Array) -> Law:
    """P(c) in proportion to the weights, ≥ 0.

    Drawn by going down a tree of sums, 64 children a node: one uniform number a level,
    so that light classes are not lost in a sum over all.
    """
    weights = widen(weights)
    levels = [weights]
    while levels[0].size > FAN_OUT:
        levels[0] = jnp.pad(levels[0], (0, -levels[0].size % FAN_OUT))
        levels[0] = levels[0].reshape(-1, FAN_OUT)
        levels.insert(0, jnp.sum(levels[0], axis=1))
    total = jnp.sum(levels[0])

    def propose(key: Array, count: int) -> Array:
        ids = jnp.zeros(count, jnp.int32)
        shape = len(levels), count, 1
        shares = jax.random.uniform(key, shape, weights.dtype)
        for level, share in zip(levels, shares, strict=True):
            sums = jnp.cumsum(level.reshape(-1, level.shape[-1])[ids], axis=1)
            child = lax.argmax(sums > share * sums[:, -1:], 1, jnp.int32)
            ids = FAN_OUT * ids + child
        # Rounding of the sums may lead to a class of weight 0.
        return jnp.where(weights.at[ids].get(mode="fill", fill_value=0) > 0, ids, -1)

    support = jnp.sum((weights > 0) & jnp.isfinite(total), dtype=jnp.int32)
    return Law(propose, lambda ids: taken(weights, ids) / total, support)


MAX_PROPOSALS = 2**30
"""Then the drawing ends, unfinished: tries are counted in int32."""


def draw_ids(law: Law, key: Array, sizes: Sizes) -> tuple[Array, Array]:
    """int32 ids, in the order drawn, and the tries it took.

    Unique ones are drawn until so many differ. Ids that cannot be had stay −1.
    """
    count = sizes.num_sampled
    block = max(2 * count, 64)
    goal = jnp.minimum(count, law.support)
    if not sizes.unique:
        goal = jnp.where(goal > 0, count, 0)

    def unfinished(state):
        _, filled, _, rounds = state
        return (filled < goal) & (rounds < MAX_PROPOSALS // block)

    def draw_more(state):
        ids, filled, tries, rounds = state
        # Of a block of proposals those that are refused are left out, and repeated ones
        # if all are to differ. Those past the goal are not tries any more.
        more = law.propose(jax.random.fold_in(key, rounds), block)
        drawn = more >= 0
        new = drawn & first_ones(jnp.concatenate([ids, more]))[count:]
        new = new if sizes.unique else drawn
        filled_after = filled + jnp.cumsum(new, dtype=jnp.int32)
        filled_before = filled_after - new.astype(jnp.int32)
        drawn &= filled_before < goal
        place = jnp.where(new & drawn, filled_before, count)
        ids = ids.at[place].set(more, mode="drop")
        tries += jnp.sum(drawn, dtype=jnp.int32)
        return ids, jnp.minimum(filled_after[-1], goal), tries, rounds + 1

    zero = jnp.zeros((), jnp.int32)
    start = jnp.full(count, -1, jnp.int32), zero, zero, zero
    ids, _, tries, _ = lax.while_loop(unfinished, draw_more, start)
    return ids, tries if sizes.unique else jnp.full((), count)


def first_ones(x: Array) -> Array:
    """Which elements equal none before them."""
    order = jnp.argsort(x, stable=True)
    first = differs(x[order])
    return jnp.zeros(x.shape, bool).at[order].set(first, unique_indices=True)


def differs(x: Array) -> Array:
    """Which elements are not as the one before them."""
    return jnp.concatenate([jnp.ones(1, bool), x[1:] != x[:-1]])


def expected_count(prob: Array, count: int, tries: Array) -> Array:
    """How often a class of probability `prob` is to be expected among `count` draws.

    Where it took more `tries` than that, the draws are without repeats.
    """
    repeated = tries.astype(prob.dtype) * log1p(-prob)
    return jnp.where(tries == count, count * prob, -expm1(repeated))


@functools.partial(jax.jit, static_argnames=("law", "sizes"), inline=True)
def draw(
    key: Array,
    labels: Array,
    weights: Array | None = None,
    *,
    law: Callable[[int, Array | None], Law],
    sizes: Sizes,
) -> Candidates:
    """Candidates by a law; a label out of range has the expected count NaN."""
    # A draw is of all classes, and all devices make the same one.
    weights = None if weights is None else whole(lax.stop_gradient(weights))
    made = law(sizes.num_classes, weights)
    ids, tries = draw_ids(made, key, sizes)

    def count_of(ids: Array) -> Array:
        ids, poison = class_ids(None, ids, None, sizes.num_classes)
        prob = made.prob(jnp.maximum(ids, 0))
        count = expected_count(prob, sizes.num_sampled, tries)
        return count * poison.astype(count.dtype)

    return Candidates(ids, count_of(labels), count_of(ids))


class Listed(NamedTuple):
    """Which classes a list of weights belongs to, and which of them to take."""

    num_reserved_ids: int
    shard: int
    num_shards: int

    def of(self, count: int) -> int:
        """How many of the first `count` classes are taken."""
        return len(range(count)[self.shard :: self.num_shards])


@functools.partial(jax.jit, static_argnames=("listed", "sizes"), inline=True)
def draw_listed(
    key: Array,
    labels: Array,
    weights: Array,
    distortion: Number | None,
    *,
    listed: Listed,
    sizes: Sizes,
) -> Candidates:
    w = widen(weights)
    if distortion is not None:
        w = power(w, jnp.asarray(distortion, w.dtype))
    w = jnp.pad(w, (listed.num_reserved_ids, 0))[listed.shard :: listed.num_shards]
    return draw(key, labels, w, law=weighted_law, sizes=sizes)


@functools.partial(jax.jit, static_argnames="sizes", inline=True)
def draw_learned(
    key: Array, labels: Array, counts: Array | None, *, sizes: Sizes
) -> tuple[Candidates, Array]:
    if counts is None:
        counts = jnp.ones(sizes.num_classes, jnp.int32)
    candidates = draw(key, labels, counts, law=weighted_law, sizes=sizes)
    ids = whole(in_range_or_end(labels, sizes.num_classes))
    more = whole(lax.stop_gradient(counts)).at[ids].add(1, mode="drop")
    return candidates, placed_as(counts, more)


@functools.partial(jax.jit, static_argnames="sizes", inline=True)
def all_of(labels: Array, *, sizes: Sizes) -> Candidates:
    ids = jnp.arange(sizes.num_classes, dtype=jnp.int32)
    _, ones = class_ids(None, labels, None, sizes.num_classes)
    return Candidates(ids, ones.astype(jnp.float32), jnp.ones(ids.shape, jnp.float32))


def in_range_or_end(ids: Array, num_classes: int) -> Array:
    """int32 ids, those out of range at num_classes: gathers and scatters fit that."""
    ids, _ = class_ids(None, ids, None, num_classes)
    return jnp.where(ids < 0, num_classes, ids)


@functools.partial(jax.jit, static_argnames="num_classes", inline=True)
def renumbered(
    labels: Array, candidates: Candidates, *, num_classes: int
) -> tuple[Array, Array, Candidates]:
    """Ids of the classes involved, each once; labels and candidates as places in it."""
    both = whole(labels).ravel(), whole(candidates.ids)
    ids = jnp.concatenate([in_range_or_end(x, num_classes) for x in both])
    # As `jnp.unique`, which has to know how many there are.
    order = jnp.argsort(ids)
    place = jnp.cumsum(differs(ids[order]), dtype=jnp.int32) - 1
    rows = jnp.full_like(ids, num_classes).at[place].set(ids[order])
    places = jnp.zeros_like(ids).at[order].set(place, unique_indices=True)
    own, drawn = places[: labels.size], places[labels.size :]
    own = placed_as(labels, own.reshape(labels.shape))
    return rows, own, candidates._replace(ids=drawn)
