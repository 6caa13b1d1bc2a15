# SPDX-License-Identifier: Apache-2.0
"""`python -m jaxent explain`: labels and predictions from a CSV, TSV or NPZ file."""

import argparse
import zipfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from .columns import LABELS, PREDICTIONS, Read, of_columns, refuse
from .explain import explain


def describe(parser: argparse.ArgumentParser):
    """The arguments of the command."""
    text = (
        "NPZ of arrays; or CSV or TSV: a label (an id, or the name of a column) and "
        "its predictions a row, divided by commas, semicolons (decimal commas too), "
        "tabs or bars, with a header or without"
    )
    parser.add_argument("file", type=Path, help=text)
    parser.add_argument("--got", metavar="NUMBER", help="the number to explain")
    text = "the array or column of labels, if not called y_true, label or the like"
    parser.add_argument("--labels", metavar="NAME", help=text)
    text = (
        "the array of predictions; or the column, or those of all classes with commas "
        "between: cat,dog,bird; if not y_pred or the like, or all but the labels"
    )
    parser.add_argument("--predictions", metavar="NAME", help=text)


def run(arguments: argparse.Namespace) -> int:
    """Print the table; 1 if no convention gives the number, else 0."""
    labels, predictions, says = read(
        arguments.file, arguments.labels, arguments.predictions
    )
    found = explain(labels, predictions, got=arguments.got)
    print(f"{says}\n\n" if says else "", found, sep="")
    return 1 if arguments.got is not None and not found.matching else 0


def read(path: Path, labels: str | None, predictions: str | None) -> Read:
    """The two arrays of a file."""
    if not path.is_file():
        refuse("be a file", str(path), "Check the path.")
    kind = path.suffix.lower()
    if kind not in (".npz", ".csv", ".tsv"):
        remedy = "Save arrays with `numpy.savez(file, y_true=..., y_pred=...)`."
        refuse("be a .npz, .csv or .tsv file", str(path), remedy)
    return (_of_npz if kind == ".npz" else of_columns)(path, labels, predictions)


def _of_npz(path: Path, labels: str | None, predictions: str | None) -> Read:
    try:
        arrays = dict(jnp.load(path))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        remedy = "Save it with `numpy.savez`, arrays of numbers only."
        refuse("be a readable .npz file", f"{path} ({error})", remedy)
    return Read(
        _chosen(arrays, labels, LABELS, "--labels"),
        _chosen(arrays, predictions, PREDICTIONS, "--predictions"),
    )


def _chosen(
    arrays: dict[str, Any], name: str | None, known: tuple[str, ...], flag: str
):
    names = [n for n in ((name,) if name else known) if n in arrays]
    if not names:
        must = f"hold an array called {name or ' or '.join(known)}"
        refuse(must, ", ".join(arrays) or "no arrays", f"Name it with {flag} NAME.")
    return arrays[names[0]]
