# SPDX-License-Identifier: Apache-2.0
"""The code of every page needs nothing but what its reader has installed, and runs.

What is a doctest is run as one; `make dist` runs both where there is the wheel alone.
"""

import ast
import contextlib
import doctest
import io
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
# jaxent brings the first three, and a page says so where it needs more.
INSTALLED = {"jax", "jaxent", "numpy", "optax", "sklearn", *sys.stdlib_module_names}


def blocks(page: Path) -> list[str]:
    """The Python of a page that is no doctest."""
    found = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.S | re.M)
    return [block for block in found if not block.startswith(">>>")]


def imported(page: Path) -> set[str]:
    """The packages that the code of a page names."""
    examples = doctest.DocTestParser().get_examples(page.read_text("utf-8"))
    names = set()
    for source in [*blocks(page), *(example.source for example in examples)]:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def run(page: Path) -> tuple[dict, str]:
    """The names and the output of a page's program, at JAX's defaults."""
    names, output = {}, io.StringIO()
    with (
        jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"),
        np.printoptions(precision=8), contextlib.redirect_stdout(output),
    ):  # fmt: skip
        exec("\n\n".join(blocks(page)), names)
    return names, output.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_needs_what_is_installed(page):
    assert imported(page) <= INSTALLED


def test_what_is_of_the_repository_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nimport examples.demo\n```\n\n>>> from tests import a\n")
    assert imported(page) == {"examples", "tests"}


@pytest.mark.parametrize(
    "page",
    [
        page
        for page in PAGES
        if blocks(page) and page.stem not in ("README", "quick-start")
    ],
    ids=lambda path: path.name,
)
def test_the_program_of_a_page_runs(page):
    run(page)


@pytest.mark.quickly_compiled
def test_the_readme_prints_what_it_says():
    page = ROOT / "README.md"
    said = re.findall(r"^print\(.*# \[(.*)\]$", "\n".join(blocks(page)), re.M)
    _, output = run(page)
    printed = re.findall(r"^\[(.*)\]$", output, re.M)
    assert said
    assert printed == said


@pytest.mark.quickly_compiled
def test_the_quick_start_learns():
    pytest.importorskip("sklearn", reason="the quick start needs it")
    names, output = run(ROOT / "docs" / "quick-start.md")
    assert names["hits"].weight == 297
    assert names["hits"].value > 0.9
    assert re.search(r"^[\d.]+ nats, perplexity [\d.]+\n[\d.]+% of 297 images", output)
