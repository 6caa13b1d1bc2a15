# SPDX-License-Identifier: Apache-2.0
"""The token-chunk engine: functions of logits that are never all alive.

A head is hidden @ classifier.T + bias. The positions are taken a chunk at a time:
logits, whatever is made of them, and, where a gradient is wanted of a sum, the
gradient at once, so that each product is computed once (6·N·d·V operations, forward
and backward) and the logits are forgotten. Results per position are differentiated
by computing each chunk again (8·N·d·V).

The mathematics of a chunk is the dense engine's, `_engine.statistics`; what is done
here is the chain rule through one matrix product. docs/fused-heads.md tells what it
costs. Read `losses` next, for the functions that are run on the chunks.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import zero_from_primal

from .._engine.exact import computing_dtype, widen
from .._engine.linear import Head, logits_of, matmul
from .._engine.placement import aligned, spread_over, vary, varying
from .._types import PyTree
from .chunks import Plan, Plans, Rows, Shared, gathered, in_pieces, quartered, scan

ChunkLoss = Callable[[tuple[Array, ...], Rows, Shared], tuple[Array, PyTree]]
"""(logits [C, V] of each head, rows, shared numbers) -> the chunk's sum, a scalar, and
what there is to know of its positions, [C, ...]."""


BUFFERS = 2
"""Arrays of a chunk's logits alive at once: logits, and exponentials or gradient."""


def chunked_sum(
    loss: ChunkLoss, plans: Plans, heads: tuple[Head, ...], rows: Rows, shared: Shared
) -> tuple[Array, PyTree]:
    """Σ over chunks of `loss`, and what it says of the positions, in order.

    The gradient of the sum costs no second pass over the classes; the rest has none.
    """
    heads, (rows, shared) = aligned(heads, (rows, shared), rows.classes.names)
    return _chunked_sum(loss, plans, heads, rows.differentiable, shared, rows)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _chunked_sum(loss, plans, heads, arrays, shared, rows):
    rows = rows.with_differentiable(arrays)
    return plans.run(functools.partial(_evaluation, loss), heads, rows, shared)


def _evaluation(loss, plan, heads, rows, shared):
    """Per chunk the logits and the loss."""
    # Large chunks are there so that the classifier's gradient is seldom added to. An
    # evaluation has none: a quarter of the rows is as fast, in a quarter of the memory.
    heads, plan = _multiplied(heads), quartered(plan, rows.keep.shape[0])

    def body(total, chunk):
        hiddens, rows = chunk
        chunk_heads = _with_hidden(heads, hiddens)
        logits = tuple(logits_of(head) for head in chunk_heads)
        value, aux = loss(logits, rows, shared)
        return total + value, aux

    return scan(body, _zero(rows), heads, rows, plan)


def _chunked_sum_jvp(loss, plans, primals, tangents):
    heads, arrays, shared, rows = primals
    rows = rows.with_differentiable(arrays)
    sweep = functools.partial(_sweep, loss)
    value, aux, gradient = plans.run(sweep, heads, rows, shared)

    # An argument that is not differentiated has a symbolic zero, and its part of the
    # sweep above is dead code.
    def is_zero(x: object) -> bool:
        return isinstance(x, jax.custom_derivatives.SymbolicZero)

    tangent = jnp.zeros((), value.dtype)
    pairs = zip(
        jax.tree.leaves(gradient),
        jax.tree.leaves(tangents[:3], is_leaf=is_zero),
        strict=True,
    )
    for slope, dx in pairs:
        if not is_zero(dx):
            # Linear in dx: in reverse mode, `slope` times the cotangent.
            part = jnp.sum(slope * dx.astype(slope.dtype))
            sliced = rows.classes.names & varying(part)
            tangent += rows.classes.psum(part) if sliced else part
    no_tangent = functools.partial(zero_from_primal, symbolic_zeros=True)
    return (value, aux), (tangent, jax.tree.map(no_tangent, aux))


_chunked_sum.defjvp(_chunked_sum_jvp, symbolic_zeros=True)


def _sweep(loss, plan, heads, rows, shared):
    """Per chunk the logits, the loss, its gradient, and two products."""
    heads, plan = _multiplied(heads), gathered(plan, rows.keep.shape[0])
    wide = functools.partial(jax.tree.map, _wide_zeros)

    def slopes_of(sums, some):
        total, d_biases, d_shared = sums
        hiddens, rows = some
        logits = tuple(logits_of(head) for head in _with_hidden(heads, hiddens))

        def of_floats(logits, arrays, shared):
            return loss(logits, rows.with_differentiable(arrays), shared)

        # Only the loss of the logits is left to JAX; the products around it are below.
        (value, aux), (d_logits, d_arrays, d_some_shared) = jax.value_and_grad(
            of_floats, argnums=(0, 1, 2), has_aux=True
        )(logits, rows.differentiable, shared)
        slopes = []
        for i, (head, slope) in enumerate(zip(heads, d_logits, strict=True)):
            # Multiplied in the type of the head, accumulated in float32.
            slopes.append(slope.astype(head.hidden.dtype))
            if head.bias is not None:
                d_biases[i] += jnp.sum(slope, axis=0)
        d_shared = jax.tree.map(jnp.add, d_shared, d_some_shared)
        return (total + value, d_biases, d_shared), (slopes, (d_arrays, aux))

    def body(carry, chunk):
        d_classifiers, room, sums = carry
        sums, slopes, rest = in_pieces(slopes_of, sums, room, chunk, plan)
        d_hiddens = []
        chunk_heads = _with_hidden(heads, chunk[0])
        for i, (head, slope) in enumerate(zip(chunk_heads, slopes, strict=True)):
            d_hiddens.append(matmul(slope, head.classifier, (1, 0)))
            d_classifiers[i] = _add_product(
                d_classifiers[i], slope, head.hidden, plan.block
            )
        carry = d_classifiers, slopes if room else room, sums
        return carry, (tuple(d_hiddens), *rest)

    d_biases = [None if head.bias is None else _wide_zeros(head.bias) for head in heads]
    start = (
        [_wide_zeros(head.classifier) for head in heads],
        [_room(head, plan.size) for head in heads if plan.pieces > 1],
        (_zero(rows), d_biases, wide(shared)),
    )
    carry, slopes = scan(body, start, heads, rows, plan)
    d_classifiers, _, (total, d_biases, d_shared) = carry
    d_hiddens, d_arrays, aux = slopes
    d_heads = tuple(map(Head, d_hiddens, d_classifiers, d_biases))
    return total, aux, (d_heads, d_arrays, d_shared)


def _room(head: Head, rows: int) -> Array:
    """For the slopes of a chunk, whose pieces are written into it one by one."""
    zeros = jnp.zeros((rows, head.classifier.shape[0]), head.hidden.dtype)
    return vary(zeros, varying(head.classifier))


def _add_product(total: Array, slope: Array, hidden: Array, block: int) -> Array:
    """total + slope.T @ hidden, block by block: no second array of the total's size.

    Adding up is all the memory traffic there is, and a block of it stays in cache. In
    one product (0) a TPU adds to the array as it goes, and takes no second one either.
    """
    rows = total.shape[0]
    # Since JAX 0.11 the type of zeros, which `total` begins as, tells of no mesh.
    if not block or max(map(spread_over, (total, slope, hidden))) > 1:
        # Where XLA has sharded the classes, it would gather every block.
        return total + matmul(slope, hidden, (0, 0))
    block = max(min(block // (total.itemsize * total.shape[1]), rows), 1)

    def add(total: Array, start: Array | int, size: int) -> Array:
        part = lax.dynamic_slice_in_dim(slope, start, size, axis=1)
        old = lax.dynamic_slice_in_dim(total, start, size)
        new = old + matmul(part, hidden, (0, 0))
        return lax.dynamic_update_slice_in_dim(total, new, start, axis=0)

    whole, rest = divmod(rows, block)
    total = lax.fori_loop(0, whole, lambda i, t: add(t, i * block, block), total)
    return add(total, whole * block, rest) if rest else total


def chunked_map(
    function: Callable[[tuple[Array, ...], Rows, Shared], PyTree],
    plans: Plans,
    heads: tuple[Head, ...],
    rows: Rows,
    shared: Shared,
) -> PyTree:
    """`function` of each chunk's logits, one result a position, in order."""
    heads, (rows, shared) = aligned(heads, (rows, shared), rows.classes.names)
    # Classifiers widened once, so that their gradients add up in float32.
    heads = tuple(
        head._replace(classifier=widen(head.classifier), bias=_wide(head.bias))
        for head in heads
    )

    def run(plan: Plan, heads: tuple[Head, ...], rows: Rows, shared: Shared) -> PyTree:
        def body(_, chunk):
            hiddens, rows = chunk
            chunk_heads = _with_hidden(heads, hiddens)
            logits = tuple(_projection(head) for head in chunk_heads)
            return None, function(logits, rows, shared)

        return scan(body, None, heads, rows, plan)[1]

    return plans.run(run, heads, rows, shared)


@jax.custom_jvp
def _mixed_matmul(hidden: Array, classifier: Array) -> Array:
    """hidden @ classifier.T in hidden's dtype; the classifier's gradient is wide."""
    return matmul(hidden, classifier.astype(hidden.dtype), (1, 1))


@_mixed_matmul.defjvp
def _mixed_matmul_jvp(primals, tangents):
    (hidden, classifier), (d_hidden, d_classifier) = primals, tangents
    tangent = _mixed_matmul(d_hidden, classifier)
    return _mixed_matmul(hidden, classifier), tangent + lax.dot_general(
        hidden,
        d_classifier,
        (((1,), (1,)), ((), ())),
        preferred_element_type=tangent.dtype,
    )


def _projection(head: Head) -> Array:
    x = _mixed_matmul(head.hidden, head.classifier)
    return x if head.bias is None else x + jnp.broadcast_to(head.bias, x.shape)


def _multiplied(heads: tuple[Head, ...]) -> tuple[Head, ...]:
    """Classifiers in the type of the products, rounded once for all chunks."""
    return tuple(
        head._replace(classifier=head.classifier.astype(head.hidden.dtype))
        for head in heads
    )


def _with_hidden(heads, hiddens):
    return tuple(
        head._replace(hidden=x) for head, x in zip(heads, hiddens, strict=True)
    )


def _wide(x: Array | None) -> Array | None:
    return None if x is None else widen(x)


def _wide_zeros(x: Array) -> Array:
    return jnp.zeros_like(x, computing_dtype(x))


def _zero(rows: Rows) -> Array:
    return _wide_zeros(rows.weights[:0].sum())
