# SPDX-License-Identifier: Apache-2.0
"""The site builds without a warning, and whoever walks it finds all that is linked."""

import html.parser
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from test_public_api import CLASSES, FUNCTIONS, SAMPLERS, TOOLS

import jaxent

for needed in ("furo", "myst_parser", "sphinx"):
    pytest.importorskip(needed, reason="the site needs the extra `docs`")

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
compat = jaxent.compat
COMPAT = [
    compat.keras, compat.keras.metrics, compat.optax, compat.sklearn, compat.tensorflow,
    compat.tensorflow.losses, compat.torch,
]  # fmt: skip
NAMES = {
    *(f"jaxent.{name}" for name in (*FUNCTIONS, *CLASSES, *SAMPLERS, *TOOLS)),
    *(f"{module.__name__}.{name}" for module in COMPAT
      for name, value in vars(module).items()
      if getattr(value, "__module__", "").startswith(module.__name__)
      and not name.startswith("_")),
}  # fmt: skip
VERBATIM = {"code", "math", "pre", "script", "style", "title"}


class Page(html.parser.HTMLParser):
    """What one page holds: anchors, targets of links, files it loads, and its prose."""

    def __init__(self, path: Path):
        super().__init__()
        self.anchors, self.links, self.loads = set(), [], []
        self.prose, self.formulas, self.open = [], 0, []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs[key] for key in ("id", "name") if attrs.get(key)}
        if tag == "a" and "href" in attrs:
            self.links.append(attrs["href"])
        elif tag == "link" and attrs.get("rel") in ("stylesheet", "icon", "preload"):
            self.loads.append(attrs["href"])
        elif attrs.get("src"):
            self.loads.append(attrs["src"])
        self.formulas += tag == "math"
        self.open.append(tag)

    def handle_endtag(self, tag):
        while tag in self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if VERBATIM.isdisjoint(self.open):
            self.prose.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site, and its pages by path."""
    folder = tmp_path_factory.mktemp("site")
    command = ["-m", "sphinx", "-q", "-W", "--keep-going", "-d", folder / ".doctrees"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    run = subprocess.run(
        [sys.executable, *command, DOCS, folder],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    return folder, {path: Page(path) for path in folder.rglob("*.html")}


def faults(folder: Path, pages: dict[Path, Page]) -> list[str]:
    """Whatever a reader without a network would find missing or unreadable."""
    found = []
    for path, page in pages.items():
        name = path.relative_to(folder)
        for target in [*page.links, *page.loads]:
            parts = urlsplit(target)
            outside = bool(parts.scheme or parts.netloc)
            if outside and target in page.loads and parts.scheme != "data":
                found.append(f"{name} loads {target}")
            if outside:
                continue
            there = path.parent / unquote(parts.path) if parts.path else path
            other = there.resolve()
            if not other.is_file():
                found.append(f"{name}: there is no {target}")
                continue
            anchors = pages[other].anchors if other in pages else set()
            if parts.fragment and unquote(parts.fragment) not in anchors:
                found.append(f"{name}: no such place: {target}")
        prose = "".join(page.prose)
        found += [f"{name}: unrendered {x}" for x in ("$", r"\(", r"\[") if x in prose]
    return found


def test_the_site_is_whole(site):
    folder, pages = site
    assert faults(folder, pages) == []
    # Every page is there, and those with formulas show them.
    sources = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")}
    built = {path.relative_to(folder).with_suffix("") for path in pages}
    assert sources <= built
    for source in DOCS.rglob("*.md"):
        page = pages[folder / source.relative_to(DOCS).with_suffix(".html")]
        blocks = source.read_text("utf-8").count("$$") // 2
        assert page.formulas >= blocks, source.name
    anchors = set().union(*(page.anchors for page in pages.values()))
    assert sorted(NAMES - anchors) == []


def test_a_broken_page_is_found(tmp_path):
    (tmp_path / "other.html").write_text('<h1 id="there">There</h1>')
    page = tmp_path / "page.html"
    page.write_text(
        '<p id="here">It costs $x$. <code>$HOME</code></p><img src="gone.png">'
        '<a href="#here">1</a><a href="other.html#there">2</a><a href="#no">3</a>'
        '<a href="other.html#here">4</a><a href="https://example.org/">5</a>'
        '<script src="https://example.org/x.js"></script>'
    )
    assert faults(tmp_path, {path: Page(path) for path in tmp_path.glob("*")}) == [
        "page.html: no such place: #no",
        "page.html: no such place: other.html#here",
        "page.html: there is no gone.png",
        "page.html loads https://example.org/x.js",
        "page.html: unrendered $",
    ]


@pytest.mark.thorough
def test_pictures_are_drawn_by_their_program(tmp_path):
    pytest.importorskip("matplotlib", reason="the pictures need the extra `demo`")
    subprocess.run(
        [sys.executable, "-W", "error", DOCS / "pictures.py", "--output", tmp_path],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        check=True,
    )
    drawn = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    committed = {path.name: path.stat().st_size for path in DOCS.glob("pictures/*")}
    assert drawn.keys() == committed.keys()
    for name, size in committed.items():
        assert size < 150_000
        assert drawn[name] == pytest.approx(size, rel=0.2), name
