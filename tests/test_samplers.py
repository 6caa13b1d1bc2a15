# SPDX-License-Identifier: Apache-2.0
"""The samplers: their laws, as a statistician tests them, and TensorFlow's counts.

Keys are fixed, so each statistic is one number; bounds are quantiles of its
distribution under the law, exceeded by chance once in ten thousand tests.
"""

import functools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import oracle_sampled as oracle
import pytest
from scipy import stats

from jaxent import Candidates, samplers
from jaxent._sampling.candidates import expected_count

pytestmark = pytest.mark.quickly_compiled

GOLDEN = Path(__file__).parent / "golden" / "tensorflow_sampled.npz"
RARE = 1e-4
R, N, KEYS = 30, 8, 4096
WEIGHTS = np.random.default_rng(0).integers(1, 20, R)
LAWS = {
    "uniform": (samplers.uniform, oracle.uniform(R)),
    "log_uniform": (samplers.log_uniform, oracle.log_uniform(R)),
    "fixed_unigram": (
        functools.partial(samplers.fixed_unigram, weights=WEIGHTS, distortion=0.75),
        oracle.unigram(WEIGHTS, 0.75),
    ),
}
each_law = pytest.mark.parametrize("law", LAWS)


def assert_law(observed, expected):
    """Pearson's chi-square; bins with few expected are put together."""
    order = np.argsort(expected)
    observed, expected = (np.asarray(x, float)[order] for x in (observed, expected))
    few = max(np.searchsorted(np.cumsum(expected), 10.0), 0)
    observed, expected = (
        np.concatenate([[x[: few + 1].sum()], x[few + 1 :]])
        for x in (observed, expected)
    )
    statistic = np.sum((observed - expected) ** 2 / expected)
    assert stats.chi2.sf(statistic, len(expected) - 1) > RARE


def assert_alike(a, b):
    """Whether two samples of integers are of one distribution."""
    bins = np.quantile(np.concatenate([a, b]), np.linspace(0, 1, 11)[1:-1])
    table = [np.bincount(np.digitize(x, np.unique(bins))) for x in (a, b)]
    table = np.array([np.pad(t, (0, 11 - len(t))) for t in table])
    table = table[:, table.sum(axis=0) > 0]
    assert stats.chi2_contingency(table).pvalue > RARE


@functools.cache
def drawn(law, unique):
    """Candidates for each of many keys; the labels are all classes once."""
    sampler = functools.partial(
        LAWS[law][0], labels=jnp.arange(R), num_sampled=N, num_classes=R, unique=unique
    )
    keys = jax.random.split(jax.random.key(0), KEYS)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(sampler))(keys))


def tries_of(candidates, p):
    """The number of tries, from the expected count of the rarest class."""
    rarest = np.argmin(p)
    q = np.asarray(candidates.true_count, float)[..., rarest]
    tries = np.log1p(-q) / np.log1p(-float(p[rarest]))
    # All distinct at once: TensorFlow then counts as with repeats.
    at_once = np.isclose(q, N * float(p[rarest]), rtol=1e-6)
    return np.where(at_once, N, np.rint(tries)).astype(int)


@each_law
def test_repeated_draws_follow_the_law(law):
    candidates, p = drawn(law, False), LAWS[law][1]
    assert_law(np.bincount(candidates.ids.ravel(), minlength=R), p * N * KEYS)
    # Draws of one key are independent: pairs of neighbours follow the product.
    pairs = R * candidates.ids[:, :-1:2] + candidates.ids[:, 1::2]
    expected = np.outer(p, p).ravel() * pairs.size
    assert_law(np.bincount(pairs.ravel(), minlength=R * R), expected)


@each_law
def test_unique_draws_are_those_of_rejection(law):
    candidates, p = drawn(law, True), LAWS[law][1]
    ids = candidates.ids
    assert all(len(set(row)) == N for row in ids.tolist())
    # The first two, in order: p(a)·p(b)/(1 − p(a)).
    pairs = np.outer(p, p) / (1 - p)[:, None]
    np.fill_diagonal(pairs, 0)
    assert_law(
        np.bincount(R * ids[:, 0] + ids[:, 1], minlength=R * R)[pairs.ravel() > 0],
        pairs[pairs > 0] * KEYS,
    )
    # Every place, and the tries, against draws one by one.
    rng = np.random.default_rng(1)
    one_by_one = [oracle.rejection(rng, p.astype(float), N) for _ in range(KEYS)]
    others, tries = map(np.array, zip(*one_by_one, strict=True))
    for place in range(N):
        assert_alike(ids[:, place], others[:, place])
    assert_alike(tries_of(candidates, p), tries)


@each_law
def test_expected_counts_against_simulation(law):
    """With repeats they are exact: n·p. Without, 1 − (1 − p)^m takes the m tries for
    independent of what was drawn, which it is but nearly."""
    p = LAWS[law][1].astype(float)
    for unique in (False, True):
        candidates = drawn(law, unique)
        found = np.bincount(candidates.ids.ravel(), minlength=R) / KEYS
        noise = 5 * np.sqrt(N * p / KEYS)
        if unique:
            tries = tries_of(candidates, p)[:, None]
            expected = -np.expm1(tries * np.log1p(-p)).mean(axis=0)
            assert np.all(np.abs(found - expected) <= noise + 0.02)
        else:
            np.testing.assert_array_less(np.abs(found - N * p), noise)
        own = np.take_along_axis(candidates.true_count, candidates.ids, axis=1)
        np.testing.assert_array_equal(candidates.sampled_count, own)


@each_law
def test_expected_counts_are_the_formula(law):
    candidates, p = drawn(law, True), LAWS[law][1]
    for row in range(20):
        q = candidates.true_count[row]
        tries = tries_of(Candidates(None, q, None), p)
        expected = oracle.expected_count(p, N, tries).astype(float)
        np.testing.assert_allclose(q, expected, rtol=2e-6)


def test_log_uniform_draws_every_class_of_ten_million():
    """In the last octave, where float32 holds each class but no fraction of one."""
    count = 10**7
    draw = jax.jit(
        jax.vmap(
            lambda key: samplers.log_uniform(
                key, jnp.zeros(1, int), num_sampled=4096, num_classes=count,
                unique=False,
            ).ids
        )
    )  # fmt: skip
    ids = np.asarray(draw(jax.random.split(jax.random.key(1), 64))).ravel()
    assert ids.min() == 0 <= ids.max() < count
    octave = np.bincount(np.frexp(ids + 1)[1])[1:]
    edges = np.append(2.0 ** np.arange(len(octave)), count + 1)
    assert_law(octave, np.diff(np.log(edges)) / np.log(count + 1) * ids.size)
    last = ids[ids >= 2**23]
    assert_law(np.bincount(last % 64, minlength=64), np.full(64, last.size / 64))
    assert len(np.unique(last)) > 0.98 * last.size


def test_weights_of_three_levels():
    """Heavy, light and impossible classes, far apart, in a tree of three levels."""
    count, rng = 5000, np.random.default_rng(2)
    weights = np.where(rng.random(count) < 0.5, 0, 10.0 ** rng.uniform(-3, 3, count))
    draw = jax.jit(
        jax.vmap(
            lambda key: samplers.fixed_unigram(
                key, jnp.zeros(1, int), weights=jnp.asarray(weights, jnp.float32),
                num_sampled=4096, num_classes=count, unique=False,
            ).ids
        )
    )  # fmt: skip
    ids = np.asarray(draw(jax.random.split(jax.random.key(2), 32))).ravel()
    found = np.bincount(ids, minlength=count)
    assert not np.any(found[weights == 0])
    assert_law(found, oracle.unigram(weights) * ids.size)


# TensorFlow.


@functools.cache
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def ported(w, true):
    """The samplers as TensorFlow's were called, and their number of classes."""
    learned = functools.partial(samplers.learned_unigram, num_sampled=1, num_classes=50)
    _, counts = learned(jax.random.key(0), true)
    fixed = functools.partial(samplers.fixed_unigram, weights=w)
    return {
        "uniform": (samplers.uniform, 50),
        "log_uniform": (samplers.log_uniform, 50),
        "log_uniform_million": (samplers.log_uniform, 10**6),
        "fixed_unigram": (fixed, 50),
        "distorted": (functools.partial(fixed, distortion=0.75), 50),
        "reserved": (functools.partial(fixed, weights=w[2:], num_reserved_ids=2), 50),
        "sharded": (
            functools.partial(fixed, weights=np.tile(w, 3), num_shards=3, shard=1), 50
        ),
        "learned_unigram": (functools.partial(fixed, weights=counts * 0 + 1), 50),
        "learned_again": (functools.partial(fixed, weights=counts), 50),
    }  # fmt: skip


def test_expected_counts_are_tensorflow_s():
    """With repeats, n·p. Without, by the tries that fit one of TensorFlow's counts."""
    file = golden()
    draws = {}
    for key, x in file.items():
        if key.startswith("sampler/") and key.count("/") == 3:
            _, name, draw, array = key.split("/")
            draws.setdefault((name, draw), {})[array] = x

    @jax.jit
    def counts(labels):
        made = ported(file["sampler/unigrams"], file["sampler/true"])
        return {
            (name, draw): made[name][0](
                jax.random.key(0), ids, num_sampled=60, num_classes=made[name][1],
                unique=False,
            ).true_count
            for (name, draw), ids in labels.items()
        }  # fmt: skip

    del draws["all", "True0"]
    assert len(draws) == 8 * 6 + 1
    true = file["sampler/true"].ravel()
    ids = {k: np.append(true, d["ids"]).astype(np.int32) for k, d in draws.items()}
    for key, mine in counts(ids).items():
        theirs = draws[key]
        theirs = np.append(theirs["true_count"], theirs["sampled_count"])
        if "False" in key[1]:
            np.testing.assert_allclose(mine, theirs, rtol=2e-6)
        else:
            prob, tries = mine[None] / 60, jnp.arange(20, 1000)[:, None]
            found = expected_count(prob, 20, tries)
            errors = np.abs(np.asarray(found) - theirs).max(axis=1)
            assert errors.min() < 2e-6, key


def test_all_candidates_are_tensorflow_s():
    true = jnp.asarray(golden()["sampler/true"], jnp.int32)
    made = samplers.all_candidates(None, true, num_sampled=50, num_classes=50)
    for array, x in zip(Candidates._fields, made, strict=True):
        np.testing.assert_array_equal(x, golden()[f"sampler/all/True0/{array}"])


# What the functions promise.


def test_a_draw_is_a_function_of_its_key_however_it_is_called():
    """Eagerly, as under `jit` and `vmap`."""
    key = jax.random.split(jax.random.key(0), KEYS)[1]
    sizes = {"num_sampled": N, "num_classes": R}
    eager = samplers.log_uniform(key, jnp.arange(R), **sizes)
    for mine, mapped in zip(eager, drawn("log_uniform", True), strict=True):
        np.testing.assert_allclose(mine, mapped[1], rtol=1e-6)


def test_closed_forms_need_no_array_of_all_classes():
    for sampler in (samplers.uniform, samplers.log_uniform):
        draw = functools.partial(sampler, num_sampled=1000, num_classes=10**7)
        args = jax.random.key(0), jax.ShapeDtypeStruct((100,), jnp.int32)
        program = jax.jit(draw).lower(*args).compile()
        assert program.memory_analysis().temp_size_in_bytes < 10**6
        sizes = re.findall(r"\b[a-z]+\d*\[(\d+)[\d,]*\]", program.as_text())
        assert max(map(int, sizes)) < 10_000


def test_labels_of_any_shape_and_type():
    labels = np.array([[0, R - 1, 7], [R, -1, 100]])

    @jax.jit
    def counts(*many):
        draw = functools.partial(samplers.log_uniform, num_sampled=N, num_classes=R)
        key = jax.random.key(3)
        return [draw(key, x, unique=False).true_count for x in many]

    wide, narrow, one = counts(labels, labels.astype(np.int8), 7)
    assert np.isnan(wide).tolist() == [[False] * 3, [True] * 3]
    np.testing.assert_array_equal(narrow, wide)
    assert one == wide[0, 2]


def test_all_classes_can_be_drawn():
    draw = functools.partial(samplers.log_uniform, jax.random.key(0), 0)
    ids = draw(num_sampled=R, num_classes=R).ids
    assert sorted(ids.tolist()) == list(range(R))
    assert [x.item() for x in draw(num_sampled=1, num_classes=1)] == [0, 1, 1]


@pytest.mark.usefixtures("x64")
def test_draws_are_the_same_in_double_precision():
    @jax.jit
    def draws(key):
        sizes = {"num_sampled": N, "num_classes": R}
        return [sampler(key, jnp.arange(R), **sizes) for sampler, _ in LAWS.values()]

    key = jax.random.split(jax.random.key(0), KEYS)[0]
    for law, made in zip(LAWS, draws(key), strict=True):
        np.testing.assert_array_equal(made.ids, drawn(law, True).ids[0])
        assert [x.dtype for x in made] == [np.int32, np.float32, np.float32]


def test_reserved_classes_are_never_drawn():
    labels = jnp.array([0, 1, 2])
    made = samplers.fixed_unigram(
        jax.random.key(0), labels, weights=jnp.ones(4), num_reserved_ids=2,
        num_sampled=4, num_classes=6,
    )  # fmt: skip
    assert sorted(made.ids.tolist()) == [2, 3, 4, 5]
    assert made.true_count[:2].tolist() == [0, 0] < made.true_count[2:].tolist()


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("weight", [0.0, np.nan])
def test_where_no_class_is_left_the_draw_ends(unique, weight):
    weights = jnp.array([1.0, 0.0, 2.0, weight])
    impossible = not np.isfinite(weight)
    made = samplers.fixed_unigram(
        jax.random.key(0), 0, weights=weights, num_sampled=4, num_classes=4,
        unique=unique,
    )  # fmt: skip
    drawn = {-1} if impossible else {0, 2, -1} if unique else {0, 2}
    assert set(made.ids.tolist()) <= drawn
    assert np.isnan(made.sampled_count).any() == (unique or impossible)


def test_learned_counts_are_carried_along():
    counts, labels = None, jnp.array([[2, 2], [0, 9]])
    draw = functools.partial(samplers.learned_unigram, num_sampled=2, num_classes=4)
    for _ in range(3):
        _, counts = draw(jax.random.key(0), labels, counts=counts)
    assert counts.tolist() == [4, 1, 7, 1]
    given = jnp.array([1.0, 2.0, 0.0, 1.0])
    candidates, after = draw(jax.random.key(0), labels, counts=given, unique=False)
    np.testing.assert_allclose(candidates.true_count[0], 0)
    assert after.dtype == given.dtype
    assert given.tolist() == [1, 2, 0, 1]


def test_renumbered_classes_are_the_same_ones():
    labels = jnp.array([[3, 99], [-1, 7]], jnp.int16)
    candidates = Candidates(jnp.array([7, 0, 3, -1]), jnp.ones((2, 2)), jnp.ones(4))
    rows, own, drawn = samplers.renumber(labels, candidates, num_classes=50)
    assert rows.tolist() == [0, 3, 7] + 5 * [50]
    assert rows[own].tolist() == [[3, 50], [50, 7]]
    assert rows[drawn.ids].tolist() == [7, 0, 3, 50]
