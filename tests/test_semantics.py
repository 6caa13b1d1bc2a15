# SPDX-License-Identifier: Apache-2.0
"""Forbidden classes and rows that are no distribution: rules 4 and 10, by hand."""

import math
from typing import get_args

import by_hand
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from by_hand import INF, LABELS, LOGITS, NAN, RTOL, SOFT, SOFTMAX, array
from cases import each, losses

import jaxent

softmax = each(SOFTMAX)
# What is 0, NaN or infinite is no matter of LLVM's; test_values has the ULP it keeps.
pytestmark = pytest.mark.quickly_compiled

MEASURES = losses(lambda x: x.of_logits and "labels" not in x.arrays)
measures = each(MEASURES)


def of_two(measure):
    """Of two arrays of logits, also if it heeds the first alone."""
    if len(measure.arrays) == 2:
        return measure.call
    return lambda a, b: measure.call(a) + 0 * b[..., 0]


def on(loss, label, classes, **options):
    """The loss of logits [V] at one label, given as the function likes it."""
    if not loss.kind.ids:
        label = jax.nn.one_hot(label, classes)
    return lambda x: loss.call(x, jnp.asarray(label), **options)


FORBIDDEN = {
    "logit": ({}, -INF),
    "class_where": ({"class_where": np.array([True, True, False, True])}, 7.0),
    "class_where_nan": ({"class_where": np.array([True, True, False, True])}, NAN),
}


@softmax
@pytest.mark.parametrize(("options", "logit"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_a_forbidden_class_adds_nothing_in_any_mode(loss, options, logit):
    x = array(*np.log([1 / 8, 2 / 8]), logit, math.log(5 / 8))
    f = on(loss, 1, 4, **options)
    value, slope = by_hand.worked(loss, [1 / 8, 2 / 8, 5 / 8], [0, 1, 0])
    allowed = np.array([0, 1, 3])
    steps = array(1, 1, 1, 2), array(1, 1, 0, 2)

    @jax.jit
    def modes(x):
        tangents = [jax.jvp(f, (x,), (step,))[1] for step in steps]
        hessians = jax.hessian(f)(x), jax.jacrev(jax.jacfwd(f))(x)
        three = jax.hessian(on(loss, 1, 3))(x[allowed])
        return f(x), jax.grad(f)(x), tangents, hessians, three

    got, grad, (with_it, without), hessians, three = modes(x)
    np.testing.assert_allclose(got, value, rtol=RTOL)
    np.testing.assert_allclose(grad[allowed], slope, rtol=RTOL)
    assert grad[2] == 0
    assert with_it == without
    for hessian in hessians:
        assert np.all(hessian[2] == 0)
        assert np.all(hessian[:, 2] == 0)
        got = hessian[np.ix_(allowed, allowed)]
        np.testing.assert_allclose(got, three, rtol=RTOL, atol=1e-7)


@measures
def test_a_class_that_both_forbid_adds_nothing_to_a_measure(loss):
    measure = of_two(loss)
    a, b = array(0.0, 1.0, -INF, 0.5), array(1.0, 0.0, -INF, -0.5)
    allowed = np.array([0, 1, 3])
    value, grads, _ = by_hand.modes(measure, a, b)
    expected, slopes, _ = by_hand.modes(measure, a[allowed], b[allowed])
    np.testing.assert_allclose(value, expected, rtol=RTOL)
    for grad, slope in zip(grads, slopes, strict=True):
        np.testing.assert_allclose(grad[allowed], slope, rtol=RTOL, atol=1e-7)
        assert grad[2] == 0
    hessian = jax.jit(jax.hessian(measure, argnums=(0, 1)))(a, b)
    assert by_hand.all_of(hessian, (2,), lambda h: h == 0)
    assert by_hand.all_of(hessian, slice(None), np.isfinite)


def test_measures_of_logits_that_one_side_forbids():
    even, sure = array(0.0, 0.0), array(0.0, -INF)
    log2 = math.log(2)
    assert jaxent.entropy_from_logits(sure) == 0
    assert jaxent.kl_divergence_from_logits(even, sure) == INF
    assert jaxent.cross_entropy_from_logits(even, sure) == INF
    for measure in (
        jaxent.kl_divergence_from_logits,
        jaxent.cross_entropy_from_logits,
    ):
        value, (by_p, by_q), _ = by_hand.modes(measure, sure, even)
        np.testing.assert_allclose(value, log2, rtol=RTOL)
        np.testing.assert_allclose(by_q, [-0.5, 0.5], rtol=RTOL)  # q − p
        np.testing.assert_array_equal(by_p, [0, 0])
    js = jaxent.js_divergence_from_logits
    np.testing.assert_allclose(js(sure, array(-INF, 0.0)), log2, rtol=RTOL)
    # ½·log(4/3) + ½·(½·log(2/3) + ½·log 2)
    expected = math.log(4 / 3) / 2 + math.log(2 / 3) / 4 + log2 / 4
    np.testing.assert_allclose(js(sure, even), expected, rtol=RTOL)


@softmax
@pytest.mark.parametrize("logit", [-INF, NAN, 5.0])
def test_a_label_on_a_forbidden_class_is_infinite_with_a_finite_gradient(loss, logit):
    options = {} if logit == -INF else {"class_where": np.array([True, True, False])}
    x = array(*np.log([1 / 4, 3 / 4]), logit)
    f = on(loss, 2, 3, **options)
    np.testing.assert_allclose(f(x), loss.limit, rtol=RTOL)
    # p − onehot(y) times −slope(0), the limit of the gradient as the label's x falls;
    # a class that `class_where` forbids is a constant.
    expected = loss.slope_at_zero * np.array(
        [-1 / 4, -3 / 4, 1.0 if logit == -INF else 0.0]
    )
    np.testing.assert_allclose(jax.grad(f)(x), expected, rtol=RTOL)
    tangent = jax.jvp(f, (x,), (array(1, 2, 3),))[1]
    np.testing.assert_allclose(tangent, expected @ [1, 2, 3], rtol=RTOL)


def numbers_of(loss):
    """The options that are one number, and what they are if not 0."""
    return {
        name: p.default or 0.125
        for name, p in loss.parameters.items()
        if name not in (*loss.arrays, "temperature", "weights")
        and float in get_args(p.annotation)
    }


@each(losses(lambda x: x.of_logits and "labels" in x.arrays))
@pytest.mark.parametrize("forbidden", ["label", "other"])
def test_an_option_of_zero_takes_nothing_from_infinity(loss, forbidden):
    """All of them, as Python's number and traced, and each by itself."""
    x, label = np.array([0.5, -1.0, -INF]), 2 if forbidden == "label" else 0
    y = label if loss.kind.ids else np.eye(3)[label]
    numbers = numbers_of(loss)
    if forbidden == "label":
        numbers.pop("label_smoothing", None)  # its gradient has no limit to go by
    nothing = dict.fromkeys(numbers, 0.0)

    def check(of, options):
        def truth(x):
            return np.sum(getattr(oracle, loss.function)(x, y, **options))

        value, grad = of(jnp.array(x, jnp.float32), options)
        np.testing.assert_allclose(value, float(truth(x)), rtol=RTOL)
        # A complex infinity has no derivative, but the limit is soon reached.
        near = np.where(np.isinf(x), -1e4, x) if forbidden == "label" else x
        slope = oracle.gradient(truth, near).astype(np.float32)
        np.testing.assert_allclose(grad, slope, rtol=RTOL, atol=RTOL)

    both = jax.value_and_grad(
        lambda x, options: loss.call(x, jnp.asarray(y), **options).sum()
    )
    traced = jax.jit(both)
    check(both, nothing)
    check(traced, nothing)
    for name in numbers:
        check(traced, numbers | {name: 0.0})


@softmax
def test_a_label_with_an_infinite_logit_is_nan(loss):
    f = on(loss, 0, 3)
    assert np.isnan(f(array(INF, 0, 1)))
    assert np.isnan(jax.grad(f)(array(INF, 0, 1))).all()


NO_DISTRIBUTION = np.array(
    [[-INF] * 3, [NAN, 0, 0], [0, 0, NAN], [INF, 0, 0], [-INF, 0, INF], [INF] * 3],
    np.float32,
)
BAD = 2 * np.arange(6) + 1


def spoilt(x):
    """x repeated to twelve rows, and the same with every second one no distribution."""
    x = np.resize(x, (12, 3)).astype(np.float32)
    bad = x.copy()
    bad[BAD] = NO_DISTRIBUTION
    return jnp.array(x), jnp.array(bad)


@softmax
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1, "z_loss": 0.1}])
def test_no_value_is_nan_for_that_position_alone(loss, options):
    labels = np.resize(LABELS, 12) if loss.kind.ids else np.resize(SOFT, (12, 3))
    good, bad = spoilt(LOGITS)
    expected, actual = (
        by_hand.modes(lambda x: loss.call(x, jnp.array(labels), **options), x)
        for x in (good, bad)
    )
    assert np.isnan(actual[0][BAD]).all()
    assert np.isnan(actual[1][0][BAD]).any(axis=1).all()
    assert np.isnan(actual[2][BAD]).all()
    by_hand.same_bits(actual, expected, BAD - 1)


@measures
@pytest.mark.parametrize("side", [0, 1])
def test_a_measure_of_no_distribution_is_nan_for_that_position_alone(loss, side):
    measure, side = of_two(loss), side if len(loss.arrays) == 2 else 0
    pairs = spoilt(LOGITS), spoilt(LOGITS[::-1])
    good, bad = [pair[0] for pair in pairs], pairs[side][1]
    actual = by_hand.modes(measure, *good[:side], bad, *good[side + 1 :])
    assert np.isnan(actual[0][BAD]).all()
    assert np.isnan(actual[1][side][BAD]).any(axis=1).all()
    by_hand.same_bits(actual, by_hand.modes(measure, *good), BAD - 1)


@softmax
@pytest.mark.parametrize("alpha", [0.25, 1.0])
def test_smoothing_spreads_over_the_allowed_classes_alone(loss, alpha):
    """Rule 10: α/V with V = 3 of five classes, one way of forbidding for each."""
    x = array(*np.log([1 / 8, 2 / 8]), -INF, 9.0, math.log(5 / 8))
    allowed = np.array([True, True, True, False, True])
    f = on(loss, 1, 5, label_smoothing=alpha, class_where=allowed)
    weights, probs = np.eye(3)[1] * (1 - alpha) + alpha / 3, [1 / 8, 2 / 8, 5 / 8]
    value, slope = by_hand.worked(loss, probs, weights)
    np.testing.assert_allclose(f(x), value, rtol=RTOL)
    grad = jax.grad(f)(x)
    # Or one rounding of the largest of its terms, where they all but cancel.
    terms = max(w * abs(loss.slope(p)) for w, p in zip(weights, probs, strict=True))
    bound = np.maximum(2 * RTOL * np.abs(slope), 2.0**-24 * terms)
    assert np.all(np.abs(grad[np.array([0, 1, 4])] - slope) <= bound)
    np.testing.assert_array_equal(grad[2:4], [0, 0])


def test_smooth_labels_gives_no_mass_to_forbidden_classes():
    y = array(0, 1, 0, 0)
    allowed = np.array([True, True, False, True])
    smooth = jaxent.smooth_labels(y, 0.3, class_where=allowed)
    np.testing.assert_allclose(smooth, [0.1, 0.8, 0, 0.1], rtol=RTOL)
    np.testing.assert_allclose(
        jaxent.smooth_labels(y, 0.2), [0.05, 0.85, 0.05, 0.05], rtol=RTOL
    )
    rows = jnp.stack([y, y]).astype(int)
    np.testing.assert_array_equal(
        jaxent.smooth_labels(rows, 0.2)[1], jaxent.smooth_labels(y, 0.2)
    )
    columns = jaxent.smooth_labels(jnp.stack([y, y], 1), 0.2, axis=0)
    np.testing.assert_array_equal(columns[:, 1], jaxent.smooth_labels(y, 0.2))
    np.testing.assert_allclose(
        jax.grad(lambda a: jaxent.smooth_labels(y, a)[1])(0.2), 1 / 4 - 1, rtol=RTOL
    )
