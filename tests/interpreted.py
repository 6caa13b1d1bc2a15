# SPDX-License-Identifier: Apache-2.0
"""TPU kernels run on the CPU, by two simulated cores, in memory that starts as NaN."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import oracle_heads
import tolerance
from given import put
from jax.experimental.pallas import tpu as pltpu

import jaxent
from jaxent._heads.kernels import tpu, vmem

PARAMS = pltpu.InterpretParams(
    detect_races=True, num_cores_or_threads=2, uninitialized_memory="nan"
)
N, D, V = 150, 70, 200
ROUNDING = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


@contextlib.contextmanager
def interpreted(capsys, monkeypatch):
    """Tiles of 128 × 128, so that small heads have several; a race is an error."""
    monkeypatch.setattr(vmem, "ROWS", 128)
    monkeypatch.setattr(vmem, "STREAMED", 128)
    pltpu.reset_tpu_interpret_mode_state()
    with pltpu.force_tpu_interpret_mode(PARAMS):
        yield
    # A newer JAX raises; this one prints.
    assert "RACE DETECTED" not in capsys.readouterr().out


def draw(dtype, scale=0.1):
    rng = np.random.default_rng(0)
    hidden = put(rng.normal(size=(N, D)), dtype)
    classifier = put(rng.normal(size=(V, D)) * scale, dtype)
    bias = put(rng.normal(size=V), jnp.float32).at[:5].set(-jnp.inf)
    labels = put(rng.integers(5, V, N), jnp.int32)
    return hidden, classifier, bias, labels, put(rng.normal(size=N), "float32")


@functools.partial(jax.jit, static_argnames=("bias", "options"))
def run(head, labels, cotangent, *, bias, options):
    def f(hidden, classifier, b):
        return jaxent.linear_softmax_cross_entropy(
            hidden, classifier, labels, bias=b if bias else None, reduction="none",
            **dict(options),
        )  # fmt: skip

    value, back = jax.vjp(f, *head)
    return value, *back(cotangent)


def with_gradients(args, *, bias=True, implementation="pallas_tpu", **options):
    """Losses, and what a cotangent pulls back to the head."""
    *head, labels, cotangent = args
    options = (*options.items(), ("implementation", implementation))
    return jax.block_until_ready(
        run(head, labels, cotangent, bias=bias, options=options)
    )


def check(args, got, *, bias=True, **options):
    """Within what rounding may do, term by term, to the sums of the oracle."""
    hidden, classifier, b, labels, cotangent = args
    truths = oracle_heads.head(
        hidden, classifier, labels, cotangent, bias=b if bias else 0.0, **options
    )
    if got[0].ndim == 0:
        weighted = (np.sum(np.abs(cotangent) * x) for x in truths[0])
        truths = tuple(weighted), *truths[1:]
    unit, single = ROUNDING[hidden.dtype.name], ROUNDING["float32"]
    terms = np.max(np.abs(oracle.wide(hidden)) @ np.abs(oracle.wide(classifier)).T)
    # A logit: a sum of d terms in float32, the bias, and the softcap.
    logit = (D + 2) * single * terms + 4 * single * (options.get("softcap") or 1.0)
    for i, (x, (truth, size)) in enumerate(zip(got, truths, strict=True)):
        if i == 3 and not bias:
            break
        if i == 0:
            # The loss moves by twice as much as the logits do; so does log Σ exp.
            allowed = 2 * logit * (1 + size) + tolerance.ULPS * single * size
        else:
            # p = exp(x − c)/Z moves relative to itself, by twice that; slopes and
            # results are rounded to the parameters' type, sums are of N or V terms.
            chain = 4 * logit + (16 + max(N, V)) * single
            allowed = (chain + unit) * size + unit * np.abs(truth)
        tolerance.check(x, truth, allowed + np.finfo(np.float32).tiny)


def check_masked(args, interpreter, implementation):
    """Dropped positions hold NaN and labels of no class; weights are cotangents."""
    hidden, classifier, bias, labels, _ = args
    where, weights = np.arange(N) % 3 != 0, np.linspace(0, 2, N, dtype=np.float32)
    hidden = jnp.where(where[:, None], hidden, jnp.nan)
    labels = jnp.where(where, labels, 2**30).at[1].set(-100)
    kept = where & (np.arange(N) != 1)

    def f(*head):
        return jaxent.linear_softmax_cross_entropy(
            *head[:2], labels, bias=head[2], where=where, weights=weights,
            ignore_index=-100, reduction="weighted_mean",
            implementation=implementation,
        )  # fmt: skip

    with interpreter:
        got = jax.jit(jax.value_and_grad(f, (0, 1, 2)))(hidden, classifier, bias)
        jax.block_until_ready(got)
    cotangent = np.where(kept, weights, 0) / np.sum(weights[kept], dtype=np.longdouble)
    hidden, labels = jnp.where(kept[:, None], hidden, 0), jnp.where(kept, labels, 9)
    check((hidden, classifier, bias, labels, cotangent), (got[0], *got[1]))


@functools.cache
def regimes():
    """Logits [N, V] and labels that other losses round to nothing, or to NaN."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(N, V)).astype(np.float32)
    labels = rng.integers(5, V, N).astype(np.int32)
    rows = np.arange(N)
    x[rows[:30], labels[:30]] += np.linspace(5, 80, 30)
    x[rows[30:60], labels[30:60]] -= np.linspace(5, 200, 30)
    x[60:80] += np.float32(2.0**20)
    x[80:90] = 0
    x[90:100] *= 1e4
    x[100:110, 17] += 40
    x[110:120] -= np.float32(1e30)
    return x, labels


def forgetting(dim, fill):
    """`tpu._within`, but for the tail of a dimension that is filled with this."""
    honest = tpu._within

    def within(x, tile, d, axis, value):
        return x if (d, value) == (dim, fill) else honest(x, tile, d, axis, value)

    return "_within", within


def filling(fill):
    honest = tpu._within
    return "_within", lambda x, tile, d, axis, _: honest(x, tile, d, axis, fill)


BUGS = {
    "no tail of classes": forgetting(tpu.CLASSES, -np.inf),
    "no tail of classes in d_hidden": forgetting(tpu.CLASSES, 0),
    "no tail of tokens in d_classifier": forgetting(tpu.TOKENS, 0),
    "a tail of zeros": filling(0.0),
    "classes in parallel": ("SEMANTICS", ("parallel", "parallel")),
    "sums not cleared": ("_clear", lambda refs: None),
}


def spoilt(capsys, monkeypatch, bug):
    """The kernels with one line spoilt, held against the definitions."""
    monkeypatch.setattr(tpu, *BUGS[bug])
    args = draw("float32")
    jax.clear_caches()
    try:
        with interpreted(capsys, monkeypatch):
            got = with_gradients(args)
    finally:
        jax.clear_caches()
    check(args, got)
