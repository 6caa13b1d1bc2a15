# SPDX-License-Identifier: Apache-2.0
"""KL from a few classes of a teacher, and one category more: all the others together.

The student's logits become K + 1: those listed, and the log of what the exponentials
of the others add up to, so that their mass is never 1 − Σ q. Their softmax is the
dense engine's (`class_pairs`), and so is that sum (`log_total`).

docs/mathematics.md, "From a teacher's likeliest classes", has the formulas.
"""

import functools
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from .. import _checks, _options, _values
from .._errors import fail
from .._types import Shape, Tail
from .class_axis import ClassAxis
from .elementary import exp, expm1, log
from .exact import as_logits, computing_dtype, product
from .information import kl_of_logits
from .labels import class_ids, drop, nan_unless
from .placement import by_position, is_sharded, placed_as
from .ratios import change, divergence
from .statistics import class_pairs, log_total
from .terms import one_hot

NO_ENTRY, NO_CLASS = -1, -2
VALUES_FIRST = "; `jax.lax.top_k` returns values first"


def listed_ids(argument: str, ids: ArrayLike, batch: Shape) -> Array:
    """Several class ids a position."""
    ids = _checks.integers(argument, ids)
    if ids.ndim == 0 or ids.shape[:-1] != batch:
        shape = ", ".join([*map(str, batch), "k"])
        must = f"have shape ({shape}): the classes of a position last"
        remedy = "Fill up with −1 where a position has fewer than others."
        fail(ValueError, argument, must, ids.shape, remedy)
    return ids


def top_k_inputs(
    ids: ArrayLike,
    log_probs: ArrayLike,
    tail_log_prob: ArrayLike | None,
    tail: Tail,
    batch: Shape,
) -> tuple[Array, ...]:
    """What a teacher says, checked: the tail's mass only if it is given."""
    _options.one_of("tail", tail, get_args(Tail))
    log_p = _checks.in_order(("log_probs", "ids"), log_probs, ids, VALUES_FIRST)
    y = listed_ids("ids", ids, batch)
    _checks.same_shape("log_probs", log_p, y.shape, "ids")
    if tail_log_prob is None:
        return y, log_p
    rest = _checks.floats("tail_log_prob", tail_log_prob)
    if tail != "category":
        must = 'be left out but with tail="category"'
        remedy = "Without that category nothing has its mass."
        fail(ValueError, "tail_log_prob", must, rest.shape, remedy)
    _checks.same_shape("tail_log_prob", rest, batch, "log_probs[..., 0]")
    return y, log_p, rest


def name_masses_above_1(given: tuple[Array, ...], keep: Array | None) -> None:
    """Under `checkify`: a log-probability above 0, of those that are read."""
    if _values.checked() is None:
        # What is below would be a program of its own in an eager call.
        return
    ids, log_p, *rest = given
    entry = ids >= 0 if keep is None else (ids >= 0) & keep[..., None]
    _values.within("log_probs", log_p, _values.DOWN, entry)
    for x in rest:
        _values.within("tail_log_prob", x, _values.DOWN, keep)


def entry_ids(
    checked: str | None,
    ids: Array,
    keep: Array | None,
    count: int,
    *,
    distinct: bool = True,
) -> Array:
    """int32 ids [..., K]: classes, `NO_ENTRY`, or `NO_CLASS` where out of range.

    Dropped positions have no entry.
    """
    unsigned = jnp.issubdtype(ids.dtype, jnp.unsignedinteger)
    none = jnp.zeros_like(ids, bool) if unsigned else ids == NO_ENTRY
    if keep is not None:
        none |= ~keep[..., None]
    found, _ = class_ids(checked, ids, ~none, count)
    if checked is not None and distinct:
        _values.distinct(checked, jnp.where(none, NO_ENTRY, found))
    return jnp.where(none, NO_ENTRY, jnp.where(found < 0, NO_CLASS, found))


def poison_of(ids: Array) -> Array:
    """The factor of a position's loss: 1, or NaN where an id is out of range."""
    return nan_unless(~jnp.any(ids == NO_CLASS, axis=-1))


def listed(x: Array, ids: Array, classes: ClassAxis) -> Array:
    """Which classes, [..., V], are among the ids [..., K] of their position."""
    size = x.shape[-1]
    if is_sharded(x):
        return _by_masks(x, ids, classes)[0]
    own = classes.local(ids, size).reshape(-1, ids.shape[-1])
    here = (ids.reshape(own.shape) >= 0) & (own >= 0) & (own < size)
    rows = jnp.arange(own.shape[0], dtype=jnp.int32)[:, None]
    none = jnp.zeros_like(x, bool).reshape(-1, size)
    hit = none.at[rows, jnp.where(here, own, size)].set(True, mode="drop")
    return hit.reshape(x.shape)


def _picked(x: Array, ids: Array, classes: ClassAxis) -> Array:
    """The logits of the ids, −inf where there is no entry."""
    if is_sharded(x):
        picked = _by_masks(x, ids, classes)[1]
    else:
        own = classes.local(ids, x.shape[-1])
        picked = jnp.take_along_axis(x, own, axis=-1, mode="clip")
        here = (own >= 0) & (own < x.shape[-1])
        picked = classes.psum(jnp.where(here, picked, 0))
    return jnp.where(ids >= 0, picked, -jnp.inf)


def _by_masks(x: Array, ids: Array, classes: ClassAxis) -> tuple[Array, Array]:
    """`listed` and the ids' logits, one id after another, and nothing is gathered."""

    @jax.checkpoint
    def one(hit: Array, label: Array) -> tuple[Array, Array]:
        own = one_hot(label, x, classes)
        return hit | own, classes.sum(jnp.where(own, x, 0))

    columns = jnp.moveaxis(ids, -1, 0)
    hit, picked = lax.scan(one, jnp.zeros_like(x, bool), columns)
    return hit, jnp.moveaxis(picked, 0, -1)


class _Student(NamedTuple):
    logits: Array
    """[..., K + 1], over T and less the largest of all: the others' comes last."""
    forbids: Array
    """Whether all other classes, if any, are forbidden."""


def _student(x: Array, ids: Array, classes: ClassAxis) -> _Student:
    x, classes = classes.carry(as_logits(x))
    others = jnp.where(listed(x, ids, classes), -jnp.inf, x)
    own = _picked(x, ids, classes)
    forbids = classes.max(lax.stop_gradient(others)) == -jnp.inf
    # Where nothing is left, all that is made of it is a number, and not read.
    below, log_others = log_total(jnp.where(forbids, 0, others), None, classes)
    below = jnp.where(forbids[..., 0], -jnp.inf, lax.stop_gradient(below))
    top = jnp.max(lax.stop_gradient(own), axis=-1, initial=-jnp.inf)
    largest = jnp.maximum(top, below)
    # +inf, rounded to the largest float, is no logit.
    infinite = largest >= jnp.finfo(x.dtype).max
    largest *= nan_unless(~infinite).astype(largest.dtype)
    rest = classes.scaled(below - largest) + jnp.where(forbids[..., 0], 0, log_others)
    logits = classes.scaled(own - largest[..., None])
    logits = jnp.concatenate([logits, rest[..., None]], axis=-1)
    return _Student(logits, forbids[..., 0])


@functools.partial(jax.jit, static_argnames=("checked", "tail"), inline=True)
def top_k_divergence(
    x: Array,
    given: tuple[Array, ...],
    keep: Array | None,
    classes: ClassAxis,
    *,
    checked: str | None,
    tail: str,
) -> Array:
    """The dense loss, of what `top_k_inputs` gave."""
    ids, log_probs, *rest = (by_position(x, a) for a in given)
    keep = None if keep is None else placed_as(x, keep)
    ids = entry_ids(checked, ids, keep, classes.count(x.shape[-1]))
    tail_log_prob = drop(rest[0], keep) if rest else None
    return divergence_of_entries(x, ids, log_probs, tail_log_prob, classes, tail=tail)


def divergence_of_entries(
    x: Array,
    ids: Array,
    log_probs: Array,
    tail_log_prob: Array | None,
    classes: ClassAxis,
    *,
    tail: str,
) -> Array:
    """Of logits [..., V] and `entry_ids`; 0 where a position has none."""
    dtype = computing_dtype(x, log_probs)
    some = jnp.any(ids != NO_ENTRY, axis=-1)
    poison = poison_of(ids).astype(dtype)
    log_p = jnp.where(ids == NO_ENTRY, -jnp.inf, log_probs.astype(dtype))
    log_p *= poison[..., None]
    # A product, not a select: so that all derivatives of the position are NaN too.
    x = drop(x.astype(dtype), some) * poison[..., None]
    student = _student(x, ids, classes)
    if tail == "renormalize":
        value = kl_of_logits(log_p, student.logits[..., :-1])
    elif tail == "drop":
        value = _dropped_tail(student.logits, log_p)
    else:
        given = None
        if tail_log_prob is not None:
            given = drop(tail_log_prob.astype(dtype), some)
        whole = jnp.sum(ids >= 0, axis=-1) == classes.count(x.shape[-1])
        log_p, excess = _teacher(log_p, given, whole, student.forbids)
        value = _divergence(student.logits, log_p, excess)
    return drop(value * poison, some)


def _dropped_tail(logits: Array, log_p: Array) -> Array:
    """Σ p·(log p − log q) of the K listed, of either sign."""
    nll, p = class_pairs(logits).nll[..., :-1], exp(log_p)
    read = p > 0
    # A NaN is read too.
    read |= jnp.isnan(p)
    ratio = jnp.where(read, log_p, 0) + jnp.where(read, nll, 0)
    # An infinite loss is settled: it does not move with its weight.
    return jnp.sum(_times(p, ratio), axis=-1)


@jax.custom_jvp
def _times(p: Array, ratio: Array) -> Array:
    return product(p, ratio)


@_times.defjvp
def _times_jvp(primals, tangents):
    p, ratio = primals
    finite = jnp.where(jnp.isinf(ratio), 0, ratio)
    return _times(p, ratio), finite * tangents[0] + p * tangents[1]


def _teacher(
    log_p: Array, tail_log_prob: Array | None, whole: Array, forbids: Array
) -> tuple[Array, Array]:
    """Log-masses [..., K + 1], and by how much they add up to more than 1."""
    p, finite = exp(log_p), jnp.where(log_p == -jnp.inf, 0, log_p)
    # What is left of 1, of a likeliest class first: that is −expm1, which is exact.
    likeliest = one_hot(lax.argmax(log_p, log_p.ndim - 1, jnp.int32), log_p)
    left = jnp.sum(jnp.where(likeliest, -expm1(log_p), -p), axis=-1)
    # What rounding alone makes of log-masses that add up to 1.
    noise = 2 * jnp.finfo(p.dtype).eps * (1 + jnp.sum(p * jnp.abs(finite), axis=-1))
    noise = lax.stop_gradient(noise)
    if tail_log_prob is None:
        # What the student forbids altogether has no share in rounding errors.
        positive = (left > jnp.where(forbids, noise, 0)) | jnp.isnan(left)
        rest = jnp.where(positive, log(jnp.where(positive, left, 1)), -jnp.inf)
        exact = positive & ~whole
        mass = jnp.zeros_like(left)
    else:
        rest, exact = tail_log_prob, jnp.zeros_like(whole)
        mass = jnp.where(whole, 0, exp(rest))
    excess = jnp.where(exact, 0, mass - left)
    small = jnp.abs(excess) <= noise
    excess -= lax.stop_gradient(jnp.where(small, excess, 0))
    rest = jnp.where(whole, -jnp.inf, rest)
    return jnp.concatenate([log_p, rest[..., None]], axis=-1), excess


@jax.custom_jvp
def _divergence(logits: Array, log_p: Array, excess: Array) -> Array:
    """Σ p·(log p − log q) as Σ p·φ(log q − log p) + Σ p − 1, q = softmax(logits)."""
    p, q, ratio = _parts(logits, log_p)
    return jnp.sum(divergence(p, q, ratio), axis=-1) + excess


@_divergence.defjvp
def _divergence_jvp(primals, tangents):
    logits, log_p, excess = primals
    d_logits, d_log_p, d_excess = tangents
    p, q, ratio = _parts(logits, log_p)
    # (Σ p)·q − p, which goes to 0 with q − p, class by class, if Σ p is 1.
    slope = change(p, q, ratio) + excess[..., None] * q
    finite = jnp.where(jnp.isinf(ratio), 0, ratio)
    tangent = jnp.sum(slope * d_logits - p * finite * d_log_p, axis=-1)
    return _divergence(*primals), tangent + d_excess


def _parts(logits: Array, log_p: Array) -> tuple[Array, Array, Array]:
    """p, q, log q − log p (0 where p is 0)."""
    nll, _, q = class_pairs(logits)
    p = exp(log_p)
    zero = p == 0
    ratio = -(jnp.where(zero, 0, nll) + jnp.where(zero, 0, log_p))
    return p, q, ratio
