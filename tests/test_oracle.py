# SPDX-License-Identifier: Apache-2.0
"""The oracle against the textbook formulas in 80 digits, where nothing can cancel."""

import mpmath as mp
import numpy as np
import oracle
import pytest

INPUTS = {
    "unit": [0.5, -1.25, 2.0, 0.125],
    "margin 40": [40.0, 0.0, -1.5, 0.75],
    "margin -40": [-40.0, 0.0, -1.5, 0.75],
    "offset": [10000.5, 10001.25, 9998.0, 10000.0],
    "tied": [3.0, 3.0, 3.0, 3.0],
}
NEAR = [1.0, 1.0 + 2.0**-14, 1.0 - 2.0**-15, 1.0]
LABELS = [0.5, 0.25, 0.125, 0.125]
RELATIVE = 1e-17


def log_p(x):
    x = [mp.mpf(v) for v in x]
    lse = mp.log(mp.fsum(map(mp.exp, x)))
    return [v - lse for v in x]


def p(x):
    return [mp.exp(v) for v in log_p(x)]


def expected(q, f):
    return mp.fsum(mp.mpf(a) * f(b) for a, b in q)


def kl(a, b):
    return mp.fsum(
        mp.exp(la) * (la - lb) for la, lb in zip(log_p(a), log_p(b), strict=True)
    )


def entropy(probs):
    return -mp.fsum(v * mp.log(v) for v in map(mp.mpf, probs))


def js(first, second):
    first, second = (list(map(mp.mpf, v)) for v in (first, second))
    middle = [(a + b) / 2 for a, b in zip(first, second, strict=True)]
    return entropy(middle) - (entropy(first) + entropy(second)) / 2


def shifted(x, by=NEAR):
    return [a + b - 1 for a, b in zip(x, by, strict=True)]


def everything(x):
    """Smoothing, class weights and z-loss at once, label 0."""
    weights = [0.5, 2, 1, 3]
    terms = [-w * l for w, l in zip(weights, log_p(x), strict=True)]
    lse = mp.mpf(x[0]) - log_p(x)[0]
    return mp.mpf(0.75) * terms[0] + mp.fsum(terms) / 16 + lse**2 / 8


def masked(x):
    """Smoothing over the three classes allowed, label 0."""
    terms = [-l for l in log_p([x[0], *x[2:]])]
    return mp.mpf(0.75) * terms[0] + mp.fsum(terms) / 12


def sigma(v):
    return 1 / (1 + mp.exp(-mp.mpf(v)))


def binary(v, y):
    return -y * mp.log(sigma(v)) - (1 - y) * mp.log(sigma(-v))


def measures(x):
    """Log-predictions and targets as handed over: rounded to double."""
    first, second = oracle.softmax(x), oracle.softmax(np.array(shifted(x)) / 2)
    return np.log(first).astype(float), second.astype(float), first.astype(float)


def plain(x):
    log_q, t, _ = measures(x)
    return mp.fsum(
        b * (mp.log(b) - a)
        for a, b in zip(map(mp.mpf, log_q), map(mp.mpf, t), strict=True)
    )


def generalized(x):
    log_q, t, _ = measures(x)
    return mp.fsum(
        b * (mp.log(b) - a) + mp.exp(a) - b
        for a, b in zip(map(mp.mpf, log_q), map(mp.mpf, t), strict=True)
    )


def log_targets(x):
    return measures(x)[0] / 2


def cross(p, q):
    return -mp.fdot(p, list(map(mp.log, q)))


def of_one_sign(truth):
    return RELATIVE * abs(truth)


def of_both_signs(truth):
    """For a sum of terms of both signs, which has no second form: absolute."""
    return RELATIVE * (1 + abs(truth))


def of_second_order(truth):
    """log t is rounded, and the value is of second order in log(q/t)."""
    return RELATIVE * truth + RELATIVE / 10 * mp.sqrt(truth)


integer = oracle.softmax_cross_entropy_with_integer_labels

# function, or function-what: (the oracle's, the textbook's[, budget]), of four logits.
DEFINITIONS = {
    "softmax_cross_entropy_with_integer_labels": (
        lambda x: integer(x, 0),
        lambda x: -log_p(x)[0],
    ),
    "softmax_cross_entropy_with_integer_labels-options": (
        lambda x: integer(
            x, 0, label_smoothing=0.25, z_loss=0.125, class_weights=[0.5, 2, 1, 3]
        ),
        everything,
    ),
    "softmax_cross_entropy_with_integer_labels-class_where": (
        lambda x: integer(
            x, 0, label_smoothing=0.25, class_where=np.array([True, False, True, True])
        ),
        masked,
    ),
    "softmax_cross_entropy": (
        lambda x: oracle.softmax_cross_entropy(x, LABELS),
        lambda x: -mp.fdot(LABELS, log_p(x)),
    ),
    "softmax_focal_loss": (
        lambda x: oracle.softmax_focal_loss(x, 0, gamma=0.5),
        lambda x: -log_p(x)[0] * mp.sqrt(1 - p(x)[0]),
    ),
    "generalized_cross_entropy": (
        lambda x: oracle.generalized_cross_entropy(x, 0, q=0.75),
        lambda x: (1 - p(x)[0] ** mp.mpf(0.75)) / mp.mpf(0.75),
    ),
    "poly_loss_cross_entropy": (
        lambda x: oracle.poly_loss_cross_entropy(x, LABELS),
        lambda x: mp.fdot(LABELS, [-mp.log(v) + 2 * (1 - v) for v in p(x)]),
    ),
    "sigmoid_binary_cross_entropy": (
        lambda x: oracle.sigmoid_binary_cross_entropy(x, 0.25)[0],
        lambda x: binary(x[0], mp.mpf(0.25)),
    ),
    "sigmoid_binary_cross_entropy-hard": (
        lambda x: oracle.sigmoid_binary_cross_entropy(x, 1.0, pos_weight=3)[0],
        lambda x: 3 * binary(x[0], 1),
    ),
    "sigmoid_focal_loss": (
        lambda x: oracle.sigmoid_focal_loss(x, 1.0, alpha=0.25)[0],
        lambda x: binary(x[0], 1) * (1 - sigma(x[0])) ** 2 / 4,
    ),
    "entropy": (
        lambda x: oracle.entropy(measures(x)[1], base=2),
        lambda x: entropy(measures(x)[1]) / mp.log(2),
    ),
    "entropy_from_logits": (oracle.entropy_from_logits, lambda x: entropy(p(x))),
    "cross_entropy_from_logits": (
        lambda x: oracle.cross_entropy_from_logits(x, NEAR),
        lambda x: -mp.fdot(p(x), log_p(NEAR)),
    ),
    "kl_divergence_from_logits": (
        lambda x: oracle.kl_divergence_from_logits(x, NEAR),
        lambda x: kl(x, NEAR),
    ),
    "kl_divergence_from_logits-near": (
        lambda x: oracle.kl_divergence_from_logits(x, shifted(x)),
        lambda x: kl(x, shifted(x)),
    ),
    "js_divergence_from_logits": (
        lambda x: oracle.js_divergence_from_logits(x, NEAR, base=2),
        lambda x: js(p(x), p(NEAR)) / mp.log(2),
    ),
    "js_divergence_from_logits-near": (
        lambda x: oracle.js_divergence_from_logits(x, shifted(x)),
        lambda x: js(p(x), p(shifted(x))),
    ),
    "js_divergence": (
        lambda x: oracle.js_divergence(measures(x)[1], measures(x)[2]),
        lambda x: js(measures(x)[1], measures(x)[2]),
    ),
    "softmax_statistics": (
        lambda x: oracle.softmax_statistics(x, 0)[1],
        lambda x: mp.fsum(p(x)[1:]),
    ),
    "softmax_statistics-log_normalizer": (
        lambda x: oracle.softmax_statistics(x, 0)[2],
        lambda x: mp.mpf(x[0]) - log_p(x)[0],
    ),
    "negative_log_likelihood": (
        lambda x: oracle.negative_log_likelihood(measures(x)[0], 0),
        lambda x: -mp.mpf(measures(x)[0][0]),
    ),
    "kl_divergence": (
        lambda x: oracle.kl_divergence(*measures(x)[:2]),
        plain,
        of_both_signs,
    ),
    "kl_divergence_with_log_targets": (
        lambda x: oracle.kl_divergence_with_log_targets(measures(x)[0], log_targets(x)),
        lambda x: mp.fsum(-mp.exp(v) * v for v in map(mp.mpf, log_targets(x))),
        of_both_signs,
    ),
    "generalized_kl_divergence": (
        lambda x: oracle.generalized_kl_divergence(*measures(x)[:2]),
        generalized,
        of_second_order,
    ),
    "cross_entropy": (
        lambda x: oracle.cross_entropy(*measures(x)[1:]),
        lambda x: cross(*measures(x)[1:]),
        of_both_signs,
    ),
    "categorical_cross_entropy": (
        lambda x: oracle.categorical_cross_entropy(*measures(x)[:0:-1]),
        lambda x: cross(*measures(x)[1:]),
        of_both_signs,
    ),
    "binary_cross_entropy": (
        lambda x: oracle.binary_cross_entropy(measures(x)[1][0], 0.25),
        lambda x: cross([0.25, 0.75], [t := mp.mpf(measures(x)[1][0]), 1 - t]),
        of_both_signs,
    ),
}


@pytest.mark.parametrize("regime", INPUTS)
@pytest.mark.parametrize("name", DEFINITIONS)
def test_definition(name, regime):
    ours, textbook, *budget = DEFINITIONS[name]
    budget, x = budget[0] if budget else of_one_sign, INPUTS[regime]
    with mp.workdps(80):
        truth = textbook(x)
        value = ours(x)
        high = float(value)
        got = mp.mpf(high) + mp.mpf(float(value - high))
        assert abs(got - truth) <= budget(truth)


@pytest.mark.parametrize("regime", INPUTS)
def test_gradients(regime):
    """The complex step, against the closed forms and against 80 digits."""
    x = INPUTS[regime]
    step = oracle.gradient(lambda z: integer(z, 0), x)
    closed = oracle.label_gradient(x, 0)
    with mp.workdps(80):
        truth = [b - (j == 0) for j, b in enumerate(p(x))]
        for got in (step, closed):
            error = [abs(mp.mpf(str(a)) - b) for a, b in zip(got, truth, strict=True)]
            assert all(
                e <= RELATIVE * abs(b) for e, b in zip(error, truth, strict=True)
            )
    step = oracle.derivative(
        lambda z: oracle.sigmoid_binary_cross_entropy(z, 0.25), x, np.ones(4)
    )
    closed = oracle.binary_gradient(x, 0.25)
    np.testing.assert_allclose(step, closed, rtol=1e-17)


@pytest.mark.parametrize("regime", ["unit", "margin 40", "offset"])
def test_hessian(regime):
    """diag(p) − p·pᵀ, whose label entry at margin 40 is 1e-17."""
    x = INPUTS[regime]
    with mp.workdps(80):
        probs = p(x)
        truth = [[float(a * ((i == j) - b)) for j, b in enumerate(probs)]
                 for i, a in enumerate(probs)]  # fmt: skip
    hessian = oracle.hessian(lambda z: integer(z, 0), x)
    scale = np.sqrt(np.outer(np.diag(truth), np.diag(truth)))
    assert np.all(np.abs(hessian - truth) <= 1e-11 * scale)


def test_the_complex_step_agrees_with_a_plain_difference():
    rng = np.random.default_rng(0)
    x, h = rng.normal(size=5), np.longdouble(1e-4)
    for f in (
        lambda z: oracle.softmax_focal_loss(z, 2, gamma=0.5),
        lambda z: oracle.kl_divergence_from_logits(z, x[::-1]),
        lambda z: oracle.js_divergence_from_logits(z, x[::-1]),
        lambda z: oracle.generalized_kl_divergence(x, oracle.exp(z)),
        lambda z: oracle.sigmoid_focal_loss(z[0], 0.25, alpha=0.25),
    ):
        near = [(f(x + h * e) - f(x - h * e)) / (2 * h) for e in np.eye(5)]
        np.testing.assert_allclose(oracle.gradient(f, x), near, rtol=0, atol=1e-8)


def test_reductions_and_labels():
    v, w = np.array([1.0, 2.0, 6.0]), np.array([0.0, 2.0, 1.0])
    keep = np.array([True, True, False])
    truth = {"mean": 2.0, "weighted_mean": 2.0, "nonzero_mean": 4.0, "sum": 4.0}
    for reduction, value in {**truth, "batch_mean": 4 / np.longdouble(3)}.items():
        got = oracle.reduce(v, where=keep, weights=w, reduction=reduction)
        assert got == value
    assert oracle.reduce(v, where=np.zeros(3, bool)) == 0
    labels, keep = oracle.next_token_labels([7, 8, 9, 4], segment_ids=[1, 1, 2, 2])
    assert labels.tolist() == [8, 9, 4, 0]
    assert keep.tolist() == [True, False, True, False]
