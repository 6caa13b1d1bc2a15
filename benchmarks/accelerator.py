# SPDX-License-Identifier: Apache-2.0
"""For whoever has a TPU or GPU: is jaxent exact on it, and how fast?

    python -m benchmarks.accelerator [--quick] [--repeats 20] [--output FOLDER]

certifies every loss on the device, times the dense losses and every fused head that
runs there against optax and, where it is installed, tokamax, and writes
accelerator.json, .md and .png. Send us the JSON: nothing of ours has run on either.
"""

import argparse
import importlib.metadata
import json
import platform
import shlex
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxent._certify import arithmetic, command

from . import dense, fused_head, report
from .measure import interleaved

# name, positions, classes; and positions, width, classes
DENSE = [("GPT-2", 8192, 50257), ("131k vocabulary", 4096, 131_072)]
HEADS = [(8192, 768, 50257), (8192, 2048, 131_072)]
QUICK_DENSE, QUICK_HEADS = [("ImageNet", 512, 1000)], [(256, 64, 4096)]
# A head of no round number of anything, small enough for float64 on the host.
ODD = (200, 192, 1003)
DTYPES = (jnp.float32, jnp.bfloat16)
PACKAGES = ("jax", "jaxlib", "optax", "tokamax", "libtpu", "jax-cuda12-plugin",
            "jax-cuda13-plugin")  # fmt: skip


def versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def certified(quick: bool) -> dict:
    table = command.TABLE
    chosen = [row for row in table if not quick or "softmax_cross" in row.name]
    lines = list(command.lines(chosen))
    return {
        "arithmetic": arithmetic.measured()._asdict(),
        "kept": sum(not line.broken for line in lines),
        "lines": [command.as_json(line) for line in lines],
    }


def head_inputs(n: int, d: int, v: int, dtype):
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.normal(size=(n, d)) / d**0.5, dtype)
    classifier = jnp.asarray(rng.normal(size=(v, d)), dtype)
    return hidden, classifier, jnp.asarray(rng.integers(0, v, n), jnp.int32)


def head_error(f, dtype) -> float:
    """Of the mean loss and both gradients the largest relative error, in norm."""
    args = head_inputs(*ODD, dtype)
    with jax.default_matmul_precision("highest"):
        loss, gradients = jax.jit(jax.value_and_grad(f, argnums=(0, 1)))(*args)
    h, w = (np.asarray(a).astype(np.float64) for a in args[:2])
    labels, rows = np.asarray(args[2]), np.arange(ODD[0])
    logits = h @ w.T
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    slopes = shifted / shifted.sum(axis=-1, keepdims=True)
    truth = -np.mean(np.log(slopes[rows, labels]))
    slopes[rows, labels] -= 1
    slopes /= len(rows)
    pairs = zip((loss, *gradients), (truth, slopes @ w, slopes.T @ h), strict=True)
    return max(
        float(np.linalg.norm(np.asarray(got).astype(np.float64) - true))
        / float(np.linalg.norm(true))
        for got, true in pairs
    )


def heads(n: int, d: int, v: int, dtype, repeats: int) -> list[dict]:
    """A gradient of each fused head, beside dense optax's, or why there is none."""
    losses = {"optax": fused_head.optax_mean}
    losses |= fused_head.implementations() | fused_head.other_heads()
    programs = {k: jax.value_and_grad(f, argnums=(0, 1)) for k, f in losses.items()}
    args, failed = head_inputs(n, d, v, dtype), {}
    m = interleaved(programs, dict.fromkeys(programs, args), repeats, failed)
    base = {"positions": n, "width": d, "classes": v, "dtype": jnp.dtype(dtype).name}
    return [
        base
        | dense.row(name, found, m["optax"])
        | {"error": head_error(losses[name], dtype)}
        for name, found in m.items()
    ] + [base | {"peer": name, "fails": why} for name, why in failed.items()]


def heads_table(rows: list[dict]) -> str:
    lines = [
        "| N, d, V | dtype | head | ms | time to optax (quartiles) | temporaries MiB "
        "| error |",
        "| --- | --- | --- | ---: | --- | ---: | ---: |",
    ]
    for r in rows:
        line = f"| {r['positions']}, {r['width']}, {r['classes']} | {r['dtype']} "
        line += f"| {r['peer']} "
        if "fails" in r:
            lines.append(f"{line}| {r['fails']} | | | |")
            continue
        low, median, high = r["to_optax"]
        lines.append(
            f"{line}| {r['milliseconds']:.2f} | {median:.2f} ({low:.2f} to {high:.2f}) "
            f"| {r['temporaries_mib']:.0f} | {r['error']:.0e} |"
        )
    return "\n".join(lines)


def measured(quick: bool, repeats: int) -> dict:
    command = ["python", "-m", "benchmarks.accelerator", *["--quick"] * quick]
    losses = [
        row
        for family in ("integer", "soft")
        for shape in (QUICK_DENSE if quick else DENSE)
        for dtype in DTYPES
        for what in dense.PASSES
        for row in dense.run(family, *shape, dtype, what, repeats)
    ]
    found = [
        row
        for shape in (QUICK_HEADS if quick else HEADS)
        for dtype in DTYPES
        for row in heads(*shape, dtype, repeats)
    ]
    return {
        "command": shlex.join(command), "commit": report.commit(),
        "versions": versions(), "device": jax.devices()[0].device_kind,
        "machine": platform.machine(), "settings": command.settings(),
        "certified": certified(quick),
        "dense": report.compact(losses), "heads": report.compact(found),
    }  # fmt: skip


def page(result: dict) -> str:
    lines = result["certified"]["lines"]
    broken = [r for r in lines if r["broken"]]
    where = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    kept = f"{result['certified']['kept']} of {len(lines)} lines keep their bounds."
    return "\n".join([
        f"# On {result['device']}\n",
        f"`{result['command']}`, commit {result['commit']}; {where}; host "
        f"{result['machine']}. Times are medians of interleaved repeats.",
        f"\n## Exactness\n\n{kept}\n",
        *(f"- {r['loss']} of {r['dtype']}: {r['broken']}" for r in broken),
        f"\n## Dense\n\n{dense.table(result['dense'])}",
        f"\n## Fused heads, value and gradient\n\n{heads_table(result['heads'])}\n",
    ])  # fmt: skip


def draw(result: dict, path: Path) -> None:
    """Time over optax's: of the dense losses, and of each head with its memory."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib import ticker

    style = Path(__file__).parents[1] / "examples" / "style.mplstyle"
    with plt.style.context(str(style)):
        figure, axes = plt.subplots(1, 3, figsize=(15, 5), layout="constrained")
        ours = [r for r in result["dense"] if r["peer"] == "jaxent"]
        ran = [r for r in result["heads"] if "fails" not in r]
        dots(axes[0], ours, ("family", "classes", "dtype", "pass"))
        dots(axes[1], ran, ("peer", "classes", "dtype"))
        memory = [max(r["temporaries_mib"], 0.1) for r in ran]
        axes[2].plot(memory, range(len(ran)), "o")
        axes[2].sharey(axes[1])
        axes[2].tick_params(labelleft=False)
        axes[0].set_xlabel("time / optax's, dense")
        axes[1].set_xlabel("time / optax's, heads")
        axes[2].set_xlabel("temporaries of a head, MiB")
        axes[2].set_xscale("log")
        axes[2].xaxis.set_minor_formatter(ticker.NullFormatter())
        for axis in axes[:2]:
            axis.axvline(1, color="0.6", lw=1)
            axis.set_xlim(left=0)
        figure.suptitle(f"jaxent on {result['device']}")
        figure.savefig(path, dpi=110)
        plt.close(figure)


def dots(axis, rows: list[dict], name: tuple[str, ...]) -> None:
    """Time over optax's of each row, which a few of its columns name."""
    names = [", ".join(str(row[column]) for column in name) for row in rows]
    axis.plot([row["to_optax"][1] for row in rows], range(len(rows)), "o")
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.invert_yaxis()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, for any machine")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path("demo-output/accelerator"))
    args = parser.parse_args(argv)
    result = measured(args.quick, args.repeats)
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / "accelerator.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    path.with_suffix(".md").write_text(page(result))
    draw(result, path.with_suffix(".png"))
    print(page(result))


if __name__ == "__main__":
    main()
