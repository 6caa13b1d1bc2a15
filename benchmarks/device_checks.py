# SPDX-License-Identifier: Apache-2.0
"""Each fused head on the device itself, values and gradients, against NumPy's widest.

`regimes` has the identity for `hidden`: the classifier then is the logits, exactly, and
its gradient their slopes, so that each number has the few ULP of the dense losses.
Elsewhere products are rounded, and an error is held against what that rounding may do.
A row has the worst number: its error and its bound, both relative to the number's size.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from .fused_head import implementations

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import oracle
import oracle_heads
import tolerance

# Positions, width and classes: no round number of anything, and a few tiles of each.
ODD = (200, 136, 1003)
POSITIONS, CLASSES = 24, 1003
"""Of each regime."""
SINGLE = 2.0**-24
HALF = {"float32": SINGLE, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""One rounding to a dtype."""
LEAST = 1e-30
"""Errors of what is smaller are absolute: there numbers are flushed to 0."""
DTYPES = {
    "jaxent, xla": ("bfloat16", "float32"),
    "jaxent, pallas_gpu": ("bfloat16", "float16"),
    "jaxent, pallas_tpu": ("bfloat16", "float32"),
}


def beside_the_label(x: np.ndarray, labels: np.ndarray, ahead: float) -> np.ndarray:
    far = np.linspace(np.sign(ahead) * 5, ahead, len(x))
    x = x.copy()
    x[np.arange(len(x)), labels] += far
    return x


REGIMES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "initialisation": lambda x, y: 0.02 * x,
    "normal": lambda x, y: x,
    "label ahead, to 80": lambda x, y: beside_the_label(x, y, 80.0),
    "label behind, to 200": lambda x, y: beside_the_label(x, y, -200.0),
    "one class ahead by 40": lambda x, y: x + 40 * (np.arange(x.shape[1]) == 17),
    "all equal": lambda x, y: 0 * x,
    "offset 1e4": lambda x, y: x + 1e4,
    "offset −3e4": lambda x, y: x - 3e4,
    "1e4 apart": lambda x, y: 1e4 * x,
}
# What is asked of a head of ODD sizes, drawn; `bias` says whether there is one.
EVERYTHING = {"label_smoothing": 0.1, "z_loss": 0.01, "softcap": 3.0, "bias": True}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bias": {"bias": True},
    "label smoothing": {"label_smoothing": 0.1},
    "z-loss": {"z_loss": 0.01},
    "softcap": {"softcap": 3.0},
    "everything": EVERYTHING,
    "everything, in parts": EVERYTHING | {"memory": True},
}
MEMORY = {
    "jaxent, xla": 64 * 8 * ODD[2],
    "jaxent, pallas_gpu": 2 * 256 * 2 * ODD[0],
    "jaxent, pallas_tpu": "4MiB",
}
"""With which a head of ODD sizes is computed in several parts."""
SHAPES = {
    "one position, one class": (1, 8, 1),
    "one position": (1, 64, 1003),
    "no multiple of 8": (197, 70, 1001),
    "whole tiles": (256, 128, 1024),
    "many tiles": (401, 192, 2501),
}


def checks(name: str, dtype: str, quick: bool) -> Iterator[tuple[str, Callable]]:
    """What there is to check of a head: names, and functions that return its rows."""
    f = implementations()[name]
    yield "regimes", lambda: regimes(f, dtype)
    yield "masks", lambda: masked(f, dtype)
    for option, asked in OPTIONS.items():
        if not quick or option == "everything":
            asked = asked | ({"memory": MEMORY[name]} if "memory" in asked else {})
            yield option, functools.partial(of_shape, f, dtype, ODD, asked)
    if quick:
        return
    for shape, sizes in SHAPES.items():
        yield shape, functools.partial(of_shape, f, dtype, sizes, {})
    yield "poison", lambda: poisoned(f, dtype)


def row(what: str, got: Any, truth: Any, size: Any, allowed: Any) -> dict:
    """The number that is furthest from the truth, in units of what is allowed."""
    got, size = oracle.wide(got), np.where(size > LEAST, size, 1)
    with np.errstate(all="ignore"):
        same = (got == truth) | (np.isnan(got) & np.isnan(truth))
        off = np.where(same, 0, np.nan_to_num(np.abs(got - truth), nan=np.inf))
        worst = np.unravel_index(np.argmax(off / allowed), off.shape)
        error, bound = (
            float((np.broadcast_to(x, off.shape) / size)[worst]) for x in (off, allowed)
        )
    kept = bool(np.all(off <= allowed))
    return {"what": what, "error": error, "bound": bound, "ok": kept}


@functools.partial(jax.jit, static_argnames=("f", "options"))
def _pulled(f, head, labels, cotangent, options):
    def losses(hidden, classifier, bias):
        return f(
            hidden, classifier, labels, bias=bias, reduction="none", **dict(options)
        )

    with jax.default_matmul_precision("highest"):
        value, back = jax.vjp(losses, *head)
        return value, *back(cotangent)


def pulled(f, head, labels, cotangent, **options) -> tuple:
    """Losses, and what a cotangent pulls back to hidden, classifier and bias."""
    found = _pulled(f, head, labels, cotangent, tuple(options.items()))
    return jax.device_get(found)


def regimes(f, dtype: str) -> Iterator[dict]:
    """One program for all of them: POSITIONS rows of each."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(len(REGIMES), POSITIONS, CLASSES))
    labels = rng.integers(0, CLASSES, x.shape[:2]).astype(np.int32)
    x = [make(*given) for make, *given in zip(REGIMES.values(), x, labels, strict=True)]
    x = np.concatenate(x).astype(dtype)
    cotangent = np.where(np.arange(len(x)) % 2, 0.5, -2).astype(np.float32)
    head = jnp.eye(len(x), dtype=dtype), jnp.asarray(x.T), None
    loss, _, slopes, _ = pulled(f, head, jnp.asarray(labels).ravel(), cotangent)
    slopes = oracle.wide(slopes).T / cotangent[:, None]
    # Those of float16 go no nearer to 0 than this, and are twice as coarse for 0.5.
    flushed = 2 * oracle.wide(float(ml_dtypes.finfo(dtype).smallest_subnormal))
    for i, regime in enumerate(REGIMES):
        rows = slice(i * POSITIONS, (i + 1) * POSITIONS)
        given = np.asarray(x[rows], np.float32), labels[i]
        for what, got, definition, rounding, least in (
            ("loss", loss, oracle.softmax_cross_entropy_with_integer_labels, 0, 0),
            ("slopes", slopes, oracle.label_gradient, HALF[dtype], flushed),
        ):
            truth = definition(*given)
            spread = tolerance.spread(
                lambda a, _, f=definition: f(*a), tolerance.of_logits, given, {}
            )
            allowed = tolerance.budget(truth, spread, "float32") + least
            allowed = allowed + rounding * np.abs(truth)
            found = row(what, got[rows], truth, np.abs(truth), allowed)
            yield {"regime": regime} | found


@functools.cache
def drawn(dtype: str, n: int, d: int, v: int) -> tuple:
    """Hidden, classifier, bias, labels and a cotangent."""
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.normal(size=(n, d)), dtype)
    classifier = jnp.asarray(rng.normal(size=(v, d)) / d**0.5, dtype)
    bias = jnp.asarray(rng.normal(size=v), jnp.float32)
    labels = jnp.asarray(rng.integers(0, v, n), jnp.int32)
    return hidden, classifier, bias, labels, jnp.asarray(rng.normal(size=n), "float32")


def of_shape(f, dtype: str, sizes: tuple, asked: dict) -> Iterator[dict]:
    hidden, classifier, bias, labels, cotangent = drawn(dtype, *sizes)
    options = {k: v for k, v in asked.items() if k != "bias"}
    head = hidden, classifier, bias if "bias" in asked else None
    got = pulled(f, head, labels, cotangent, **options)
    options.pop("memory", None)
    yield from compared((*head, labels, cotangent), got, **options)


def compared(args: tuple, got: tuple, **options: Any) -> Iterator[dict]:
    """Held against what rounding may do to the sums of the oracle, term by term."""
    hidden, classifier, bias, labels, cotangent = args
    b = np.zeros(classifier.shape[0]) if bias is None else oracle.wide(bias)
    truths = oracle_heads.head(hidden, classifier, labels, cotangent, bias=b, **options)
    if np.ndim(got[0]) == 0:
        whole = tuple(np.sum(np.abs(cotangent) * x) for x in truths[0])
        truths = whole, *truths[1:]
    unit, terms = HALF[hidden.dtype.name], max(hidden.shape[0], classifier.shape[0])
    most = np.abs(oracle.wide(hidden)) @ np.abs(oracle.wide(classifier)).T
    # A logit: a sum of d terms in float32, the bias, and the softcap.
    logit = (hidden.shape[1] + 2) * SINGLE * np.max(most + np.abs(b))
    logit += 4 * SINGLE * (options.get("softcap") or 1.0)
    # p = exp(x − c)/Z moves relative to itself, by twice that; and sums are of N or V.
    chain = 4 * logit + (16 + terms) * SINGLE
    # Slopes nearer to 0 than a half's smallest number are lost, each of a sum of them.
    tiny = float(ml_dtypes.finfo(hidden.dtype).smallest_subnormal)
    lost = {
        "loss": 0,
        "d_hidden": np.sum(np.abs(oracle.wide(classifier)), axis=0),
        "d_classifier": np.sum(np.abs(oracle.wide(hidden)), axis=0),
        "d_bias": hidden.shape[0],
    }
    for (what, sums), x, (truth, size) in zip(lost.items(), got, truths, strict=True):
        if x is None:
            continue
        # The loss moves by twice as much as the logits do; so does log Σ exp.
        allowed = 2 * logit * (1 + size) + tolerance.ULPS * SINGLE * size
        if what != "loss":
            allowed = (chain + unit) * size + unit * np.abs(truth)
        allowed = allowed + tiny * (1 + sums) + np.finfo(np.float32).tiny
        yield row(what, x, truth, size, allowed)


def masked(f, dtype: str) -> Iterator[dict]:
    """Dropped positions hold NaN and labels of no class; a mean of what is left."""
    hidden, classifier, bias, labels, _ = drawn(dtype, *ODD)
    rows = np.arange(ODD[0])
    where, weights = rows % 3 != 0, np.linspace(0, 2, ODD[0], dtype=np.float32)
    ignored = rows % 7 == 1
    kept = where & ~ignored
    spoilt = jnp.where(where[:, None], hidden, jnp.nan)
    seen = jnp.where(where, jnp.where(ignored, -100, labels), 2**30)

    @jax.jit
    def mean(*head):
        with jax.default_matmul_precision("highest"):
            return jax.value_and_grad(
                lambda h, w, b: f(
                    h, w, seen, bias=b, where=where, weights=weights,
                    ignore_index=-100, reduction="weighted_mean",
                ), (0, 1, 2),
            )(*head)  # fmt: skip

    value, slopes = jax.device_get(mean(spoilt, classifier, bias))
    cotangent = np.where(kept, weights, 0) / np.sum(weights[kept], dtype=np.longdouble)
    hidden = jnp.where(kept[:, None], hidden, 0)
    args = hidden, classifier, bias, np.asarray(labels), cotangent
    yield from compared(args, (value, *slopes))


def poisoned(f, dtype: str) -> Iterator[dict]:
    """A NaN, a label of no class, and a class with a bias of −inf and one label."""
    hidden, classifier, bias, labels, cotangent = drawn(dtype, *ODD)
    hidden, labels = hidden.at[3].set(jnp.nan), labels.at[4].set(-1).at[5].set(0)
    head = hidden, classifier, bias.at[0].set(-jnp.inf)
    loss, d_hidden, *_ = pulled(f, head, labels, cotangent)
    for what, found, meant in (
        ("NaN losses", np.isnan(loss), [3, 4]),
        ("NaN gradients", np.isnan(d_hidden.astype(np.float32)).any(1), [3, 4]),
        ("infinite losses", np.isinf(loss), [5]),
    ):
        wrong = found != np.isin(np.arange(ODD[0]), meant)
        yield {"what": f"misplaced {what}", "error": int(wrong.sum()), "bound": 0,
               "ok": not wrong.any()}  # fmt: skip
