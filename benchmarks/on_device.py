# SPDX-License-Identifier: Apache-2.0
"""What `benchmarks.accelerator` asks of a device: items in order of worth, as rows.

An item that fails is a row. One that may have spoilt the device for those after it, as
an illegal address does, ends the process, whose parent starts another from there on.
"""

import argparse
import functools
import importlib.metadata
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxent._certify import arithmetic, command

from . import device_checks, device_times, fused_head, report

PACKAGES = ("jax", "jaxlib", "jaxtyping", "numpy", "optax", "tokamax", "libtpu",
            "jax-cuda12-plugin", "jax-cuda13-plugin", "nvidia-cublas")  # fmt: skip
SPOILT = 3
"""The exit status of a process whose device may be spoilt."""
LEAST = 4.0
"""Seconds left with which an item is begun."""


class Item(NamedTuple):
    part: str
    name: str
    rows: Callable[[], Iterable[dict]]
    head: str = ""
    """Whose it is: of one that hangs, or ends its process often, no more is asked."""


class Sizes(NamedTuple):
    """What is measured on a platform."""

    heads: tuple[tuple[int, int, int], ...]
    """Positions, width, classes."""
    budgets: tuple[int, ...]
    """Exponents of two of the bytes in `memory`, from the most telling on."""
    dense: tuple[tuple[str, int, int], ...]
    repeats: int
    certified: float
    """Seconds after which no more losses are certified."""


CHIP = Sizes(
    heads=((8192, 2048, 131_072), (16_384, 4096, 128_256)),
    budgets=(30, 28, 32, 26, 31, 29, 27),
    dense=(
        ("integer", 8192, 131_072),
        ("soft", 8192, 50_257),
        ("integer", 2**18, 1000),
    ),
    repeats=10,
    certified=120,
)
SIZES = {
    "gpu": CHIP,
    "tpu": CHIP,
    "cpu": Sizes(
        heads=((512, 128, 8192), (256, 256, 4096)),
        budgets=(24, 22, 20, 23, 21),
        dense=(("integer", 512, 8192), ("soft", 256, 8192), ("integer", 4096, 1000)),
        repeats=3,
        certified=60,
    ),
}
DTYPE = "bfloat16"


def of_platform(quick: bool) -> Sizes:
    sizes = SIZES[jax.default_backend()]
    if not quick:
        return sizes
    return sizes._replace(
        heads=sizes.heads[:1], budgets=sizes.budgets[:2], dense=sizes.dense[:1],
        certified=15,
    )  # fmt: skip


def items(quick: bool) -> Iterator[Item]:
    """All there is to do, what one would miss most first."""
    sizes = of_platform(quick)
    yield Item("device", "versions and settings", device)
    yield Item("device", "arithmetic", lambda: [arithmetic.measured()._asdict()])
    yield from checks(0, quick)
    for i, shape in enumerate(sizes.heads):
        args = *shape, DTYPE, sizes.repeats
        yield timed("products", "the device's own", device_times.of_products, *args)
        for head in device_times.heads():
            item = timed("heads", head, device_times.of_head, head, *args)
            yield item._replace(head=head)
        if i == 0:
            yield from budgets(sizes, *args)
    certify = functools.partial(certified, quick, sizes.certified)
    yield Item("certify", "every loss", certify)
    for family, *shape in sizes.dense:
        for dtype in ("bfloat16",) if quick else ("bfloat16", "float32"):
            for what in ("gradient", "forward"):
                args = family, what, *shape, dtype, sizes.repeats
                name = f"{family}, {dtype}, {what}"
                yield timed("dense", name, device_times.of_dense, *args)
    if not quick:
        # Of their other dtype, what --quick asks of the first.
        yield from checks(1, quick=True)
    for shape in sizes.heads[1:]:
        yield from budgets(sizes, *shape, DTYPE, sizes.repeats)


def checks(place: int, quick: bool) -> Iterator[Item]:
    """Of every head in one of its dtypes; a kernel first, for "xla" is known best."""
    for head in reversed(fused_head.implementations()):
        dtype = device_checks.DTYPES[head][place]
        for name, rows in device_checks.checks(head, dtype, quick):
            name = f"{head}, {dtype}, {name}"
            yield Item("checks", name, _of(rows, head=head, dtype=dtype), head)


def timed(part: str, name: str, f: Callable, *args: Any) -> Item:
    shape = [str(a) for a in args if isinstance(a, int)][:-1]
    return Item(part, f"{name}, {' × '.join(shape)}", functools.partial(f, *args))


def budgets(sizes: Sizes, *args: Any) -> Iterator[Item]:
    for exponent in sizes.budgets:
        for head in fused_head.implementations():
            # VMEM is another budget.
            if head != "jaxent, pallas_tpu":
                name = f"{head}, 2^{exponent} bytes"
                f = functools.partial(device_times.of_memory, head, 2**exponent)
                yield timed("memory", name, f, *args)._replace(head=head)


def _of(rows: Callable[[], Iterable[dict]], **columns: Any) -> Callable:
    return lambda: (columns | row for row in rows())


def device() -> Iterator[dict]:
    (chip,) = jax.devices()[:1]
    yield {
        "device": chip.device_kind, "platform": chip.platform,
        "capability": getattr(chip, "compute_capability", None),
        "bytes": (chip.memory_stats() or {}).get("bytes_limit"),
        "machine": platform.machine(), "python": platform.python_version(),
        "versions": dict(versions()), "settings": command.settings(),
        "commit": commit(),
    }  # fmt: skip


def versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def commit() -> str:
    try:
        return report.commit()
    except OSError:
        return ""


def certified(quick: bool, seconds: float) -> Iterator[dict]:
    """Each line as the device is set; those that break, also with exact products."""
    end = time.monotonic() + seconds
    chosen = [r for r in command.TABLE if not quick or "softmax_cross" in r.name]
    broken = yield from _lines(chosen, "", end)
    if broken:
        before = jax.config.jax_default_matmul_precision
        jax.config.update("jax_default_matmul_precision", "highest")
        again = [row for row in chosen if row.name in broken]
        yield from _lines(again, "highest", end)
        jax.config.update("jax_default_matmul_precision", before)


def _lines(rows: list, precision: str, end: float):
    broken = set()
    for count, line in enumerate(command.lines(rows), 1):
        if line.broken:
            broken.add(line.loss)
        yield command.as_json(line) | {
            "precision": precision or "as set",
            "ok": not line.broken,
        }
        if time.monotonic() > end:
            yield {"skipped": f"after {count} lines its share of the time was over"}
            break
    return broken


def spoils(failure: Exception) -> bool:
    """Whether what runs after it may fail because of it."""
    kinds = ("RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "INVALID_ARGUMENT")
    ran = isinstance(failure, jax.errors.JaxRuntimeError)
    return ran and not str(failure).startswith(kinds)


def first_line(failure: Exception) -> str:
    says = str(failure).strip().splitlines() or [""]
    return f"{type(failure).__name__}: {says[0]}"[:300]


def run(
    plan: list[Item],
    first: int,
    end: float,
    tell: Callable[[dict], None],
    without: Iterable[str] = (),
) -> int:
    """The items from the first on, until the end; 0, or why to begin anew."""
    tell({"plan": [(item.part, item.name, item.head) for item in plan]})
    for i, item in enumerate(plan[first:], first):
        row = {"part": item.part, "item": item.name}
        if item.head in without:
            tell(row | {"skipped": f"{item.head} hangs, or ends its process"})
            continue
        if time.monotonic() > end - LEAST:
            tell(row | {"skipped": "the time was over"})
            continue
        tell({"begin": i})
        try:
            for found in item.rows():
                tell(row | found)
        except Exception as failure:
            tell(row | {"fails": first_line(failure)})
            if spoils(failure):
                return SPOILT
    tell({"end": True})
    return 0


def strict(x: Any) -> Any:
    """JSON has neither infinity nor NaN: they are written as text."""
    if isinstance(x, dict):
        return {k: strict(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [strict(v) for v in x]
    return str(x) if isinstance(x, float) and not math.isfinite(x) else x


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", type=Path, required=True, help="JSON, line by line")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=400.0)
    parser.add_argument("--without", action="append", default=[], metavar="HEAD")
    args = parser.parse_args(argv)
    end = time.monotonic() + args.seconds
    plan = list(items(args.quick))
    with args.rows.open("w") as file:

        def tell(row: dict) -> None:
            file.write(json.dumps(strict(report.compact([row])[0])) + "\n")
            file.flush()

        return run(plan, args.first, end, tell, args.without)


if __name__ == "__main__":
    sys.exit(main())
