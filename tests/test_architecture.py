# SPDX-License-Identifier: Apache-2.0
"""The house rules that a reader of one file cannot see broken."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jaxent"
# Floors import only downwards; a new module is added to its floor here. Modules of
# one floor may import those to their left.
FLOORS = (
    ("_types",),
    ("_elementary", "_exact", "_ratios", "_checks", "_options"),
    ("_labels", "_sums", "_statistics", "_reduce", "_information", "_chunked",
     "_heads", "_candidates", "samplers", "kernels"),
    ("_softmax", "_focal", "_sigmoid", "_probabilities", "_divergence", "_entropy",
     "_fused", "_linear", "_distillation", "_columns", "_sampled"),
    ("compat", "_conventions", "_explain", "_explain_file",
     "_truth", "_truth_of_measures", "_arithmetic",
     "_certify_inputs", "_certify_rows", "_certify"),
    ("__init__", "__main__"),
)  # fmt: skip
ORDER = {name: (floor, place) for floor, names in enumerate(FLOORS)
         for place, name in enumerate(names)}  # fmt: skip
MAX_LINES = 300

SOURCES = sorted(PACKAGE.rglob("*.py"))
EVERY = [
    path
    for folder in ("jaxent", "tests", "examples", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
] + [ROOT / "conftest.py"]


def name_of(path):
    return path.relative_to(ROOT).as_posix()


source = pytest.mark.parametrize("path", SOURCES, ids=name_of)
every = pytest.mark.parametrize("path", EVERY, ids=name_of)


def imports(path):
    """Modules that a file imports, `.x` for those of its own package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots, module = "." * node.level, node.module or ""
            yield from (
                [dots + module]
                if module
                else [dots + alias.name for alias in node.names]
            )


def module(path):
    """What stands on a floor: a module, or a folder as a whole."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def calls(path):
    """Dotted names that are called, with the call."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@source
def test_a_module_stands_on_a_floor(path):
    name = module(path)
    assert name in ORDER, f"add {name} to its floor in {Path(__file__).name}"


@source
def test_imports_go_down(path):
    above = module(path)
    for name in imports(path):
        if name.startswith("."):
            dots = len(name) - len(name.lstrip("."))
            found = path.parents[dots - 1].joinpath(*name.lstrip(".").split("."))
            below = module(found)
            inside = below == above in {"compat", "kernels"}
            assert inside or ORDER[below] < ORDER[above], f"{above} imports {below}"
        else:
            assert name.split(".")[0] != "jaxent", f"import {name} relatively"


# The frameworks' files: their own arithmetic is clipping, weighting and reduction.
OWN = re.compile(
    r"(jnp|lax)\.(sum|mean|maximum|minimum|clip|where|any|all|full|ones|ones_like|zeros"
    r"|asarray|concatenate|issubdtype|finfo|arange|broadcast_to|broadcast_shapes|expand_dims"
    r"|stop_gradient|optimization_barrier)"
)
COMPAT = [path for path in SOURCES if module(path) == "compat"]


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
    for node in ast.walk(ast.parse(path.read_text())):
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
    tops = {m for path in PACKAGE.glob("_truth*.py") for m in imports(path)}
    assert tops <= {"numpy", "typing", "collections.abc", "._truth"}


# One place for the arithmetic: the sums of exponentials that other losses are built
# of are used nowhere, and the shift by the largest logit is made by the engine alone.
FOREIGN = re.compile(
    r"(jax\.nn|nn|jax\.scipy\.\w+|special)\."
    r"(logsumexp|log_softmax|softmax|sigmoid|log_sigmoid|softplus|one_hot|xlogy|entr)"
)
ENGINE = {"_sums", "_statistics", "_information"}
# Kernels take the same sums tile by tile, with functions that their compilers have.
KERNELS = {"tpu", "gpu", "_hopper", "_fused_head"}
# What `certify` holds the engine against is a second arithmetic by intention.
TRUTHS = {"_truth", "_truth_of_measures", "_certify_inputs"}
EXPONENTIALS = (
    ENGINE | TRUTHS | {"_elementary", "_exact", "_ratios", "_divergence", "_reduce"}
)
LOGARITHMS = (
    ENGINE | TRUTHS | {"_elementary", "_exact", "_ratios", "_candidates", "_columns"}
)


@source
def test_the_arithmetic_has_one_place(path):
    for called, node in calls(path):
        last = called.split(".")[-1]
        assert not FOREIGN.fullmatch(called), called
        if last in {"log", "log1p", "logaddexp"} and not called.startswith("math."):
            assert path.stem in LOGARITHMS, called
        if last in {"exp", "exp2"} and not called.startswith("math."):
            assert path.stem in EXPONENTIALS, called
        if last in {"max", "amax"} and called.startswith("jnp."):
            classes = any(k.arg == "axis" for k in node.keywords)
            inside = path.stem in ENGINE | KERNELS
            assert not classes or inside, f"{called} over the classes"
        if last in {"pmax", "logsumexp", "log_softmax", "softmax"}:
            assert path.stem in ENGINE or last == "pmax", called


@source
def test_functions_are_asked_for_at_their_most_accurate(path):
    """Of `_elementary`, not of JAX, whose default is coarse on TPUs."""
    coarse = re.compile(r"(jnp|lax|jax\.numpy|jax\.lax)\.(exp|expm1|log|log1p|tanh)")
    if path.stem not in {"_elementary"} | TRUTHS | KERNELS:
        assert not any(coarse.fullmatch(called) for called, _ in calls(path))


@source
def test_no_check_is_an_assert(path):
    """Asserts vanish under -O and say nothing to the caller; they may narrow a type."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assert):
            assert ast.unparse(node.test).endswith(" is not None")


def test_every_message_is_raised_in_one_place():
    raising = {
        path.stem
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise)
    }
    assert raising == {"_checks"}
