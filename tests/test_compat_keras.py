# SPDX-License-Identifier: Apache-2.0
"""Keras' numbers, as Keras printed them."""

import jax.numpy as jnp
import numpy as np
import pytest
import replay

from jaxent.compat import keras

pytestmark = pytest.mark.quickly_compiled


def called(make):
    """An object is made of its options, then called with weights and mask."""

    def of(*args, **options):
        given = {k: options.pop(k) for k in ("sample_weight", "mask") if k in options}
        return make(**options)(*args, **given)

    return of


def accumulated(make):
    def of(*arrays, sample_weight=None, **options):
        metric = make(**options)
        for pair in zip(arrays[::2], arrays[1::2], strict=True):
            metric = metric.update(*pair, sample_weight)
        return metric.result()

    return of


def function_of(name):
    if name.startswith("metrics."):
        return accumulated(getattr(keras.metrics, name.removeprefix("metrics.")))
    f = getattr(keras, name)
    return called(f) if isinstance(f, type) else f


GOLDEN = replay.Golden("keras", function_of)


@pytest.mark.parametrize("name", GOLDEN.cases, ids=str)
def test_the_number_keras_prints(name):
    replay.check(GOLDEN, name)


def test_one_alpha_a_class():
    """α_y·(1 − p_y)^γ·(−log p_y), also where there are as many samples as classes."""
    labels, alpha = jnp.eye(3)[jnp.array([0, 0, 2])], [1.0, 2.0, 3.0]
    losses = keras.categorical_focal_crossentropy(
        labels, jnp.full((3, 3), 1 / 3), alpha=alpha
    )
    # One division and three products of float32: 1e-6.
    expected = np.array([1, 1, 3]) * (2 / 3) ** 2 * np.log(3)
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
