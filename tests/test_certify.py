# SPDX-License-Identifier: Apache-2.0
"""`python -m jaxent certify`: its truths, its table, and that it can fail."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracle
import pytest

from jaxent.__main__ import main
from jaxent._certify import arithmetic, command, inputs
from jaxent._certify import truth_of_measures as measures
from jaxent._certify.rows import TABLE
from jaxent._engine import linear
from jaxent._heads import chunked

ROWS = {row.name: row for row in TABLE}
INTEGER = ROWS["softmax_cross_entropy_with_integer_labels"]
HEAD = ROWS["linear_softmax_cross_entropy"]
FEW = (INTEGER, ROWS["sigmoid_binary_cross_entropy"], HEAD)


def inputs_of(row, dtype="float64"):
    made = row.inputs(np.random.default_rng(1), 60.0)
    args, kinds = command.stacked(made, dtype)
    return list(map(np.asarray, args)), np.array(kinds)


PARTS = {"nll": 0, "one_minus_prob": 1, "log_normalizer": 2}
# Infinities and NaNs, where a step to the side leads nowhere.
EDGES = (
    "infinite", "certain", "zeros", "label forbidden", "label outside",
    "no distribution",
)  # fmt: skip
DENSE = [row for row in TABLE if "heads" not in row.inputs.__name__]
TOLERANCE = 1e-12


def definition(row):
    """The oracle's, of the same arguments; it is held to 50 digits elsewhere."""
    options = {"q": 0.75} if row.name == "generalized_cross_entropy" else {}
    f = getattr(oracle, row.loss.__name__)
    if row.name == "kl_divergence_from_top_k":
        return lambda x, log_p, ids: f(x, ids, log_p)
    part = PARTS.get(row.part)
    return lambda *args: f(*args, **options) if part is None else f(*args)[part]


def errors(got, expected, terms):
    with np.errstate(all="ignore"):
        wrong = np.abs(got - expected) / (terms + 1e-30)
        same = (got == expected) | (np.isnan(got) & np.isnan(expected))
        return np.where(same, 0, wrong)


@pytest.mark.parametrize("row", DENSE, ids=lambda row: row.name)
@oracle.quiet
def test_truths_are_the_oracle_s(row):
    args, kinds = inputs_of(row)
    truth, f = row.truth(*args), definition(row)
    wrong = errors(truth.value.number, f(*args), truth.value.terms)
    assert np.max(wrong[kinds != "no distribution"]) < TOLERANCE
    inner = ~np.isin(kinds, EDGES)
    gradients = () if row.inputs is inputs.two else truth.gradients
    for i, g in enumerate(gradients):
        for j in range(0, args[i].shape[-1], max(1, args[i].shape[-1] // 6)):
            direction = np.arange(args[i].shape[-1]) == j

            def along(z, i=i):
                return f(*args[:i], z, *args[i + 1 :])

            slope = oracle.derivative(along, args[i], direction)
            slope = slope if slope.ndim == 1 else slope[:, j]
            wrong = errors(g.number[:, j], slope, g.terms[:, j])[inner]
            worst = np.argmax(wrong)
            assert wrong[worst] < TOLERANCE, (kinds[inner][worst], wrong[worst])


def among(ids):
    return (ids[..., None, :] == np.arange(inputs.CLASSES)[:, None]).any(-1)


OF_HEADS = {
    "linear_kl_divergence": lambda s, v, t, w: oracle.kl_divergence_from_logits(
        t @ w.T, s @ v.T
    ),
    "linear_js_divergence": lambda s, v, t, w: oracle.js_divergence_from_logits(
        t @ w.T, s @ v.T
    ),
    "linear_kl_divergence_from_top_k": lambda h, w, log_p, ids: (
        oracle.kl_divergence_from_top_k(h @ w.T, ids, log_p)
    ),
    "linear_sigmoid_binary_cross_entropy": lambda h, w, ids: np.sum(
        oracle.sigmoid_binary_cross_entropy(h @ w.T, among(ids)), axis=-1
    ),
}


@pytest.mark.parametrize("name", OF_HEADS)
@oracle.quiet
def test_truths_of_heads_are_the_oracle_s(name):
    args, _ = inputs_of(ROWS[name])
    moved = len(ROWS[name].truth(*args).gradients)
    args = [*map(oracle.wide, args[:moved]), *args[moved:]]
    truth = ROWS[name].truth(*args)

    def loss(*args):
        return np.sum(OF_HEADS[name](*args))

    assert errors(truth.value.number, loss(*args), truth.value.terms) < TOLERANCE
    rng = np.random.default_rng(2)
    for i, g in enumerate(truth.gradients):
        direction = rng.choice([-1, 1], args[i].shape)
        slope = oracle.derivative(
            lambda z, i=i: loss(*args[:i], z, *args[i + 1 :]), args[i], direction
        )
        assert errors(np.sum(g.number * direction), slope, np.sum(g.terms)) < TOLERANCE


def softmax(x):
    e = [mpmath.exp(mpmath.mpf(float(v))) for v in x]
    return [v / mpmath.fsum(e) for v in e]


def covariance(p, s):
    mean = mpmath.fsum(x * y for x, y in zip(p, s, strict=True))
    return [x * (y - mean) for x, y in zip(p, s, strict=True)]


def logs(p, q):
    """log(p/q), 0 where p is 0."""
    return [mpmath.log(x / y) if x else 0 for x, y in zip(p, q, strict=True)]


def far_from(got, exact):
    got = [mpmath.mpf(np.format_float_scientific(x, precision=24)) for x in got]
    error = max(abs(x - y) for x, y in zip(got, exact, strict=True))
    return float(error / mpmath.sqrt(mpmath.fsum(y * y for y in exact)))


@oracle.quiet
def test_divergences_have_their_gradients_to_eighty_digits():
    """Where differentiating a definition in long doubles would leave no digit."""
    mpmath.mp.dps = 80
    for kind, (a, b) in inputs.two(np.random.default_rng(1), 60.0).items():
        kl, js, ce = (
            f(a[:1], b[:1])
            for f in (
                measures.kl_of_logits,
                measures.js_of_logits,
                measures.cross_entropy_of_logits,
            )
        )
        p, q = softmax(a[0]), softmax(b[0])
        m = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
        away = [y - x for x, y in zip(p, q, strict=True)]
        nll = [-mpmath.log(x) for x in q]
        half_p, half_q = ([x / 2 for x in logs(one, m)] for one in (p, q))
        for truth, expected in (
            (kl, (covariance(p, logs(p, q)), away)),
            (js, (covariance(p, half_p), covariance(q, half_q))),
            (ce, (covariance(p, nll), away)),
        ):
            for gradient, exact in zip(truth.gradients, expected, strict=True):
                assert far_from(gradient.number[0], exact) < 1e-15, kind


def read(file):
    report = json.loads(file.read_text())
    return report, {(line["loss"], line["dtype"]): line for line in report["lines"]}


def test_this_machine_keeps_its_bounds(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "TABLE", FEW)
    assert main(["certify", "--json", str(tmp_path / "report.json")]) == 0
    report, lines = read(tmp_path / "report.json")
    assert (report["broken"], report["remedies"]) == (0, [])
    assert len(lines) == 2 * len(FEW)
    line = lines[INTEGER.name, "float32"]
    assert 0 < line["value"][0] <= 4
    assert 0 < line["gradient"][0] <= 4
    assert (line["under"], line["nans"]) == ("grad, jvp", 0)
    assert lines[INTEGER.name, "bfloat16"]["under"] == "vmap(grad)"
    printed = capsys.readouterr().out
    assert "6 of 6 lines keep their bounds." in printed
    assert "BROKEN" not in printed


@pytest.mark.usefixtures("x64")
def test_double_precision_has_its_lines():
    (*_, line) = command.lines([INTEGER])
    assert line.dtype == "float64"
    assert not line.broken
    assert line.value[0] <= 4


def naive(logits, labels):
    one = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return -jnp.sum(one * jax.nn.log_softmax(logits), axis=-1)


def test_a_naive_loss_is_found_out(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "TABLE", [INTEGER._replace(call=naive)])
    assert main(["certify", "--json", str(tmp_path / "report.json")]) == 1
    report, lines = read(tmp_path / "report.json")
    assert report["broken"] == 2
    line = lines[INTEGER.name, "float32"]
    assert line["nans"] > 0  # −inf logits times 0
    assert "jvp off by" in line["broken"]
    printed = capsys.readouterr().out
    assert "0 of 2 lines keep their bounds." in printed
    assert "The arithmetic of this device explains none of it." in printed


def test_rounded_products_are_found_out_and_named(monkeypatch, capsys):
    """As an accelerator does by default, whatever the precision of its inputs."""
    exact = linear.matmul

    def rounded(a, b, axes):
        a, b = (x.astype(jnp.bfloat16).astype(x.dtype) for x in (a, b))
        return exact(a, b, axes)

    jax.clear_caches()
    for module in (linear, chunked, arithmetic):
        monkeypatch.setattr(module, "matmul", rounded)
    monkeypatch.setattr(command, "TABLE", [HEAD])
    try:
        assert main(["certify"]) == 1
    finally:
        jax.clear_caches()
    printed = capsys.readouterr().out
    assert "Matrix products keep" in printed
    assert 'jax.config.update("jax_default_matmul_precision", "highest")' in printed


def test_what_a_device_cannot_do_is_a_line_too(monkeypatch, capsys):
    def impossible(logits, labels):
        raise NotImplementedError("no such unit")

    monkeypatch.setattr(command, "TABLE", [INTEGER._replace(call=impossible)])
    assert main(["certify"]) == 1
    printed = capsys.readouterr().out
    says = "of float32: raises NotImplementedError: no such unit."
    assert f"{INTEGER.name} {says}" in printed


FAST = """
import sys
from jaxent._certify import command, rows
from jaxent.__main__ import main
names = "kl_divergence_from_logits", "binary_cross_entropy"
command.TABLE = [row for row in rows.TABLE if row.name in names]
sys.exit(main(["certify"]))
"""


# In a process of its own; rounded products are found out every day.
@pytest.mark.thorough
def test_fast_math_is_found_out_and_named():
    """A process of its own: XLA reads its flags once."""
    flags = {"XLA_FLAGS": "--xla_cpu_enable_fast_math=true", "JAX_PLATFORMS": "cpu"}
    ran = subprocess.run(
        [sys.executable, "-c", FAST], env=os.environ | flags, text=True,
        capture_output=True,
    )  # fmt: skip
    assert ran.returncode == 1, ran.stderr
    assert "arithmetic NOT as written" in ran.stdout
    assert "set XLA_FLAGS=--xla_cpu_enable_fast_math=false." in ran.stdout


def test_coarse_functions_are_named():
    found = arithmetic.measured()
    assert (found.product_bits, found.keeps_order, found.keeps_nan) == (24, True, True)
    coarse = found._replace(functions=found.functions | {"exp": 40.0})
    (sentence,) = arithmetic.remedies(coarse)
    assert sentence.startswith("Functions of this device are coarse: exp by 40 ULP.")
