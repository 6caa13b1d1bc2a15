# SPDX-License-Identifier: Apache-2.0
"""Optax' tests of classification losses, of what `compat.optax` has of them."""

import inspect

from optax.losses import _classification

from jaxent.compat import optax as compat

from . import expect_failures, replace

TESTS = ["--pyargs", "optax.losses._classification_test"]
NAMES = [
    n for n, f in inspect.getmembers(compat, callable) if hasattr(_classification, n)
]
EXPECTED = {
    "GeneralizedKLDivergenceTest::test_deprecated_alias": "no alias that warns",
}

replace(_classification, compat, NAMES)


def pytest_collection_modifyitems(items):
    expect_failures(items, EXPECTED)
