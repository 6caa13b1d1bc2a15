# SPDX-License-Identifier: Apache-2.0
"""The engine's sums, in each shape they are taken in, against NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

from jaxent._engine import cpu_sums, one_pass, row_groups
from jaxent._engine.class_axis import WHOLE
from jaxent._engine.statistics import pair_of

SHAPE = (3, 8, 40)


def logits(dtype):
    """Rows with −inf, ties at the top, a NaN, one class alone, and none."""
    x = np.random.default_rng(0).normal(size=SHAPE) * 4
    x[0, 0, ::3] = -np.inf
    x[0, 1, [5, 9, 11]] = 12
    x[0, 2, 7] = np.nan
    x[0, 3, 1:] = -np.inf
    x[1, 0] = -np.inf
    return jnp.asarray(x, dtype)


LABELS = np.random.default_rng(1).integers(0, SHAPE[-1], SHAPE[:-1]).astype(np.int32)
LABELS[0, 1] = 9
LABELS[0, 3] = 0


@oracle.quiet
def truth(x, out):
    """The largest of the classes not `out`, and Σ exp(x − largest) of them."""
    others = np.where(out, -np.inf, oracle.wide(x))
    largest = np.max(others, axis=-1)
    safe = np.where(np.isinf(largest), 0, largest)
    return largest, np.sum(np.exp(others - safe[..., None]), axis=-1)


def by_groups(sums):
    return lambda x, *rows: row_groups.by_groups(sums, x, *rows)


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch):
    """Of 6 rows, so that the array above is cut in four."""
    monkeypatch.setattr(cpu_sums, "WHOLE_ROWS", 10)
    monkeypatch.setattr(row_groups, "GROUP", 6 * SHAPE[-1])
    assert row_groups._group_size(24, SHAPE[-1]) == 6


def of_all(form):
    """Of whole classes, at no temperature."""
    return functools.partial(form, WHOLE)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("form", ["columns", "rows", "groups", "blocks", "one pass"])
def test_the_rest_of_the_classes(form, dtype):
    forms = {
        "columns": of_all(cpu_sums._rest_of_columns),
        "rows": of_all(cpu_sums._rest_of_row),
        "groups": by_groups(of_all(cpu_sums._rest_of_row)),
        "blocks": of_all(cpu_sums.rest),
        "one pass": of_all(one_pass.rest),
    }
    x = logits(dtype)
    got = jax.jit(forms[form])(x, LABELS)
    largest, total = truth(x, oracle.one_hot(LABELS, SHAPE[-1]))
    label_logit = np.take_along_axis(oracle.wide(x), LABELS[..., None], -1)[..., 0]
    assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(got))
    np.testing.assert_array_equal(got.largest, largest.astype(np.float32))
    np.testing.assert_array_equal(got.label_logit, label_logit.astype(np.float32))
    # Two roundings and an exp for each of 40 terms of one sign, most of them small.
    np.testing.assert_allclose(got.total, total.astype(np.float64), rtol=5e-7)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("form", ["columns", "rows", "groups", "blocks", "one pass"])
def test_all_but_one_of_the_likeliest(form, dtype):
    forms = {
        "columns": of_all(cpu_sums._top_of_columns),
        "rows": of_all(cpu_sums._top_of_row),
        "groups": by_groups(of_all(cpu_sums._top_of_row)),
        "blocks": of_all(cpu_sums.top),
        "one pass": of_all(one_pass.top),
    }
    x = logits(dtype)
    got = jax.jit(forms[form])(x)
    keep = np.ones(SHAPE[:-1], bool)
    # A NaN is the largest in every form, and so is what follows from it.
    keep[0, 2] = False
    assert np.isnan(got.label_logit[0, 2])
    top = np.argmax(oracle.wide(x), axis=-1)
    largest, total = truth(x, oracle.one_hot(top, SHAPE[-1]))
    # With every class forbidden all that matters is c.
    np.testing.assert_array_equal(got.label_logit[1, 0], -np.inf)
    keep[1, 0] = False
    np.testing.assert_array_equal(got.largest[keep], largest[keep].astype(np.float32))
    rest = total[keep].astype(np.float64)
    np.testing.assert_allclose(got.total[keep], rest, rtol=5e-7)


@pytest.mark.quickly_compiled
def test_an_id_out_of_range_matches_no_class():
    x = logits("float32")
    largest, total = truth(x, np.zeros(SHAPE, bool))
    for form in (of_all(cpu_sums.rest), of_all(one_pass.rest)):
        got = form(x, np.full(SHAPE[:-1], -1, np.int32))
        np.testing.assert_array_equal(got.largest, largest.astype(np.float32))
        np.testing.assert_allclose(got.total, total.astype(np.float64), rtol=5e-7)


@pytest.mark.parametrize(
    ("count", "classes", "size"),
    [
        (4096, 1000, 256),
        (1024, 32768, 8),
        (256, 131072, 2),
        (64, 10**6, 1),  # a row is more than a group
        (4093, 1000, 4093),  # a prime number of short rows: all of them
        (8, 1000, 8),  # too little to cut
    ],
)
def test_rows_of_a_group(monkeypatch, count, classes, size):
    monkeypatch.setattr(row_groups, "GROUP", 2**18)
    assert row_groups._group_size(count, classes) == size


@oracle.quiet
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("form", ["blocks", "one pass"])
def test_weights_at_and_off_the_top(form, dtype):
    forms = {
        "blocks": of_all(cpu_sums.weighted),
        "one pass": of_all(one_pass.weighted),
    }
    x = logits(dtype)
    w = np.random.default_rng(2).uniform(size=SHAPE).astype(np.float32)
    w[:, :, ::4] = 0
    w[0, 0] *= np.asarray(x[0, 0] > -np.inf)  # in row 3 forbidden classes weigh
    got = jax.jit(forms[form])(x, jnp.asarray(w))
    keep = np.ones(SHAPE[:-1], bool)
    keep[0, 2] = keep[1, 0] = False  # a NaN, and none allowed
    wide, weights = oracle.wide(x), oracle.wide(w)
    top = np.max(wide, axis=-1, keepdims=True)
    fall = np.where(weights == 0, 0, weights * (top - wide))
    at_top = np.sum(np.where(wide == top, weights, 0), axis=-1)
    off_top = np.sum(np.where(wide == top, 0, weights), axis=-1)
    # Of several at the top, only the sum of both is of use.
    alone = np.sum(wide == top, axis=-1) == 1
    distance, *shares = got[1]
    cells = [(distance, np.sum(fall, axis=-1)), (sum(shares), at_top + off_top)]
    cells += [
        (np.where(alone, found, 0), np.where(alone, truth, 0))
        for found, truth in zip(shares, (at_top, off_top), strict=True)
    ]
    for found, truth in cells:
        # Sums of 40 terms of one sign, each rounded twice.
        np.testing.assert_allclose(
            found[keep], truth[keep].astype(np.float64), rtol=1e-6
        )


@pytest.mark.quickly_compiled
def test_nothing_adds_up_over_infinity():
    """+inf is the largest float to the sums; what is made of them tells."""
    x = jnp.array([[0.0, jnp.inf, 1.0], [jnp.inf, 0.0, jnp.inf]])
    sums_of = [
        *(
            form(x, jnp.array([0, 1]))
            for form in (of_all(cpu_sums.rest), of_all(one_pass.rest))
        ),
        *(form(x) for form in (of_all(cpu_sums.top), of_all(one_pass.top))),
        *(
            form(x, jnp.ones_like(x))[0]
            for form in (of_all(cpu_sums.weighted), of_all(one_pass.weighted))
        ),
    ]
    for made in sums_of:
        assert np.isnan(jax.tree.leaves(pair_of(made))).all()
