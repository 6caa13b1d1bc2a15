# SPDX-License-Identifier: Apache-2.0
"""`python -m jaxent explain`: labels and predictions from a CSV or NPZ file."""

import argparse
import csv
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import jax.numpy as jnp

from .._errors import fail
from .explain import explain

LABELS = ("y_true", "labels", "label", "target", "targets", "y")
PREDICTIONS = (
    *("y_pred", "y_prob", "y_proba", "predictions", "probabilities", "probs"),
    *("logits", "scores", "p"),
)


def describe(parser: argparse.ArgumentParser):
    """The arguments of the command."""
    parser.add_argument("file", type=Path, help="NPZ, or CSV: the label, then numbers")
    parser.add_argument("--got", metavar="NUMBER", help="the number to explain")
    parser.add_argument(
        "--labels", metavar="NAME", help="the array or column of labels"
    )
    parser.add_argument(
        "--predictions", metavar="NAME", help="the array of predictions"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the table; 1 if no convention gives the number, else 0."""
    labels, predictions = read(arguments.file, arguments.labels, arguments.predictions)
    found = explain(labels, predictions, got=arguments.got)
    print(found)
    return 1 if arguments.got is not None and not found.matching else 0


def read(path: Path, labels: str | None, predictions: str | None) -> tuple[Any, Any]:
    """The two arrays of a file."""
    if not path.is_file():
        _refuse("be a file", str(path), "Check the path.")
    kind = path.suffix.lower()
    if kind not in (".npz", ".csv"):
        remedy = "Save arrays with `numpy.savez(file, y_true=..., y_pred=...)`."
        _refuse("be a .npz or .csv file", str(path), remedy)
    if kind == ".csv":
        return _of_csv(path, labels)
    return _of_npz(path, labels, predictions)


def _refuse(must: str, got: object, remedy: str) -> NoReturn:
    fail(ValueError, "file", must, got, remedy)


def _of_npz(path: Path, labels: str | None, predictions: str | None) -> tuple[Any, Any]:
    try:
        arrays = dict(jnp.load(path))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        remedy = "Save it with `numpy.savez`, arrays of numbers only."
        _refuse("be a readable .npz file", f"{path} ({error})", remedy)
    return (
        _chosen(arrays, labels, LABELS, "--labels"),
        _chosen(arrays, predictions, PREDICTIONS, "--predictions"),
    )


def _chosen(
    arrays: dict[str, Any], name: str | None, known: tuple[str, ...], flag: str
):
    names = [n for n in ((name,) if name else known) if n in arrays]
    if not names:
        must = f"hold an array called {name or ' or '.join(known)}"
        _refuse(must, ", ".join(arrays) or "no arrays", f"Name it with {flag} NAME.")
    return arrays[names[0]]


def _of_csv(path: Path, labels: str | None) -> tuple[list[Any], list[Any]]:
    """Rows of numbers, the label first, or in the column that the header names."""
    with path.open(newline="") as file:
        rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    header = rows.pop(0) if rows and not _numbers(rows[0]) else []
    lower = [cell.lower() for cell in header]
    wanted = (labels.lower(),) if labels else LABELS
    column = next((lower.index(name) for name in wanted if name in lower), 0)
    if labels and labels.lower() not in lower:
        _refuse(f"have a column called {labels}", header, "Name one of its header.")
    if not rows or len(rows[0]) < 2:
        _refuse("have rows of a label and numbers", str(path), "Add predictions.")
    for line, row in enumerate(rows, start=2 if header else 1):
        if len(row) != len(rows[0]) or not _numbers(row):
            must = f"have {len(rows[0])} numbers in row {line}"
            _refuse(must, ",".join(row), "Mend the row.")
    y = [float(row[column]) for row in rows]
    p = [[float(c) for i, c in enumerate(row) if i != column] for row in rows]
    ids = all(label == int(label) for label in y)
    y = [int(label) for label in y] if ids else y
    return y, ([row[0] for row in p] if len(p[0]) == 1 else p)


def _numbers(row: list[str]) -> bool:
    try:
        [float(cell) for cell in row]
    except ValueError:
        return False
    return True
