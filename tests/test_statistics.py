# SPDX-License-Identifier: Apache-2.0
"""The statistics: one tuple, dense and fused, whatever the logits and labels are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import jaxent
from jaxent._heads import losses

pytestmark = pytest.mark.quickly_compiled

INF, NAN = np.inf, np.nan
ROWS = {  # logits, label
    "plain": ([1.0, -2.0, 0.5, 0.25], 2),
    "saturated": ([40.0, -2.0, 0.5, 0.25], 0),
    "the first of equals": ([1.0, 3.0, -2.0, 3.0], 1),
    "the second of equals": ([1.0, 3.0, -2.0, 3.0], 3),
    "all equal": ([2.0, 2.0, 2.0, 2.0], 1),
    "a forbidden class": ([1.0, -INF, 0.5, 0.25], 0),
    "a forbidden label": ([1.0, -INF, 0.5, 0.25], 1),
    "all forbidden": ([-INF, -INF, -INF, -INF], 0),
    "a NaN": ([1.0, 2.0, NAN, 0.0], 1),
    "the label's NaN": ([1.0, 2.0, NAN, 0.0], 2),
    "below": ([1.0, -2.0, 0.5, 3.0], -1),
    "above": ([3.0, -2.0, 0.5, 0.25], 4),
    "below, saturated": ([1.0, -2.0, 0.5, 40.0], -7),
    "above, a forbidden class": ([1.0, -INF, 0.5, 0.25], 100),
    "above, a NaN": ([1.0, 2.0, NAN, 0.0], 4),
}
LOGITS = np.array([row for row, _ in ROWS.values()], np.float32)
LABELS = np.array([label for _, label in ROWS.values()], np.int32)
OUTSIDE = (LABELS < 0) | (LABELS >= 4)
FIELDS = jaxent.SoftmaxStatistics._fields
OF_LABEL = "nll", "one_minus_prob", "label_logit"
FLOATS = (*OF_LABEL, "log_normalizer", "entropy")


def dense(logits):
    return jaxent.softmax_statistics(logits, LABELS)


def fused(logits):
    """The same logits from heads: a −inf or NaN times 0 is NaN, so that each position
    has a classifier of its own.
    """

    def one(x, label):
        s = jaxent.linear_softmax_statistics(
            jnp.ones((1, 1), x.dtype), x[:, None], label[None]
        )
        return jax.tree.map(lambda a: a[0], s)

    return jax.vmap(one)(logits, jnp.asarray(LABELS))


BOTH = pytest.mark.parametrize("statistics", [dense, fused])


def test_the_fields_are_these():
    assert FIELDS == (
        "nll", "one_minus_prob", "log_normalizer", "label_logit", "correct", "entropy",
        "top_id",
    )  # fmt: skip


@BOTH
def test_every_field_is_the_oracle_s(statistics):
    got = statistics(jnp.asarray(LOGITS))
    expected = oracle.softmax_statistics(LOGITS, LABELS)
    for field, a, b in zip(FIELDS, got, expected, strict=True):
        b = np.asarray(b).real
        np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=field)
    assert got.correct.dtype == bool
    assert got.top_id.dtype == jnp.int32


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["f32", "bf16"])
def test_dense_and_fused_agree_in_every_field(dtype):
    x = jnp.asarray(LOGITS, dtype)
    for field, a, b in zip(FIELDS, jax.jit(dense)(x), fused(x), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=3e-7, err_msg=field)


@BOTH
@pytest.mark.parametrize("field", FLOATS)
def test_the_slopes_are_the_oracle_s(statistics, field):
    """In float32, row by row; NaN throughout where the label is out of range."""
    x = jnp.asarray(LOGITS)
    slope = jax.grad(lambda x: jnp.sum(getattr(statistics(x), field)))(x)
    index = FIELDS.index(field)
    ordinary = np.isfinite(LOGITS).all(axis=1) & ~OUTSIDE
    for i in np.flatnonzero(ordinary):
        for j in range(4):
            step = oracle.wide(LOGITS[i]).astype(complex)
            step[j] += 1e-30j
            value = oracle.softmax_statistics(step[None], LABELS[i : i + 1])[index]
            expected = value.imag[0] / 1e-30
            np.testing.assert_allclose(slope[i, j], expected, rtol=1e-5, atol=1e-9)
    if field in OF_LABEL:
        assert np.isnan(slope[OUTSIDE]).all()
    else:
        finite = OUTSIDE & ~np.isnan(LOGITS).any(axis=1)
        assert np.isfinite(slope[finite]).all()


def test_a_slice_of_the_classes_knows_as_much():
    """In two slices of two classes, on two devices: ids that none has too."""
    mesh = jax.make_mesh((2,), ("v",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec
    sliced = jax.shard_map(
        lambda x: jaxent.softmax_statistics(x, LABELS, vocab_axis_name="v"),
        mesh=mesh, in_specs=spec(None, "v"), out_specs=spec(),
    )  # fmt: skip
    finite = np.isfinite(LOGITS).all(axis=1)
    for a, b in zip(jax.jit(sliced)(LOGITS), dense(LOGITS), strict=True):
        np.testing.assert_allclose(a[finite], b[finite], rtol=3e-7)


def cost(function):
    x, labels = jnp.zeros((64, 512)), jnp.zeros(64, jnp.int32)
    return jax.jit(function).lower(x, labels).compile().cost_analysis()


@pytest.mark.parametrize("transform", [lambda f: f, jax.grad], ids=["value", "grad"])
def test_what_is_not_used_is_not_computed(transform):
    def own(x, labels):
        return jnp.sum(jaxent.softmax_statistics(x, labels).nll)

    def ours(x, labels):
        return jnp.sum(jaxent.softmax_cross_entropy_with_integer_labels(x, labels))

    own, ours = cost(transform(own)), cost(transform(ours))
    assert own["transcendentals"] == ours["transcendentals"]
    assert own["flops"] <= 1.01 * ours["flops"]


def test_a_loss_of_your_own_leaves_nothing_in_a_cache():
    hidden, classifier = np.ones((3, 2), "f"), np.ones((4, 2), "f")
    labels = np.arange(3)
    call = functools.partial(
        jaxent.linear_softmax_loss, hidden=hidden, classifier=classifier, labels=labels
    )
    kept = losses.reduced_jit._cache_size()
    for k in range(3):
        call(lambda s, k=k: k * s.nll)
    assert not hasattr(losses.reduced, "_cache_size")
    assert losses.reduced_jit._cache_size() == kept


@pytest.mark.parametrize("by", ["where", "ignore_index"])
def test_a_position_that_is_dropped_is_not_read(by):
    """Neither its label, nor a NaN or an infinity of its logits: its gradient is 0."""
    x = np.array([[1, 2, 3], [NAN, 0, INF], [-INF, -INF, -INF], [0, 1, -1]], np.float32)
    labels, keep = np.array([0, -100, -100, 2]), np.array([True, False, False, True])
    options = {"where": keep} if by == "where" else {"ignore_index": -100}

    def total(x):
        s = jaxent.softmax_statistics(x, labels, **options)
        floats = s.nll + s.one_minus_prob * s.entropy + s.log_normalizer**2
        return jaxent.reduce(floats * s.label_logit, where=keep), s

    (value, s), slope = jax.jit(jax.value_and_grad(total, has_aux=True))(x)
    for field in s:
        np.testing.assert_array_equal(field[1:3], np.zeros(2))
    np.testing.assert_array_equal(slope[1:3], np.zeros((2, 3)))
    alone = jax.grad(lambda x: total(jnp.where(keep[:, None], x, 0))[0])(x)
    assert np.isfinite(value)
    assert np.all(np.isfinite(slope))
    # Two programs, of the same few roundings.
    np.testing.assert_allclose(slope, alone, rtol=1e-6)
