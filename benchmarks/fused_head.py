# SPDX-License-Identifier: Apache-2.0
"""The fused head against dense optax, three plain products, and other fused heads.

    python -m benchmarks.fused_head [--repeats 7] [--quick] [--json FILE]

Time is a ratio to dense optax in the same run, medians of interleaved repeats;
memory is the compiled program's temporaries. Error is the mean loss's, relative to
float64, where every label is some 18 nats ahead.
"""

import argparse
import functools
import importlib.util
import json
import platform
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxent

from .measure import Eager, interleaved, ratio

# positions, width, classes, memory=, what is measured
SHAPES = [
    (2048, 512, 32768, None, "gradient"),
    (3000, 512, 50257, None, "gradient"),
    (1024, 2048, 131072, "768MB", "gradient"),
    (4096, 512, 50257, None, "evaluation"),
    (4096, 512, 50257, None, "gradient, 75 % of positions masked"),
]
QUICK = [(512, 64, 8192, "4MB", what) for *_, what in SHAPES[2:]]
# N·d·V up to which other heads are run: beyond it jax-cce takes two minutes a step.
OTHERS = 2**37
# Positions whose error is measured, and how far ahead of zero their labels' logits are.
SAMPLE, AHEAD = 64, 30
WITH_ERROR = ("jaxent", "optax", "jax-cce", "tokamax")


def optax_mean(hidden, classifier, labels):
    logits = hidden @ classifier.T
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def three_products(hidden, classifier, labels):
    """The floor: the products that any exact method must make, and nothing else."""
    logits = hidden @ classifier.T
    return logits @ classifier, logits.T @ hidden


def other_heads() -> dict:
    """Those that are installed, as functions of the same arguments."""
    found = {}
    if importlib.util.find_spec("jax_cce"):
        found["jax-cce"] = importlib.import_module("jax_cce").linear_cross_entropy
    if importlib.util.find_spec("tokamax"):
        tokamax = importlib.import_module("tokamax")

        def loss(implementation, hidden, classifier, labels):
            return tokamax.linear_softmax_cross_entropy_loss(
                hidden, labels, classifier.T,
                reduction="mean", implementation=implementation,
            )  # fmt: skip

        found["tokamax"] = functools.partial(loss, "chunked_xla")
        if jax.default_backend() == "tpu":
            found["tokamax, mosaic_tpu"] = functools.partial(loss, "mosaic_tpu")
    return found


def torch_head(hidden, classifier, labels) -> dict:
    """torch's own fused head on the CPU, eager, of the same numbers."""
    if importlib.util.find_spec("torch") is None:
        return {}
    import torch

    head = torch.nn.functional.linear_cross_entropy
    options = torch.nn.LinearCrossEntropyOptions()
    x, w = (
        torch.from_numpy(np.array(a)).requires_grad_() for a in (hidden, classifier)
    )
    y = torch.from_numpy(np.array(labels, np.int64))

    def gradient():
        x.grad = w.grad = None
        head(x, w, y, options=options).backward()

    return {"torch": Eager(gradient)}


def error(program, d: int, v: int) -> float | str:
    """Relative error of a mean loss, or what the program failed with."""
    rng = np.random.default_rng(1)
    w = rng.normal(size=(v, d)).astype(np.float32)
    y = rng.integers(0, v, SAMPLE).astype(np.int32)
    x = AHEAD * w[y] / np.sum(w[y] ** 2, axis=-1, keepdims=True)
    logits = x.astype(np.float64) @ w.T.astype(np.float64)
    behind = logits - np.take_along_axis(logits, y[:, None], -1)
    np.put_along_axis(behind, y[:, None], -np.inf, -1)
    true = np.mean(np.log1p(np.sum(np.exp(behind), axis=-1)))
    try:
        value = jax.jit(program)(*map(jnp.asarray, (x, w, y)))
    except Exception as failure:
        return f"fails: {type(failure).__name__}"
    value = value[0] if isinstance(value, tuple) else value
    return float(abs(value - true) / true)


def implementations() -> dict:
    """jaxent's heads that run on this device."""
    kernels = {"tpu": ("pallas_tpu",), "gpu": ("pallas_gpu",)}
    head = jaxent.linear_softmax_cross_entropy
    names = ("xla", *kernels.get(jax.default_backend(), ()))
    return {
        f"jaxent, {name}": functools.partial(head, implementation=name)
        for name in names
    }


def programs(what: str, memory: str | None, keep: jax.Array, others: bool):
    fused = functools.partial(jaxent.linear_softmax_cross_entropy, memory=memory)
    if what == "evaluation":
        return {"optax": optax_mean, "jaxent": fused}
    gradient = functools.partial(jax.value_and_grad, argnums=(0, 1))
    found = {"optax": gradient(optax_mean), "jaxent": gradient(fused)}
    if "masked" in what:
        masked = functools.partial(fused, where=keep)
        return {"optax": found["optax"], "unmasked": found["jaxent"],
                "jaxent": gradient(masked)}  # fmt: skip
    heads = other_heads() if others else {}
    other = {name: gradient(f) for name, f in heads.items()}
    return found | {"products": three_products} | other


def run(n, d, v, memory, what, repeats):
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.normal(size=(n, d)) / d**0.5, jnp.float32)
    classifier = jnp.asarray(rng.normal(size=(v, d)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, v, n), jnp.int32)
    keep, others = jnp.asarray(rng.uniform(size=n) < 0.25), n * d * v <= OTHERS
    fs = programs(what, memory, keep, others)
    # A mask belongs to these positions, not to the sample's.
    tried = fs | {"jaxent": fs.get("unmasked", fs["jaxent"])}
    errors = {k: error(tried[k], d, v) for k in WITH_ERROR if k in tried}
    fs = {k: f for k, f in fs.items() if not isinstance(errors.get(k), str)}
    if what == "gradient" and others:
        fs |= torch_head(hidden, classifier, labels)
    args = dict.fromkeys(fs, (hidden, classifier, labels))
    m = interleaved(fs, args, repeats)
    mib = {name: measured.temporaries / 2**20 for name, measured in m.items()}
    row = {
        "positions": n, "width": d, "classes": v, "memory": memory, "what": what,
        "time_to_optax": ratio(m["jaxent"], m["optax"]),
        "temporaries_mib": mib["jaxent"], "optax_temporaries_mib": mib["optax"],
        "compile_seconds": m["jaxent"].compile_seconds, "errors": errors,
    }  # fmt: skip
    for other in m:
        if other not in ("jaxent", "optax"):
            row[f"time_to_{other}"] = ratio(m["jaxent"], m[other])
    return row


def flat_in_n() -> list[dict]:
    """Temporaries at one budget, from shapes alone; the logits would be N·V·4 bytes."""
    d, v, shape = 512, 50257, jax.ShapeDtypeStruct
    rows = []
    for n in (4096, 16384, 65536):
        f = jax.value_and_grad(jaxent.linear_softmax_cross_entropy, argnums=(0, 1))
        args = shape((n, d), jnp.float32), shape((v, d), jnp.float32)
        program = jax.jit(f).lower(*args, shape((n,), jnp.int32)).compile()
        temporaries = program.memory_analysis().temp_size_in_bytes / 2**20
        rows.append({"positions": n, "temporaries_mib": temporaries,
                     "hidden_mib": n * d * 4 / 2**20,
                     "logits_mib": n * v * 4 / 2**20})  # fmt: skip
    return rows


def table(rows: list[dict]) -> str:
    lines = [
        "| N, d, V | measured | memory= | time to optax (quartiles) | time to other "
        "| temporaries MiB | of optax's | error, optax |",
        "| --- | --- | --- | --- | --- | ---: | ---: | ---: |",
    ]
    for r in rows:
        first, median, third = r["time_to_optax"]
        others = [k for k in r if k.startswith("time_to_") and k != "time_to_optax"]
        other = ", ".join(f"{k[8:]} {r[k][1]:.2f}" for k in others)
        ours, theirs = r["errors"]["jaxent"], r["errors"]["optax"]
        share = r["temporaries_mib"] / max(r["optax_temporaries_mib"], 1e-9)
        lines.append(
            f"| {r['positions']}, {r['width']}, {r['classes']} | {r['what']} "
            f"| {r['memory'] or 'default'} | {median:.2f} ({first:.2f} to {third:.2f}) "
            f"| {other} | {r['temporaries_mib']:.0f} | {share:.2f} "
            f"| {ours:.0e}, {theirs:.0e} |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="small shapes, seconds")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    rows = [run(*s, args.repeats) for s in (QUICK if args.quick else SHAPES)]
    print(table(rows))
    result = {
        "command": "python -m benchmarks.fused_head",
        "jax": jax.__version__, "optax": optax.__version__,
        "device": jax.devices()[0].device_kind, "machine": platform.machine(),
        "rows": rows,
    }  # fmt: skip
    if not args.quick:
        result["flat_in_n"] = flat_in_n()
        print("\nTemporaries at the default budget, d=512, V=50257, from shapes alone:")
        for r in result["flat_in_n"]:
            print(
                f"  N={r['positions']:6d}: {r['temporaries_mib']:5.0f} MiB "
                f"(hidden {r['hidden_mib']:.0f}, logits would be {r['logits_mib']:.0f})"
            )
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return result


if __name__ == "__main__":
    main()
