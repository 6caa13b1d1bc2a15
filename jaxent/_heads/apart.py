# SPDX-License-Identifier: Apache-2.0
"""Whether a function of positions keeps them apart, read off its jaxpr.

A loss of the user's own sees a chunk of positions at a time, so that what it made of
several of them, a mean or a cumulative sum, would be of a chunk's: a silently wrong
answer. It is traced on a number of positions that no other length is equal to; an axis
of that length is that of the positions, and each step must keep it as it is.
"""

from collections.abc import Iterator
from typing import Any

import jax

from .._types import PyTree

# Steps that mix what lies along these of their dimensions, and may keep their length.
ALONG = {
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"), "axis"),
    "sort": "dimension",
    "rev": "dimensions",
    "concatenate": "dimension",
}
# Steps whose operand's positions must stay out of it, but for gathers a position.
WHOLE = (
    "fft",
    "scatter",
    "dynamic_slice",
    "dynamic_update_slice",
    "conv_general",
    "reduce_window",
)
LEAST = 131
"""Positions that a function is traced on, or some more: few other lengths are odd."""


def traced(function: Any, examples: Any, lengths: set[int]) -> tuple[int, Any]:
    """A number of positions that no length is equal to, and the jaxpr of them.

    `examples` makes the function's arguments, of so many positions. Lengths of what the
    function closes over are known once it is traced.
    """
    count = LEAST
    while count in lengths:
        count += 2
    jaxpr = jax.make_jaxpr(function)(*examples(count))
    inside = {n for c in jaxpr.consts for n in getattr(c, "shape", ())}
    if count in inside:
        return traced(function, examples, lengths | inside)
    return count, jaxpr.jaxpr


def mixing(jaxpr: Any, count: int) -> str | None:
    """The first step that makes one position depend on another, or None."""
    for eqn in _needed(jaxpr):
        inner = [*_jaxprs(eqn.params)]
        if eqn.primitive.name == "scan" and _scans_positions(eqn, count):
            return "scan"
        if inner:
            named = (mixing(each, count) for each in inner)
            if name := next(filter(None, named), None):
                return name
        elif _mixes(eqn, count):
            return eqn.primitive.name
    return None


def _needed(jaxpr: Any) -> Iterator[Any]:
    """The steps that the results are made of, the last first."""
    wanted = {id(v) for v in jaxpr.outvars}
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or any(id(v) in wanted for v in eqn.outvars):
            wanted |= {id(v) for v in eqn.invars}
            yield eqn


def _mixes(eqn: Any, count: int) -> bool:
    name, operands = eqn.primitive.name, [_shape(v) for v in eqn.invars]
    if not any(count in shape for shape in operands):
        return False
    results = [_shape(v) for v in eqn.outvars]
    if any(shape.count(count) != 1 for shape in results):
        return True  # it is reduced, cut, or met with itself
    if count not in operands[0]:
        return False
    axis = operands[0].index(count)
    if name == "gather":
        return axis not in eqn.params["dimension_numbers"].operand_batching_dims
    if name in ALONG:
        along = eqn.params[ALONG[name]]
        return axis in (along if isinstance(along, tuple) else (along,))
    return name.startswith(WHOLE)


def _scans_positions(eqn: Any, count: int) -> bool:
    """Whether positions are taken one after the other, and something is carried.

    What a step takes has an axis less than what the scan does; what it carries has not.
    """
    body = eqn.params["jaxpr"].jaxpr
    taken = zip(eqn.invars, body.invars, strict=True)
    left = zip(eqn.outvars, body.outvars, strict=True)
    steps = any(_shape(x) == (count, *_shape(each)) for x, each in taken)
    return steps and any(_shape(x) == _shape(each) for x, each in left)


def _shape(variable: Any) -> tuple[int, ...]:
    return getattr(variable.aval, "shape", ())


def _jaxprs(params: PyTree) -> Iterator[Any]:
    """Those that a step is made of: of a jitted function, a branch, a loop's body."""
    for x in jax.tree.leaves(params, is_leaf=lambda x: hasattr(x, "eqns")):
        x = getattr(x, "jaxpr", x)
        if hasattr(x, "eqns"):
            yield x
