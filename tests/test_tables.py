# SPDX-License-Identifier: Apache-2.0
"""Every public function stands in every table, or here is why it does not."""

import re
from pathlib import Path

import oracle
import pytest
from cases import CASES, LOSSES, each
from everyday import EVERYDAY, ROWS
from test_oracle import DEFINITIONS
from test_public_api import FUNCTIONS

from jaxent._certify.rows import TABLE

ROOT = Path(__file__).parents[1]


def named(pages, pattern=r"`(\w+)`"):
    """In backticks, or as the pattern has it."""
    return {
        name
        for page in ROOT.glob(pages)
        for name in re.findall(pattern, page.read_text())
    }


PLACES = {
    "oracle": {*dir(oracle)},
    "test_oracle.DEFINITIONS": {name.split("-")[0] for name in DEFINITIONS},
    "LOSSES": {*LOSSES},
    "CASES": {case.function for case in CASES},
    "worked by hand": {name for name, loss in LOSSES.items() if loss.value},
    "certify": {row.loss.__name__ for row in TABLE},
    "README": named("README.md"),
    "choosing": named("docs/choosing.md"),
    "numerics": named("docs/numerics.md"),
    "reference": named("docs/api/*.md", r"autofunction:: (\w+)"),
}


def test_what_a_thorough_run_has_alone_is_of_tests_that_there_are():
    for test in EVERYDAY:
        file, name = test.split("::")
        assert f"def {name}(" in (ROOT / "tests" / f"{file}.py").read_text(), test


def test_what_is_run_every_day_is_some_and_not_all(pytestconfig):
    """Of the files that are collected whole, which in a whole run are all."""
    if any("::" in given for given in pytestconfig.args):
        pytest.skip("some rows were asked for")
    rows = pytestconfig.stash[ROWS]
    found = {test: rows[test] for test in EVERYDAY.keys() & rows.keys()}
    assert found == {test: {True, False} for test in found}


def because(reason, *names):
    return dict.fromkeys(names, reason)


HELPERS = because(
    "makes labels, or reduces losses: by hand in test_reduce and test_labels",
    "bits_per_byte", "next_token_labels", "perplexity", "reduce", "segment_means",
    "smooth_labels",
)  # fmt: skip
HEADS = because(
    "a fused head: oracle_heads and test_linear",
    "linear_js_divergence", "linear_kl_divergence", "linear_kl_divergence_from_top_k",
    "linear_sigmoid_binary_cross_entropy", "linear_softmax_cross_entropy",
    "linear_softmax_loss", "linear_softmax_statistics",
) | because(
    "a sampled head: oracle_sampled and test_sampled",
    "nce_loss", "rank_sampled_softmax_cross_entropy", "sampled_softmax_cross_entropy",
)  # fmt: skip
STATISTICS = because("several arrays, by test_semantics", "softmax_statistics")
LISTED = because(
    "some classes of a position and not all: test_top_k", "kl_divergence_from_top_k"
)
NO_ROW = HELPERS | HEADS | STATISTICS | LISTED
ABSENT = {
    "oracle": HEADS,
    "test_oracle.DEFINITIONS": HELPERS | HEADS | LISTED,
    "LOSSES": NO_ROW,
    "CASES": NO_ROW,
    "worked by hand": NO_ROW
    | because(
        "elementwise: test_zeros has its edges",
        "binary_cross_entropy", "sigmoid_binary_cross_entropy", "sigmoid_focal_loss",
    )
    | because(
        "of two distributions, or one: test_zeros and test_semantics have the edges",
        "categorical_cross_entropy", "cross_entropy", "cross_entropy_from_logits",
        "entropy", "entropy_from_logits", "generalized_kl_divergence", "js_divergence",
        "js_divergence_from_logits", "kl_divergence", "kl_divergence_from_logits",
        "kl_divergence_with_log_targets",
    ),
    "certify": HELPERS,
    "numerics": HELPERS,
    "choosing": because(
        "beside the one to begin with, on a page of the reference",
        "cross_entropy", "cross_entropy_from_logits", "entropy",
        "generalized_kl_divergence", "js_divergence_from_logits",
        "kl_divergence_with_log_targets", "linear_js_divergence",
        "linear_softmax_statistics", "nce_loss",
        "rank_sampled_softmax_cross_entropy",
    )
    | because(
        "no loss",
        "bits_per_byte", "next_token_labels", "perplexity", "segment_means",
        "smooth_labels",
    ),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_function_is_there_or_it_is_said_why_not(place):
    """A reason for what is there after all is wrong too."""
    absent = {name for name in FUNCTIONS if name not in PLACES[place]}
    assert absent == ABSENT.get(place, {}).keys()


@each([*LOSSES.values()])
def test_a_loss_has_the_options_of_its_kind(loss):
    has = {"where", "weights", "reduction"}
    if loss.kind.classes:
        has |= {"axis"}
        if loss.of_logits:
            has |= {"temperature", "vocab_axis_name"}
            if "labels" in loss.arrays:
                has |= {"class_where", "class_weights", "label_smoothing", "z_loss"}
    if loss.kind.ids:
        has |= {"ignore_index"}
    assert has <= loss.parameters.keys()


OF_POSITIONS = {"where", "weights", "reduction", "vocab_axis_name"}
"""Tried of each loss by test_positions and test_sharded."""
UNTRIED = {
    # Recorded of Optax, and in slices.
    "softmax_cross_entropy": {"class_where"},
    "poly_loss_cross_entropy": {"class_where"},
    # By test_temperature.
    "generalized_cross_entropy": {"temperature"},
}


@each([*LOSSES.values()])
def test_every_option_is_tried_in_a_case(loss):
    tried = {*loss.arrays, *OF_POSITIONS}
    for case in CASES:
        if case.function == loss.function:
            tried |= case.example((2,), 5, "float32", "unit")[1].keys()
            tried |= {"axis"} if case.axis != -1 else set()
    assert loss.parameters.keys() - tried == UNTRIED.get(loss.function, set())


def test_what_is_not_released_has_a_heading():
    assert "\n## Unreleased\n" in (ROOT / "CHANGELOG.md").read_text()
