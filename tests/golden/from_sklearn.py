# SPDX-License-Identifier: Apache-2.0
"""Record scikit-learn: `python tests/golden/from_sklearn.py`.

With 1.9.1 it writes sklearn.json; with 1.1.3, which clips at 1e-15 and divides rows
by their sum, sklearn_1_1.json. scikit-learn has no gradients: those recorded are
central differences of its own log_loss in float64, away from the clip.
"""

import warnings
from pathlib import Path

import numpy as np
import sklearn
from recorder import SINGLE, Recorder, cotangent, inputs
from sklearn.metrics import log_loss

warnings.simplefilter("ignore")
OLD = sklearn.__version__ < "1.2"
INPUTS = inputs()
INPUTS |= {
    "two": INPUTS["fractions"][:, :2] / INPUTS["fractions"][:, :2].sum(1)[:, None],
    "certain": np.array([0.3, 0.7, 0.0, 1.0]),
    "one": INPUTS["unit"][:, 0],
    "column": INPUTS["unit"][:, :1],
    "yes": np.array([0, 1, 1, 0], np.int32),
    "yes_column": np.array([[0], [1], [1], [0]], np.int32),
    "three": np.array([0, 0, 1, 0], np.int32),
    "puzzle": np.array([0, 0, 1], np.int32),
    "puzzle_probs": np.array([0.3, 0.7, 0.0]),
    "puzzle_row": np.array([[0, 0, 1]], np.int32),
    "puzzle_probs_row": np.array([[0.3, 0.7, 0.0]]),
    "rows": np.array([[0, 0, 1], [0, 1, 0]], np.int32),
    "probs_rows": np.array([[0.3, 0.7, 0.0], [0.5, 0.2, 0.3]]),
    "one_hot": INPUTS["one_hot"].astype(np.int32),
}
recorder = Recorder(f"scikit-learn {sklearn.__version__}")
DIFFERENCE = 1e-6


def differences(f, x):
    """The gradient of f by central differences."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = DIFFERENCE
        gradient[index] = (f(x + step) - f(x - step)) / (2 * DIFFERENCE)
    return gradient


def record(y_true, y_proba, dtype="float64", labels=None, **options):
    p = INPUTS[y_proba].astype(dtype)
    y = INPUTS[y_true]
    recorder.array(y_true, y, "int32")
    label = recorder.array(f"{y_proba} {dtype}", p, dtype)
    given = dict(options)
    if "sample_weight" in given:
        given["sample_weight"] = INPUTS[given["sample_weight"][1:]]
        recorder.array(options["sample_weight"][1:], given["sample_weight"], "float32")

    def f(x):
        return log_loss(y, x, labels=labels, **given)

    value = f(p)
    inside = dtype == "float64" and p.min() > 1e-3 and p.max() < 1 - 1e-3
    grads = [cotangent(()) * differences(f, p)] if inside else []
    if OLD:
        options["eps"] = 1e-15
    if labels is not None:
        options["labels"] = labels
    details = ", ".join([y_true, label, *(f"{k}={v}" for k, v in options.items())])
    recorder.case(
        f"log_loss({details})", "log_loss", [y_true, label], options, value, grads,
        dtype, wrt=[1] if inside else [],
        tolerance=1e-8 if inside else 1e-14 if dtype == "float64" else SINGLE,
        why="float64 sums of float32 terms" if dtype == "float32" else None,
    )  # fmt: skip


for dtype in ("float64", "float32"):
    d = {"dtype": dtype}
    for normalize in (True, False):
        for weights in ({}, {"sample_weight": "@position_weights"}):
            r = {**d, **weights, "normalize": normalize}
            record("yes", "one", **r)
            record("yes", "column", **r)
            record("yes", "two", **r)
            record("three", "certain", **r)
            record("ids", "probs", labels=[0, 1, 2, 3, 4], **r)
            record("one_hot", "probs", **r)
            record("ids", "unnormalized", labels=[0, 1, 2, 3, 4], **r)
            record("ids", "edges", labels=[0, 1, 2, 3, 4], **r)
    record("puzzle", "puzzle_probs", **d)
    record("puzzle_row", "puzzle_probs_row", **d)
    record("rows", "probs_rows", **d)
record("yes", "one", labels=[0, 1])
if not OLD:  # 1.9 takes columns of labels
    for p in ("one", "column", "two"):
        record("yes_column", p)
    record("column_ids", "probs", labels=[0, 1, 2, 3, 4])
name = "sklearn_1_1.json" if OLD else "sklearn.json"
recorder.save(Path(__file__).with_name(name))
