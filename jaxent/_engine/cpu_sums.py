# SPDX-License-Identifier: Apache-2.0
"""The sums over the classes as a CPU has them fastest: in blocks of classes.

XLA on CPU has a fast path for a maximum and for a sum of exponentials, from which a
mask bars it, and which is slow where a row does not fit in the cache. Of blocks of
classes there are both; and the one block of a row that has its label, or its top, is
taken out and looked at class by class: no pass over all logits more, and no copy of
them. What is in a sum is decided by which block it is in, and not by a subtraction, so
that no digit is lost. Of fewer classes, which make no blocks, a few rows are taken at a
time; and ten or less are summed over one by one, in a loop over the positions.
"""

import functools
import math

import jax.numpy as jnp
from jax import Array, lax

from . import one_pass
from .class_axis import WHOLE, ClassAxis
from .exact import as_logits, widen
from .placement import is_sharded, spread_over
from .row_groups import by_groups, is_known
from .terms import Rest, Weights, distance_of, exp_from, one_hot, tied, weights_of

# Up to so many classes a sum is written out, and up to so many a row is not cut in
# blocks: measured in JAX 0.10 and 0.12, from 2 classes to 4096.
WRITTEN_OUT, WHOLE_ROWS = 10, 512


def rest(classes: ClassAxis, x: Array, labels: Array) -> Rest:
    if _are_few(x):
        return _rest_of_columns(classes, x, labels)
    count = block_count(x)
    if count == 1:
        return by_groups(functools.partial(_rest_of_row, classes), x, labels)
    size = x.shape[-1] // count
    block = jnp.clip(labels, 0, x.shape[-1] - 1) // size
    own = _rest_of_row(classes, one_block(x, count, block), labels - block * size)
    return _with_other_blocks(classes, x, count, block, own)


def top(classes: ClassAxis, x: Array) -> Rest:
    if _are_few(x):
        return _top_of_columns(classes, x)
    count = block_count(x)
    if count == 1:
        return by_groups(functools.partial(_top_of_row, classes), x)
    block = _block_of_top(x, count)
    own = _top_of_row(classes, one_block(x, count, block))
    return _with_other_blocks(classes, x, count, block, own)


def _with_other_blocks(
    classes: ClassAxis, x: Array, count: int, block: Array, own: Rest
) -> Rest:
    """The rest of one block of each row, and all classes of the others."""
    # The largest of x as it came: XLA would write what two sums are taken of.
    largest = as_logits(jnp.max(in_blocks(x, count), axis=-1))
    total = sums_of_exp(classes, x, count, largest)
    here = one_hot(block, largest)
    largest = jnp.where(here, own.largest[..., None], largest)
    total = jnp.where(here, own.total[..., None], total)
    top = jnp.max(largest, axis=-1)
    total *= exp_from(largest, top[..., None], classes)
    return own._replace(largest=top, total=jnp.sum(total, axis=-1))


def _are_few(x: Array) -> bool:
    classes = x.shape[-1]
    return is_known(classes) and 0 < classes <= WRITTEN_OUT and spread_over(x) == 1


def _rest_of_columns(classes: ClassAxis, x: Array, labels: Array) -> Rest:
    x = as_logits(x)
    columns = [(labels == j, x[..., j]) for j in range(x.shape[-1])]
    others = [jnp.where(hit, -jnp.inf, column) for hit, column in columns]
    largest = functools.reduce(jnp.maximum, others)
    total = sum(exp_from(column, largest, classes) for column in others)
    label_logit = sum(jnp.where(hit, column, 0) for hit, column in columns)
    # Else what is made of them for each class would make them anew for each class.
    return Rest(*lax.optimization_barrier((largest, total, label_logit)))


def _top_of_columns(classes: ClassAxis, x: Array) -> Rest:
    columns = [as_logits(x[..., j]) for j in range(x.shape[-1])]
    top = functools.reduce(jnp.maximum, columns)
    label = jnp.zeros(top.shape, jnp.int32)
    for j, column in enumerate(columns):
        label = jnp.where(column == top, j, label)
    return _rest_of_columns(classes, x, label)._replace(label_logit=top)


def _rest_of_row(classes: ClassAxis, x: Array, labels: Array) -> Rest:
    x = as_logits(x)
    hit = one_hot(labels, x)
    largest, total = _sum_outside(classes, hit, x)
    if is_sharded(x):
        # Of classes on several devices a gather would bring all of them to each.
        label_logit = jnp.sum(jnp.where(hit, x, 0), axis=-1)
    else:
        label = labels[..., None]
        label_logit = jnp.take_along_axis(x, label, axis=-1, mode="clip")[..., 0]
    return Rest(largest, total, label_logit)


def _top_of_row(classes: ClassAxis, x: Array) -> Rest:
    x = as_logits(x)
    top = jnp.max(x, axis=-1)
    hit = x == top[..., None]
    below, total = _sum_outside(classes, hit, x)
    others = jnp.sum(hit.astype(x.dtype), axis=-1) - 1
    return tied(Rest(below, total, top, classes), others)._replace(classes=WHOLE)


def _sum_outside(classes: ClassAxis, hit: Array, x: Array) -> tuple[Array, Array]:
    """The largest of the logits that are not hit, and the sum of their exponentials."""
    # Written once, for both passes: XLA's sum of exponentials does not take a mask.
    others = lax.optimization_barrier(jnp.where(hit, -jnp.inf, x))
    largest = jnp.max(others, axis=-1)
    return largest, jnp.sum(exp_from(others, largest[..., None], classes), axis=-1)


def weighted(classes: ClassAxis, x: Array, weights: Array) -> tuple[Rest, Weights]:
    of_top, count = top(classes, x), block_count(x)
    if count == 1:
        of_group = functools.partial(weights_of, classes)
        return of_top, by_groups(of_group, x, weights, of_top.label_logit)
    block = _block_of_top(x, count)
    own_x, own_weights = (one_block(a, count, block) for a in (x, weights))
    own = weights_of(classes, own_x, own_weights, of_top.label_logit)
    # What is as large as the top in another block is counted off it: nothing is lost,
    # as p is only too near to 1 of a class that is alone at the top.
    total = jnp.sum(_widened_blocks(weights, count), axis=-1)
    others = jnp.sum(jnp.where(one_hot(block, total), 0, total), axis=-1)
    of_group = functools.partial(distance_of, classes)
    distance = by_groups(of_group, x, weights, of_top.label_logit)
    return of_top, Weights(distance, own.at_top, own.off_top + others)


def _block_of_top(x: Array, count: int) -> Array:
    largest = jnp.max(in_blocks(x, count), axis=-1)
    return lax.argmax(largest, largest.ndim - 1, jnp.int32)


def fall(classes: ClassAxis, x: Array, largest: Array, top: Array) -> Array:
    return by_groups(functools.partial(one_pass.fall, classes), x, largest, top)


def block_count(x: Array) -> int:
    """Into how many blocks of equal size the classes of logits [..., V] are cut: or 1.

    The sums of a block, all in the cache, are XLA's fastest; then there are the blocks
    to be put together, and one of them to be looked at class by class: to 512 classes
    that takes longer than a masked row. Best measured are 10 blocks of 100 classes, 64
    of 512, and 64 to 256 where there are 131072.
    """
    classes = x.shape[-1]
    if not is_known(classes) or classes <= WHOLE_ROWS or spread_over(x) > 1:
        return 1
    most = math.isqrt(classes // 4)
    few = range(most, most // 4, -1)
    return next((k for k in few if classes % k == 0), 1)


def in_blocks(x: Array, count: int) -> Array:
    """[..., V] as [..., blocks, V/blocks]."""
    return x.reshape(*x.shape[:-1], count, x.shape[-1] // count)


def one_block(x: Array, count: int, block: Array) -> Array:
    """One block of each row, [..., V/blocks]."""
    blocks, index = in_blocks(x, count), block[..., None, None]
    return jnp.take_along_axis(blocks, index, axis=-2, mode="clip")[..., 0, :]


def sums_of_exp(classes: ClassAxis, x: Array, count: int, largest: Array) -> Array:
    """Σ exp((x_j − largest)/T) over each block, of whose largest [..., blocks]."""
    blocks = _widened_blocks(x, count)
    return jnp.sum(exp_from(blocks, largest[..., None], classes), axis=-1)


def _widened_blocks(x: Array, count: int) -> Array:
    # Behind a barrier XLA reads the array as it came, in the type that it came in.
    return widen(lax.optimization_barrier(in_blocks(x, count)))
