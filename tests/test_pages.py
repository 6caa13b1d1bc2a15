# SPDX-License-Identifier: Apache-2.0
"""The numbers on the pages are those that were recorded, or that come out today."""

import importlib.util
import json
import re
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from given import put

import jaxent
from benchmarks import report
from jaxent import compat
from jaxent._certify.rows import TABLE

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text("utf-8")


def recorded(name):
    return json.loads((DOCS / "results" / name).read_text("utf-8"))


def table(text: str, header: str) -> list[list[str]]:
    """The cells of the rows below a header, two lines above them."""
    (rows,) = re.findall(rf"^\| {header}.*\n\|[-: |]+\n((?:\|.*\n)+)", text, re.M)
    return [line.strip("| ").split(" | ") for line in rows.splitlines()]


def test_benchmarks_are_those_of_the_record():
    result = recorded("benchmarks.json")
    text = (DOCS / "results" / "benchmarks.md").read_text("utf-8")
    assert text == report.page(result)
    begin, end = (report.MARK.format(x) for x in ("begin", "end"))
    assert README.split(begin)[1].split(end)[0].strip() == report.readme_table(result)


def test_sampling_times_are_those_of_the_record():
    result = recorded("sampled.json")
    rows = table((DOCS / "sampling.md").read_text("utf-8"), "a step of")
    assert len(rows) == len(result["rows"])
    for (what, *numbers), row in zip(rows, result["rows"], strict=True):
        assert what == row["what"]
        ms, times, mib = map(float, numbers)
        assert ms == pytest.approx(1000 * row["seconds"], abs=1)
        assert times == pytest.approx(row["times_as_fast"][1], abs=1)
        assert mib == pytest.approx(row["temporaries_mib"], abs=0.5)


def test_the_collapse_is_that_of_the_record():
    runs = {(run["loss"], run["seed"]): run["history"]
            for run in recorded("grokking.json")["runs"]}  # fmt: skip
    rows = table((DOCS / "numerics.md").read_text("utf-8"), r"loss \| seed")
    assert len(rows) == len(runs)
    for loss, seed, zero, true_loss, accuracy in rows:
        dtype = "float64" if "float64" in loss else loss.split(",")[0]
        history = runs[dtype, int(seed)]
        assert zero == f"{history['share_reported_zero'][-1]:.0%}".replace("%", " %")
        assert float(true_loss) == pytest.approx(history["true_loss"][-1], rel=0.05)
        assert accuracy == f"{history['test_accuracy'][-1]:.0%}".replace("%", " %")


@pytest.mark.quickly_compiled
def test_the_readme_s_exactness_comes_out_again():
    pytest.importorskip("matplotlib", reason="the examples need the extra `demo`")
    from examples import exactness

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        losses, kl = exactness.loss_rows(), exactness.kl_rows()
    # What the others round to depends on the processor, in their terms' last place.
    for key, rows, rounding in (("margin", losses, 2e-6), ("Δ", kl, 5e-7)):
        shown = table(README, key)
        assert shown
        computed = {row[key]: [*row.values()] for row in rows}
        for cells in shown:
            at, true, ours, *others = map(float, cells)
            _, now_true, now_ours, *now_others = computed[at]
            assert [true, ours] == pytest.approx([now_true, now_ours], rel=2e-5)
            assert others == pytest.approx(now_others[: len(others)], abs=rounding)


def test_what_bounds_a_chip_is_what_it_moves_and_multiplies():
    text = (DOCS / "fused-heads.md").read_text("utf-8")
    figures = {name: map(float, rest[:2]) for name, *rest in table(text, ".*TFLOP/s")}
    n, d, v = 16384, 4096, 128_256
    rows = table(text, r"\| products")
    assert len(rows) >= 4
    for name, *shown in rows:
        teraflops, terabytes = figures[name]
        moved = [(n // chunk * 18 * v * d + 18 * n * v) / terabytes for chunk in CHUNKS]
        times = [6 * n * d * v / teraflops, *moved]
        assert [float(x) for x in shown] == [round(t / 1e9) for t in times]


CHUNKS = 2048, 8192
"""Of "1GiB" and "4GiB", in bfloat16."""


def kernel_after_kernel(chunk, teraflops, terabytes):
    """Three products of a chunk and what is elementwise, each as slow as its slower.

    The logits are made in four pieces.
    """
    n, d, v = 16384, 4096, 128_256
    product = 2 * chunk * d * v / teraflops
    hidden, classifier, logits = chunk * d, d * v, chunk * v
    each = (
        max(product, (2 * hidden + 4 * 2 * classifier + 4 * logits) / terabytes)
        + max(product, (2 * logits + 2 * classifier + 4 * hidden) / terabytes)
        + max(product, (2 * logits + 2 * hidden + 8 * classifier) / terabytes)
        + 10 * logits / terabytes
    )
    return round(n // chunk * each / 1e9)


def test_the_least_that_a_step_can_take():
    text = " ".join((DOCS / "fused-heads.md").read_text("utf-8").split())
    said = re.search(r"it is (\d+) ms; at .* 715 TFLOP/s and 3.0 TB/s, (\d+)", text)
    h100 = [kernel_after_kernel(2048, *rates) for rates in ((989, 3.35), (715, 3.0))]
    assert [*map(int, said.groups())] == h100
    assert "four products: 70 ms" in text
    rows = table(
        (DOCS / "accelerators.md").read_text("utf-8"), r"\| products \| at the"
    )
    found = {int(count): [*map(int, re.findall(r" (\d+)", f" {least}"))]
             for _, count, least, _ in rows}  # fmt: skip
    one, moved = 2 * 16384 * 4096 * 128_256 / 1e9, 69
    assert found[3] == [h100[0], round(3 * one / 197), moved]
    assert found[4] == [round(4 * one / 989)] == [70]
    assert found[5] == [round(5 * one / chip) for chip in (197, 918)]


def test_the_readme_says_what_the_record_does():
    text, result = " ".join(README.split()), recorded("benchmarks.json")
    dense = [r for r in result["dense"] if r["peer"] == "jaxent"]

    def medians(kind, least, most, family="integer"):
        chosen = (r for r in dense if (r["family"], r["pass"]) == (family, kind))
        found = [r["to_optax"][1] for r in chosen if least <= r["classes"] <= most]
        return [f"{min(found):.2f}", f"{max(found):.2f}"]

    shown = re.search(
        r"From 32768 classes up a step takes (\S+) to (\S+) of Optax's time; over 1000 "
        r"classes, (\S+) to (\S+)\. .*? take up to (\S+) and (\S+) times as long\. "
        r"A fused head takes (\S+) to (\S+) of .*?, for (\S+) to (\S+) of the memory",
        text,
    ).groups()  # fmt: skip
    heads = [r for r in result["fused"] if r["what"] == "gradient"]
    times = [r["time_to_optax"][1] for r in heads]
    shares = [r["temporaries_mib"] / r["optax_temporaries_mib"] for r in heads]
    assert list(shown) == [
        *medians("step", 32768, 10**6), *medians("step", 1000, 1000),
        medians("forward", 1000, 1000, "soft")[1],
        medians("forward", 1000, 1000, "kl")[1],
        *(f"{f(a):.2f}" for a in (times, shares) for f in (min, max)),
    ]  # fmt: skip


def test_every_name_to_choose_is_there():
    rows = table((DOCS / "choosing.md").read_text("utf-8"), "you have")
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row[-1])}
    assert len(names) >= 20
    assert names <= {*vars(jaxent)}


def test_what_numerics_promises_is_what_certify_checks():
    promised = set()
    text = (DOCS / "numerics.md").read_text("utf-8")
    for bound, names in table(text, r"bound \| loss"):
        number, unit = bound.split()
        promised |= {
            (name, float(number), unit[:3]) for name in re.findall(r"`(\w+)`", names)
        }
    checked = {(row.loss.__name__, row.bound.number, row.bound.unit) for row in TABLE}
    assert promised == checked


def framework_names():
    """What the left column calls, each from `compat`, and the arrays it is given."""
    rng = np.random.default_rng(0)
    x, other, h, W, b = (
        put(rng.normal(size=shape), jnp.float32)
        for shape in ((4, 3), (4, 3), (4, 5), (3, 5), (3,))
    )
    keras = {k: v for k, v in vars(compat.keras).items() if k.endswith("opy")}
    tf1 = SimpleNamespace(losses=compat.tensorflow.losses)
    return {
        **vars(jaxent), **keras, "jnp": jnp, "F": compat.torch, "nn": compat.torch,
        "torchvision": SimpleNamespace(ops=compat.torch),
        "tf": SimpleNamespace(nn=compat.tensorflow, compat=SimpleNamespace(v1=tf1)),
        "optax": SimpleNamespace(losses=compat.optax),
        "x": x, "h": h, "W": W, "b": b, "V": 3, "y": jnp.array([0, 2, 1, 2]),
        "q": jax.nn.softmax(other), "p": jax.nn.softmax(x),
        "logp": jax.nn.log_softmax(x), "logq": jax.nn.log_softmax(other),
        "t": put(rng.random((4, 3)), jnp.float32),
        "m": jnp.array([True, True, False, True]),
        "w": jnp.array([1.0, 2.0, 0.5]), "v": jnp.array([1.0, 2.0, 0.5, 0.0]),
    }  # fmt: skip


@pytest.mark.quickly_compiled
def test_a_call_ported_gives_the_framework_s_number():
    text = (DOCS / "coming-from.md").read_text("utf-8")
    whole = r"`([^`]+\))`"  # a cell that is one call; others explain
    rows = re.findall(rf"^\| {whole} \| {whole} \| (.*) \|$", text, re.M)
    rows = [row for row in rows if "..." not in row[1]]
    assert len(rows) == 24
    names = framework_names()
    for before, idiomatic, ported in rows:
        number = eval(before, names)
        np.testing.assert_allclose(number, eval(idiomatic, names), 1e-5, err_msg=before)
        if re.fullmatch(whole, ported):
            np.testing.assert_array_equal(number, eval(ported.strip("`"), names))


@pytest.mark.quickly_compiled
def test_losses_written_by_hand():
    text = (DOCS / "coming-from.md").read_text("utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|$", text, re.M)
    assert len(rows) == 7
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        names = framework_names() | {"jax": jax}
        for by_hand, ours in rows:
            expected = eval(by_hand, names)
            np.testing.assert_allclose(eval(ours, names), expected, 1e-5, 1e-6, by_hand)


def test_every_command_is_there_to_be_run():
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
    text = "\n".join(path.read_text("utf-8") for path in pages)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    made = re.findall(r"^make ([\w-]+)|`make (?:\w+=\S+ )?([\w-]+)`", text, re.M)
    assert {a or b for a, b in made} <= {*targets}
    modules = set(re.findall(r"python -m ([\w.]+)", text))
    assert {"benchmarks", "jaxent"} <= modules
    assert all(importlib.util.find_spec(module) for module in modules)
    scripts = set(re.findall(r"(?:python|pytest) ([\w/]+\.py)", text))
    assert "examples/exactness.py" in scripts
    assert all((ROOT / script).is_file() for script in scripts)


HEADS = {
    "jaxent, xla": 'jaxent, `"xla"`',
    "jaxent, pallas_gpu": 'jaxent, `"pallas_gpu"`',
    "optax": "Optax, bfloat16 logits",
    "optax, cast": "Optax, float32 logits",
    "tokamax": "tokamax, chunks",
}
FAMILIES = {"integer": "class ids", "soft": "distributions"}


def on_h100(part):
    rows = recorded("h100.json")["rows"]
    return [
        r for r in rows if r["part"] == part and not {"skipped", "fails"} & r.keys()
    ]


def test_accelerators_says_what_the_h100_record_does():
    text = (DOCS / "accelerators.md").read_text("utf-8")
    heads = [
        [
            f"{r['positions']} × {r['width']} × {r['classes']}", HEADS[r["head"]],
            f"{r['milliseconds']:.1f}", f"{r['to_products'][1]:.2f}",
            f"{r['temporaries_mib']:.0f}", f"{r['loss_error']:.0e}",
        ]
        for r in on_h100("heads")
    ]  # fmt: skip
    assert table(text, "N × d × V") == heads
    ours = [r for r in on_h100("dense") if r["peer"] == "jaxent"]
    to_optax = {}
    for r in ours:
        name = f"{FAMILIES[r['family']]}, {r['positions']} × {r['classes']}"
        to_optax.setdefault((name, r["dtype"]), {})[r["pass"]] = r["to_optax"][1]
    dense = [
        [*row, f"{found['forward']:.2f}", f"{found['gradient']:.2f}"]
        for row, found in to_optax.items()
    ]
    assert table(text, "time over Optax") == dense
    text = " ".join(text.split())
    checks, lines = on_h100("checks"), on_h100("certify")
    assert all(r["ok"] for r in checks)
    assert f"all {len(checks)} checks" in text
    set_up = [r["ok"] for r in lines if r["precision"] == "as set"]
    assert f"keeps {sum(set_up)} of {len(set_up)} lines" in text
    assert set_up.count(False) == 10
    assert all(r["ok"] for r in lines if r["precision"] == "highest")
    (wide,) = (r for r in on_h100("memory") if r["head"] == "jaxent, xla"
               if (r["positions"], r["memory"]) == (16384, 2**32))  # fmt: skip
    said = f"takes {wide['milliseconds']:.0f} ms, and {wide['temporaries_mib']:.0f} MiB"
    assert said in text
    (slab,) = (r for r in on_h100("memory") if r["head"] == "jaxent, pallas_gpu"
               if (r["positions"], r["memory"]) == (16384, 2**28))  # fmt: skip
    said = (
        f'"256MiB"` {slab["milliseconds"]:.0f}, for {slab["temporaries_mib"]:.0f} MiB'
    )
    assert said in text


def test_what_the_readme_says_of_an_h100():
    text = " ".join(README.split())
    by_head = {}
    for r in on_h100("heads"):
        by_head.setdefault(r["head"], []).append(r)

    def over(others, column):
        pairs = zip(by_head["jaxent, xla"], by_head[others], strict=True)
        return [f"{a[column] / b[column]:.2f}" for a, b in pairs]

    times = {other: sorted(over(other, "milliseconds")) for other in by_head}
    for words, other in (
        ("{} to {} of the time of dense Optax on float32 logits", "optax, cast"),
        ("{} to {} on bfloat16 ones", "optax"),
        ("{} to {} of tokamax's", "tokamax"),
    ):
        assert words.format(*times[other]) in text
    least, *_, most = sorted(
        x for other in ("optax", "optax, cast") for x in over(other, "temporaries_mib")
    )
    assert f"for {least} to {most} of Optax's memory" in text
    forward, gradient = (
        next(r["to_optax"][1] for r in on_h100("dense") if r["pass"] == what
             if (r["peer"], r["classes"], r["dtype"]) == ("jaxent", 131072, "float32"))
        for what in ("forward", "gradient")
    )  # fmt: skip
    assert f"{forward:.2f} of Optax's time forward and {gradient:.2f} with the" in text


def test_the_least_is_less_than_what_was_measured():
    text = " ".join((DOCS / "fused-heads.md").read_text("utf-8").split())
    large = {r["head"]: r for r in on_h100("heads") if r["positions"] == 16384}
    xla, kernels = large["jaxent, xla"], large["jaxent, pallas_gpu"]
    took, products = xla["milliseconds"], xla["milliseconds"] / xla["to_products"][1]
    assert f"[{took:.0f} ms there](accelerators.md#on-an-h100)" in text
    assert f"the three products alone {products:.0f}" in text
    said = f"and {kernels['milliseconds']:.0f} measured, for "
    assert f"{said}{kernels['temporaries_mib']:.0f} MiB" in text
