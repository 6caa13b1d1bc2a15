# SPDX-License-Identifier: Apache-2.0
"""What a run leaves: one JSON, one Markdown table, and pictures of it.

    python -m benchmarks.report docs/results/benchmarks.json [--readme README.md]

draws the pictures beside the JSON again, and rewrites the README's table from it.
"""

import argparse
import json
import re
import subprocess
from pathlib import Path

from . import dense, fused_head, sampled

MARK = "<!-- benchmarks: {} -->"
HOW_TO_READ = (
    "Below 1 jaxent takes less time than Optax in the same run: the median, and the "
    "quartiles of the repeats in brackets; beside it what other libraries take, over "
    "Optax's too, and the time over that of a program that only sums, or writes, the "
    "exponentials. MiB are the compiled program's temporaries; an error is the largest "
    "relative one of a position's loss, of labels 0 to 20 nats ahead."
)


def commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip()


def compact(rows: list[dict]) -> list[dict]:
    """Rows with floats cut to four digits: a run is committed."""

    def short(x):
        if isinstance(x, float):
            return float(f"{x:.4g}")
        return [short(v) for v in x] if isinstance(x, (list, tuple)) else x

    return [{k: short(v) for k, v in row.items()} for row in rows]


def save(result: dict, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmarks.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / "benchmarks.md").write_text(page(result))
    draw(result, folder)


def page(result: dict) -> str:
    """A run, in Markdown."""
    parts = ["# Benchmarks", HOW_TO_READ, provenance(result)]
    parts += ["![Time, memory and error over optax's, by workload](ratios.png)"]
    if result.get("scaling"):
        parts += ["![A step as positions and classes grow](scaling.png)"]
    parts += ["## Dense", dense.table(result["dense"])]
    if result.get("fused"):
        parts += ["## Fused head", fused_head.table(result["fused"])]
    if result.get("sampled"):
        parts += ["## Sampled", sampled.table(result["sampled"])]
    return "\n\n".join(parts) + "\n"


def provenance(result: dict) -> str:
    return (
        f"`{result['command']}`, commit {result['commit']}, jax {result['jax']}, "
        f"optax {result['optax']}, {result['device']} ({result['machine']}). Times are "
        "ratios to optax in the same run, medians of interleaved repeats."
    )


def draw(result: dict, folder: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    style = Path(__file__).parents[1] / "examples" / "style.mplstyle"
    with plt.style.context(str(style)):
        _draw_ratios(plt, result["dense"], folder / "ratios.png")
        if result.get("scaling"):
            _draw_scaling(plt, result["scaling"], folder / "scaling.png")


def _draw_ratios(plt, rows: list[dict], path: Path) -> None:
    """Time, memory and error of jaxent over optax's, one dot a workload."""
    rows = [r for r in rows if r["family"] == "integer"]
    figure, axes = plt.subplots(1, 3, figsize=(13, 5), sharey=True)
    names = sorted({(r["workload"], r["classes"]) for r in rows}, key=lambda n: n[1])
    places = {name: i for i, (name, _) in enumerate(names)}
    by_peer = {(r["workload"], r["dtype"], r["pass"], r["peer"]): r for r in rows}
    marks = {"forward": "o", "gradient": "s", "step": "D"}
    for r in rows:
        if r["peer"] != "jaxent" or r["dtype"] != "float32" or r["pass"] not in marks:
            continue
        theirs = by_peer[r["workload"], r["dtype"], r["pass"], "optax"]
        kind = {"marker": marks[r["pass"]], "color": "C0", "fillstyle": "none"}
        first = r["workload"] == names[0][0]
        label = {"label": r["pass"]} if first else {}
        place = places[r["workload"]]
        axes[0].plot(r["to_optax"][1], place, ls="", **kind, **label)
        if r["pass"] == "step" and theirs["temporaries_mib"]:
            memory = r["temporaries_mib"] / theirs["temporaries_mib"]
            axes[1].plot(memory, place, ls="", **kind)
        if r["pass"] == "forward":
            axes[2].plot(r["error"], place, "o", color="C0", label="jaxent" * first)
            axes[2].plot(theirs["error"], place, "x", color="C1", label="optax" * first)
    labels = [f"{name} ({classes:,})" for name, classes in names]
    axes[0].set_yticks(range(len(names)), labels)
    axes[0].set_xlabel("time / optax's")
    axes[1].set_xlabel("temporaries of a step / optax's")
    axes[2].set_xlabel("largest relative error of a loss")
    axes[2].set_xscale("log")
    for axis in axes[:2]:
        axis.axvline(1, color="0.6", lw=1)
        axis.set_xlim(left=0)
    axes[0].legend()
    axes[2].legend()
    figure.suptitle("Integer labels, float32, CPU: workload (classes)")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_scaling(plt, rows: list[dict], path: Path) -> None:
    from matplotlib import ticker

    figure, axes = plt.subplots(2, 2, figsize=(11, 7), sharex="col")
    columns = {"N": ("positions", "positions N, at V = 8192"),
               "V": ("classes", "classes V, at N = 256")}  # fmt: skip
    for column, (grows, (key, label)) in enumerate(columns.items()):
        for peer in ("jaxent", "optax"):
            found = [r for r in rows if r["grows"] == grows and r["peer"] == peer]
            sizes = [r[key] for r in found]
            times = [r["milliseconds"] for r in found]
            memory = [r["temporaries_mib"] for r in found]
            axes[0, column].loglog(sizes, times, "o-", label=peer)
            axes[1, column].loglog(sizes, memory, "o-", label=peer)
        axes[1, column].set_xlabel(label)
        axes[1, column].xaxis.set_minor_formatter(ticker.NullFormatter())
    axes[0, 0].set_ylabel("time of a step, ms")
    axes[1, 0].set_ylabel("temporaries, MiB")
    axes[0, 0].legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def readme_table(result: dict) -> str:
    """The float32 and bfloat16 rows of integer labels, at four shapes."""
    shown = ("digits", "ImageNet", "32k vocabulary", "131k vocabulary")
    rows = [r for r in result["dense"] if r["family"] == "integer"]
    cells = {(r["workload"], r["dtype"], r["pass"], r["peer"]): r for r in rows}
    lines = [
        "| N × V | dtype | forward | gradient | step | temporaries of a step, MiB "
        "(optax) | error (optax) |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in shown:
        for dtype in ("float32", "bfloat16"):
            step = cells.get((name, dtype, "step", "jaxent"))
            if step is None:
                continue
            theirs = cells[name, dtype, "step", "optax"]
            times = " | ".join(
                f"{cells[name, dtype, p, 'jaxent']['to_optax'][1]:.2f}"
                for p in dense.PASSES
            )
            lines.append(
                f"| {step['positions']} × {step['classes']} | {dtype} | {times} "
                f"| {step['temporaries_mib']:.0f} ({theirs['temporaries_mib']:.0f}) "
                f"| {step['error']:.0e} ({theirs['error']:.0e}) |"
            )
    return "\n".join([provenance(result), "", *lines])


def rewrite(readme: Path, result: dict) -> None:
    """The README, with what stands between its two marks made anew."""
    first, last = MARK.format("begin"), MARK.format("end")
    text = readme.read_text()
    pattern = re.escape(first) + ".*?" + re.escape(last)
    block = f"{first}\n{readme_table(result)}\n{last}"
    readme.write_text(re.sub(pattern, lambda _: block, text, flags=re.DOTALL))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("json", type=Path)
    parser.add_argument("--readme", type=Path)
    args = parser.parse_args(argv)
    result = json.loads(args.json.read_text())
    save(result, args.json.parent)
    if args.readme:
        rewrite(args.readme, result)


if __name__ == "__main__":
    main()
