# SPDX-License-Identifier: Apache-2.0
"""scikit-learn's tests of `log_loss`, on `compat.sklearn`'s."""

import jax
import sklearn.metrics

from jaxent.compat import sklearn as compat

from . import expect_failures, replace

TESTS = ["--pyargs", "sklearn.metrics.tests.test_classification", "-k", "log_loss"]
WORDS = "refused as well, in other words"
EXPECTED = {
    "::test_log_loss": WORDS,
    "test_log_loss_y_pred_deprecation": "compat has no deprecated argument",
}

replace(sklearn.metrics, compat, ["log_loss"])


def pytest_configure():
    # scikit-learn computes in float64.
    jax.config.update("jax_enable_x64", True)


def pytest_collection_modifyitems(items):
    expect_failures(items, EXPECTED)
