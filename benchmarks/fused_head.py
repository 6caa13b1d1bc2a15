# SPDX-License-Identifier: Apache-2.0
"""The fused head against dense optax, three plain products, and other fused heads.

    python -m benchmarks.fused_head [--repeats 7] [--quick] [--json FILE]

Time is a ratio to dense optax in the same run, medians of interleaved repeats;
memory is the compiled program's temporaries.
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

from .measure import interleaved, ratio

# positions, width, classes, memory=, what is measured
SHAPES = [
    (2048, 512, 32768, None, "gradient"),
    (4096, 512, 50257, None, "gradient"),
    (1024, 2048, 131072, "768MB", "gradient"),
    (4096, 512, 50257, None, "evaluation"),
    (4096, 512, 50257, None, "gradient, 75 % of positions masked"),
]
QUICK = [(512, 64, 8192, "4MB", what) for *_, what in SHAPES[2:]]


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


def implementations() -> dict:
    """jaxent's heads that run on this device."""
    kernels = {"tpu": ("pallas_tpu",), "gpu": ("pallas_gpu",)}
    head = jaxent.linear_softmax_cross_entropy
    names = ("xla", *kernels.get(jax.default_backend(), ()))
    return {
        f"jaxent, {name}": functools.partial(head, implementation=name)
        for name in names
    }


def programs(what: str, memory: str | None, keep: jax.Array):
    fused = functools.partial(jaxent.linear_softmax_cross_entropy, memory=memory)
    if what == "evaluation":
        return {"optax": optax_mean, "jaxent": fused}
    gradient = functools.partial(jax.value_and_grad, argnums=(0, 1))
    found = {"optax": gradient(optax_mean), "jaxent": gradient(fused)}
    if "masked" in what:
        masked = functools.partial(fused, where=keep)
        return {"optax": found["optax"], "unmasked": found["jaxent"],
                "jaxent": gradient(masked)}  # fmt: skip
    others = {name: gradient(f) for name, f in other_heads().items()}
    return found | {"products": three_products} | others


def run(n, d, v, memory, what, repeats):
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.normal(size=(n, d)) / d**0.5, jnp.float32)
    classifier = jnp.asarray(rng.normal(size=(v, d)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, v, n), jnp.int32)
    fs = programs(what, memory, jnp.asarray(rng.uniform(size=n) < 0.25))
    args = dict.fromkeys(fs, (hidden, classifier, labels))
    m = interleaved(fs, args, repeats)
    mib = {name: measured.temporaries / 2**20 for name, measured in m.items()}
    row = {
        "positions": n, "width": d, "classes": v, "memory": memory, "what": what,
        "time_to_optax": ratio(m["jaxent"], m["optax"]),
        "temporaries_mib": mib["jaxent"], "optax_temporaries_mib": mib["optax"],
        "compile_seconds": m["jaxent"].compile_seconds,
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
        "| temporaries MiB | of optax's |",
        "| --- | --- | --- | --- | --- | ---: | ---: |",
    ]
    for r in rows:
        first, median, third = r["time_to_optax"]
        others = [k for k in r if k.startswith("time_to_") and k != "time_to_optax"]
        other = ", ".join(f"{k[8:]} {r[k][1]:.2f}" for k in others)
        share = r["temporaries_mib"] / max(r["optax_temporaries_mib"], 1e-9)
        lines.append(
            f"| {r['positions']}, {r['width']}, {r['classes']} | {r['what']} "
            f"| {r['memory'] or 'default'} | {median:.2f} ({first:.2f} to {third:.2f}) "
            f"| {other} | {r['temporaries_mib']:.0f} | {share:.2f} |"
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
