# SPDX-License-Identifier: Apache-2.0
"""What must hold for any logits, whatever the number: found by search, not chosen."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import losses
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import jaxent

pytestmark = pytest.mark.quickly_compiled

# One shape, so that everything is compiled once.
SHAPE = (3, 5)
# Multiples of 1/8 up to 2¹⁰: exact in float32 with any offset below 2²⁰.
EIGHTHS = st.integers(-(2**13), 2**13).map(lambda n: n / 8)
LOGITS = arrays(np.float32, SHAPE, elements=EIGHTHS)
ANY = arrays(np.float32, SHAPE, elements=st.floats(-(2.0**100), 2.0**100, width=32))
LABELS = arrays(np.int32, SHAPE[:1], elements=st.integers(0, SHAPE[1] - 1))

integer = jaxent.softmax_cross_entropy_with_integer_labels
quick = settings(derandomize=True, deadline=None, max_examples=60)


def ulps(a, b):
    """Distance of two float32 arrays of non-negative numbers, in units of the last."""
    a, b = (np.asarray(x, np.float32).view(np.int32).astype(np.int64) for x in (a, b))
    return np.max(np.abs(a - b))


def second(loss, labels):
    """The other argument of a loss of logits, if it has one: ids, or their rows."""
    labels = labels if loss.kind.ids else jax.nn.one_hot(labels, SHAPE[1])
    return (labels,) * (len(loss.arrays) - 1)


@quick
@given(ANY, LABELS)
def test_losses_are_never_negative(x, labels):
    for loss in losses(lambda loss: loss.arrays[0] == "logits" and not loss.signed):
        assert np.all(np.asarray(loss.call(x, *second(loss, labels))) >= 0)


@quick
@given(LOGITS, LOGITS, st.sampled_from([1.0, 2.0**-10, 2.0**-20]))
def test_divergences_are_never_negative(x, y, size):
    y = x + np.float32(size) * y
    kl = np.asarray(jaxent.kl_divergence_from_logits(x, y))
    js = np.asarray(jaxent.js_divergence_from_logits(x, y))
    assert np.all(kl >= 0)
    assert np.all(js >= 0)
    assert np.all(js <= np.float32(math.log(2)) * (1 + 2**-22))
    # Half of the sum of two KLs to the mixture, each at most half of the KL to q.
    assert np.all(js <= kl / 2 * (1 + 2**-18) + 2**-126)


@quick
@given(LOGITS, LOGITS)
def test_divergences_of_equal_and_swapped(x, y):
    assert np.all(np.asarray(jaxent.kl_divergence_from_logits(x, x)) == 0)
    assert np.all(np.asarray(jaxent.js_divergence_from_logits(x, x)) == 0)
    forward = jaxent.js_divergence_from_logits(x, y)
    backward = jaxent.js_divergence_from_logits(y, x)
    np.testing.assert_allclose(forward, backward, rtol=1e-4, atol=1e-37)
    p, q = jax.nn.softmax(x), jax.nn.softmax(y)
    forward, backward = jaxent.js_divergence(p, q), jaxent.js_divergence(q, p)
    assert ulps(forward, backward) <= 8
    assert np.all(np.asarray(jaxent.js_divergence(p, p)) == 0)


OF_ROWS = losses(lambda loss: loss.of_logits and loss.kind.classes)


@functools.cache
def differentiated(call):
    """Values, and gradients by the first argument."""

    def both(z, *others):
        value, back = jax.vjp(lambda z: call(z, *others), z)
        return value, *back(jnp.ones_like(value))

    return jax.jit(both)


def smoothed(z, labels):
    return integer(z, labels, label_smoothing=0.125)


def kl_to(z, x):
    return jaxent.kl_divergence_from_logits(x, z)


@quick
@given(LOGITS, LABELS, st.integers(-(2**20), 2**20))
def test_an_exact_offset_changes_nothing(x, labels, offset):
    moved = x + np.float32(offset)
    for call, *others in (
        *((loss.call, *second(loss, labels)) for loss in OF_ROWS),
        (smoothed, labels),
        (kl_to, x),
    ):
        f = differentiated(call)
        for here, there in zip(f(x, *others), f(moved, *others), strict=True):
            np.testing.assert_array_equal(here, there)


@quick
@given(LOGITS, LABELS, st.permutations(range(SHAPE[1])))
def test_classes_have_no_order(x, labels, order):
    new = np.argsort(order).astype(np.int32)[labels]
    # Sums are taken in another order: 2 ULP of them, 2 of the functions.
    assert ulps(integer(x, labels), integer(x[:, order], new)) <= 4
    here = jaxent.entropy_from_logits(x)
    assert ulps(here, jaxent.entropy_from_logits(x[:, order])) <= 4


@quick
@given(ANY, LABELS)
def test_one_hot_labels_are_class_ids(x, labels):
    one_hot = jax.nn.one_hot(labels, SHAPE[1])
    assert ulps(jaxent.softmax_cross_entropy(x, one_hot), integer(x, labels)) <= 2


@quick
@given(ANY, LABELS)
def test_without_focus_the_focal_loss_is_the_cross_entropy(x, labels):
    focal = jaxent.softmax_focal_loss(x, labels, gamma=0.0)
    np.testing.assert_array_equal(focal, integer(x, labels))
    y = jax.nn.one_hot(labels, SHAPE[1])
    focal = jaxent.sigmoid_focal_loss(x, y, gamma=0.0)
    np.testing.assert_array_equal(focal, jaxent.sigmoid_binary_cross_entropy(x, y))


@quick
@given(LOGITS, LABELS)
def test_two_classes_are_one_binary_decision(x, labels):
    margin, y = x[:, 1] - x[:, 0], labels % 2
    binary = jaxent.sigmoid_binary_cross_entropy(margin, y.astype(np.float32))
    assert ulps(binary, integer(x[:, :2], y)) <= 8


@quick
@given(LOGITS, LABELS)
def test_vmap_is_the_batch(x, labels):
    for loss in OF_ROWS:
        given = x, *second(loss, labels)
        mapped = jax.vmap(loss.call)(*given)
        np.testing.assert_array_equal(mapped, loss.call(*given))


@quick
@given(ANY, LABELS, st.sampled_from(range(3)))
def test_a_position_is_its_own(x, labels, position):
    """NaN in, NaN out, there and nowhere else."""
    broken = x.copy()
    broken[position, 0] = np.nan
    loss, clean = np.asarray(integer(broken, labels)), np.asarray(integer(x, labels))
    assert np.isnan(loss[position])
    others = np.arange(3) != position
    np.testing.assert_array_equal(loss[others], clean[others])


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_saturation_has_a_gradient(gamma):
    # The searches above compare; this says that what they compare is not all zeros.
    f = jax.grad(lambda x: jaxent.softmax_focal_loss(x, jnp.array(0), gamma=gamma))
    assert np.all(np.asarray(f(jnp.array([10.0, 0.0, 1.0]))) != 0)
