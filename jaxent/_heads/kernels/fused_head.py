# SPDX-License-Identifier: Apache-2.0
"""What the fused heads of every chip share: all but the passes over the classes.

A kernel sums over the classes but the label's, as `_engine.sums` does. The loss is then
the dense engine's arithmetic, and its gradient three numbers a position, from which a
second and a third kernel make the products with the logits' gradient, tile by tile.
"""

import functools
import importlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ..._engine.exact import product
from ..._engine.labels import drop
from ..._engine.linear import Head
from ..._engine.statistics import pair_of
from ..._engine.terms import Rest
from ..._errors import fail
from ..._types import Number


class How(NamedTuple):
    """What a kernel is compiled for."""

    implementation: str
    """The kernels: "pallas_tpu" or "pallas_gpu"."""
    tiles: Any
    """What their `tiles` returned."""
    softcap: float | None
    smoothing: bool
    """Whether the distances are wanted."""


class HeadSums(NamedTuple):
    """Sums over all classes but the label's, for each position: each [N], float32."""

    rest: Rest
    """Its label logit is any finite number where no class is the label."""
    distance: Array | None
    """Σ (c' − x_j) over those with x_j > −inf, c' the largest; 0 if there are none."""
    allowed: Array | None
    """How many these are."""


class Slopes(NamedTuple):
    """The gradient of the logits x, after the softcap, in numbers [N] float32.

    `others`·exp(x_j − `largest`), or `label` for the label's class; and, for every
    class with x_j > −inf, `everywhere` on top (None: nothing).
    """

    largest: Array
    others: Array
    label: Array
    everywhere: Array | None


class HeadNumbers(NamedTuple):
    """What a loss may be made of, each [N] float32, each differentiable."""

    nll: Array
    log_normalizer: Array
    uniform_nll: Array | None
    """The mean of −log p_j over the allowed classes; None without smoothing."""


def chosen(
    implementation: str,
    head: Head,
    *,
    softcap: Number | None,
    smoothing: bool,
    memory: int | str | None,
) -> How:
    """The kernels for a head, with tiles that fit."""
    if isinstance(softcap, Array):
        must = f'be a Python number with implementation="{implementation}"'
        remedy = 'The kernels are compiled for it; a traced one needs "xla".'
        fail(NotImplementedError, "softcap", must, softcap, remedy)
    tiles = _kernels(implementation).tiles(head, memory)
    return How(implementation, tiles, softcap, smoothing)


def _kernels(implementation: str) -> Any:
    # Imported when first called: Pallas takes longer to import than all of jaxent.
    name = implementation.removeprefix("pallas_")
    return importlib.import_module(f".{name}", __package__)


def head_numbers(
    how: How, head: Head, labels: Array, keep: Array | None
) -> HeadNumbers:
    """The numbers of hidden [N, d] and class ids [N] in [0, V), or −1 for no class.

    They are differentiable in the head, once, and in reverse mode only.
    """
    return _head_numbers(how, head, labels, keep)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _head_numbers(how, head, labels, keep):
    return _forward(how, head, labels, keep)[0]


def _forward(how, head, labels, keep):
    sums = _kernels(how.implementation).sums(head, labels, how)
    sums = jax.tree.map(lambda x: drop(x, keep), sums)
    rest = sums.rest
    pair, log_total, _ = pair_of(rest)
    largest = jnp.maximum(rest.largest, rest.label_logit)
    uniform_nll = None
    if how.smoothing:
        distance, allowed = _with_label(sums, largest)
        uniform_nll = distance / allowed + log_total
    numbers = HeadNumbers(pair.nll, largest + log_total, uniform_nll)
    return numbers, (head, labels, sums)


def _with_label(sums: HeadSums, largest: Array) -> tuple[Array, Array]:
    """Σ (c − x_j) over all the allowed classes, c the largest, and their number."""
    assert sums.distance is not None
    assert sums.allowed is not None
    rest, own = sums.rest, (sums.rest.label_logit > -jnp.inf).astype(largest.dtype)
    shifted = sums.distance + product(sums.allowed, largest - rest.largest)
    return shifted + product(own, largest - rest.label_logit), sums.allowed + own


def _backward(how, residuals, cotangent):
    head, labels, sums = residuals
    kernels = _kernels(how.implementation)
    slopes = _slopes(sums, cotangent)
    return kernels.gradient(head, labels, slopes, how), None, None


_head_numbers.defvjp(_forward, _backward)


def _slopes(sums: HeadSums, cotangent: HeadNumbers) -> Slopes:
    pair, _, scale = pair_of(sums.rest)
    d_nll, d_total, d_uniform = cotangent
    everywhere = None
    if d_uniform is not None:
        allowed = _with_label(sums, sums.rest.largest)[1]
        everywhere, d_total = -d_uniform / allowed, d_total + d_uniform
    # −(1 − p) for the label, not p − 1: that difference is what other losses lose.
    label = d_total * pair.prob - d_nll * pair.one_minus_prob
    return Slopes(sums.rest.largest, (d_nll + d_total) * scale, label, everywhere)
