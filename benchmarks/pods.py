# SPDX-License-Identifier: Apache-2.0
"""The losses at the size of a pod, compiled for it and not run: no TPU is needed.

    make pods        or, where libtpu is: python -m benchmarks.pods [--output FOLDER]

A step of the head, value and gradients, of 32768 bfloat16 positions a data shard, width
2048 and 262144 classes, on a data × vocab mesh. What is reported of a device is read
off the program that XLA's TPU compiler made: temporaries, and what it sends.
"""

import argparse
import json
import os
from pathlib import Path

# libtpu is to compile for a topology, not to look for the machine's.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxent

from .collectives import collectives

CLASSES, WIDTH, ROWS = 262_144, 2048, 32_768
MEMORY = "144MB"
"""What the fused heads are given here: less than their default on a chip."""
PODS = {"v5e:8x8": (8, 8), "v5e:16x16": (16, 16), "v5p:8x8x8": (32, 16)}
SPECS = P("data"), P("vocab"), P("data")  # hidden, classifier, labels


def optax_dense(mesh, hidden, classifier, labels):
    del mesh
    logits = hidden @ classifier.T
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


def dense(mesh, hidden, classifier, labels):
    del mesh
    logits = hidden @ classifier.T
    losses = jaxent.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jaxent.reduce(losses)


def fused(mesh, hidden, classifier, labels):
    def total(hidden, classifier, labels):
        loss = jaxent.linear_softmax_cross_entropy(
            hidden, classifier, labels, reduction="sum", memory=MEMORY,
            vocab_axis_name="vocab",
        )  # fmt: skip
        return jax.lax.psum(loss, "data")

    total = jax.shard_map(total, mesh=mesh, in_specs=SPECS, out_specs=P())
    return total(hidden, classifier, labels) / labels.size


def typed(mesh, hidden, classifier, labels):
    del mesh
    return jaxent.linear_softmax_cross_entropy(
        hidden, classifier, labels, memory=MEMORY
    )


LOSSES = {
    "dense, optax": optax_dense,
    "dense": dense,
    "fused": fused,
    "fused, explicit axes": typed,
}


def compiled(pod: str, name: str):
    """The executable of a step, for all devices of the pod."""
    topology = topologies.get_topology_desc(platform="tpu", topology_name=pod)
    kind = AxisType.Explicit if LOSSES[name] is typed else AxisType.Auto
    devices = np.reshape(topology.devices, PODS[pod])
    mesh = Mesh(devices, ("data", "vocab"), axis_types=(kind, kind))
    shardings = tuple(NamedSharding(mesh, spec) for spec in SPECS)
    rows = ROWS * PODS[pod][0]
    shapes = (rows, WIDTH), (CLASSES, WIDTH), (rows,)
    args = (
        jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
        for shape, dtype, sharding in zip(
            shapes, (jnp.bfloat16, jnp.bfloat16, jnp.int32), shardings, strict=True
        )
    )

    def step(hidden, classifier, labels):
        def loss(hidden, classifier):
            return LOSSES[name](mesh, hidden, classifier, labels)

        return jax.value_and_grad(loss, argnums=(0, 1))(hidden, classifier)

    results = NamedSharding(mesh, P()), shardings[:2]
    return jax.jit(step, out_shardings=results).lower(*args).compile()


def measured(pod: str, name: str) -> dict:
    program = compiled(pod, name)
    sent = collectives(program.as_text())
    gathers = [c for c in sent if c.kind in ("all-gather", "all-to-all")]
    data, vocab = PODS[pod]
    return {
        "pod": pod, "data": data, "vocab": vocab, "loss": name,
        "temporaries": program.memory_analysis().temp_size_in_bytes,
        "logits": 2 * ROWS * CLASSES // vocab,
        "collectives": len(sent), "runs": sum(c.times for c in sent),
        "sent": round(sum(c.sent for c in sent)),
        "largest_gather": max((c.largest for c in gathers), default=0),
        "each": [c._asdict() | {"sent": round(c.sent)} for c in sent],
    }  # fmt: skip


def table(rows: list[dict]) -> str:
    lines = [
        "| pod | data × vocab | loss | temporaries MiB | collectives (run) "
        "| sent MiB | largest gathered, numbers |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {r['pod']} | {r['data']} × {r['vocab']} | {r['loss']} "
        f"| {r['temporaries'] / 2**20:.0f} | {r['collectives']} ({r['runs']}) "
        f"| {r['sent'] / 2**20:.0f} | {r['largest_gather']} |"
        for r in rows
    ]
    return "\n".join(lines)


def report(result: dict) -> str:
    logits = result["rows"][0]["logits"] / 2**20
    return (
        "# At the size of a pod\n\n"
        f"`{result['command']}`, jax {result['jax']}: value and gradients of the head, "
        f"of {ROWS} bfloat16 positions a data shard, width {WIDTH} and {CLASSES} "
        "classes, compiled for each pod by XLA's TPU compiler and not run. Of one "
        "device: temporaries, the collectives (and how often they run), the bytes "
        "it sends on rings, and the largest array that any gather makes. In bfloat16 "
        f"the logits of a device are {logits:.0f} MiB on the first pod.\n\n"
        f"{table(result['rows'])}"
    )


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="folder for pods.json and pods.md")
    args = parser.parse_args(argv)
    rows = [measured(pod, name) for pod in PODS for name in LOSSES]
    result = {
        "command": "python -m benchmarks.pods", "jax": jax.__version__,
        "rows_a_data_shard": ROWS, "width": WIDTH, "classes": CLASSES,
        "rows": rows,
    }  # fmt: skip
    print(table(rows))
    if args.output:
        (args.output / "pods.json").write_text(json.dumps(result, indent=1) + "\n")
        (args.output / "pods.md").write_text(f"{report(result)}\n")
    return result


if __name__ == "__main__":
    main()
