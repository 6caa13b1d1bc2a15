# SPDX-License-Identifier: Apache-2.0
"""The TPU kernels, interpreted: against the definitions, and with bugs put in."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import tolerance
from interpreted import (
    N,
    check,
    check_masked,
    draw,
    interpreted,
    regimes,
    spoilt,
    with_gradients,
)

import jaxent
from jaxent._heads.kernels import functions


@pytest.mark.parametrize(
    ("ours", "truth", "largest", "ulps"),
    [(functions.exp, np.exp, 87.3, 1.1), (functions.tanh, np.tanh, 12, 2.6)],
    ids=["exp", "tanh"],
)
def test_functions_made_of_sums_and_products(ours, truth, largest, ulps):
    """Measured on CPU: 1.0 and 2.5 ULP."""
    near = np.geomspace(1e-6, largest, 100_000)
    x = np.concatenate([near, -near]).astype(np.float32)
    limits = np.array([0, -np.inf, np.inf, np.nan], np.float32)
    values = np.asarray(jax.jit(ours)(np.concatenate([x, limits])))
    exact = truth(x.astype(np.longdouble))
    allowed = ulps * np.spacing(np.abs(exact).astype(np.float32))
    tolerance.check(values[:-4], exact, allowed)
    np.testing.assert_array_equal(values[-4:], truth(limits))


@pytest.mark.quickly_compiled
@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("float32", {"label_smoothing": 0.1, "z_loss": 0.01}),
        ("bfloat16", {"softcap": 3.0, "bias": False}),
    ],
    ids=["f32", "bf16"],
)
def test_ragged_tiles(capsys, monkeypatch, dtype, options):
    args = draw(dtype)
    with interpreted(capsys, monkeypatch):
        got = with_gradients(args, **options)
    assert [x.dtype for x in got[1:3]] == [args[0].dtype] * 2
    check(args, got, **options)


def in_every_regime():
    """hidden is the identity: the classifier is the logits, its gradient the slopes."""
    x, labels = regimes()
    cotangent = np.where(np.arange(N) % 2, 0.5, -2).astype(np.float32)
    bias = jnp.zeros(x.shape[1])
    return jnp.eye(N), jnp.asarray(x.T), bias, jnp.asarray(labels), cotangent


@pytest.mark.quickly_compiled
def test_exact_in_every_regime(capsys, monkeypatch):
    args, (x, labels) = in_every_regime(), regimes()
    cotangent = args[-1]
    with interpreted(capsys, monkeypatch):
        loss, _, slopes, _ = with_gradients(args)
    for got, f in (
        (loss, oracle.softmax_cross_entropy_with_integer_labels),
        (slopes.T / cotangent[:, None], oracle.label_gradient),
    ):
        truth = f(x, labels)
        spread = tolerance.spread(
            lambda a, _, f=f: f(*a), tolerance.of_logits, (x, labels), {}
        )
        tolerance.check(got, truth, tolerance.budget(truth, spread, "float32"))


@pytest.mark.quickly_compiled
def test_masks_weights_and_means(capsys, monkeypatch):
    check_masked(draw("float32"), interpreted(capsys, monkeypatch), "pallas_tpu")


@pytest.mark.quickly_compiled
def test_no_positions():
    """Nothing is run, so this needs no interpreter."""
    hidden, classifier, bias, labels, _ = draw("float32")

    def f(hidden, classifier, bias):
        return jaxent.linear_softmax_cross_entropy(
            hidden, classifier, labels[:0], bias=bias, implementation="pallas_tpu"
        )

    value, slopes = jax.value_and_grad(f, (0, 1, 2))(hidden[:0], classifier, bias)
    assert value == 0
    assert not any(np.any(s) for s in slopes)


@pytest.mark.quickly_compiled
def test_poison_stays_where_it_is(capsys, monkeypatch):
    """A NaN, a label of no class, and a class with a bias of −inf and one label."""
    hidden, classifier, bias, labels, cotangent = in_every_regime()
    hidden, labels = hidden.at[3].set(jnp.nan), labels.at[4].set(-1).at[5].set(0)
    args = hidden, classifier, bias.at[0].set(-jnp.inf), labels, cotangent
    with interpreted(capsys, monkeypatch):
        loss, d_hidden, _, _ = with_gradients(args)
    assert np.isnan(loss).nonzero()[0].tolist() == [3, 4]
    assert np.isnan(d_hidden).any(1).nonzero()[0].tolist() == [3, 4]
    assert np.isinf(loss).nonzero()[0].tolist() == [5]


@pytest.mark.quickly_compiled
@pytest.mark.parametrize("bug", ["no tail of classes", "classes in parallel"])
def test_a_bug_is_caught(capsys, monkeypatch, bug):
    with pytest.raises(AssertionError, match="budgets"):
        spoilt(capsys, monkeypatch, bug)
