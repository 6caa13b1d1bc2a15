# SPDX-License-Identifier: Apache-2.0
"""Exported programs: of any batch, for several platforms at once, with gradients.

Each is exported once and called on two batches. What is compared with the direct call
is float64, where a sum over other chunks differs by its rounding: 1e-11 is ample.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import tolerance
from cases import CASES, LOSSES, gradient, probes, value
from test_public_api import FUNCTIONS, SAMPLERS

import jaxent
from jaxent import compat, samplers

pytestmark = pytest.mark.quickly_compiled

PLATFORMS = ("cpu", "cuda", "tpu")
BATCHES = (2, 3), (4, 1)
PRIMES = 11, 13  # lengths of the examples that stand for the symbols


def exported(f, *examples):
    """`f` as it is exported, with its lengths of 11 and 13 left open."""
    lengths = dict(zip(PRIMES, jax.export.symbolic_shape("n, m"), strict=True))

    def spec(x):
        dtype = jax.dtypes.canonicalize_dtype(x.dtype)
        return jax.ShapeDtypeStruct([lengths.get(k, k) for k in x.shape], dtype)

    specs = jax.tree.map(spec, examples)
    program = jax.export.export(jax.jit(f), platforms=PLATFORMS)(*specs)
    assert program.platforms == PLATFORMS
    return program.call


# With the most options that a function has a case of.
RICHEST = {case.function: case for case in CASES if case.axis == -1}


def cotangent(x):
    return jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)


def with_slopes(f):
    """(moving, fixed) -> value, and gradients of its floats' sum with cotangents."""

    def run(moving, fixed):
        def total(moving):
            out = f(*moving, *fixed)
            parts = [
                jnp.sum(x * cotangent(x)).astype(float)
                for x in jax.tree.leaves(out)
                if jnp.issubdtype(x.dtype, jnp.floating)
            ]
            return sum(parts, jnp.zeros(())), out

        (_, out), slopes = jax.value_and_grad(total, has_aux=True)(moving)
        return out, slopes

    return run


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_of_any_batch(name):
    case = RICHEST[name]
    moving = len(case.kind.differentiable)

    def example(batch):
        args, options = case.example(batch, 5, "float32", "unit")
        arrays = {k: v for k, v in options.items() if isinstance(v, np.ndarray)}
        return (args[:moving], [*args[moving:], arrays]), args, options

    def call(*args):
        return case.call(*args[:-1], **args[-1], **case.fixed)

    program = exported(with_slopes(call), *example(PRIMES)[0])
    for batch in BATCHES:
        given, args, options = example(batch)
        got, slopes = program(*given)
        within(case, args, options, lambda a, o: value(case, a, o), got)
        ct = np.asarray(cotangent(got))
        for i, g in enumerate(slopes):
            at = probes(case, args[i])
            f = functools.partial(gradient, case, i, ct, at)
            g = oracle.wide(g)
            within(case, args, options, f, np.stack([g[index] for index in at]))


def within(case, args, options, f, got):
    truth = f(args, options)
    spread = tolerance.spread(f, case.kind.nearby, args, options)
    allowed = tolerance.budget(truth, spread, "float32", case.ulps)
    tolerance.check(got, truth, allowed + case.kind.noise)


D, V = 3, 7
MEMORY = 2 * V * 8 * 4  # of four positions in float64


def arrays(batch, dtype=np.float64):
    rng = np.random.default_rng(0)
    return (
        [rng.normal(size=s).astype(dtype) for s in ((*batch, D), (V, D), (V,), batch)],
        [rng.integers(1, V, batch).astype(np.int32), rng.random(batch) < 0.7,
         np.zeros(2, np.uint32)],
    )  # fmt: skip


def sampled(loss, **options):
    def call(h, w, b, g, y, keep, key):
        ones = jnp.ones_like(g), jnp.ones(4)
        drawn = jaxent.Candidates(jnp.arange(4), *ones)
        return loss(h, w, y, candidates=drawn, bias=b, where=keep, **options)

    return call


def drawn(sampler, **options):
    def call(h, w, b, g, y, keep, key):
        return sampler(key, y, num_sampled=4, num_classes=V, **options)

    return call


def options(b, g, keep):
    return {
        "bias": b, "where": keep, "weights": jnp.abs(g), "memory": MEMORY,
        "softcap": 2.0,
    }  # fmt: skip


# What has no row in `cases`: hidden, classifier, bias, numbers, labels, mask and key.
CALLS = {
    "linear_softmax_cross_entropy": lambda h, w, b, g, y, keep, key: (
        jaxent.linear_softmax_cross_entropy(
            h, w, y, class_weights=jnp.abs(b), label_smoothing=0.1, z_loss=0.1,
            ignore_index=1, temperature=0.7, statistics=True, **options(b, g, keep),
        )
    ),
    "linear_softmax_loss": lambda h, w, b, g, y, keep, key: jaxent.linear_softmax_loss(
        lambda s, g: (g * s.nll, s.entropy), h, w, y, g, has_aux=True,
        **options(b, g, keep),
    ),
    "linear_softmax_statistics": lambda h, w, b, g, y, keep, key: (
        jaxent.linear_softmax_statistics(
            h, w, y, where=keep, temperature=0.7, memory=MEMORY
        )
    ),
    "linear_kl_divergence": lambda h, w, b, g, y, keep, key: (
        jaxent.linear_kl_divergence(
            h, w, 2 * h, w, temperature=0.7, where=keep, reduction="none",
            statistics=True, memory=2 * MEMORY,
        )
    ),
    "linear_js_divergence": lambda h, w, b, g, y, keep, key: (
        jaxent.linear_js_divergence(
            h, w, 2 * h, w, weight=0.3, reduction="sequence_mean", memory=2 * MEMORY
        )
    ),
    "linear_sigmoid_binary_cross_entropy": lambda h, w, b, g, y, keep, key: (
        jaxent.linear_sigmoid_binary_cross_entropy(h, w, y[..., None], memory=MEMORY)
    ),
    "linear_kl_divergence_from_top_k": lambda h, w, b, g, y, keep, key: (
        jaxent.linear_kl_divergence_from_top_k(
            h, w, y[..., None], -jnp.abs(g)[..., None], tail="renormalize",
            temperature=0.7, statistics=True, memory=2 * MEMORY,
        )
    ),
    "kl_divergence_from_top_k": lambda h, w, b, g, y, keep, key: (
        jaxent.kl_divergence_from_top_k(
            h @ w.T, y[..., None], -jnp.abs(g)[..., None]
        )
    ),
    "sampled_softmax_cross_entropy": sampled(jaxent.sampled_softmax_cross_entropy),
    "nce_loss": sampled(jaxent.nce_loss),
    "rank_sampled_softmax_cross_entropy": sampled(
        jaxent.rank_sampled_softmax_cross_entropy, num_resampled=2, temperature=1.0
    ),
    "softmax_statistics": lambda h, w, b, g, y, keep, key: (
        jaxent.softmax_statistics(h @ w.T, y, where=keep, temperature=0.7)
    ),
    "reduce": lambda h, w, b, g, y, keep, key: [
        jaxent.reduce(g, where=keep, weights=h[..., 0] ** 2, reduction=reduction)
        for reduction in ("none", "mean", "weighted_mean", "nonzero_mean", "batch_mean")
    ] + [
        jaxent.reduce(g, segment_ids=y, num_segments=V, reduction="sequence_mean")
    ],
    "segment_means": lambda h, w, b, g, y, keep, key: (
        jaxent.segment_means(g, y, num_segments=4, where=keep).value
    ),
    "WeightedMean": lambda h, w, b, g, y, keep, key: (
        jaxent.WeightedMean.from_values(g, where=keep)
        .merge(jaxent.WeightedMean.from_values(g, weights=h[..., 0] ** 2))
        .value
    ),
    "perplexity": lambda h, w, b, g, y, keep, key: jaxent.perplexity(g),
    "bits_per_byte": lambda h, w, b, g, y, keep, key: jaxent.bits_per_byte(g, y),
    "smooth_labels": lambda h, w, b, g, y, keep, key: jaxent.smooth_labels(h, 0.1),
    "next_token_labels": lambda h, w, b, g, y, keep, key: jaxent.next_token_labels(
        y, where=keep, segment_ids=y, shift=2
    ),
    "samplers.renumber": lambda h, w, b, g, y, keep, key: samplers.renumber(
        y, drawn(samplers.uniform)(h, w, b, g, y, keep, key), num_classes=V
    ),
    "compat.torch.cross_entropy": lambda h, w, b, g, y, keep, key: (
        compat.torch.cross_entropy((h @ w.T).swapaxes(1, 2), y, label_smoothing=0.1)
    ),
    "compat.optax.softmax_cross_entropy": lambda h, w, b, g, y, keep, key: (
        compat.optax.softmax_cross_entropy(h, jnp.abs(h))
    ),
    "compat.keras.categorical_crossentropy": lambda h, w, b, g, y, keep, key: (
        compat.keras.categorical_crossentropy(jnp.abs(h), h, from_logits=True)
    ),
    "compat.tensorflow.nn.sigmoid": lambda h, w, b, g, y, keep, key: (
        compat.tensorflow.sigmoid_cross_entropy_with_logits(labels=g, logits=g)
    ),
}  # fmt: skip


DRAWS = {
    "samplers.uniform": drawn(samplers.uniform),
    "samplers.log_uniform": drawn(samplers.log_uniform, unique=False),
    "samplers.fixed_unigram": drawn(
        samplers.fixed_unigram, weights=np.arange(V), distortion=0.75
    ),
    "samplers.learned_unigram": lambda *given: drawn(samplers.learned_unigram)(*given)[
        0
    ],
    "samplers.all_candidates": lambda h, w, b, g, y, keep, key: samplers.all_candidates(
        key, y, num_sampled=V, num_classes=V
    ),
}


def test_every_public_function_is_exported():
    assert {*FUNCTIONS, *SAMPLERS} <= CALLS.keys() | DRAWS.keys() | LOSSES.keys()


@pytest.mark.parametrize("name", DRAWS)
def test_a_draw_for_any_labels(name):
    draw = DRAWS[name]
    program = exported(lambda moving, fixed: draw(*moving, *fixed), *arrays(PRIMES))
    counts = jax.eval_shape(program, *arrays((4, 3))).true_count
    assert counts.shape == (4, 3)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", CALLS)
def test_any_other_function_of_any_batch(name):
    run = with_slopes(CALLS[name])
    program, given = exported(run, *arrays(PRIMES)), arrays((4, 3))
    expected = jax.jit(run)(*given)
    chex.assert_trees_all_close(program(*given), expected, rtol=1e-11, atol=1e-11)


def test_an_exported_head_keeps_to_its_memory():
    """The logits of all positions would be 16 MiB."""
    d, vocab, rows = 8, 1024, 4096

    def f(h, w, y):
        return jaxent.linear_softmax_cross_entropy(h, w, y, memory="1MiB")

    def example(rows):
        return jnp.zeros((rows, d)), jnp.zeros((vocab, d)), jnp.zeros(rows, jnp.int32)

    program = exported(jax.value_and_grad(f, (0, 1)), *example(PRIMES[0]))
    compiled = jax.jit(program).lower(*example(rows)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * 2**20
