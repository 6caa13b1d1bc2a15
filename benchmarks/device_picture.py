# SPDX-License-Identifier: Apache-2.0
"""The picture of what `benchmarks.accelerator` found: what failed is not in it."""

from pathlib import Path
from typing import Any

BELOW: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0, -0.06), "ncols": 2}
"""Where a legend hides no mark."""


def measured(result: dict, part: str) -> list[dict]:
    without = {"fails", "skipped"}
    return [r for r in result["rows"] if r["part"] == part and not r.keys() & without]


def facts(result: dict) -> dict:
    """Where it ran, if that was found."""
    return next((r for r in measured(result, "device") if "versions" in r), {})


def name_of(result: dict) -> str:
    return facts(result).get("device", "an unknown device")


def of_bound(row: dict) -> float:
    """An error in units of its bound, which may be 0; either may be text: "inf"."""
    error, bound = float(row["error"]), float(row["bound"])
    return error / bound if bound else error


def shape(row: dict) -> str:
    return f"{row['positions']} × {row['width']} × {row['classes']}"


def dots(axis, rows: list[dict], names: list[str], columns: dict[str, str]) -> None:
    """A line a row, from the top; a mark a column, whose values may be quartiles."""
    for (column, label), mark in zip(columns.items(), "o|", strict=False):
        found = [row.get(column) for row in rows]
        found = [x[1] if isinstance(x, list) else x for x in found]
        axis.plot(found, range(len(rows)), mark, ms=8, mew=2, label=label)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    if len(columns) > 1:
        axis.legend(**BELOW)


def heads(speed, memory, result: dict) -> None:
    rows = measured(result, "heads")
    names = [f"{r['head']}\n{shape(r)}" for r in rows]
    columns = {"tflops": "the head", "products_tflops": "three products alone"}
    dots(speed, rows, names, columns)
    speed.set_xlim(left=0)
    speed.set_title("Value and gradient, TFLOP/s of 6·N·d·V")
    rows = [r | {"mib": max(r["temporaries_mib"], 0.1)} for r in rows]
    dots(memory, rows, [""] * len(rows), {"mib": ""})
    memory.set_xscale("log")
    memory.set_title("Temporaries, MiB")


def budgets(axis, result: dict) -> None:
    lines: dict[tuple[str, str], list] = {}
    for r in measured(result, "memory"):
        found = lines.setdefault((r["head"], shape(r)), [])
        found.append((r["memory"] / 2**20, r["milliseconds"]))
    for names, points in lines.items():
        axis.plot(*zip(*sorted(points), strict=True), "o-", label="\n".join(names))
    axis.set_xscale("log", base=2)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("memory=, MiB")
    axis.set_title("A budget's worth, ms")
    if lines:
        axis.legend(fontsize=8)


def checks(axis, result: dict) -> None:
    """Errors in units of their bounds, with room on the right for those that broke."""
    rows = measured(result, "checks")
    names = list(dict.fromkeys(f"{r['head']}\n{r['dtype']}" for r in rows))
    for ok, color in ((True, "C0"), (False, "C1")):
        found = [r for r in rows if r["ok"] is ok]
        x = [min(max(of_bound(r), 1e-4), 1e2) for r in found]
        y = [names.index(f"{r['head']}\n{r['dtype']}") for r in found]
        axis.plot(x, y, "o", color=color, alpha=0.5)
    axis.axvline(1, color="0.4", lw=1)
    axis.set_xscale("log")
    axis.set_xlim(8e-5, 1.2e2)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_title("Checks of heads: error over bound")


def dense(axis, result: dict) -> None:
    rows = [r for r in measured(result, "dense") if r["peer"] == "jaxent"]
    names = [
        f"{r['family']}, {r['positions']} × {r['classes']}, {r['dtype']}, {r['pass']}"
        for r in rows
    ]
    dots(axis, rows, names, {"to_optax": "over Optax's", "to_floor": "over a pass's"})
    axis.axvline(1, color="0.4", lw=1)
    axis.set_xlim(left=0)
    axis.set_title("Dense losses, time")


def certified(axis, result: dict) -> None:
    """The largest error of each loss, as the device is set."""
    rows = [
        r for r in measured(result, "certify")
        if r["dtype"] == "float32" and r["precision"] == "as set"
    ]  # fmt: skip
    marks = {"value": "o", "gradient": "|"}
    for name, mark in marks.items():
        x = [min(max(float(r[name][0]), 0.1), 1e4) for r in rows]
        axis.plot(x, range(len(rows)), mark, ms=7, mew=2, label=name)
    axis.set_xscale("log")
    axis.set_yticks(range(len(rows)), [r["loss"][:34] for r in rows], fontsize=6)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_title("Certified in float32: largest error, ULP")
    if rows:
        axis.legend(**BELOW)


def draw(result: dict, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    style = Path(__file__).parents[1] / "examples" / "style.mplstyle"
    with plt.style.context(str(style)):
        figure, axes = plt.subplots(2, 3, figsize=(17, 11))
        heads(axes[0, 0], axes[0, 1], result)
        budgets(axes[0, 2], result)
        checks(axes[1, 0], result)
        dense(axes[1, 1], result)
        certified(axes[1, 2], result)
        figure.suptitle(f"jaxent on {name_of(result)}")
        figure.savefig(path, dpi=100)
        plt.close(figure)
