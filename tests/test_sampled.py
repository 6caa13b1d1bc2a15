# SPDX-License-Identifier: Apache-2.0
"""The sampled losses: TensorFlow's numbers, the definitions, and what is promised."""

import functools
import itertools
import re
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import oracle_sampled
import pytest
from given import put
from jax.experimental import checkify

import jaxent
from jaxent import Candidates, samplers

pytestmark = pytest.mark.quickly_compiled

GOLDEN = Path(__file__).parent / "golden" / "tensorflow_sampled.npz"
LOSSES = {
    "softmax": jaxent.sampled_softmax_cross_entropy,
    "nce": jaxent.nce_loss,
    "rank": functools.partial(
        jaxent.rank_sampled_softmax_cross_entropy, num_resampled=4, temperature=0.5
    ),
}
each_loss = pytest.mark.parametrize("loss", LOSSES)
HIDDEN, CLASSIFIER, BIAS = 0, 1, 2


def as_function(loss, labels, candidates, **options):
    """Of (hidden, classifier, bias)."""

    def f(hidden, classifier, bias):
        return LOSSES[loss](
            hidden, classifier, labels, candidates=candidates, bias=bias, **options
        )

    return f


def value_and_slopes(f, args, cotangent):
    value, back = jax.vjp(f, *args)
    return value, back(jnp.asarray(cotangent, value.dtype))


# TensorFlow.


@functools.cache
def golden():
    with np.load(GOLDEN) as file:
        return {k.removeprefix("loss/"): v for k, v in file.items() if k != "version"}


def golden_draw(num_true):
    file = golden()
    made = (file[f"candidates/{num_true}/{name}"] for name in Candidates._fields)
    ids, own, drawn = map(put, made)
    labels = jnp.asarray(file[f"labels/{num_true}"], jnp.int32)
    return labels, Candidates(ids.astype(jnp.int32), own, drawn)


@functools.cache
def ported():
    """Every case of the file, by jaxent, in one program."""
    file = golden()

    @jax.jit
    def every(*args):
        made = {}
        for loss, num_true, hits in itertools.product(
            ("softmax", "nce"), (1, 3), (True, False)
        ):
            labels, candidates = golden_draw(num_true)
            f = as_function(loss, labels, candidates, remove_accidental_hits=hits)
            key = f"{loss}/{num_true}/{hits}"
            made[key] = value_and_slopes(f, args, file["cotangent"])
        return made

    return every(*(file[name] for name in ("inputs", "weights", "biases")))


@pytest.mark.parametrize("hits", [True, False], ids=["hits removed", "hits"])
@pytest.mark.parametrize("num_true", [1, 3])
@pytest.mark.parametrize("loss", ["softmax", "nce"])
def test_losses_and_gradients_are_tensorflow_s(loss, num_true, hits):
    file, key = golden(), f"{loss}/{num_true}/{hits}"
    value, slopes = ported()[key]
    np.testing.assert_allclose(value, file[f"{key}/value"], rtol=1e-5)
    for name, slope in zip(("inputs", "weights", "biases"), slopes, strict=True):
        expected = file[f"{key}/d_{name}"]
        bound = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=bound)
    # The rows that have a gradient are TensorFlow's, and `renumber`'s.
    labels, candidates = golden_draw(num_true)
    assert np.isin(labels, candidates.ids).any()
    rows, *_ = samplers.renumber(labels, candidates, num_classes=50)
    rows = set(rows[rows < 50].tolist())
    assert rows == set(file[f"{key}/d_rows"].tolist())
    assert rows >= set(np.flatnonzero(np.any(slopes[CLASSIFIER] != 0, axis=1)))


# The definitions, in float64.

N, D, V = 5, 3, 12
OTHER = {"subtract_log_q": False, "where": np.array([True, False, True, True, True])}


def draw(num_true, dtype=np.float64, seed=0):
    """Repeats among the candidates, and labels among them, some of them twice."""
    rng = np.random.default_rng(seed)
    arrays = rng.normal(size=(N, D)), rng.normal(size=(V, D)), rng.normal(size=V)
    labels = rng.integers(0, V, (N, num_true)[: 1 + (num_true > 1)]).astype(np.int32)
    ids = np.array([0, 3, 3, 7, 1, 9, labels.flat[0]], np.int32)
    counts = rng.uniform(0.1, 2, labels.shape), rng.uniform(0.1, 2, ids.shape)
    candidates = Candidates(ids, *(x.astype(np.float32) for x in counts))
    return tuple(x.astype(dtype) for x in arrays), labels, candidates


def truth(loss, labels, candidates, options):
    name = LOSSES[loss].func.__name__ if loss == "rank" else LOSSES[loss].__name__
    more = LOSSES[loss].keywords if loss == "rank" else {}
    f, given = getattr(oracle_sampled, name), candidates._asdict() | more | options
    return lambda x, w, b: f(x, w, labels, bias=b, **given)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("num_true", [1, 3])
@each_loss
def test_values_and_gradients(loss, num_true):
    """With the default options, and with each of them the other way."""
    arrays, labels, candidates = draw(num_true)
    cotangent = np.linspace(-1, 2, N)
    other = OTHER | {"remove_accidental_hits": loss == "nce"}

    @jax.jit
    def values_and_gradients(*args):
        fs = (as_function(loss, labels, candidates, **o) for o in ({}, other))
        return [value_and_slopes(f, args, cotangent) for f in fs]

    made = values_and_gradients(*arrays)
    for options, (value, slopes) in zip(({}, other), made, strict=True):
        f = truth(loss, labels, candidates, options)
        np.testing.assert_allclose(value, f(*arrays).astype(float), rtol=1e-13)
        for i, slope in enumerate(slopes):
            total = lambda z: np.sum(cotangent * f(*arrays[:i], z, *arrays[i + 1 :]))  # noqa: B023, E731
            expected = oracle.gradient(total, arrays[i]).astype(float)
            np.testing.assert_allclose(slope, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("x64")
@each_loss
def test_second_derivatives(loss):
    """Against plain code: columns by indexing, and JAX's own functions."""
    arrays, labels, candidates = draw(3)
    hidden, *rest = arrays
    direction = jax.tree.map(np.sin, arrays)
    mine = as_function(loss, labels, candidates, remove_accidental_hits=True)
    plain = functools.partial(by_hand, loss, labels, candidates)

    def second(f):
        def total(*args):
            return jnp.sum(jnp.cos(f(*args)))

        def slope(*args):
            return jax.jvp(total, args, direction)[1]

        hessian = jax.hessian(lambda h: total(h, *rest))(hidden)
        gradient = jax.grad(total, argnums=(0, 1, 2))
        forward_over_reverse = jax.jvp(gradient, arrays, direction)[1]
        reverse_over_forward = jax.grad(slope, argnums=(0, 1, 2))(*arrays)
        return hessian, forward_over_reverse, reverse_over_forward

    got, expected = jax.jit(lambda: (second(mine), second(plain)))()
    chex.assert_trees_all_close(got, expected, rtol=1e-9, atol=1e-11)


def by_hand(loss, labels, candidates, hidden, classifier, bias):
    ids, classifier = jnp.asarray(candidates.ids), jnp.asarray(classifier)
    true = jnp.einsum("nd,ntd->nt", hidden, classifier[labels])
    bias = jnp.asarray(bias)
    true += bias[labels]
    sampled = hidden @ classifier[ids].T + bias[ids][None]
    hit = (labels[:, :, None] == ids[None, None]).any(axis=1)
    drawn = jnp.asarray(candidates.sampled_count, float)
    if loss == "rank":
        scores = jax.nn.logsumexp(sampled / 0.5, axis=0)
        chosen = jnp.argsort(-scores)[:4]
        sampled, hit, drawn = sampled[:, chosen], hit[:, chosen], drawn[chosen]
    true = true - jnp.log(jnp.asarray(candidates.true_count, float))
    sampled = jnp.where(hit, -jnp.inf, sampled - jnp.log(drawn)[None])
    x = jnp.concatenate([true, sampled], axis=1)
    if loss != "nce":
        return jax.nn.logsumexp(x, axis=1) - true.mean(axis=1)
    away = jnp.where(hit, 0, jax.nn.softplus(jnp.where(hit, 0, sampled))).sum(axis=1)
    return (jax.nn.softplus(true) - true / labels.shape[1]).sum(axis=1) + away


def test_halves_are_computed_in_float32():
    """The gradient, of rows read many times, is that of float32 rounded once."""
    dtype = jnp.bfloat16
    arrays, _, candidates = draw(1)
    halves = tuple(jnp.asarray(x, dtype) for x in arrays)
    labels = jnp.array([3, 3, 3, 3, 0], jnp.int32)
    cotangent = np.linspace(-1, 2, N)

    @jax.jit
    def both(*halves):
        wide = tuple(x.astype(jnp.float32) for x in halves)
        fs = {loss: as_function(loss, labels, candidates) for loss in LOSSES}
        return [
            {loss: value_and_slopes(f, args, cotangent) for loss, f in fs.items()}
            for args in (halves, wide)
        ]

    for (value, slopes), (expected, wide_slopes) in zip(
        *(made.values() for made in both(*halves)), strict=True
    ):
        chex.assert_type(value, jnp.float32)
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        for got, true in zip(slopes, wide_slopes, strict=True):
            assert got.dtype == dtype
            unit = float(jnp.finfo(dtype).eps) / 2
            got, true = np.asarray(got, float), np.asarray(true, float)
            assert np.all(np.abs(got - true) <= 1.01 * unit * np.abs(true) + 1e-6)


# What is promised.


def test_all_candidates_give_the_exact_loss():
    arrays, labels, _ = draw(1, np.float32)
    every = samplers.all_candidates(None, labels, num_sampled=V, num_classes=V)

    def exact(h, w, b):
        return jaxent.linear_softmax_cross_entropy(
            h, w, labels, bias=b, reduction="none"
        )

    @jax.jit
    def both(*args):
        fs = as_function("softmax", labels, every), exact
        return [value_and_slopes(f, args, np.linspace(-1, 2, N)) for f in fs]

    chex.assert_trees_all_close(*both(*arrays), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("loss", "num_true"), [("softmax", 1), ("softmax", 3), ("nce", 3), ("rank", 1)]
)
def test_a_bad_label_is_nan_for_its_position_alone(loss, num_true):
    """Below the range, above it, and reserved (Q = 0)."""
    arrays, labels, candidates = draw(num_true, np.float32)
    at = (0,) * (num_true > 1)
    labels, counts = labels.copy(), candidates.true_count.copy()
    labels[1, *at], labels[2, *at], counts[3, *at] = -1, V, 0
    candidates = candidates._replace(true_count=counts)
    good = np.array([True, False, False, False, True])

    @jax.jit
    def kept(where, *args):
        f = as_function(loss, labels, candidates, where=where)
        return value_and_slopes(f, args, np.ones(N))

    value, slopes = kept(np.ones(N, bool), *arrays)
    np.testing.assert_array_equal(np.isnan(value), ~good)
    np.testing.assert_array_equal(np.isnan(slopes[HIDDEN]).all(axis=1), ~good)
    np.testing.assert_array_equal(np.isnan(slopes[HIDDEN]).any(axis=1), ~good)
    # Dropped, they are not read.
    hidden = np.where(good[:, None], arrays[HIDDEN], np.nan)
    value, slopes = kept(good, hidden, *arrays[1:])
    assert not any(np.isnan(x).any() for x in (value, *slopes))
    assert not np.any(slopes[HIDDEN][~good])
    assert not np.any(value[~good])
    # Rows of neither labels nor candidates have no gradient.
    others = sorted({*range(V)} - {*labels[good].flat, *candidates.ids.tolist()})
    assert others
    assert not np.any(slopes[CLASSIFIER][np.array(others)])


def test_bad_labels_are_named_under_checkify():
    arrays, labels, candidates = draw(3, np.float32)

    @jax.jit
    @functools.partial(checkify.checkify, errors=checkify.user_checks)
    def checked(labels, candidates, where):
        return as_function("nce", labels, candidates, where=where)(*arrays)

    def report(labels, candidates, where):
        return checked(labels, candidates, where)[0].get()

    every = np.ones(N, bool)
    assert report(labels, candidates, every) is None
    bad = labels.copy()
    bad[1, 2] = V
    must = "nce_loss(labels=...)` must be in [0, 12); got 12 at flat position 5. "
    assert must in report(bad, candidates, every)
    counts = candidates.true_count.copy()
    counts[2, 0] = 0
    never = candidates._replace(true_count=counts)
    must = (
        "`jaxent.nce_loss(labels=...)` must be classes that the sampler can draw "
        f"(expected count above 0); got {labels[2, 0]} at flat position 6. Its loss "
        "is NaN. Drop it with `where`, or give the class a weight."
    )
    assert report(labels, never, every).startswith(must)
    assert report(labels, never, np.arange(N) != 2) is None


def test_a_candidate_never_drawn_is_nan():
    """Ids of −1, where a sampler ran out of classes, never read the last class."""
    arrays, labels, candidates = draw(1, np.float32)
    ids = jnp.asarray(candidates.ids).at[0].set(-1)
    value = as_function("softmax", labels, candidates._replace(ids=ids))(*arrays)
    assert np.isnan(value).all()


def test_batch_axes_and_vmap_over_keys():
    rng = np.random.default_rng(3)
    hidden = put(rng.normal(size=(2, 3, D)), jnp.float32)
    classifier = put(rng.normal(size=(V, D)), jnp.float32)
    labels = put(rng.integers(0, V, (2, 3)), jnp.int32)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None, None))
    def both(key, hidden, labels):
        drawn = samplers.log_uniform(key, labels, num_sampled=5, num_classes=V)
        f = jaxent.sampled_softmax_cross_entropy
        flat = drawn._replace(true_count=drawn.true_count.ravel())
        return (
            f(hidden, classifier, labels, candidates=drawn),
            f(hidden.reshape(6, D), classifier, labels.ravel(), candidates=flat),
        )

    batched, flat = both(jax.random.split(jax.random.key(0), 4), hidden, labels)
    chex.assert_shape(batched, (4, 2, 3))
    np.testing.assert_array_equal(batched.reshape(4, 6), flat)
    assert len(np.unique(batched[:, 0, 0])) == 4


def test_gradient_as_rows_and_values():
    """The recipe of docs/sampling.md, against the array of the classifier's size."""
    arrays, labels, candidates = draw(3, np.float32)
    hidden, classifier, bias = map(put, arrays)
    rows, own, drawn = samplers.renumber(labels, candidates, num_classes=V)

    def total(classifier, labels, candidates, bias):
        f = as_function("softmax", labels, candidates)
        return jnp.sum(jnp.cos(f(hidden, classifier, bias)))

    def read(x):
        return x.at[rows].get(mode="fill", fill_value=jnp.nan)

    both = jax.jit(jax.value_and_grad(total))
    whole = both(classifier, labels, candidates, bias)
    value, values = both(read(classifier), own, drawn, read(bias))
    assert values.shape == (rows.size, D)
    np.testing.assert_array_equal(value, whole[0])
    dense = jnp.zeros_like(classifier).at[rows].add(values, mode="drop")
    np.testing.assert_array_equal(dense, whole[1])


# Compiled programs.


@pytest.mark.parametrize("loss", ["softmax", "nce"])
def test_memory_is_the_gradient_and_the_columns(loss):
    """At a million classes: nothing of their number but the gradient itself."""
    n, d, v, sampled = 256, 64, 10**6, 1024
    shape = jax.ShapeDtypeStruct

    @jax.jit
    def step(key, hidden, classifier, labels):
        drawn = samplers.log_uniform(key, labels, num_sampled=sampled, num_classes=v)
        f = functools.partial(LOSSES[loss], candidates=drawn)
        mean = lambda h, w: jnp.mean(f(h, w, labels))  # noqa: E731
        return jax.value_and_grad(mean, argnums=(0, 1))(hidden, classifier)

    def lowered(dtype):
        args = shape((n, d), dtype), shape((v, d), dtype), shape((n,), jnp.int32)
        return step.lower(jax.random.key(0), *args)

    program = lowered(jnp.float32).compile()
    temporaries = program.memory_analysis().temp_size_in_bytes
    columns, rows = 4 * n * (sampled + 1), 4 * (n + sampled) * d
    # Logits, exponentials and their gradients, of these columns and rows alone.
    assert temporaries <= 7 * columns + 6 * rows
    large = re.findall(rf"= \w+\[{v},{d}\]\S* ([\w-]+)\(", program.as_text())
    assert large.count("scatter") <= 1
    assert not {"dot", "add", "convert", "copy"} & {*large}
    # Halves too, as far as it is ours: XLA's CPU adds up halves in an array of float32.
    assert f"tensor<{v}x{d}xf32>" not in lowered(jnp.bfloat16).as_text()


# The expected gradient.


def bias_of_the_gradient(sampler, n, remove_accidental_hits, keys=2**14):
    """‖E[gradient] − exact gradient‖ by the logits of one position, and its noise."""
    logits = np.random.default_rng(5).normal(size=(20, 1)).astype(np.float32)
    label = jnp.array([3])

    @jax.jit
    @jax.vmap
    def slope(key):
        drawn = sampler(key, label, num_sampled=n, num_classes=20)

        def loss(w):
            return jaxent.sampled_softmax_cross_entropy(
                jnp.ones((1, 1)), w, label, candidates=drawn,
                remove_accidental_hits=remove_accidental_hits,
            )[0]  # fmt: skip

        return jax.grad(loss)(logits)[:, 0]

    slopes = np.asarray(slope(jax.random.split(jax.random.key(n), keys)), float)
    exact = oracle.label_gradient(logits[:, 0], np.array(3)).astype(float)
    noise = np.sqrt(np.sum(slopes.var(axis=0)) / keys)
    return np.linalg.norm(slopes.mean(axis=0) - exact), noise


@pytest.mark.thorough
def test_bias_of_the_gradient_falls_as_documented():
    """1/n with repeats and hits kept; 1/n − 1/V, uniform, with neither."""
    repeated = functools.partial(samplers.uniform, unique=False)
    cases = (
        (repeated, False, (16, 48), 1 / 3),
        (samplers.uniform, True, (4, 10), (1 / 10 - 1 / 20) / (1 / 4 - 1 / 20)),
    )
    for sampler, remove, (few, many), expected in cases:
        (a, noise_a), (b, noise_b) = (
            bias_of_the_gradient(sampler, n, remove) for n in (few, many)
        )
        noise = expected * (noise_a / a + noise_b / b)
        # The next term, in 1/n², is within a fifth of it.
        assert abs(b / a - expected) <= expected / 5 + 3 * noise
        assert 3 * noise < expected / 3
