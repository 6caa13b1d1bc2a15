# SPDX-License-Identifier: Apache-2.0
"""Which positions count, and what a label that names no class does (rules 1 to 3)."""

import functools

import by_hand
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from by_hand import DISTRIBUTION, INTEGER, LABELS, LOGITS, PAIRS, PROBS, RTOL, SOFT
from cases import each

import jaxent

KEEP = np.array([True, False, True, False])
POISON = np.array([np.nan, np.inf, -np.inf], np.float32)
integer = each(INTEGER)
# What is 0, NaN or infinite is no matter of LLVM's; test_values has the ULP it keeps.
pytestmark = pytest.mark.quickly_compiled

DROPS = {  # the labels of the dropped positions, their dtype, and what drops them
    "where": ([2, -5, 0, 7], np.int32, {"where": KEEP}),
    "outside": ([2, -100, 0, -100], np.int32, {"ignore_index": -100}),
    "inside": ([2, 1, 0, 1], np.int32, {"ignore_index": 1}),
    "at_the_end": ([2, 3, 0, 3], np.int32, {"ignore_index": 3}),
    "largest": ([2, 255, 0, 255], np.uint8, {"ignore_index": 255}),
    "both": (
        [2, -1, 0, 9],
        np.int32,
        {"ignore_index": -1, "where": np.array([1, 1, 1, 0]) == 1},
    ),
}


@integer
@pytest.mark.parametrize("drop", DROPS.values(), ids=DROPS)
def test_dropped_positions_are_not_read(loss, drop):
    labels, dtype, options = drop
    labels = jnp.array(labels, dtype)
    logits = jnp.where(KEEP[:, None], LOGITS, POISON)
    value, (grad,), tangent = by_hand.modes(
        lambda x: loss.call(x, labels, **options), logits
    )
    assert by_hand.all_of((value, grad, tangent), ~KEEP, lambda a: a == 0)
    for i in np.flatnonzero(KEEP):
        expected, slope = by_hand.worked(loss, PROBS[i], np.eye(3)[labels[i]])
        np.testing.assert_allclose(value[i], expected, rtol=RTOL)
        np.testing.assert_allclose(grad[i], slope, rtol=RTOL)
        direction = np.arange(3 * i + 1, 3 * i + 4)
        np.testing.assert_allclose(tangent[i], slope @ direction, rtol=4 * RTOL)


@integer
def test_dropped_positions_have_no_second_derivative(loss):
    labels = jnp.array([2, -100, 0, 7])
    logits = jnp.where(KEEP[:, None], LOGITS, POISON)
    curvature = by_hand.curvature(
        lambda x: loss.call(x, labels, ignore_index=-100, where=labels < 7), logits
    )
    assert by_hand.all_of(curvature, ~KEEP, lambda a: a == 0)
    assert by_hand.all_of(curvature, KEEP, np.isfinite)


@each([x for x in PAIRS if "where" in x.parameters])
def test_dropped_positions_of_two_float_arguments_are_not_read(loss):
    clean = jnp.array(PROBS, jnp.float32), jnp.array(PROBS[::-1], jnp.float32)
    spoilt = [jnp.where(KEEP[:, None], x, POISON) for x in clean]
    where = jnp.array(KEEP if loss.kind.classes else np.tile(KEEP[:, None], 3))

    def kept(x, y, where):
        return loss.call(x, y, where=where)

    everything = by_hand.modes(kept, *clean, fixed=[jnp.ones_like(where)])
    actual = by_hand.modes(kept, *spoilt, fixed=[where])
    by_hand.same_bits(actual, everything, KEEP)
    assert by_hand.all_of(actual, ~KEEP, lambda a: a == 0)
    curvature = by_hand.curvature(functools.partial(kept, where=where), *spoilt)
    assert by_hand.all_of(curvature, ~KEEP, lambda a: a == 0)
    assert by_hand.all_of(curvature, KEEP, np.isfinite)


@integer
@pytest.mark.parametrize(("dtype", "index"), [("uint8", -1), ("int32", 2**40)])
def test_what_the_labels_cannot_be_is_not_ignored_in_silence(loss, dtype, index):
    with pytest.raises(ValueError, match=f"be an id that {dtype} labels can be"):
        loss.call(LOGITS, LABELS.astype(dtype), ignore_index=index)


OUTSIDE = {  # a cast to int32 would wrap the largest uint32 to −1, and 2³² + 1 to 1
    np.int8: [-1, -128, 3, 127],
    np.uint8: [3, 200, 255],
    np.int32: [-1, -100, 3, 2**31 - 1, -(2**31)],
    np.uint32: [3, 2**31, 2**32 - 1],
}
LONG = [2**32, 2**32 + 1, 1 - 2**32, 2**63 - 1, -(2**63)]


def spoils_its_row_alone(call, dtype, bad):
    """Every second row is NaN in every mode, and the others do not notice."""
    rows = 2 * np.arange(len(bad)) + 1
    logits = jnp.array(np.resize(LOGITS, (2 * len(bad), 3)))
    labels = np.resize(LABELS, 2 * len(bad)).astype(dtype)
    good = by_hand.modes(call, logits, fixed=[jnp.array(labels)])
    labels[rows] = bad
    actual = by_hand.modes(call, logits, fixed=[jnp.array(labels)])
    assert by_hand.all_of(actual, rows, np.isnan)
    by_hand.same_bits(actual, good, rows - 1)


@integer
@pytest.mark.parametrize(("dtype", "bad"), OUTSIDE.items())
def test_a_label_out_of_range_is_nan_with_all_its_gradient(loss, dtype, bad):
    spoils_its_row_alone(loss.call, dtype, bad)


@integer
@pytest.mark.usefixtures("x64")
def test_a_label_that_int32_would_truncate_into_range_is_nan_too(loss):
    spoils_its_row_alone(loss.call, np.int64, LONG)


# Bad ids, and what an int32 would keep of them: 0 and 1, the classes.
WRAPPED = [2, 2**40, 0, 2**32 + 1]
NUMPY = {
    "int64": np.array(WRAPPED),
    "uint64": np.array(WRAPPED, np.uint64),
    "negative": np.array([2, -(2**40), 0, 1 - 2**32]),
    "list": WRAPPED,
    "list_of_scalars": [*map(np.asarray, WRAPPED)],
}


@integer
@pytest.mark.parametrize("labels", NUMPY.values(), ids=NUMPY)
def test_a_label_that_jax_would_narrow_into_range_is_nan_too(loss, labels):
    value, pull = jax.vjp(lambda x: loss.call(x, labels), jnp.array(LOGITS))
    modes = value, *pull(jnp.ones_like(value))
    assert by_hand.all_of(modes, [1, 3], np.isnan)
    assert by_hand.all_of(modes, [0, 2], np.isfinite)


@integer
def test_what_is_ignored_of_wide_labels_keeps_its_value(loss):
    labels = np.array([2, -100, 0, 2**40])
    value = loss.call(LOGITS, labels, ignore_index=-100)
    assert np.isnan(value[3])
    assert value[1] == 0
    by_hand.same_bits(value, loss.call(LOGITS, np.array([2, 0, 0, 0])), [0, 2])


KEY, HEAD = jax.random.key(0), jnp.eye(3)
DRAW = {"num_sampled": 3, "num_classes": 3, "unique": False}
SAMPLERS = "uniform", "log_uniform", "learned_unigram", "fixed_unigram"
torch, compat = jaxent.compat.torch, jaxent.compat


def sampled(loss, y):
    drawn = jaxent.Candidates(jnp.arange(3), jnp.ones(4), jnp.ones(3))
    return loss(HEAD[LABELS], HEAD, y, candidates=drawn)


def drawn(name, y):
    law = {"weights": np.ones(3)} if name.startswith("fixed") else {}
    return getattr(jaxent.samplers, name)(KEY, y, **DRAW, **law)


ENTRANCES = {
    "statistics": lambda y: jaxent.softmax_statistics(LOGITS, y),
    "fused": lambda y: jaxent.linear_softmax_cross_entropy(
        LOGITS, HEAD, y, reduction="none"
    ),
    "fused_statistics": lambda y: jaxent.linear_softmax_statistics(LOGITS, HEAD, y),
    "sampled": lambda y: sampled(jaxent.sampled_softmax_cross_entropy, y),
    "nce": lambda y: sampled(jaxent.nce_loss, y),
    **{name: functools.partial(drawn, name) for name in SAMPLERS},
    "tokens": jaxent.next_token_labels,
    "segment_means": lambda y: jaxent.segment_means(LABELS, y, num_segments=3).value,
    "torch": lambda y: torch.cross_entropy(LOGITS, y, reduction="none"),
    "torch_adaptive": lambda y: torch.adaptive_log_softmax_with_loss(
        LOGITS, y, torch.adaptive_log_softmax(KEY, 3, 3, (1,))
    ),
    "optax": lambda y: compat.optax.softmax_cross_entropy_with_integer_labels(
        LOGITS, y
    ),
    "tensorflow": lambda y: compat.tensorflow.sparse_softmax_cross_entropy_with_logits(
        y, LOGITS
    ),
    "keras": lambda y: compat.keras.sparse_categorical_crossentropy(y, LOGITS, True),
}


@pytest.mark.parametrize("call", ENTRANCES.values(), ids=ENTRANCES)
def test_wherever_ids_enter_none_is_narrowed_into_range(call):
    clipped = np.array([2, 2**31 - 1, 0, 2**31 - 1], np.int32)
    by_hand.same_bits(call(np.array(WRAPPED)), call(clipped))


def test_segments_named_by_64_bits_stay_apart():
    segments = np.array([2**32 + 1, 2**33 + 1, 2**33 + 1, 2**33, 0, 0])
    _, where = jaxent.next_token_labels(jnp.arange(6), segment_ids=segments)
    np.testing.assert_array_equal(where, [0, 1, 0, 0, 0, 0])


def test_narrow_ids_are_counted_among_many_classes():
    """Of types that cannot count to the number of classes, and would wrap."""
    p = torch.adaptive_log_softmax(KEY, 3, 1000, (300, 600))
    of = functools.partial(torch.adaptive_log_softmax_with_loss, LOGITS[:1])
    by_hand.same_bits(of(np.uint8([50]), p), of(np.int32([50]), p))
    x, of = jnp.arange(1000.0), compat.optax.softmax_cross_entropy_with_integer_labels
    by_hand.same_bits(of(x, np.int8(-1)), of(x, np.int32(-1)))


@integer
def test_no_option_hides_a_label_out_of_range(loss):
    options = {"class_weights": np.zeros(3, np.float32)}
    if loss.of_logits:
        options |= {"label_smoothing": 0.1, "z_loss": 0.1}
    spoils_its_row_alone(lambda x, y: loss.call(x, y, **options), np.int32, [-1, 3])


@pytest.mark.parametrize("field", ["nll", "one_minus_prob", "label_logit"])
def test_statistics_of_a_label_out_of_range_are_nan(field):
    def number(x, labels):
        return getattr(jaxent.softmax_statistics(x, labels), field)

    spoils_its_row_alone(number, np.int32, [-1, 3])


def test_a_label_out_of_range_is_never_correct():
    statistics = jaxent.softmax_statistics(jnp.zeros((2, 3)), jnp.array([-1, 3]))
    assert not statistics.correct.any()


@each(DISTRIBUTION)
def test_rows_of_label_weights_are_worked_with_their_own_sum(loss):
    """Rule 9: the last row sums to 3, and its gradient is worked with 3, not with 1."""
    value, (by_x, by_q), _ = by_hand.modes(
        loss.call, jnp.array(LOGITS), jnp.array(SOFT)
    )
    for i in range(4):
        expected, slope = by_hand.worked(loss, PROBS[i], SOFT[i])
        np.testing.assert_allclose(value[i], expected, rtol=RTOL)
        np.testing.assert_allclose(by_x[i], slope, rtol=RTOL, atol=RTOL * SOFT[i].sum())
        np.testing.assert_allclose(
            by_q[i], [loss.value(p) for p in PROBS[i]], rtol=RTOL
        )


def test_next_token_labels_by_hand():
    tokens = jnp.array([[5, 6, 7, 8], [9, 9, 0, 0]])
    labels, where = jaxent.next_token_labels(tokens)
    np.testing.assert_array_equal(labels, [[6, 7, 8, 0], [9, 0, 0, 0]])
    np.testing.assert_array_equal(where, [[1, 1, 1, 0]] * 2)
    # A prompt of two tokens is not to be learnt, but its last one predicts the first.
    learn = jnp.array([[False, False, True, True], [True, True, False, False]])
    _, where = jaxent.next_token_labels(tokens, where=learn)
    np.testing.assert_array_equal(where, [[0, 1, 1, 0], [1, 0, 0, 0]])
    segments = jnp.array([[1, 1, 2, 2], [1, 1, 0, 0]])
    _, where = jaxent.next_token_labels(tokens, segment_ids=segments)
    np.testing.assert_array_equal(where, [[1, 0, 1, 0], [1, 0, 0, 0]])
    _, where = jaxent.next_token_labels(tokens, where=learn, segment_ids=segments)
    np.testing.assert_array_equal(where, [[0, 0, 1, 0], [1, 0, 0, 0]])


@pytest.mark.parametrize("shape", [(1,), (0,), (2, 0), (2, 1)])
def test_a_sequence_too_short_to_predict_keeps_nothing(shape):
    labels, where = jaxent.next_token_labels(jnp.ones(shape, jnp.uint8))
    assert labels.shape == where.shape == shape
    assert labels.dtype == jnp.uint8
    assert not where.any()


@pytest.mark.parametrize("shift", [1, 2, 3, 6, 9])
def test_labels_several_tokens_ahead(shift):
    rng = np.random.default_rng(0)
    tokens, where = rng.integers(0, 9, (3, 6)), rng.random((3, 6)) < 0.7
    segments = np.sort(rng.integers(0, 3, (3, 6)), axis=-1)
    options = {"shift": shift, "where": where, "segment_ids": segments}
    got = jaxent.next_token_labels(tokens, **options)
    for a, b in zip(got, oracle.next_token_labels(tokens, **options), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shift", [0, -1, 1.5, True])
def test_a_shift_is_a_size(shift):
    with pytest.raises((TypeError, ValueError), match=r"next_token_labels\(shift="):
        jaxent.next_token_labels(jnp.arange(3), shift=shift)
