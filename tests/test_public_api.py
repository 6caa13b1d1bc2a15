# SPDX-License-Identifier: Apache-2.0
"""The shop window: its names, their documents, and what importing and calling cost."""

import ast
import functools
import inspect
import operator
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import LOSSES
from given import put

import jaxent
from jaxent._types import Number

FUNCTIONS = [
    *LOSSES,
    "bits_per_byte",
    "kl_divergence_from_top_k",
    "linear_js_divergence",
    "linear_kl_divergence",
    "linear_kl_divergence_from_top_k",
    "linear_sigmoid_binary_cross_entropy",
    "linear_softmax_cross_entropy",
    "linear_softmax_loss",
    "linear_softmax_statistics",
    "nce_loss",
    "next_token_labels",
    "perplexity",
    "rank_sampled_softmax_cross_entropy",
    "reduce",
    "sampled_softmax_cross_entropy",
    "segment_means",
    "smooth_labels",
    "softmax_statistics",
]
TOOLS = ["explain"]
CLASSES = ["Candidates", "Explanation", "SoftmaxStatistics", "WeightedMean"]
MODULES = ["compat", "samplers"]
SAMPLERS = [
    "samplers.all_candidates",
    "samplers.fixed_unigram",
    "samplers.learned_unigram",
    "samplers.log_uniform",
    "samplers.renumber",
    "samplers.uniform",
]
POSITIONAL = {  # the arrays, in data-flow order; what is not here is (logits, labels)
    "binary_cross_entropy": ("probs", "labels"),
    "bits_per_byte": ("total_nll", "num_bytes"),
    "categorical_cross_entropy": ("probs", "labels"),
    "cross_entropy": ("p", "q"),
    "cross_entropy_from_logits": ("p_logits", "q_logits"),
    "entropy": ("probs",),
    "entropy_from_logits": ("logits",),
    "explain": ("labels", "predictions"),
    "generalized_kl_divergence": ("log_predictions", "targets"),
    "js_divergence": ("p", "q"),
    "js_divergence_from_logits": ("p_logits", "q_logits"),
    "kl_divergence": ("log_predictions", "targets"),
    "kl_divergence_from_logits": ("p_logits", "q_logits"),
    "kl_divergence_from_top_k": ("logits", "ids", "log_probs"),
    "kl_divergence_with_log_targets": ("log_predictions", "log_targets"),
    "linear_js_divergence": (
        "student_hidden", "student_classifier", "teacher_hidden", "teacher_classifier",
    ),
    "linear_kl_divergence": (
        "student_hidden", "student_classifier", "teacher_hidden", "teacher_classifier",
    ),
    "linear_kl_divergence_from_top_k": ("hidden", "classifier", "ids", "log_probs"),
    "linear_sigmoid_binary_cross_entropy": ("hidden", "classifier", "labels"),
    "linear_softmax_cross_entropy": ("hidden", "classifier", "labels"),
    "linear_softmax_loss": ("function", "hidden", "classifier", "labels"),
    "linear_softmax_statistics": ("hidden", "classifier", "labels"),
    "nce_loss": ("hidden", "classifier", "labels"),
    "negative_log_likelihood": ("log_probs", "labels"),
    "next_token_labels": ("tokens",),
    "perplexity": ("mean_nll",),
    "segment_means": ("values", "segment_ids"),
    "rank_sampled_softmax_cross_entropy": ("hidden", "classifier", "labels"),
    "reduce": ("values",),
    "sampled_softmax_cross_entropy": ("hidden", "classifier", "labels"),
    "samplers.renumber": ("labels", "candidates"),
    "smooth_labels": ("labels", "alpha"),
}  # fmt: skip
for _name in SAMPLERS:
    POSITIONAL.setdefault(_name, ("key", "labels"))
# Options there is no default for; also with what the functions are called here.
REQUIRED = {
    "candidates": jaxent.Candidates(jnp.arange(4), jnp.ones((3, 5)), jnp.ones(4)),
    "num_classes": 11,
    "num_resampled": 2,
    "num_sampled": 11,
    "num_segments": 4,
    "weights": jnp.ones(11),
}
PACKAGE = Path(jaxent.__file__).parent
function = pytest.mark.parametrize("name", FUNCTIONS)
documented = pytest.mark.parametrize("name", FUNCTIONS + SAMPLERS + TOOLS)


def called(name):
    return operator.attrgetter(name)(jaxent)


def test_the_names_are_these_and_no_others():
    public = {name for name in vars(jaxent) if not name.startswith("_")}
    assert public == {*FUNCTIONS, *TOOLS, *CLASSES, *MODULES}
    here = {
        f"samplers.{name}"
        for name, f in vars(jaxent.samplers).items()
        if getattr(f, "__module__", "") == "jaxent.samplers"
    }
    assert here == {*SAMPLERS}


@documented
def test_a_function_is_documented_in_sections(name):
    doc = inspect.getdoc(called(name))
    sections = [
        doc.find(s) for s in ("\nArgs:\n", "\nReturns:\n", "\nRaises:\n",
                              "\nExample:\n", "\nSource: ")
    ]  # fmt: skip
    assert -1 not in sections
    assert sections == sorted(sections)
    example = doc[sections[3] : sections[4]]
    assert f">>> jaxent.{name}(" in example or f"= jaxent.{name}(" in example
    assert "\n  >>> " in example


@documented
def test_every_argument_is_documented_in_order_and_no_other(name):
    f = called(name)
    doc = inspect.getdoc(f)
    section = doc[doc.find("\nArgs:\n") + 7 : doc.find("\nReturns:\n")]
    described = [
        line.split(":")[0].strip()
        for line in section.splitlines()
        if line.startswith("  ") and not line.startswith("   ")
    ]
    assert described == list(inspect.signature(f).parameters)


@documented
def test_arrays_are_positional_and_options_keyword_only(name):
    parameters = inspect.signature(called(name)).parameters.values()
    # But for `*data`, arrays too.
    parameters = [p for p in parameters if p.kind is not p.VAR_POSITIONAL]
    positional = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
    expected = POSITIONAL.get(name, ("logits", "labels"))
    assert tuple(p.name for p in positional) == expected
    assert all(p.default is p.empty for p in positional)
    options = (p for p in parameters if p not in positional)
    assert all(p.default is not p.empty or p.name in REQUIRED for p in options)


@documented
def test_a_function_is_annotated(name):
    f = called(name)
    signature = inspect.signature(f)
    assert inspect.isfunction(f)
    assert signature.return_annotation is not signature.empty
    assert all(p.annotation is not p.empty for p in signature.parameters.values())


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_and_its_fields_are_documented(name):
    cls = getattr(jaxent, name)
    source = ast.parse(inspect.getsource(cls)).body[0]
    assert ast.get_docstring(source)
    for field, text in zip(source.body[1::2], source.body[2::2], strict=False):
        if not isinstance(field, ast.AnnAssign):
            break
        assert isinstance(text.value.value, str), field.target.id
    for member in vars(cls).values():
        if inspect.isfunction(member) and not member.__name__.startswith("_"):
            assert member.__doc__


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").is_file()


def test_run_time_imports_are_jax_jaxtyping_and_the_standard_library():
    # NumPy is what JAX itself needs: labels may come in it, and `certify` computes so.
    plain = {"jax", "jaxlib", "jaxtyping", "numpy", *sys.stdlib_module_names}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                tops = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                tops = {node.module.split(".")[0]}
            else:
                continue
            assert tops <= plain, path


def test_importing_after_jax_loads_nothing_further_than_jaxtyping():
    script = (
        "import sys, jax, jax.numpy, jax.experimental.checkify, jaxtyping\n"
        "before = {m.split('.')[0] for m in sys.modules}\n"
        "import jaxent\n"
        "after = {m.split('.')[0] for m in sys.modules}\n"
        "print(*sorted(after - before - set(sys.stdlib_module_names)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PACKAGE.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.split() == ["jaxent"]


def _own_loss(statistics):
    return statistics.nll


def arguments(name, dtype):
    """The function of its arrays, and each of these by its name or its annotation."""
    f = getattr(jaxent, name)
    parameters = inspect.signature(f).parameters.values()

    def value(p):
        special = {
            "alpha": 0.1,
            "function": _own_loss,
            "segment_ids": put(np.ones((3, 5, 7), np.int32)),
        }
        if p.name in special:
            return special[p.name]
        if "Int" in str(p.annotation):
            several = "k]" in str(p.annotation) or " k" in str(p.annotation)
            return put(np.ones((3, 5, 2) if several else (3, 5), np.int32))
        if p.name == "log_probs" and "ids" in names:
            return put(np.full((3, 5, 2), -1, dtype))
        shape = (11, 7) if p.name.endswith("classifier") else (3, 5, 7)
        return put(np.ones(shape, dtype))

    names = [p.name for p in parameters]
    required = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    required = {p.name: REQUIRED[p.name] for p in required if p.default is p.empty}
    arrays = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    xs = tuple(map(value, arrays))
    return functools.partial(f, **required), xs


@function
def test_every_option_is_looked_at(name):
    """Refused if it is nothing, or a number that is none: so none is passed by."""
    f, xs = arguments(name, jnp.float32)
    for option, p in inspect.signature(getattr(jaxent, name)).parameters.items():
        if p.kind is not p.KEYWORD_ONLY:
            continue
        number = {*get_args(p.annotation)} - {type(None)} == {*get_args(Number)}
        for bad in (object(), np.nan) if number else (object(),):
            with pytest.raises((TypeError, ValueError)) as error:
                f(*xs, **{option: bad})
            assert str(error.value).startswith(f"`jaxent.{name}({option}=...)` must ")


@pytest.mark.quickly_compiled
@function
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["f32", "bf16"])
def test_an_eager_call_is_one_program(name, dtype):
    """Each program that a first call dispatches is compiled once, and so counted."""
    f, xs = arguments(name, dtype)
    compiled = []

    def count(event, duration, **_):
        del duration
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    jax.clear_caches()
    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        jax.block_until_ready(f(*xs))
    finally:
        jax.monitoring.unregister_event_duration_listener(count)
    # A function of the caller's is traced anew at each call, and not worth caching.
    assert len(compiled) == 1 or name == "linear_softmax_loss"


CORES = {  # the jitted functions of every module
    value.__name__
    for name, module in sys.modules.items()
    if name.startswith("jaxent.")
    for value in vars(module).values()
    if hasattr(value, "lower") and hasattr(value, "trace")
}


@function
def test_a_call_inlines_in_the_caller_s_program(name):
    f, xs = arguments(name, jnp.float32)
    first = int(callable(xs[0]))
    trace = jax.make_jaxpr(lambda *ys: f(*xs[:first], *ys))(*xs[first:])
    # One JAX inlines while it traces; a newer one keeps the call, marked for later.
    cores = [e for e in trace.eqns if e.params.get("name") in CORES]
    not_inlined = jax.make_jaxpr(jax.jit(jnp.sin))(1.0).eqns[0].params["inline"]
    assert len(CORES) >= 10
    assert len(cores) <= 1
    assert all(e.params["inline"] != not_inlined for e in cores)


def test_dir_shows_the_window_and_the_version():
    shown = {name for name in dir(jaxent) if not name.startswith("__")}
    assert shown == {name for name in vars(jaxent) if not name.startswith("_")}
    assert {"__doc__", "__version__"} <= {*dir(jaxent)}
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", jaxent.__version__)
