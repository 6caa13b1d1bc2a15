# SPDX-License-Identifier: Apache-2.0
"""torch's numbers, as torch printed them."""

import pytest
import replay

from jaxent.compat import torch


def adaptive(*arrays, which):
    hidden, head, bias, *rest, target = arrays
    pairs = tuple(zip(rest[::2], rest[1::2], strict=True))
    parameters = torch.AdaptiveLogSoftmax(head, pairs, bias)
    if which == "log_prob":
        return torch.adaptive_log_prob(hidden, parameters)
    return torch.adaptive_log_softmax_with_loss(hidden, target, parameters)[
        which == "loss"
    ]


def function_of(name):
    if name.startswith("adaptive"):
        return lambda *arrays: adaptive(*arrays, which=name.split()[1])
    return getattr(torch, name)


GOLDEN = replay.Golden("torch", function_of)


@pytest.mark.parametrize("name", GOLDEN.cases, ids=str)
def test_the_number_torch_prints(name):
    replay.check(GOLDEN, name)
