# SPDX-License-Identifier: Apache-2.0
"""`python -m jaxent explain`: labels and predictions from a CSV or NPZ file."""

import argparse
import csv
import io
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
    header, rows = _table(path)
    lower = [cell.lower() for cell in header]
    wanted = (labels.lower(),) if labels else LABELS
    first = next((i for i, cell in enumerate(lower) if cell), 0)
    column = next((lower.index(name) for name in wanted if name in lower), first)
    if labels and labels.lower() not in lower:
        _refuse(f"have a column called {labels}", header, "Name one of its header.")
    if not rows or len(rows[0]) < 2:
        _refuse("have rows of a label and numbers", str(path), "Add predictions.")
    # The row numbers of a data frame are a column without a name.
    used = [i for i in range(len(rows[0])) if i != column and lower[i : i + 1] != [""]]
    names = [header[i] for i in used] if header and len(used) > 1 else []
    y, p = [], []
    for line, row in enumerate(rows, start=2 if header else 1):
        numbers = [_number(row[i]) for i in used if i < len(row)]
        if len(row) != len(rows[0]) or None in numbers:
            must = f"have {len(rows[0])} numbers in row {line}"
            _refuse(must, ",".join(row), "Mend the row.")
        y.append(_label(row[column], names, line))
        p.append(numbers)
    ids = all(label.is_integer() for label in y)
    y = [int(label) for label in y] if ids else y
    return y, ([row[0] for row in p] if len(used) == 1 else p)


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header, if there is one, and the rows."""
    text = path.read_text("utf-8-sig")
    # A comma divides where nothing else does; elsewhere it may be a decimal one.
    delimiter = next((x for x in ";\t|" if x in text.partition("\n")[0]), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = [[cell.strip() for cell in row] for row in reader if row]
    if delimiter != ",":
        rows = [[cell.replace(",", ".") for cell in row] for row in rows]
    # A header has words where the row below it has numbers.
    pairs = zip(rows[0], rows[1], strict=False) if len(rows) > 1 else ()
    headed = any(_number(a) is None and _number(b) is not None for a, b in pairs)
    return (rows[0], rows[1:]) if headed else ([], rows)


def _label(cell: str, names: list[str], line: int) -> float:
    """The place of a class among the columns that are called after it, or a number."""
    if cell in names:
        return float(names.index(cell))
    number = _number(cell)
    if number is None:
        must = f"have an id, or the name of a column, for the label in row {line}"
        remedy = "Number the classes from 0, or name their columns in a header."
        _refuse(must, cell, remedy)
    return number


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
