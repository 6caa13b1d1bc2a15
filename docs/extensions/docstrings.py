# SPDX-License-Identifier: Apache-2.0
"""The house's docstrings for autodoc: sections, and signatures as they are written."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

HEADING = re.compile(r"(Args|Returns|Raises|Example):|(Source): ")
TITLES = {
    path.read_text("utf-8").partition("\n")[0].removeprefix("# "): path.stem
    for path in Path(__file__).parents[1].glob("*.md")
}


def to_page(mention: re.Match) -> str:
    """A link for `page "Title"`, of which the end may be left out: `"Title …"`."""
    (name,) = (
        name for title, name in TITLES.items()
        if title.startswith(mention[1]) and (mention[2] or title == mention[1])
    )  # fmt: skip
    return f"page :doc:`{mention[1]}{mention[2]} </{name}>`"


def sections(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """(heading, lines) of a docstring; the text before any heading has ""."""
    heading, body = "", []
    for line in lines:
        found = HEADING.match(line)
        if found is None:
            body.append(line)
            continue
        yield heading, body
        heading = found[1] or found[2]
        body = [line[found.end() :]] if found[2] else []
    yield heading, body


def entries(body: list[str]) -> Iterator[tuple[str, str]]:
    """(name, text) of `name: text`, continued by lines that are indented further."""
    text = textwrap.dedent("\n".join(body)).strip("\n")
    for entry in re.split(r"\n(?=\S)", text):
        name, _, rest = entry.partition(":")
        yield name, " ".join(rest.split())


def as_fields(heading: str, body: list[str]) -> list[str]:
    """A section, in reStructuredText."""
    joined = " ".join(" ".join(body).split())
    match heading:
        case "Args":
            return [f":param {name}: {text}" for name, text in entries(body)]
        case "Raises":
            return [f":raises {name}: {text}" for name, text in entries(body)]
        case "Returns":
            return [f":returns: {joined}"]
        case "Source":
            return ["", f"**Source:** {joined}", ""]
        case "Example":
            code = textwrap.dedent("\n".join(body)).splitlines()
            return ["", ".. code-block:: pycon", "", *(f"   {x}" for x in code), ""]
        case _:
            return [*body, ""]


def rewrite(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Autodoc's event: a docstring is about to be read."""
    found = list(sections(lines))
    lines[:] = [
        re.sub(r'page "([^"…]+)( …|)"', to_page, line)
        for section in found
        for line in as_fields(*section)
    ]


def as_written(
    app: Sphinx, what: str, name: str, obj: Callable, *rest: object
) -> tuple[str, str] | None:
    """Autodoc's event: the annotations of the source, not the unions they stand for."""
    if not inspect.isroutine(obj):
        return None
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(obj))).body
    assert isinstance(definition, ast.FunctionDef)
    arguments, returns = definition.args, definition.returns
    if what == "method":
        first = (arguments.posonlyargs or arguments.args)[0].arg
        assert first in ("self", "cls")
        del (arguments.posonlyargs or arguments.args)[0]
    return f"({ast.unparse(arguments)})", ast.unparse(returns) if returns else ""


def link_to_full_names(app: Sphinx, doctree: nodes.document) -> None:
    """Keep a type from being linked to whatever else ends with its name."""
    for reference in doctree.findall(pending_xref):
        if reference.get("refspecific") is False:  # Sphinx asks whether it is there
            del reference["refspecific"]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", rewrite)
    app.connect("autodoc-process-signature", as_written)
    app.connect("doctree-read", link_to_full_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
