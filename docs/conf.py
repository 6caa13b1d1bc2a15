# SPDX-License-Identifier: Apache-2.0
"""How Sphinx makes the site: `make docs`. Nothing of it is fetched, then or later."""

import sys
import tomllib
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

project = "jaxent"
author = "the authors of jaxent"
project_copyright = author
_pyproject = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))
release = _pyproject["project"]["version"]

extensions = ["sphinx.ext.autodoc", "myst_parser", "docstrings", "mathml"]
exclude_patterns = ["extensions", "pictures"]

html_theme = "furo"
html_title = f"jaxent {release}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"

# What a forge shows of the same pages: $ and $$ for formulas, its anchors of headings.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

default_role = "py:obj"  # `name`: a link if there is such a name, else code
autodoc_member_order = "bysource"
maximum_signature_line_length = 72


def end_with_code(app: Sphinx, doctree: nodes.document) -> None:
    """Drop the empty line with which a doctest ends before its fence."""
    for block in doctree.findall(nodes.literal_block):
        block.rawsource = block.astext().rstrip()
        block[:] = [nodes.Text(block.rawsource)]


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", end_with_code)
