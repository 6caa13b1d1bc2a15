# SPDX-License-Identifier: Apache-2.0
"""The page of what `benchmarks.accelerator` found, made of its JSON alone.

    python -m benchmarks.device_page FOLDER/accelerator.json

makes page and picture again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from . import device_picture
from .device_picture import facts, measured, name_of, of_bound, shape

SHAPE = ("positions", "width", "classes")
TABLES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "heads": (
        "Fused heads, value and gradient",
        "TFLOP/s are of 6·N·d·V operations, whatever a head makes; `products` are the "
        "three alone, in the same turns. Errors are of the loss, and in norm of some "
        "rows of both gradients, against float64.",
        (*SHAPE, "head", "milliseconds", "tflops", "products_tflops", "to_products",
         "temporaries_mib", "error", "loss_error"),
    ),
    "products": (
        "The device's own products",
        "",
        (*SHAPE, "product", "milliseconds", "tflops"),
    ),
    "memory": (
        "Budgets",
        "`memory=` in bytes, value and gradient.",
        (*SHAPE, "head", "memory", "milliseconds", "tflops", "temporaries_mib"),
    ),
    "dense": (
        "Dense losses",
        "The floor is one pass over the logits: forward their exponentials' sums, and "
        "of a gradient the exponentials. `gradient` is with the value.",
        ("family", "positions", "classes", "dtype", "pass", "peer", "milliseconds",
         "to_optax", "to_floor", "temporaries_mib", "error"),
    ),
}  # fmt: skip
NEAREST = 20


def cell(x: Any) -> str:
    if isinstance(x, list):
        low, median, high = x
        return f"{median:.2f} ({low:.2f} to {high:.2f})"
    if isinstance(x, float):
        return f"{x:.1e}" if 0 < abs(x) < 1e-3 else f"{x:.4g}"
    return "" if x is None else str(x)


def table(rows: list[dict], columns: tuple[str, ...]) -> str:
    lines = [[name.replace("_", " ") for name in columns], ["---"] * len(columns)]
    lines += [[cell(row.get(name)) for name in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bullets(title: str, lines: list[str]) -> str:
    return "\n".join([f"{title}\n", *(f"- {line}" for line in lines or ["nothing"])])


def failure(row: dict) -> str | None:
    """What raised, hung, or was further from the truth than it may be."""
    where = [f"{row['part']}: {row['item']}"]
    where += [row[k] for k in ("regime", "peer", "what") if k in row]
    if "fails" in row:
        return f"{', '.join(where)}: {row['fails']}"
    if row.get("broken"):
        products = f"products {row['precision']}"
        return f"certify: {row['loss']}, {row['dtype']}, {products}: {row['broken']}"
    if row.get("ok") is False:
        error, bound = cell(row["error"]), cell(row["bound"])
        return f"{', '.join(where)}: an error of {error}, where {bound} is the bound"
    return None


def failures(result: dict) -> list[str]:
    return [line for row in result["rows"] if (line := failure(row))]


def skipped(result: dict) -> list[str]:
    rows = [r for r in result["rows"] if "skipped" in r]
    return [f"{r['part']}: {r['item']}: {r['skipped']}" for r in rows]


def kept(result: dict) -> list[str]:
    """How many checks of each head, and lines of certify, are within their bounds."""
    counts: dict[str, list[bool]] = {}
    for row in measured(result, "checks"):
        counts.setdefault(f"{row['head']}, {row['dtype']}", []).append(row["ok"])
    for row in measured(result, "certify"):
        counts.setdefault(f"certify, products {row['precision']}", []).append(row["ok"])
    return [f"{k}: {sum(v)} of {len(v)} within their bounds" for k, v in counts.items()]


def provenance(result: dict) -> str:
    ran, found = f"`{result['command']}`, {result['seconds']} s", facts(result)
    if not found:
        return ran
    where = ", ".join(f"{k} {v}" for k, v in found["versions"].items())
    return f"{ran}, commit {found['commit'] or '?'}; {found['device']}; {where}."


def summary(result: dict) -> str:
    """What a terminal is told at the end."""
    columns = ("positions", "classes", "head", "milliseconds", "tflops",
               "products_tflops", "temporaries_mib", "error")  # fmt: skip
    parts = [
        provenance(result),
        bullets("Exactness:", kept(result)),
        table(measured(result, "heads"), columns),
        bullets("What failed:", failures(result)),
        f"{len(skipped(result))} items were not reached.",
    ]
    return "\n\n".join(parts)


def page(result: dict, picture: str) -> str:
    parts = [
        f"# On {name_of(result)}",
        provenance(result),
        f"![Heads, their budgets and errors, and dense losses]({picture})",
        bullets("## Exactness", kept(result)),
        bullets("## What failed", failures(result)),
    ]
    for part, (title, note, columns) in TABLES.items():
        rows = measured(result, part)
        if part == "memory":
            # They were measured with the most telling first.
            rows = sorted(rows, key=lambda r: (shape(r), r["head"], r["memory"]))
        parts += [f"## {title}", note, table(rows, columns)] if rows else []
    nearest = sorted(measured(result, "checks"), key=of_bound, reverse=True)[:NEAREST]
    parts.append(f"## The {len(nearest)} checks nearest to their bounds")
    parts.append(table(nearest, ("item", "regime", "what", "error", "bound")))
    parts.append(bullets("## Not reached", skipped(result)))
    return "\n\n".join(filter(None, parts)) + "\n"


def save(result: dict, path: Path) -> None:
    path.write_text(json.dumps(result, indent=1) + "\n")
    path.with_suffix(".md").write_text(page(result, f"{path.stem}.png"))
    device_picture.draw(result, path.with_suffix(".png"))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("json", type=Path)
    path = parser.parse_args(argv).json
    save(json.loads(path.read_text()), path)


if __name__ == "__main__":
    main()
