# SPDX-License-Identifier: Apache-2.0
"""tokamax' tests of its fused head, on jaxent's as an implementation of it."""

from tokamax._src.ops.linear_softmax_cross_entropy_loss import api, base

import jaxent

from . import expect_failures

HOME = "tokamax._src.ops.linear_softmax_cross_entropy_loss"
TESTS = ["--pyargs", f"{HOME}.api_test", f"{HOME}.base_test"]
TESTS += ["-k", "jaxent or reference_running_correctly"]

EXPECTED = {
    # Measured at the small size: 1.18e-4 for both, of gradients up to 7.
    "test_reference_running_correctly_*": "held to 1e-5 of float32 products of another "
    "order, which are 1e-4 from the truth, as jaxent's are",
}


def loss(x, labels, weights, *, reduction="sum"):
    return jaxent.linear_softmax_cross_entropy(
        x, weights.T, labels, reduction=reduction, memory="8MB"
    )


api.IMPLEMENTATIONS["jaxent"] = loss
base.LinearSoftmaxCrossEntropyLoss = lambda: loss


def pytest_collection_modifyitems(items):
    expect_failures(items, EXPECTED)
