# SPDX-License-Identifier: Apache-2.0
"""The house rules that a reader of one file cannot see broken."""

import ast
import functools
import graphlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jaxent"
# The walls: what each part of the house may import besides itself. A part is a folder,
# or the files of the root; within a part imports go down too (no circle).
GROUND = {"_types", "_habits", "_errors", "_values", "_checks", "_options"}
DOORS = "doors"
WALLS = {
    "_types": set(),
    "_habits": set(),
    "_errors": {"_habits"},
    "_values": {"_errors"},
    "_checks": {"_types", "_habits", "_errors", "_values"},
    "_options": {"_types", "_habits", "_errors", "_values", "_checks"},
    "_engine": GROUND,
    "_sampling": GROUND | {"_engine"},
    "_heads": GROUND | {"_engine"},
    DOORS: GROUND | {"_engine", "_sampling", "_heads"},
    "compat": GROUND | {"_engine", "_sampling", "_heads", DOORS},
    "_explain": GROUND | {"_engine", DOORS, "compat"},
    "_certify": GROUND | {"_engine", "_sampling", DOORS},
    "__init__": {"_engine", "_sampling", "_heads", DOORS, "compat", "_explain"},
    "__main__": {"_errors"},
}
MAX_ROOT = 20
MAX_LINES = 300

SOURCES = sorted(PACKAGE.rglob("*.py"))
EVERY = [
    path
    for folder in ("jaxent", "tests", "examples", "benchmarks", "docs")
    for path in sorted((ROOT / folder).rglob("*.py"))
] + [ROOT / "conftest.py"]


def name_of(path):
    return path.relative_to(ROOT).as_posix()


source = pytest.mark.parametrize("path", SOURCES, ids=name_of)
every = pytest.mark.parametrize("path", EVERY, ids=name_of)


@functools.cache
def nodes(path):
    return [*ast.walk(ast.parse(path.read_text()))]


def imports(path):
    """Modules that a file imports, `.x` for those of its own package."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots, module = "." * node.level, node.module or ""
            yield from (
                [dots + module]
                if module
                else [dots + alias.name for alias in node.names]
            )


def part(path):
    """The part of the house a file is in; a file of the root with no wall is a door."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return first if first in WALLS else DOORS


def inner_imports(path):
    """Paths, without a suffix, of the package's files that a file imports."""
    for node in nodes(path):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
        for alias in node.names:
            found = base / alias.name
            whole = found.with_suffix(".py").is_file() or found.is_dir()
            yield found if whole else base


def calls(path):
    """Dotted names that are called, with the call."""
    for node in nodes(path):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@source
def test_walls_hold(path):
    here = part(path)
    for found in inner_imports(path):
        there = part(found)
        assert there == here or there in WALLS[here], f"{here} imports {there}: {found}"


@source
def test_the_package_imports_itself_relatively(path):
    for name in imports(path):
        assert name.split(".")[0] != "jaxent", f"import {name} relatively"


def test_no_circle():
    """Imports within a part go down too: each file is above all that it imports."""
    below = {
        path.with_suffix(""): set(inner_imports(path)) - {path.with_suffix("")}
        for path in SOURCES
        if path.stem != "__init__"
    }
    graphlib.TopologicalSorter(below).prepare()


def test_the_root_lists_the_losses_and_nothing_else():
    root = [path.name for path in PACKAGE.iterdir() if path.is_file()]
    assert len(root) <= MAX_ROOT
    doors = {path for path in SOURCES if part(path) == DOORS}
    shown = {
        found.with_suffix(".py") for found in inner_imports(PACKAGE / "__init__.py")
    }
    assert doors <= shown, "a file of the root defines what the shop window shows"


def test_one_room_asks_where_an_array_lives():
    asking = {path.stem for path in SOURCES if "jax.typeof" in path.read_text()}
    assert asking == {"placement"}


# The frameworks' files: their own arithmetic is clipping, weighting and reduction.
OWN = re.compile(
    r"(jnp|lax)\.(sum|mean|maximum|minimum|clip|where|any|all|full|ones|ones_like|zeros"
    r"|asarray|concatenate|issubdtype|finfo|arange|broadcast_to|broadcast_shapes|expand_dims"
    r"|stop_gradient|optimization_barrier)"
)
COMPAT = [path for path in SOURCES if part(path) == "compat"]


@pytest.mark.parametrize("path", COMPAT, ids=name_of)
def test_compat_has_no_function_of_its_own(path):
    for called, _ in calls(path):
        if re.fullmatch(r"(jnp|lax|jax\.\w+)\.\w+", called):
            assert OWN.fullmatch(called) or "random" in called, called


@every
def test_a_file_opens_with_its_licence(path):
    assert path.read_text().startswith("# SPDX-License-Identifier: Apache-2.0\n")


@every
def test_no_star_imports_and_no_module_of_odds_and_ends(path):
    assert path.stem.strip("_") not in {"utils", "util", "common", "helpers", "misc"}
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom):
            assert "*" not in {alias.name for alias in node.names}


@source
def test_a_file_is_short_enough_to_read(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


@source
def test_types_are_mended_not_silenced(path):
    silenced = re.compile(r"#\s*(type|pyright|basedpyright)\s*:\s*ignore")
    assert not silenced.search(path.read_text())


def test_the_oracle_knows_neither_jax_nor_us():
    oracles = (ROOT / "tests").glob("oracle*.py")
    tops = {m.split(".")[0] for path in oracles for m in imports(path)}
    assert tops.isdisjoint({"jax", "jaxlib", "jaxent", "optax"})


def test_the_truths_of_certify_know_neither_jax_nor_the_engine():
    truths = (PACKAGE / "_certify").glob("truth*.py")
    tops = {m for path in truths for m in imports(path)}
    assert tops <= {"numpy", "typing", "collections.abc", ".truth"}


# One place for the arithmetic: the sums of exponentials that other losses are built
# of are used nowhere, and the shift by the largest logit is made by the engine alone.
FOREIGN = re.compile(
    r"(jax\.nn|nn|jax\.scipy\.\w+|special)\."
    r"(logsumexp|log_softmax|softmax|sigmoid|log_sigmoid|softplus|one_hot|xlogy|entr)"
)


def computes_anew(path):
    """Kernels take the same sums tile by tile, with functions that their compilers
    have; what `certify` holds the engine against is a second arithmetic by intention.
    """
    return path.parent.name in {"kernels", "_certify"}


# Scalars beside the engine: of a perplexity, of a sampler's law.
EXPONENTIALS = {"_reduce"}
LOGARITHMS = {"candidates", "logits"}


@source
def test_the_arithmetic_has_one_place(path):
    for called, node in calls(path):
        last = called.split(".")[-1]
        assert not FOREIGN.fullmatch(called), called
        if part(path) == "_engine" or computes_anew(path) or called.startswith("math."):
            continue
        if last in {"log", "log1p", "logaddexp"}:
            assert path.stem in LOGARITHMS, called
        if last in {"exp", "exp2"}:
            assert path.stem in EXPONENTIALS, called
        if last in {"max", "amax"} and called.startswith("jnp."):
            classes = any(k.arg == "axis" for k in node.keywords)
            assert not classes, f"{called} over the classes"
        assert last != "pmax", called


@source
def test_functions_are_asked_for_at_their_most_accurate(path):
    """Of `elementary`, not of JAX, whose default is coarse on TPUs."""
    coarse = re.compile(r"(jnp|lax|jax\.numpy|jax\.lax)\.(exp|expm1|log|log1p|tanh)")
    if path.stem != "elementary" and not computes_anew(path):
        assert not any(coarse.fullmatch(called) for called, _ in calls(path))


@source
def test_no_check_is_an_assert(path):
    """Asserts vanish under -O and say nothing to the caller; they may narrow a type."""
    for node in nodes(path):
        if isinstance(node, ast.Assert):
            assert ast.unparse(node.test).endswith(" is not None")


def test_every_message_is_raised_in_one_place():
    raising = {
        path.stem
        for path in SOURCES
        for node in nodes(path)
        if isinstance(node, ast.Raise)
    }
    assert raising == {"_errors"}
