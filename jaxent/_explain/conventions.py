# SPDX-License-Identifier: Apache-2.0
"""The conventions that `jaxent.explain` compares, for the arrays that it is given."""

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from . import tables
from .tables import AS_THEY_ARE, DIVIDED, Compute, Row


class Convention(NamedTuple):
    """A framework's call, and how it reads what it is given."""

    framework: str
    call: str
    compute: Callable[[], Array]
    traits: tuple[str, ...]
    """How it reads labels, predictions, extremes, rows, and how it reduces."""
    double: bool
    """Whether the framework computes in float64."""
    losses: int
    """The number of losses that are reduced."""
    size: int
    """The number of predictions."""

    @property
    def name(self) -> str:
        return f"{self.framework}: {self.call}"

    def __repr__(self) -> str:
        return f"<{self.name}>"


def of_elements(y: Array, p: Array) -> Iterator[Convention]:
    """Conventions by which each element is a decision of its own: yes or no."""
    reading = f"{p.size} yes-or-no labels"
    names = {"args": "y, p", "swapped": "p, y"}
    if p.ndim == 1:
        yield from _conventions(tables.LOG_LOSSES, y, p, reading, p.size, names)
    yield from _conventions(tables.ELEMENTS, y, p, reading, p.size, names)


def of_rows(y: Array, p: Array, *, ids: bool) -> Iterator[Convention]:
    """Conventions by which each row is a distribution; one axis is one row."""
    args, swapped = ("[y], [p]", "[p], [y]") if p.ndim == 1 else ("y, p", "p, y")
    y, p = (a.reshape(-1, a.shape[-1]) for a in (y, p))
    labels, predictions = np.asarray(y), np.asarray(p)
    count, classes = p.shape
    names = {"args": args, "swapped": swapped}
    names |= tables.OF_IDS if ids else dict.fromkeys(tables.OF_IDS, "")
    rows = tables.LOG_LOSSES + tables.ROWS
    if classes > 1 and count > 1:
        rows += tables.COLUMNS
    if ((labels.sum(axis=1) == 1) & (labels == 1).any(axis=1)).all():
        rows += tables.ONE_HOT
    # Where they sum to one already, it makes no difference.
    one = (abs(predictions.sum(axis=1) - 1) < 1e-6).all()
    reading = f"{count} {'row' if count == 1 else 'rows'} of {classes} classes"
    yield from _conventions(rows, y, p, reading, count, names, divides=not one)


def _conventions(
    rows: Iterable[Row],
    y: Array,
    p: Array,
    reading: str,
    losses: int,
    names: dict[str, str],
    *,
    divides: bool = False,
) -> Iterator[Convention]:
    """Those of a table, which read labels and predictions alike."""
    single = y.astype(jnp.float32), p.astype(jnp.float32)
    for framework, call, compute, traits in rows:
        double = framework in tables.DOUBLE and not call.endswith("of float32")
        if not divides:
            traits = tuple(AS_THEY_ARE if t == DIVIDED else t for t in traits)
        yield Convention(
            framework,
            call.format(**names),
            functools.partial(_quietly, compute, *((y, p) if double else single)),
            (reading, *traits),
            double,
            losses,
            p.size,
        )


def _quietly(compute: Compute, y: Array, p: Array) -> Array:
    """Without the warnings of the framework: the table says what they say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return compute(y, p)
