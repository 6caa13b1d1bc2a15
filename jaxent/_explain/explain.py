# SPDX-License-Identifier: Apache-2.0
"""Which framework and convention print which number for the same predictions."""

import math
import struct
import textwrap
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from .. import _checks
from .._errors import door, fail, outside
from .conventions import Convention, of_elements, of_rows
from .tables import PROBABILITIES

Numbers = ArrayLike | Sequence[float] | Sequence[Sequence[float]]
"""An array, or lists of numbers as they are typed in."""

COLUMNS = 100
"""The width of what is printed."""


class Reading(NamedTuple):
    """One convention's number."""

    convention: Convention
    number: float
    """In nats; NaN where the framework raises."""
    error: str | None
    """What the framework raises, if it does."""
    matches: bool
    """Whether it is the number that was asked about."""

    @property
    def printed(self) -> str:
        if self.error is not None:
            return "raises"
        return repr(self.number) if self.convention.double else _shortest(self.number)

    def __repr__(self) -> str:
        return f"<{self.printed} of {self.convention.name}>"


class Explanation(NamedTuple):
    """The numbers of all frameworks and conventions; shown or printed, a table.

    Without a number to explain, the last column says what each does; with one, how
    each differs from the first that matches.
    """

    readings: tuple[Reading, ...]
    """In the order of the table: the likelier first."""
    got: str | None
    """The number to explain, as it was given."""

    @property
    def matching(self) -> tuple[Reading, ...]:
        """Those of the number that was asked about."""
        return tuple(r for r in self.readings if r.matches)

    def __repr__(self) -> str:
        first = self.matching[0] if self.matching else None
        width = max(len(r.printed) for r in self.readings)
        indent = " " * (width + 6)
        lines = [f"{'number':{width}}      framework: call, and what it does"]
        for r in self.readings:
            mark, c = "<=" if r.matches else "", r.convention
            lines.append(f"{r.printed:{width}}  {mark:2}  {c.name}")
            lines += _wrapped(_sentence(r, first), indent + "  ")
        return "\n".join([*lines, *self._verdict()])

    def _verdict(self) -> Iterator[str]:
        if self.got is None:
            return
        yield ""
        for r in self.matching:
            c = r.convention
            does = ", ".join(c.traits)
            yield from _wrapped(f"{self.got} is {c.framework}'s {c.call}: {does}.")
        if not self.matching:
            yield f"No convention here gives {self.got}."
            for sentence in _multiples(self.readings, self.got):
                yield from _wrapped(sentence)


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        COLUMNS,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


@door
def explain(
    labels: Numbers, predictions: Numbers, *, got: float | str | None = None
) -> Explanation:
    """What each framework would print for these labels and predictions, and why.

    Each reads them its own way: as probabilities or logits, as one decision an element
    or one distribution a row, with its own clip, its own division of rows by their sum,
    its own mean. All are computed by `jaxent.compat`, in the precision that the
    framework computes in; what the arrays look like is tried first. `python -m jaxent
    explain` does it for a file.

    Args:
      labels: class ids, `[n]`; or 0, 1 or weights, shape of `predictions`.
      predictions: probabilities or logits, `[n]` or `[n, classes]`; concrete, as
        arrays or as lists.
      got: a number to explain; as text, it is compared in the digits it has.
    Returns:
      `Explanation`: print it.
    Raises:
      TypeError: arrays that are not of numbers, or a `got` that is not a number.
      ValueError: shapes that do not fit each other.
    Example:
      >>> found = jaxent.explain([0, 0, 1], [0.3, 0.7, 0.0], got="12.033141")
      >>> found.matching[0].convention.framework
      'scikit-learn before 1.2'

    Source: the semantics are those of `jaxent.compat`.
    """
    text = None if got is None else str(got)
    wanted = None if text is None else _number(text)
    with jax.enable_x64(True):
        p = _checks.weights("predictions", cast(ArrayLike, predictions)).astype(
            jnp.float64
        )
        y = _checks.weights("labels", cast(ArrayLike, labels))
        readings = [_read(c, text, wanted) for c in _conventions(y, p)]
        known = np.asarray(p)
        shares = bool(((known >= 0) & (known <= 1)).all())
    return Explanation(tuple(sorted(readings, key=_unlikely(shares))), text)


def _unlikely(shares: bool):
    """What puts a reading further down: whether predictions look like probabilities."""

    def rank(r: Reading) -> tuple[bool, bool, bool]:
        _, reads, *_ = r.convention.traits
        return not r.matches, (reads == PROBABILITIES) != shares, r.error is not None

    return rank


def _conventions(y: Array, p: Array) -> list[Convention]:
    """All readings of the arrays, ids made one-hot rows."""
    ids = y.ndim == p.ndim - 1 and y.shape == p.shape[:-1]
    if p.ndim not in (1, 2) or p.size == 0 or not (ids or y.shape == p.shape):
        must = "have one number or one row for each label"
        remedy = f"`labels` has shape {y.shape}."
        fail(ValueError, "predictions", must, p.shape, remedy)
    if ids:
        y = (
            y.astype(jnp.int32)[:, None]
            == jnp.arange(p.shape[-1], dtype=jnp.int32)[None]
        )
    y = y.astype(jnp.float64)
    elements, rows = of_elements(y, p), of_rows(y, p, ids=ids)
    one_each = p.ndim == 2 and bool((np.asarray(y).sum(axis=-1) == 1).all())
    return [*rows, *elements] if one_each else [*elements, *rows]


def _read(convention: Convention, text: str | None, wanted: float | None) -> Reading:
    try:
        number = float(outside(convention.compute)())
    except ValueError as error:
        return Reading(convention, math.nan, str(error), False)
    if text is None or wanted is None:
        return Reading(convention, number, None, False)
    same = _same(number, text, wanted, convention.double)
    return Reading(convention, number, None, same)


def _shortest(x: float) -> str:
    """A float32 in as few digits as tell it from its neighbours."""
    digits = (f"{x:.{n}g}" for n in range(6, 10))
    same = (d for d in digits if struct.pack("f", float(d)) == struct.pack("f", x))
    return next(same, str(x))  # NaNs have many patterns


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        remedy = "Give it as it was printed, such as 12.033141."
        fail(TypeError, "got", "be a number", repr(text), remedy)


def _same(number: float, text: str, wanted: float, double: bool) -> bool:
    """Equal in the digits given, up to the rounding of the precision."""
    if not (math.isfinite(number) and math.isfinite(wanted)):
        return number == wanted or (math.isnan(number) and math.isnan(wanted))
    exponent = Decimal(text).as_tuple().exponent
    digit = 10.0**exponent if isinstance(exponent, int) else 0.0
    rounding = (4e-15 if double else 4e-7) * abs(number)
    return abs(number - wanted) <= digit / 2 + rounding


def _sentence(r: Reading, first: Reading | None) -> str:
    """What a convention does; or how it differs from the one that matched."""
    if r.error is not None:
        return r.error
    c = r.convention
    if first is None or r.matches:
        return ", ".join(c.traits)
    pairs = zip(c.traits, first.convention.traits, strict=True)
    different = [f"{mine} (not: {theirs})" for mine, theirs in pairs if mine != theirs]
    return ", ".join(different) or "the same, in another precision"


def _multiples(readings: tuple[Reading, ...], got: str) -> Iterator[str]:
    """A number that is another's in bits, or with another denominator."""
    wanted = float(got)
    for r in readings:
        c = r.convention
        factors = {
            "in bits, divided by log 2": 1 / math.log(2),
            "with the other sign": -1.0,
            f"divided by {c.losses}, the number of losses": 1 / c.losses,
            f"times {c.losses}, the number of losses": float(c.losses),
            f"divided by {c.size}, the number of elements": 1 / c.size,
        }
        for what, factor in factors.items():
            if r.number and _same(r.number * factor, got, wanted, c.double):
                yield f"It is {c.framework}'s {c.call} {what}."
