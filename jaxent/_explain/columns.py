# SPDX-License-Identifier: Apache-2.0
"""Labels and predictions from the columns of a file, as programs write it."""

import collections
import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from .._errors import fail

LABELS = ("y_true", "labels", "label", "target", "targets", "y")
PREDICTIONS = (
    *("y_pred", "y_prob", "y_proba", "predictions", "probabilities", "probs"),
    *("logits", "scores", "p"),
)
"""What columns and arrays are called; the first there is, is read."""


class Read(NamedTuple):
    """What a file holds."""

    labels: Any
    predictions: Any
    says: str = ""
    """Which columns these are, where they have names."""


class Table(NamedTuple):
    """A file's cells."""

    header: list[str]
    """The names of the columns; empty without."""
    rows: dict[int, list[str]]
    """By the number of their line in the file."""
    delimiter: str

    @property
    def width(self) -> int:
        """That of the header; without, of most rows."""
        widths = map(len, self.rows.values())
        return len(self.header) or collections.Counter(widths).most_common(1)[0][0]

    def number(self, cell: str) -> float | None:
        """A comma may be a decimal one where something else divides the cells."""
        try:
            return float(cell if self.delimiter == "," else cell.replace(",", "."))
        except ValueError:
            return None

    def column(self, i: int) -> list[str]:
        return [row[i] for row in self.rows.values()]

    def numbers(self, i: int) -> list[float]:
        """A column's, or a refusal of the row that has none."""
        numbers = []
        for line, row in self.rows.items():
            number = self.number(row[i])
            if number is None:
                self._refuse_cell(line, row, i)
            numbers.append(number)
        return numbers

    def _refuse_cell(self, line: int, row: list[str], i: int) -> NoReturn:
        if not self.header:
            must = f"have {self.width} numbers in row {line}"
            refuse(must, self.shown(row), "Mend the row.")
        remedy = "Mend the row, or name other columns: --predictions NAME,NAME."
        share = self.number(row[i].removesuffix("%"))
        if share is not None:
            remedy = f"Write {share / 100:g}."
        must = f"have a number for `{self.header[i]}` in row {line}"
        refuse(must, row[i] or "nothing", remedy)

    def shown(self, row: list[str]) -> str:
        return self.delimiter.join(row)


def refuse(must: str, got: object, remedy: str) -> NoReturn:
    fail(ValueError, "file", must, got, remedy)


def of_columns(path: Path, labels: str | None, predictions: str | None) -> Read:
    """The columns that are named, are called as is usual, or stand first and after."""
    table = table_of(path.read_text("utf-8-sig"))
    y = _labelling(table, labels)
    used = _predicting(table, y, predictions)
    columns = [table.numbers(i) for i in used]
    p = columns[0] if len(used) == 1 else list(zip(*columns, strict=True))
    return Read(_ids(table, y, used), p, _says(table.header, y, used))


def table_of(text: str) -> Table:
    """The header, if there is one, and rows that are all as wide."""
    tables = (_divided(text, delimiter) for delimiter in ";\t|,")
    # Where others divide all rows alike, a comma may be a decimal one.
    table = max(tables, key=_alike)
    if not table.rows or table.width < 2:
        got = "1 column" if table.rows else "no rows"
        remedy = "Write a label and its predictions in each, such as 0,0.3,0.7."
        refuse("have rows of a label and numbers", got, remedy)
    cells = "cells, as the header has," if table.header else "numbers"
    for line, row in table.rows.items():
        if len(row) != table.width:
            must = f"have {table.width} {cells} in row {line}"
            refuse(must, table.shown(row), "Mend the row.")
    return table


def _divided(text: str, delimiter: str) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    lines = ((reader.line_num, [*map(str.strip, row)]) for row in reader if row)
    rows = dict(lines)
    table = Table([], rows, delimiter)
    if not rows:
        return table
    line, first = next(iter(rows.items()))
    # A header has words where a row below it has numbers, and no fractions.
    words = [not _like_a_number(cell) for cell in first]
    pairs = ((a, b) for row in rows.values() for a, b in zip(words, row, strict=False))
    whole = all((table.number(cell) or 0.0).is_integer() for cell in first)
    if all(words) or (whole and any(a and _like_a_number(b) for a, b in pairs)):
        return Table(rows.pop(line), rows, delimiter)
    return table


def _like_a_number(cell: str) -> bool:
    """Or what was meant to be one, such as 70%."""
    return re.match(r"[-+]?[.,]?\d|[-+]?(nan|inf)", cell, re.IGNORECASE) is not None


def _alike(table: Table) -> tuple[int, int]:
    """How many rows are divided, and how many of them alike."""
    widths = [len(row) for row in [table.header, *table.rows.values()] if row[1:]]
    return len(widths), max(collections.Counter(widths).values(), default=0)


def _labelling(table: Table, name: str | None) -> int:
    if name is not None:
        return _named(table.header, name)
    known = _known(table.header, LABELS)
    first = next((i for i, cell in enumerate(table.header) if cell), 0)
    return first if known is None else known


def _named(header: list[str], name: str) -> int:
    found = next((i for i, cell in enumerate(header) if cell == name), None)
    found = _known(header, (name.lower(),)) if found is None else found
    if found is None:
        got = ", ".join(header) or "no header"
        refuse(f"have a column called {name}", got, "Name one of its header.")
    return found


def _known(header: list[str], names: Iterable[str]) -> int | None:
    lower = [cell.lower() for cell in header]
    return next((lower.index(name) for name in names if name in lower), None)


def _predicting(table: Table, y: int, names: str | None) -> list[int]:
    header = table.header
    if names is not None:
        given = [names] if names in header else names.split(",")
        return [_named(header, name.strip()) for name in given]
    others = [i for i in range(table.width) if i != y]
    if not header:
        return others
    # The row numbers of a data frame have no name; words are no predictions.
    others = [
        i for i in others if header[i] and any(map(_like_a_number, table.column(i)))
    ]
    if not others:
        remedy = "Name it with --predictions NAME."
        refuse("have a column of predictions", ", ".join(header), remedy)
    classes = {*table.column(y)}
    if len(others) > 1 and classes <= {header[i] for i in others}:
        return _classes(table, others, [i for i in others if header[i] in classes])
    known = _known(header, PREDICTIONS)
    return others if known in (None, y) else [known]


def _classes(table: Table, others: list[int], named: list[int]) -> list[int]:
    """The columns that labels are called after, and those of classes without a label.

    Not an id, a fold or a certainty: these are whole numbers beside fractions, are no
    probabilities beside such, or make the rows add up to more than 1.
    """
    numbers = {i: table.numbers(i) for i in others}

    def shares(i: int) -> bool:
        return all(0 <= x <= 1 for x in numbers[i])

    def counts(i: int) -> bool:
        return all(cell.isdigit() for cell in table.column(i)) and any(numbers[i])

    def add_up(columns: list[int]) -> bool:
        rows = zip(*(numbers[i] for i in columns), strict=True)
        return all(abs(sum(row) - 1) <= ROUNDED for row in rows)

    probabilities, fractions = all(map(shares, named)), not all(map(counts, named))
    unlike = {
        i
        for i in others
        if (probabilities and not shares(i)) or (fractions and counts(i))
    }
    like = [i for i in others if i in named or i not in unlike]
    return named if probabilities and add_up(named) and not add_up(like) else like


ROUNDED = 0.02
"""What rounding to a few digits may take from a row of probabilities."""


def _ids(table: Table, y: int, used: list[int]) -> list[int] | list[float]:
    """Labels as numbers: of words, the places of the columns called after them."""
    names = [table.header[i] for i in used] if table.header and len(used) > 1 else []
    cells = table.column(y)
    words = [cell for cell in cells if table.number(cell) is None]
    places = {name: i for i, name in reversed([*enumerate(names)])}
    if not words and not {*cells} <= places.keys():
        places = {}
    numbers = []
    for line, cell in zip(table.rows, cells, strict=True):
        number = places.get(cell, table.number(cell))
        if number is None:
            must = f"have an id, or the name of a column, for the label in row {line}"
            remedy = "Number the classes from 0, or name their columns in a header."
            refuse(must, cell, remedy)
        numbers.append(float(number))
    whole = all(number.is_integer() for number in numbers)
    return [*map(int, numbers)] if whole else numbers


def _says(header: list[str], y: int, used: list[int]) -> str:
    if not header:
        return ""
    left = [name for i, name in enumerate(header) if name and i not in (y, *used)]
    says = f"Labels: {header[y]}. Predictions: {_listed([header[i] for i in used])}."
    return f"{says} Left out: {_listed(left)}." if left else says


def _listed(names: list[str]) -> str:
    """All, or of many the first and the last."""
    few = names if len(names) <= 8 else [*names[:6], "…", names[-1]]
    return ", ".join(few)
