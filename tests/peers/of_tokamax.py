# SPDX-License-Identifier: Apache-2.0
"""tokamax' tests of its fused head, on jaxent's as an implementation of it."""

from tokamax._src.ops.linear_softmax_cross_entropy_loss import api, base

import jaxent

HOME = "tokamax._src.ops.linear_softmax_cross_entropy_loss"
TESTS = ["--pyargs", f"{HOME}.api_test", f"{HOME}.base_test"]
TESTS += ["-k", "jaxent or reference_running_correctly"]


def loss(x, labels, weights, *, reduction="sum"):
    return jaxent.linear_softmax_cross_entropy(
        x, weights.T, labels, reduction=reduction, memory="8MB"
    )


api.IMPLEMENTATIONS["jaxent"] = loss
base.LinearSoftmaxCrossEntropyLoss = lambda: loss
