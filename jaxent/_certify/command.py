# SPDX-License-Identifier: Apache-2.0
"""`python -m jaxent certify`: does this device, as it is set, keep our bounds?"""

import argparse
import itertools
import json
import math
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .arithmetic import measured as arithmetic
from .arithmetic import remedies
from .rows import TABLE, Bound, Row
from .truth import Sized, wide


class Part(NamedTuple):
    """How far one array is from the truth."""

    ulps: np.ndarray
    """In units of the last place of what each number is a sum of."""
    used: np.ndarray
    """The error in units of its bound; inf where one alone is NaN or infinite."""
    nans: int
    """NaNs that should not be, or that should."""

    @property
    def kept(self) -> bool:
        return bool(np.all(self.used <= 1))


class Line(NamedTuple):
    """What was found of one loss in one dtype."""

    loss: str
    dtype: str
    value: tuple[float, float]
    """Largest and median error, in ULP."""
    value_bound: str
    gradient: tuple[float, float]
    gradient_bound: str
    nans: int
    under: str
    """The transforms it was taken under, with `jit`."""
    broken: str
    """What is, and for which input; empty if nothing."""


def compare(got: Any, truth: Sized, bound: Bound) -> Part:
    info = jnp.finfo(got.dtype)
    got = wide(got)
    same = (got == truth.number) | (np.isnan(got) & np.isnan(truth.number))
    error = np.where(same, 0, np.abs(got - truth.number))
    # Products of small numbers are flushed to 0 a little before they must be.
    tiny = wide(info.smallest_normal)
    error = np.where(np.isnan(error), np.inf, np.maximum(error - 16 * tiny, 0))
    size = np.nan_to_num(np.maximum(truth.terms, tiny), nan=1, posinf=1)
    ulp = np.ldexp(wide(1), np.frexp(size)[1] - 1 - info.nmant)
    relative = size * wide(info.eps) / np.finfo(np.float32).eps
    unit = ulp if bound.unit == "ULP" else relative
    nans = np.sum(np.isnan(got) != np.isnan(truth.number))
    return Part(error / ulp, error / (bound.number * unit), int(nans))


def stacked(made: dict[str, tuple], dtype: str) -> tuple[list[jax.Array], list[str]]:
    """Inputs of all kinds as one batch, and the kind of each row of it."""
    args = []
    for column in zip(*made.values(), strict=True):
        shared = all(a is column[0] for a in column)
        a = column[0] if shared else np.concatenate(column)
        args.append(jax.device_put(a if a.dtype.kind == "i" else a.astype(dtype)))
    return args, [kind for kind, v in made.items() for _ in v[0]]


def measured(row: Row, dtype: str) -> Line:
    """One program: in float32 the gradients and `jvp`, else `vmap` of the gradients."""
    rng = np.random.default_rng(0)
    args, kinds = stacked(row.inputs(rng, 600.0 if dtype == "float64" else 60.0), dtype)
    truth = row.truth(*map(np.asarray, args))
    count = len(truth.gradients)
    moved, fixed = args[:count], args[count:]
    directions = [rng.choice([-1, 1], a.shape).astype(dtype) for a in moved]
    call = row.call or row.loss

    def pulled(moved, fixed):
        value, back = jax.vjp(lambda *xs: call(*xs, *fixed), *moved)
        return value, *back(jnp.ones_like(value))

    def plain(moved, fixed):
        along = [*map(jnp.asarray, directions)]
        _, tangent = jax.jvp(lambda *xs: call(*xs, *fixed), moved, along)
        return *pulled(moved, fixed), tangent

    def mapped(moved, fixed):
        batch = jax.tree.map(lambda a: a[None], (moved, fixed))
        return [a[0] for a in jax.vmap(pulled)(*batch)]

    truths, bounds = [truth.value, *truth.gradients], [row.bound] * (count + 1)
    if dtype == "float32":
        under, program = "grad, jvp", plain
        truths, bounds = [*truths, along_all(truth, directions)], [*bounds, row.bound]
    else:
        under, program = "vmap(grad)", mapped
        if dtype == "bfloat16":
            bounds[1:] = [row.half] * count
    got = jax.jit(program)(moved, fixed)
    parts = [compare(*three) for three in zip(got, truths, bounds, strict=True)]
    value, gradients = parts[0].ulps, [p.ulps.ravel() for p in parts[1 : count + 1]]
    return Line(
        row.name,
        dtype,
        middle(value),
        str(bounds[0]),
        middle(np.hstack(gradients)),
        str(bounds[1]),
        sum(p.nans for p in parts),
        under,
        "; ".join(complaints(parts, kinds, count)),
    )


def middle(ulps: np.ndarray) -> tuple[float, float]:
    return float(np.max(ulps)), float(np.median(ulps))


def along_all(truth, directions) -> Sized:
    """Σ gradient · direction, of each position."""
    ndim = np.ndim(truth.value.number)
    number = terms = wide(0)
    for g, direction in zip(truth.gradients, map(wide, directions), strict=True):
        axes = tuple(range(ndim, direction.ndim))
        number = number + np.sum(g.number * direction, axis=axes)
        terms = terms + np.sum(g.terms, axis=axes)
    return Sized(number, terms)


def complaints(parts: list[Part], kinds: list[str], count: int) -> Iterator[str]:
    names = ["value", *(f"gradient {i}" for i in range(count)), "jvp"][: len(parts)]
    for name, part in zip(names, parts, strict=True):
        if not part.kept:
            at = np.unravel_index(np.argmax(part.used), part.used.shape)
            by_row = part.used.shape[:1] == (len(kinds),)
            kind = f" at {kinds[at[0]]!r}" if by_row else ""
            yield f"{name} off by {part.ulps[at]:.3g} ULP{kind}"


def lines(rows: Iterable[Row]) -> Iterator[Line]:
    double = jax.dtypes.canonicalize_dtype(np.float64) == np.float64
    wider = np.finfo(np.longdouble).eps < np.finfo(np.float64).eps  # not on every host
    dtypes = ("float32", "bfloat16", *(["float64"] if double and wider else []))

    def line_of(given: tuple[Row, str]) -> Line:
        try:
            with (  # of the thread
                jax.enable_x64(double),
                jax.debug_nans(False),
                jax.debug_infs(False),
                np.errstate(all="ignore"),
            ):
                return measured(*given)
        except Exception as error:  # a device may lack an operation: others go on
            return raised(*given, error)

    # Most of the time is compiling, which threads do side by side.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(line_of, itertools.product(rows, dtypes))


def raised(row: Row, dtype: str, error: Exception) -> Line:
    nothing = (math.nan, math.nan)
    says = f"raises {type(error).__name__}: {str(error).splitlines()[0]}"
    bound = str(row.bound)
    return Line(row.name, dtype, nothing, bound, nothing, bound, 0, "", says)


SETTINGS = ("jax_default_matmul_precision", "jax_enable_x64")


def settings() -> dict[str, str]:
    """Where this runs."""
    (device,) = jnp.zeros(()).devices()
    return {
        "jax": jax.__version__,
        "device": f"{device.platform} ({device.device_kind})",
        **{name: str(getattr(jax.config, name)) for name in SETTINGS},
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }


def describe(parser: argparse.ArgumentParser):
    """The arguments of the command."""
    parser.add_argument("--json", metavar="FILE", type=Path, help="write it there too")


def run(arguments: argparse.Namespace) -> int:
    """Print the table line by line; 1 if a bound is broken, else 0."""
    with jax.debug_nans(False):
        where, found = settings(), arithmetic()
    print("\n".join(f"{k}: {v}" for k, v in where.items() if v), found, sep="\n")
    print("\n" + COLUMNS.format(*HEADING), flush=True)
    table = []
    for line in lines(TABLE):
        table.append(line)
        print(printed(line), flush=True)
    broken = [line for line in table if line.broken]
    advice = remedies(found) if broken else ()
    says = [f"{line.loss} of {line.dtype}: {line.broken}." for line in broken]
    kept = f"{len(table) - len(broken)} of {len(table)} lines keep their bounds."
    print("", kept, *says, *advice, sep="\n")
    if arguments.json is not None:
        report = {
            "settings": where,
            "arithmetic": found._asdict(),
            "lines": [as_json(line) for line in table],
            "broken": len(broken),
            "remedies": advice,
        }
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if broken else 0


def as_json(line: Line) -> dict[str, Any]:
    """JSON has neither infinity nor NaN: they are written as text."""
    errors = {
        name: [x if math.isfinite(x) else str(x) for x in getattr(line, name)]
        for name in ("value", "gradient")
    }
    return line._asdict() | errors


COLUMNS = "{:<43}{:<10}{:>8}{:>8}  {:<10}{:>8}{:>8}  {:<10}{:>4}  {:<10} {}"
OF_VALUE, OF_SLOPE = ("value", "median", "bound"), ("gradient", "median", "bound")
HEADING = (
    *("loss, and its errors in ULP", "dtype", *OF_VALUE, *OF_SLOPE),
    *("NaN", "under", "verdict"),
)


def printed(line: Line) -> str:
    value, gradient = ([f"{x:.2g}" for x in two] for two in (line.value, line.gradient))
    return COLUMNS.format(
        line.loss,
        line.dtype,
        *value,
        line.value_bound,
        *gradient,
        line.gradient_bound,
        line.nans,
        line.under,
        "BROKEN" if line.broken else "ok",
    )
