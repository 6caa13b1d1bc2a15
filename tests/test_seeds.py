# SPDX-License-Identifier: Apache-2.0
"""The worked examples of the texts that the library was begun from."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from given import put

import jaxent

pytestmark = pytest.mark.quickly_compiled

LABELS = [[0, 0, 1], [0, 1, 0]]
PROBS = [[0.3, 0.7, 0.0], [0.5, 0.2, 0.3]]
# The printed digits are of float64: four of its units, for sums in another order.
EXACT = 4 * 2.0**-52


@pytest.fixture
def doubles(x64):
    del x64
    return lambda x: put(x, np.float64)


def test_entropy_of_the_weather(doubles):
    weather = doubles([0.14, 0.37, 0.03, 0.46])
    np.testing.assert_allclose(jaxent.entropy(weather), 1.1055291211185652, rtol=EXACT)


def test_entropy_of_a_coin_and_of_certainty():
    assert jaxent.entropy(jnp.array([0.5, 0.5]), base=2) == 1
    assert jaxent.entropy(jnp.array([1.0, 0.0]), base=2) == 0


def test_divergence_is_not_symmetric(doubles):
    p, q = doubles([0.10, 0.40, 0.50]), doubles([0.80, 0.15, 0.05])
    for first, second, bits in ((p, q, "1.927"), (q, p, "2.022")):
        divergence = jaxent.kl_divergence(jnp.log(second), first) / math.log(2)
        assert f"{divergence:.3f}" == bits
        from_logits = jaxent.kl_divergence_from_logits(
            jnp.log(first), jnp.log(second), base=2
        )
        assert f"{from_logits:.3f}" == bits
        # H(p, q) − H(p) = KL(p‖q)
        excess = jaxent.cross_entropy(first, second, base=2) - jaxent.entropy(
            first, base=2
        )
        np.testing.assert_allclose(excess, divergence, rtol=EXACT)


def test_a_sure_and_wrong_probability(doubles):
    p, y = doubles(PROBS), doubles(LABELS)
    assert jaxent.categorical_cross_entropy(p[0], y[0]) == np.inf
    clipped = jaxent.categorical_cross_entropy(p, y, eps=1e-15)
    np.testing.assert_allclose(clipped[0], 34.538776394910684, rtol=EXACT)
    np.testing.assert_allclose(clipped.sum(), 36.14821430734479, rtol=EXACT)
    mean = jaxent.reduce(clipped)
    np.testing.assert_allclose(mean, 18.074107153672394, rtol=EXACT)


def test_the_other_clip_in_single_precision():
    p, y = jnp.array(PROBS), jnp.array(LABELS, jnp.float32)
    loss = jaxent.categorical_cross_entropy(p, y, eps=1e-7)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, [16.118095, 1.609438], rtol=2**-23)


def test_the_binary_reading_of_the_same(doubles):
    p, y = doubles(PROBS[0]), doubles(LABELS[0])
    loss = jaxent.reduce(jaxent.binary_cross_entropy(p, y, eps=1e-15))
    np.testing.assert_allclose(loss, 12.033141381058451, rtol=EXACT)


def test_log_loss_of_even_odds(doubles):
    even, labels = doubles([0.5, 0.5]), doubles([0, 1])
    log2 = 0.6931471805599453
    np.testing.assert_allclose(
        jaxent.reduce(jaxent.binary_cross_entropy(even, labels)), log2, rtol=EXACT
    )
    np.testing.assert_allclose(
        jaxent.categorical_cross_entropy(even, labels), log2, rtol=EXACT
    )
    nll = jaxent.negative_log_likelihood(jnp.log(even)[None], jnp.array([1]))
    np.testing.assert_allclose(nll, [log2], rtol=EXACT)


def test_likelihood_of_clipped_log_probabilities(doubles):
    log_p = jnp.log(jnp.clip(doubles(PROBS), 1e-15, 1 - 1e-15))
    labels = jnp.argmax(doubles(LABELS), axis=-1)
    loss = jaxent.reduce(jaxent.negative_log_likelihood(log_p, labels))
    np.testing.assert_allclose(loss, 18.074107153672394, rtol=EXACT)


def test_probabilities_read_as_logits(doubles):
    logits, labels = doubles(PROBS), jnp.array([2, 1])
    for loss in (
        jaxent.softmax_cross_entropy_with_integer_labels(logits, labels),
        jaxent.softmax_cross_entropy(logits, doubles(LABELS)),
    ):
        np.testing.assert_allclose(jaxent.reduce(loss), 1.3565655522346258, rtol=EXACT)


def test_three_scores_and_each_of_the_three_labels(doubles):
    logits = doubles([[2, 4, 0.5]] * 3)
    loss = jaxent.softmax_cross_entropy_with_integer_labels(logits, jnp.arange(3))
    normalizer = math.log(math.exp(2) + math.exp(4) + math.exp(0.5))
    np.testing.assert_allclose(
        loss, [normalizer - 2, normalizer - 4, normalizer - 0.5], rtol=8 * EXACT
    )


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_equal_scores_are_a_uniform_guess(classes):
    logits, label = jnp.full(classes, 0.01), jnp.array(classes - 1)
    loss = jaxent.softmax_cross_entropy_with_integer_labels(logits, label)
    np.testing.assert_allclose(loss, -math.log(1 / classes), rtol=2**-22)


def test_gradients_are_prediction_less_label():
    logits, y = jnp.array([2.0, 4.0, 0.5]), np.array([0.0, 0, 1])
    softmax = np.exp([2, 4, 0.5]) / np.exp([2, 4, 0.5]).sum()
    grad = jax.grad(jaxent.softmax_cross_entropy_with_integer_labels)(
        logits, jnp.array(2)
    )
    np.testing.assert_allclose(grad, softmax - y, rtol=1e-6)
    sigmoid = 1 / (1 + np.exp([-2, -4, -0.5]))
    grad = jax.grad(
        lambda x: jaxent.sigmoid_binary_cross_entropy(x, jnp.array([0.0, 0, 1])).sum()
    )(logits)
    np.testing.assert_allclose(grad, sigmoid - y, rtol=1e-6)
