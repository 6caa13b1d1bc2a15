# SPDX-License-Identifier: Apache-2.0
"""Links lead somewhere, and the README's memory is that of compiled programs.

Its program, tables and bounds are in `test_programs` and `test_pages`.
"""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest
from test_memory import compiled, gradient, temporaries

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_memory_of_a_step():
    said = re.search(
        r"a step of (\d+) tokens, (\d+) wide, and ([\d,]+) classes has (\d+)\s+MiB, "
        r"where Optax's has (\d+)",
        (ROOT / "README.md").read_text("utf-8"),
    )
    *sizes, ours, theirs = (int(x.replace(",", "")) for x in said.groups())

    def dense(hidden, classifier, labels):
        losses = optax.losses.softmax_cross_entropy_with_integer_labels(
            hidden @ classifier.T, labels
        )
        return jnp.mean(losses)

    program = compiled(gradient(), *sizes)
    assert temporaries(program) / 2**20 == pytest.approx(ours, rel=0.03)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        program = compiled(jax.value_and_grad(dense, argnums=(0, 1)), *sizes)
    assert temporaries(program) / 2**20 == pytest.approx(theirs, rel=0.03)
