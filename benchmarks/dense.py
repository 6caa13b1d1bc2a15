# SPDX-License-Identifier: Apache-2.0
"""Dense losses against their peers: time, memory, and error beside every speed.

    python -m benchmarks.dense [--quick] [--repeats 7] [--json FILE]

`step` is a gradient that feeds a product, as in training, where buffers are reused;
with `gradient` alone much of the time is the system's, handing out the result's pages.
Time is a ratio to optax in the same run. Error is the largest relative error of one
position's loss against float64 where the label is ahead by 0 to 20 nats.
"""

import argparse
import functools
import json
import platform
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from . import peers
from .measure import Eager, Measured, interleaved, ratio

# name, positions, classes
SHAPES = [
    ("a small batch", 32, 1000),
    ("a batch of images", 512, 1000),
    ("digits", 65536, 10),
    ("ImageNet", 4096, 1000),
    ("32k vocabulary", 1024, 32768),
    ("GPT-2", 512, 50257),
    ("Llama 3", 256, 128256),
    ("131k vocabulary", 256, 131072),
    ("Gemma", 128, 262144),
    ("recommender", 32, 1_000_000),
]
OTHERS = [
    ("soft", *SHAPES[3]),
    ("soft", *SHAPES[4]),
    ("binary", "multilabel", 4096, 1000),
    ("kl", *SHAPES[3]),
]
WORKLOADS = [("integer", *shape) for shape in SHAPES] + OTHERS
QUICK = [w for w in WORKLOADS if w[2] * w[3] <= 2**22 or w[1] == "131k vocabulary"]
PASSES = ("forward", "gradient", "step")
# Up to here a loss is also called as it is, outside of any jit: most of it is dispatch.
SMALL = 2**19
# Rows whose error is measured; the label's margin goes from 0 to 20 over them.
SAMPLE = 64


def example(family: str, n: int, v: int, dtype, margin: bool = False):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, v))
    y = rng.integers(0, v, n).astype(np.int32)
    if margin:
        x[np.arange(n), y] = x.max(axis=-1) + np.linspace(0, 20, n)
    if family == "soft":
        y = rng.dirichlet(np.ones(v), n).astype(np.float32)
        y = np.asarray(jnp.asarray(y, dtype), np.float32).astype(np.float32)
    if family == "binary":
        y = rng.integers(0, 2, (n, v)).astype(np.float32)
    if family == "kl":
        y = x + 1e-3 * rng.normal(size=x.shape)
    labels = jnp.asarray(y) if family == "integer" else jnp.asarray(y, dtype)
    return jnp.asarray(x, dtype), labels


def truth(family: str, x, y) -> np.ndarray:
    """The losses in extended precision, from the definition, where none rounds to 0."""
    x = np.asarray(x).astype(np.longdouble)
    y = np.asarray(y)
    if family == "binary":
        return np.logaddexp(0, x) - y.astype(np.longdouble) * x

    def log_softmax(x):
        d = x - x.max(axis=-1, keepdims=True)
        others = np.where(d == 0, 0, np.exp(d)).sum(axis=-1, keepdims=True)
        return d - np.log1p(others + (d == 0).sum(axis=-1, keepdims=True) - 1)

    if family == "integer":
        return -np.take_along_axis(log_softmax(x), y[:, None], -1)[:, 0]
    if family == "soft":
        return -np.sum(y.astype(np.longdouble) * log_softmax(x), axis=-1)
    log_p, log_q = log_softmax(x), log_softmax(y.astype(np.longdouble))
    return np.sum(np.exp(log_p) * (log_p - log_q), axis=-1)


def error(loss, family: str, v: int, dtype) -> float | str:
    """Largest relative error of `loss`, or what it failed with."""
    x, y = example(family, SAMPLE, v, dtype, margin=True)
    true = truth(family, x, y)
    try:
        program = loss.run if isinstance(loss, Eager) else jax.jit(loss)
        got = np.asarray(program(x, y)).astype(np.longdouble)
    except Exception as failure:
        return f"fails: {type(failure).__name__}"
    return float(np.max(np.abs(got - true) / np.abs(true)))


def mean_of(loss, what: str):
    def mean(x, y):
        return jnp.mean(loss(x, y).astype(jnp.float32))

    def step(x, y, hidden):
        return hidden.T @ jax.grad(mean)(x, y).astype(hidden.dtype)

    programs = {"forward": mean, "gradient": jax.value_and_grad(mean), "step": step}
    return programs[what]


def eager(loss, x, y) -> Eager:
    return Eager(lambda: jax.block_until_ready(loss(x, y)))


def floor(what: str, x, y):
    """Sum of exp for a forward pass; for a gradient, a write of exp."""
    del y
    e = jnp.exp(x.astype(jnp.float32))
    return jnp.sum(e, axis=-1) if what == "forward" else e.astype(x.dtype)


def run(family, name, n, v, dtype, what, repeats) -> list[dict]:
    x, y = example(family, n, v, dtype)
    args = (x, y)
    if what == "step":
        args += (jax.random.normal(jax.random.key(0), (n, 64), dtype),)
    programs, errors = {}, {}
    for peer, loss in peers.losses(family).items():
        errors[peer] = error(loss, family, v, dtype)
        if not isinstance(errors[peer], str):
            called = what == "eager"
            programs[peer] = eager(loss, x, y) if called else mean_of(loss, what)
    if what in ("forward", "gradient"):
        programs["floor"] = functools.partial(floor, what)
        programs |= peers.torch_programs(family, x, y, what)
        for peer, loss in peers.torch_values(family).items():
            errors[peer] = error(loss, family, v, dtype)
    m = interleaved(programs, dict.fromkeys(programs, args), repeats)
    base = {"family": family, "workload": name, "positions": n, "classes": v,
            "dtype": jnp.dtype(dtype).name, "pass": what}  # fmt: skip
    return [
        base | row(peer, measured, m["optax"]) | {"error": errors.get(peer)}
        for peer, measured in m.items()
    ] + [base | {"peer": k, "error": e} for k, e in errors.items() if k not in m]


def row(peer: str, measured: Measured, optax: Measured) -> dict:
    mib = measured.temporaries / 2**20 if measured.temporaries >= 0 else None
    return {"peer": peer, "milliseconds": 1e3 * measured.median(),
            "to_optax": ratio(measured, optax), "temporaries_mib": mib,
            "compile_seconds": measured.compile_seconds}  # fmt: skip


def table(rows: list[dict]) -> str:
    """One line a workload, dtype and pass: jaxent, its peers, the floor, the errors."""
    cells: dict[tuple, dict] = {}
    for r in rows:
        key = (r["family"], r["workload"], r["positions"], r["classes"], r["dtype"],
               r["pass"])  # fmt: skip
        cells.setdefault(key, {})[r["peer"]] = r
    lines = [
        "| loss | N × V | dtype | pass | time to optax (quartiles) | peers' "
        "| to the floor | MiB, optax | error, optax |",
        "| --- | --- | --- | --- | --- | --- | ---: | ---: | ---: |",
    ]
    for (family, _, n, v, dtype, what), cell in cells.items():
        ours, theirs = cell["jaxent"], cell["optax"]
        low, median, high = ours["to_optax"]
        bottom = "–"
        if "floor" in cell:
            ratio = ours["milliseconds"] / cell["floor"]["milliseconds"]
            bottom = f"{ratio:.2f}"
        others = (k for k in cell if k not in ("jaxent", "optax", "floor"))
        peers = ", ".join(
            f"{k} {cell[k]['to_optax'][1]:.2f}" for k in others if "to_optax" in cell[k]
        )
        memory = "–"
        if ours["temporaries_mib"] is not None:
            pair = ours["temporaries_mib"], theirs["temporaries_mib"]
            memory = ", ".join(f"{mib:.0f}" for mib in pair)
        lines.append(
            f"| {family} | {n} × {v} | {dtype} | {what} "
            f"| {median:.2f} ({low:.2f} to {high:.2f}) | {peers or '–'} | {bottom} "
            f"| {memory} "
            f"| {ours['error']:.0e}, {theirs['error']:.0e} |"
        )
    return "\n".join(lines)


def scaling(repeats: int) -> list[dict]:
    """Time of a training step's gradient as N or V alone grows."""
    shapes = [("N", n, 8192) for n in (128, 256, 512, 1024, 2048, 4096)]
    shapes += [("V", 256, v) for v in (4096, 8192, 16384, 32768, 65536, 131072)]
    rows = []
    for grows, n, v in shapes:
        found = run("integer", "scaling", n, v, jnp.float32, "step", repeats)
        rows += [r | {"grows": grows} for r in found]
    return rows


def slope(rows: list[dict], peer: str, grows: str) -> float:
    """Exponent k of time ∝ size^k, least squares over the upper half of the sizes."""
    key = {"N": "positions", "V": "classes"}[grows]
    found = [r for r in rows if r["peer"] == peer and r["grows"] == grows][2:]
    sizes, times = ([r[k] for r in found] for k in (key, "milliseconds"))
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="a few shapes, a minute")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="+", help="names of workloads")
    args = parser.parse_args(argv)
    rows, chosen = [], QUICK if args.quick else WORKLOADS
    for family, name, n, v in chosen:
        if args.only and name not in args.only:
            continue
        for dtype in (jnp.float32, jnp.bfloat16):
            for what in PASSES + ("eager",) * (n * v <= SMALL):
                rows += run(family, name, n, v, dtype, what, args.repeats)
    print(table(rows))
    result = {
        "command": "python -m benchmarks.dense",
        "jax": jax.__version__, "device": jax.devices()[0].device_kind,
        "machine": platform.machine(), "rows": rows,
    }  # fmt: skip
    if not args.quick:
        result["scaling"] = scaling(args.repeats)
        for grows in "NV":
            k = slope(result["scaling"], "jaxent", grows)
            print(f"Time of a step grows as {grows}^{k:.2f}.")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return result


if __name__ == "__main__":
    main()
