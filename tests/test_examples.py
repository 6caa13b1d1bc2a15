# SPDX-License-Identifier: Apache-2.0
"""Every example runs, shortened, as a user would start it, with warnings as errors.

In processes of their own: the examples are to work at JAX's defaults, not at the
strict settings of this suite. `make demo` is what runs them as they are shipped.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import mpmath
import numpy as np
import pytest

# Found and not imported: they are the examples', and take two seconds.
for needed in "equinox", "flax", "matplotlib", "optax", "orbax", "sklearn", "tqdm":
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is of the extra `demo`", allow_module_level=True)

pytestmark = pytest.mark.quickly_compiled

ROOT = Path(__file__).parents[1]
PICTURE_BYTES = range(8_000, 150_000)


def run(*command: object) -> str:
    """The output of `python *command` at the root of the repository."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.run(
        [sys.executable, "-W", "error", *map(str, command)],
        cwd=ROOT,
        env=os.environ
        | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": path, "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert "%|" not in process.stderr  # a progress bar is for a terminal
    return process.stdout


def assert_picture(path: Path):
    from matplotlib.image import imread

    assert path.stat().st_size in PICTURE_BYTES
    pixels = imread(path)
    assert min(pixels.shape[:2]) > 300
    assert pixels[..., :3].std() > 0.05


def markdown_tables(text: str) -> list[list[dict[str, float]]]:
    """The rows of every Markdown table, by column."""
    tables = []
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        lines = [line.strip("| ").split(" | ") for line in block.splitlines()]
        header, _, *rows = lines
        tables.append([dict(zip(header, map(float, row), strict=True)) for row in rows])
    return tables


def test_demo(tmp_path):
    text = run(
        "-m", "examples.demo", "--epochs", 4, "--language-steps", 0,
        "--output", tmp_path,
    )  # fmt: skip
    assert len(re.findall(r"^ +\d +[\d.]+ +[\d.]+%", text, re.MULTILINE)) == 4
    accuracy = float(re.search(r"Test: .* accuracy ([\d.]+)%", text)[1])
    assert accuracy > 90
    assert text.count("jaxent         optax") == 3
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {
        "log-loss-curves.png", "loss-against-margin.png", "training-curves.png"
    }  # fmt: skip
    for name in pictures:
        assert_picture(tmp_path / name)


# The demo trains on them too.
@pytest.mark.thorough
def test_digits(tmp_path):
    text = run(
        "examples/digits.py", "--epochs", 1, "--seed", 3, "--batch-size", 100,
        "--output", tmp_path,
    )  # fmt: skip
    assert re.search(r"Test: loss [\d.]+ nats, accuracy [\d.]+%, perplexity", text)
    assert_picture(tmp_path / "training-curves.png")


# Of the same tables the README has some, and the demo prints all.
@pytest.mark.thorough
def test_exactness_tables_hold_the_truth(tmp_path):
    from examples.exactness import CLASSES, DISTANCES, MARGINS

    text = run("examples/exactness.py", "--markdown", "--output", tmp_path)
    losses, gradients, divergences = markdown_tables(text)
    assert not list(tmp_path.iterdir())

    noise = np.random.default_rng(0).normal(size=CLASSES).astype(np.float32)
    rest = [mpmath.mpf(float(x)) for x in noise[1:]]
    for margin, loss, gradient in zip(MARGINS, losses, gradients, strict=True):
        label = mpmath.mpf(float(noise[1:].max() + np.float32(margin)))
        t = mpmath.fsum(mpmath.exp(x - label) for x in rest)
        for column in ("true", "jaxent"):
            # At margin 80 the smallest terms are below float32's range.
            exact = 1e-3 if (column, margin) == ("jaxent", 80) else 1e-5
            assert loss[column] == pytest.approx(float(mpmath.log1p(t)), exact)
            assert gradient[column] == pytest.approx(float(-t / (1 + t)), exact)
        assert loss["margin"] == gradient["margin"] == margin
        collapsed = loss["optax"], loss["log_softmax"], gradient["optax"]
        assert (collapsed == (0, 0, 0)) == (margin >= 20)

    for distance, row in zip(DISTANCES, divergences, strict=True):
        assert row["Δ"] == distance
        assert row["jaxent"] == pytest.approx(row["true"], 1e-5)
        assert row["true"] == pytest.approx(distance**2 / 2, 0.2)
    assert abs(divergences[-1]["optax"] / divergences[-1]["true"] - 1) > 1


def test_the_picture_of_the_margins_is_of_the_table_s_losses():
    from matplotlib.figure import Figure

    from examples import exactness

    axes = Figure().subplots()
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        rows = {row["margin"]: row for row in exactness.loss_rows()}
        exactness.plot_margins(axes)
    drawn = {
        (line.get_label().split(",")[0], margin): loss
        for line in axes.lines
        for margin, loss in zip(*line.get_data(), strict=True)
    }
    for margin, row in rows.items():
        for name in exactness.LOSSES:
            assert drawn[name, margin] == max(row[name], exactness.BOTTOM)


@pytest.mark.parametrize(
    "name",
    # The loop is one; and whose layers these are is no difference to the loss.
    [
        "flax_nnx",
        pytest.param("flax_linen", marks=pytest.mark.thorough),
        pytest.param("equinox", marks=pytest.mark.thorough),
    ],
)
def test_loop_before_and_after(name):
    text = run(f"examples/{name}_loop.py")
    rows = re.findall(r"^step (\d+) +([\d.]+) +([\d.]+)$", text, flags=re.MULTILINE)
    (first, *start), (last, *end) = [[float(x) for x in row] for row in rows]
    assert (first, last) == (1, 100)
    assert start[0] == pytest.approx(start[1], abs=2e-6)
    assert end[0] == pytest.approx(end[1], abs=2e-6)
    assert end[1] < start[1] / 4


# What it found is recorded, and the record is read below.
@pytest.mark.thorough
def test_grokking(tmp_path):
    command = ["--seeds", 5, "--steps", 40, "--points", 2, "--output", tmp_path]
    text = run("examples/grokking.py", *command)
    record = json.loads((tmp_path / "grokking.json").read_text())
    assert [run["loss"] for run in record["runs"]] == ["optax", "float64", "jaxent"]
    for one in record["runs"]:
        history = one["history"]
        assert history["step"] == [0, 20, 40]
        assert history["true_loss"][0] == pytest.approx(np.log(53), abs=0.1)
        assert history["true_loss"][2] < history["true_loss"][0]
        assert history["reported_loss"] == pytest.approx(history["true_loss"], 1e-3)
        assert f"{one['loss']:7} {one['seed']:5}" in text
    assert_picture(tmp_path / "grokking.png")


@pytest.mark.thorough
def test_language_model(tmp_path):
    steps, vocabulary = 4, 2000
    text = run(
        "examples/language_model.py", "--steps", steps, "--vocabulary", vocabulary,
        "--batch-size", 4, "--length", 32, "--width", 16, "--memory", "64KB",
        "--output", tmp_path,
    )  # fmt: skip
    assert f"the logits of a batch are 4 × 32 × {vocabulary}." in text
    rows = re.findall(r"^(\w.*?)  +([\d.]+) +([\d.]+) +[\d.]+$", text, re.MULTILINE)
    table = {name: (float(fused), float(dense)) for name, fused, dense in rows}
    # Before training, the model hardly knows more than the number of its classes.
    for perplexity in table["validation perplexity"]:
        assert vocabulary / 4 < perplexity < 4 * vocabulary
    for bits in table["validation bits per byte"]:
        assert 1 < bits < 8
    for name, (fused, dense) in table.items():
        if "loss" in name:
            assert fused == pytest.approx(dense, abs=2e-4)
    fused, dense = table["compiled temporaries (MiB)"]
    assert fused < dense / 2
    # Every step may round a loss near 8 by four of float32's units, and so shift
    # the weights that all later losses are of.
    largest = re.search(rf"in {steps} steps: ([\d.e+-]+) nats", text)[1]
    assert float(largest) <= 4 * steps * np.spacing(np.float32(8))
    assert_picture(tmp_path / "language-model.png")


@pytest.mark.thorough
def test_sharded_language_model():
    steps, vocabulary = 4, 1200
    text = run(
        "-m", "examples.sharded_lm", "--steps", steps, "--vocabulary", vocabulary,
        "--batch-size", 4, "--length", 16, "--width", 16, "--blocks", 0,
    )  # fmt: skip
    assert f"each has 2 of 4 rows, and 300 of {vocabulary} classes." in text
    rows = re.findall(r"^ *(\d+) +([\d.]+) +([\d.]+)$", text, flags=re.MULTILINE)
    numbers, *losses = (np.array(column, float) for column in zip(*rows, strict=True))
    assert numbers.tolist() == [1, 2, 3, 4]
    assert text.index("\n   2") < text.index("stopped here") < text.index("\n   3")
    whole, parts = losses
    assert whole[0] == pytest.approx(np.log(vocabulary), rel=0.2)
    # As if nothing had happened, but for the order of sums over the devices.
    spacing = float(np.spacing(np.float32(8)))
    assert whole == pytest.approx(parts, abs=4 * steps * spacing)
    # It did train: each loss is of weights that no other is of.
    assert len(set(whole)) == steps


@pytest.mark.thorough
def test_sampled_softmax():
    vocabulary = 2000
    text = run(
        "examples/sampled_softmax.py", "--steps", 4, "--vocabulary", vocabulary,
        "--batch-size", 4, "--length", 32, "--width", 16, "--num-sampled", 64,
    )  # fmt: skip
    rows = re.findall(r"^(\w.*?)  +([\d.]+) +([\d.]+) +[\d.]+$", text, re.MULTILINE)
    table = {name: (float(sampled), float(exact)) for name, sampled, exact in rows}
    sampled, exact = table["validation perplexity"]
    # Hardly trained yet, and both judged by the exact loss.
    assert vocabulary / 4 < exact < 4 * vocabulary
    assert sampled == pytest.approx(exact, 0.3)
    sampled, exact = table["compiled temporaries (MiB)"]
    assert sampled < exact / 2


def test_recorded_grokking():
    """The committed record is whole, small, and says how it was made."""
    path = ROOT / "docs" / "results" / "grokking.json"
    assert path.stat().st_size < 100_000
    record = json.loads(path.read_text())
    assert record["command"].startswith("python examples/grokking.py --seeds 0 1")
    runs = {(run["loss"], run["seed"]): run["history"] for run in record["runs"]}
    assert len(runs) == 6
    for seed in (0, 1):
        assert runs["optax", seed]["step"][-1] == 10_000
        accuracy = {loss: runs[loss, seed]["test_accuracy"][-1] for loss, _ in runs}
        assert accuracy["jaxent"] > accuracy["optax"]
        assert runs["optax", seed]["share_reported_zero"][-1] > 0.5
        assert runs["jaxent", seed]["share_reported_zero"][-1] == 0
    assert_picture(path.with_suffix(".png"))


@pytest.mark.thorough
def test_distillation(tmp_path):
    text = run(
        "examples/distillation.py", "--steps", 6, "--vocabulary", 600,
        "--batch-size", 4, "--length", 32, "--width", 16, "--student-width", 8,
        "--k", 4, "--output", tmp_path,
    )  # fmt: skip
    rows = re.findall(r"^(\w[\w, ]*?)  +([\d.]+) +([\d.]+)$", text, re.MULTILINE)
    table = {name: (float(kl), float(loss)) for name, kl, loss in rows}
    assert len(table) == 4
    # Hardly trained yet: every one is near what it began with, and no divergence is
    # below 0.
    for kl, loss in table.values():
        assert 0 < kl < np.log(600)
        assert loss == pytest.approx(np.log(600), rel=0.2)
    assert_picture(tmp_path / "distillation.png")
