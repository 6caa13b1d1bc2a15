# SPDX-License-Identifier: Apache-2.0
"""Denominators, means over nothing, and sums across devices (rule 7), by hand."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import jaxent

pytestmark = pytest.mark.quickly_compiled

# Small integers and their quotients by powers of two: every expectation is exact.
V = np.array([[1, 2, 4, 8], [16, 32, 64, 128]], np.float32)
W = np.array([[1, 0, 2, 1], [0, 4, 2, 0]], np.float32)
KEEP = np.array([[1, 1, 1, 0], [1, 1, 0, 0]]) == 1
KEPT = V * KEEP
CASES = {  # (where, weights) -> numerators, and denominators by reduction
    (False, False): (
        V, {"mean": [4, 4], "weighted_mean": [4, 4], "nonzero_mean": [4, 4]},
    ),
    (True, False): (
        KEPT, {"mean": [3, 2], "weighted_mean": [3, 2], "nonzero_mean": [3, 2]},
    ),
    (False, True): (
        W * V, {"mean": [4, 4], "weighted_mean": [4, 6], "nonzero_mean": [3, 2]},
    ),
    (True, True): (
        W * KEPT, {"mean": [3, 2], "weighted_mean": [3, 4], "nonzero_mean": [2, 1]},
    ),
}  # fmt: skip
case = pytest.mark.parametrize(("given", "expected"), CASES.items())


def options(given):
    where, weights = given
    return ({"where": KEEP} if where else {}) | ({"weights": W} if weights else {})


@case
@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "nonzero_mean"])
def test_means_have_the_stated_denominator(given, expected, reduction):
    numerators, denominators = expected
    rows = np.array(denominators[reduction], np.float32)

    @jax.jit
    def everything(v, options):
        reduced = functools.partial(jaxent.reduce, **options, reduction=reduction)
        by_row = reduced(v, axis=1), reduced(v, axis=(-1,))
        of_all = reduced(v), reduced(v, axis=(0, 1))
        tangent = jax.jvp(reduced, (v,), (jnp.ones_like(v),))[1]
        return by_row, of_all, jax.grad(reduced)(v), tangent

    by_row, of_all, slopes, tangent = everything(V, options(given))
    for got in by_row:
        np.testing.assert_array_equal(got, numerators.sum(1) / rows)
    np.testing.assert_array_equal(of_all, numerators.sum() / rows.sum())
    # ∂/∂v is the weight of each position over the denominator.
    multipliers = numerators / V / rows.sum()
    np.testing.assert_array_equal(slopes, multipliers)
    np.testing.assert_allclose(tangent, multipliers.sum(), rtol=2**-22)


@case
def test_sums_none_and_batch_means(given, expected):
    numerators = expected[0]
    reduced = {
        r: jaxent.reduce(V, **options(given), reduction=r)
        for r in ("none", "sum", "batch_mean")
    }
    np.testing.assert_array_equal(reduced["none"], numerators)
    assert reduced["sum"] == numerators.sum()
    assert reduced["batch_mean"] == numerators.sum() / 2
    columns = jaxent.reduce(V, **options(given), reduction="sum", axis=0)
    np.testing.assert_array_equal(columns, numerators.sum(0))


@case
@pytest.mark.parametrize(
    "reduction", ["sum", "mean", "weighted_mean", "nonzero_mean", "batch_mean"]
)
def test_a_mapped_axis_is_summed_before_dividing(given, expected, reduction):
    """One row a device: the same as the whole array on one."""

    def everywhere(v):
        return jax.vmap(
            lambda v, kw: jaxent.reduce(v, **kw, reduction=reduction, axis_name="data"),
            axis_name="data",
        )(v, options(given))

    del expected
    # On a device, the batch is its four values; on one, it is the first axis.
    whole, shape = (8, -1) if reduction == "batch_mean" else (2, 4), V.shape
    flat = {k: x.reshape(whole) for k, x in options(given).items()}

    def alone(v):
        return jaxent.reduce(v.reshape(whole), **flat, reduction=reduction)

    @jax.jit
    def both(v):
        slopes = jax.grad(lambda v: everywhere(v)[0])(v), jax.grad(alone)(v)
        return everywhere(v), alone(v), slopes

    each, one, (slope, slope_alone) = both(V)
    np.testing.assert_array_equal(each, [one, one])
    assert slope.shape == shape
    np.testing.assert_array_equal(slope, slope_alone)


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "nonzero_mean", "sum"])
@pytest.mark.parametrize("how", ["where", "weights", "both"])
def test_a_mean_over_nothing_is_zero_with_gradient_zero(reduction, how):
    none = {} if how == "weights" else {"where": np.zeros(3, bool)}

    def reduced(v, w):
        more = {} if how == "where" else {"weights": w}
        return jaxent.reduce(v, **none, **more, reduction=reduction)

    @jax.jit
    def everything(v, w):
        tangent = jax.jvp(lambda v: reduced(v, w), (v,), (jnp.ones(3),))[1]
        return reduced(v, w), tangent, jax.grad(reduced, (0, 1))(v, w)

    for held in (1.0, np.nan, np.inf):
        v, w = np.full(3, held, np.float32), np.zeros(3, np.float32)
        value, tangent, (by_v, by_w) = everything(v, w)
        assert value == 0
        np.testing.assert_array_equal(by_v, np.zeros(3))
        if how != "weights" or reduction == "weighted_mean":
            np.testing.assert_array_equal(by_w, np.zeros(3))
        assert tangent == 0


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "nonzero_mean", "sum"])
def test_an_empty_array_reduces_to_zero(reduction):
    assert jaxent.reduce(jnp.zeros((0,)), reduction=reduction) == 0
    rows = jaxent.reduce(jnp.zeros((2, 0)), reduction=reduction, axis=1)
    np.testing.assert_array_equal(rows, [0, 0])


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "nonzero_mean"])
def test_what_is_dropped_or_of_weight_zero_is_not_read(reduction):
    keep, w = np.array([True, True, False, True]), jnp.array([1.0, 1.0, np.nan, 0.0])
    v = jnp.array([1.0, 3.0, np.inf, np.nan])
    n = {"mean": 3, "weighted_mean": 2, "nonzero_mean": 2}[reduction]

    def reduced(v, w):
        return jaxent.reduce(v, where=keep, weights=w, reduction=reduction)

    np.testing.assert_allclose(reduced(v, w), 4 / n, rtol=2**-23)
    by_v, by_w = jax.grad(reduced, (0, 1))(v, w)
    np.testing.assert_allclose(by_v, np.array([1, 1, 0, 0]) / n, rtol=2**-23)
    assert np.isfinite(by_w).all()


@pytest.mark.parametrize("size", [1.0, 2.0**-90, 2.0**90])
@pytest.mark.parametrize("reduction", ["weighted_mean", "sequence_mean"])
def test_weights_are_differentiable(reduction, size):
    """∂/∂w of Σwv/Σw is (v − mean)/Σw, whether or not (Σw)² is a float32."""
    v, w = jnp.array([1.0, 2.0, 6.0]), size * jnp.array([1.0, 2.0, 1.0])

    def mean(w):
        return jaxent.reduce(v, weights=w, reduction=reduction)

    assert mean(w) == 2.75
    np.testing.assert_allclose(size * jax.grad(mean)(w), (v - 2.75) / 4, rtol=2**-22)


def test_half_precision_is_counted_and_summed_in_float32():
    """bfloat16 counts to 256 only."""
    ones = jnp.ones(1001, jnp.bfloat16)
    assert jaxent.reduce(ones, reduction="sum") == 1001
    assert jaxent.reduce(ones).dtype == jnp.float32
    mean = jaxent.WeightedMean.from_values(ones, weights=ones)
    assert (mean.total, mean.weight) == (1001, 1001)
    counts = jnp.array([True, False]), jnp.array([3, 1])
    assert jaxent.reduce(jnp.ones(2), weights=counts[0], reduction="sum") == 1
    assert jaxent.reduce(jnp.ones(2), weights=counts[1], reduction="sum") == 4


def test_a_mean_of_device_means_is_wrong_and_ours_is_not():
    """Uneven masks: rows of 3 and of 2 kept, whose means are 7/3 and 24."""
    assert np.mean([7 / 3, 24]) != 55 / 5

    def on_device(v, keep):
        return jaxent.WeightedMean.from_values(v, where=keep).psum("data").value

    ours = jax.vmap(on_device, axis_name="data")(V, KEEP)
    np.testing.assert_array_equal(ours, [11, 11])
    grad = jax.grad(lambda v: jax.vmap(on_device, axis_name="data")(v, KEEP)[1])(V)
    np.testing.assert_array_equal(grad, KEEP / np.float32(5))


def test_weighted_means_merge_in_any_order_to_the_whole():
    of = jaxent.WeightedMean.from_values
    first, second = (of(V[i], where=KEEP[i], weights=W[i]) for i in range(2))
    whole = of(V, where=KEEP, weights=W)
    assert first.merge(second) == second.merge(first) == whole
    assert whole.value == (W * KEPT).sum() / 7
    mean = jaxent.reduce(V, where=KEEP, weights=W, reduction="weighted_mean")
    assert whole.value == mean


def test_weighted_means_accumulate_through_scan():
    def step(running, batch):
        values, keep = batch
        return running.merge(jaxent.WeightedMean.from_values(values, where=keep)), None

    start = jaxent.WeightedMean(jnp.zeros(()), jnp.zeros(()))
    running, _ = jax.jit(lambda xs: jax.lax.scan(step, start, xs))((V, KEEP))
    assert running.value == 11


def test_a_weighted_mean_of_nothing_is_zero_with_gradient_zero():
    def mean(v):
        return jaxent.WeightedMean.from_values(v, where=np.zeros(2, bool)).value

    assert mean(jnp.array([np.nan, 1])) == 0
    np.testing.assert_array_equal(jax.grad(mean)(jnp.array([np.nan, 1])), [0, 0])
    nothing = jaxent.WeightedMean.from_values(jnp.zeros((0,)))
    something = jaxent.WeightedMean.from_values(jnp.array([3.0]))
    assert nothing.merge(something).value == 3


def test_perplexity_and_bits_per_byte_by_hand():
    np.testing.assert_allclose(jaxent.perplexity(math.log(50257)), 50257, rtol=2e-6)
    assert jaxent.perplexity(jnp.zeros(2, jnp.bfloat16)).dtype == jnp.float32
    np.testing.assert_array_equal(jaxent.perplexity(jnp.zeros(2)), [1, 1])
    # Eight tokens of a byte each at 2 bits; then twice the bytes.
    total = jnp.full(2, 8 * 2 * math.log(2))
    np.testing.assert_allclose(
        jaxent.bits_per_byte(total, jnp.array([8, 16])), [2, 1], rtol=2**-22
    )


SEGMENTS = np.array([[1, 1, 2, 4], [3, 3, 0, 9]])


@pytest.mark.parametrize("num_segments", [None, 3])
@case
def test_a_mean_of_sequences_counts_each_once(given, expected, num_segments):
    """Rows, or segments of them: 0 is padding, and 4 is none of two."""
    del expected
    more = {"segment_ids": SEGMENTS, "num_segments": num_segments}
    for extra in ({}, more):
        f = functools.partial(
            jaxent.reduce, **options(given), reduction="sequence_mean", **extra
        )
        truth = functools.partial(
            oracle.reduce, **options(given), reduction="sequence_mean", **extra
        )
        both = jax.jit(lambda v, f=f: (f(v), jax.grad(lambda v: 3 * f(v))(v)))
        value, slope = both(V)
        np.testing.assert_allclose(value, truth(V), rtol=2**-21)
        for at in np.ndindex(*V.shape):
            step = np.zeros(V.shape)
            step[at] = 1
            expected = 3 * oracle.derivative(truth, V, step)
            np.testing.assert_allclose(slope[at], expected, rtol=2**-20, atol=1e-9)


@case
def test_the_mean_of_each_segment(given, expected):
    del expected
    means = jaxent.segment_means(V, SEGMENTS, num_segments=5, **options(given))
    truth = oracle.segment_means(V, SEGMENTS, num_segments=5, **options(given))
    for got, true in zip((means.total, means.weight), truth, strict=True):
        np.testing.assert_array_equal(got, true.astype(np.float32))
    assert not np.any(means.value[:, 0])
    ragged = jaxent.reduce(
        V, **options(given), reduction="sequence_mean", segment_ids=SEGMENTS
    )
    present = np.asarray(means.weight) != 0
    # What `reduce` takes for a mean of sequences, but for segment 9 of a row of four.
    np.testing.assert_allclose(
        ragged, np.asarray(means.value)[present].mean(), rtol=2**-21
    )


def test_sequences_on_several_devices_are_counted_together():
    def mean(v, keep):
        return jaxent.reduce(v, where=keep, reduction="sequence_mean", axis_name="i")

    keep = np.array([[True, False, True, True], [False] * 4])
    got = jax.vmap(mean, axis_name="i")(V[:, None], keep[:, None])
    whole = jaxent.reduce(V, where=keep, reduction="sequence_mean")
    np.testing.assert_allclose(got, np.full(2, whole), rtol=2**-22)


def test_weighted_means_add_up():
    assert jaxent.WeightedMean(1.0, 2).value == 0.5
    parts = [jaxent.WeightedMean.from_values(v) for v in V]
    zero = jaxent.WeightedMean.zero()
    for total in (sum(parts), zero + parts[0] + parts[1], sum(parts, zero)):
        assert total.value == V.mean()
    assert zero.value == 0

    def step(mean, v):
        return mean + jaxent.WeightedMean.from_values(v), ()

    assert jax.lax.scan(step, zero, V)[0].value == V.mean()
    with pytest.raises(TypeError):
        zero + 1.0


@pytest.mark.parametrize(
    ("given", "argument"),
    [
        ({"segment_ids": SEGMENTS}, "segment_ids"),
        ({"num_segments": 3, "reduction": "sequence_mean"}, "num_segments"),
        ({"axis": 0, "reduction": "sequence_mean"}, "axis"),
    ],
)
def test_segments_go_with_means_of_sequences(given, argument):
    with pytest.raises(ValueError, match=rf"reduce\({argument}="):
        jaxent.reduce(V, **given)
