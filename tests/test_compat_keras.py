# SPDX-License-Identifier: Apache-2.0
"""Keras' numbers, as Keras printed them."""

import pytest
import replay

from jaxent.compat import keras


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
