# SPDX-License-Identifier: Apache-2.0
"""Keras' tests of its losses and metrics, on `compat.keras`'s."""

import os

os.environ["KERAS_BACKEND"] = "jax"

from keras.src.losses import losses
from keras.src.metrics import probabilistic_metrics

from jaxent.compat import keras as compat

from . import expect_failures, replace

TESTS = [
    "--pyargs", "keras.src.losses.losses_test",
    "keras.src.metrics.probabilistic_metrics_test", "-k",
    "KLDivergence or Crossentropy or CrossEntropy or Poisson",
]  # fmt: skip
CONFIG = "compat's objects are no layers: they have no config to serialise"
DTYPE = "jaxent's losses are float32 whatever the inputs are"
WORDS = "refused as well, in other words"
EXPECTED = {
    "losses_test::*Cross[eE]ntropyTest::test_config": CONFIG,
    "losses_test::*::test_dtype_arg": DTYPE,
    "losses_test::*::test_shape_mismatch": WORDS,
    "losses_test::Sparse*_segmentation_different_axis": WORDS,
}
OF_BOTH = [n for n in dir(compat) if n[0].isupper() and hasattr(losses, n)]
METRICS = [n for n in dir(compat.metrics) if hasattr(probabilistic_metrics, n)]

replace(losses, compat, OF_BOTH)
replace(probabilistic_metrics, compat.metrics, [n for n in METRICS if n[0].isupper()])


def pytest_collection_modifyitems(items):
    expect_failures(items, EXPECTED)
