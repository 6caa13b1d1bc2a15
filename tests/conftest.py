# SPDX-License-Identifier: Apache-2.0
"""Cells of the tables that are known to miss their budget, each with what is known.

They run, and are reported as expected failures; not strictly, since some pass on one
machine and not on another. This list is to be emptied, never added to for a new loss.
"""

import re

import pytest

collect_ignore_glob = ["golden/*.py"]  # they need the frameworks they call

SECOND = r"-.*(hess|_of_)"
OPEN = {
    r"test_(gradient|value)\[(binary_cross_entropy|js_divergence)-float64": (
        "XLA's float64 log1p and atanh are off by up to 70 ULP on CPU: 1e-14 relative"
    ),
    r"test_gradient\[js_divergence_from_logits(-axis0)?-float(32-wrong|64)": (
        "at most 15 budgets, 2e-14 relative in float64: the budget leaves out the "
        "rounding of log(q/p) where it is neither near 0 nor large"
    ),
    r"test_gradient\[generalized_cross_entropy-together-\w+-wrong": (
        "smoothed, with a confident wrong class: terms of other classes cancel by 1e-6"
    ),
    r"test_gradient\[softmax_cross_entropy(_with_\w+)?-(together|axes|z_loss)": (
        "at most 3 budgets: sums of several options' terms"
    ),
    r"test_gradient\[(poly_loss_cross_entropy-together|kl_divergence_from_logits)": (
        "at most 3 budgets: sums of several options' terms"
    ),
    r"test_gradient\[cross_entropy_from_logits-float32-initial": (
        "at most 2 budgets: entropy's and the divergence's gradients cancel in part"
    ),
    rf"test_transform\[softmax_focal_loss-together-0{SECOND}": (
        "second derivatives in float64 at 1e-11 relative"
    ),
    rf"test_transform\[generalized_kl_divergence-1{SECOND}": (
        "second derivatives in float64 at 1e-11 relative"
    ),
}


def pytest_collection_modifyitems(items):
    for item in items:
        for pattern, reason in OPEN.items():
            if re.search(pattern, item.nodeid):
                item.add_marker(pytest.mark.xfail(reason=reason, strict=False))
