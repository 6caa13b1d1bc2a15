# SPDX-License-Identifier: Apache-2.0
"""The dense losses compiled for chips that need not be there: passes and temporaries.

A pass is one reading or writing of all the logits. Value and gradient cannot do with
fewer than three: read for the sums, read for the gradient, write it. Distributions are
as large as the logits, and read beside them each time. Nothing is run, or timed.
"""

import functools
import importlib.util
import json
import os
import time
from pathlib import Path

# libtpu is to compile for a topology, not to look for the machine's.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")

import jax
import jax.numpy as jnp
import optax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

import jaxent

from . import traffic

POSITIONS, CLASSES = 4096, 131_072
TPUS = {
    "v5e": "v5e:2x2",
    "v5p": "v5p:2x2x1",
    "v6e": "v6e:2x2",
    "v7x": "tpu7x:2x2x1",
}
H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 } core_count: 132 fpus_per_core: 128
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472 l2_cache_size: 52428800
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  memory_bandwidth: 3352320000000 clock_rate_ghz: 1.98 device_memory_size: 84929347584
}
platform_name: "CUDA" device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9 minor: 8 } runtime_version { major: 13 minor: 0 }
"""
LOSSES = {
    ("jaxent", "integer"): jaxent.softmax_cross_entropy_with_integer_labels,
    ("jaxent", "distribution"): jaxent.softmax_cross_entropy,
    ("optax", "integer"): optax.softmax_cross_entropy_with_integer_labels,
    ("optax", "distribution"): optax.softmax_cross_entropy,
}


def absent(chip: str) -> str | None:
    """Why nothing can be compiled for a chip here, if it cannot."""
    if chip in TPUS:
        return None if importlib.util.find_spec("libtpu") else "libtpu is not installed"
    found = importlib.util.find_spec("jax_plugins")
    names = ("jax_plugins.xla_cuda13", "jax_plugins.xla_cuda12")
    if found and any(map(importlib.util.find_spec, names)):
        return None
    return "no CUDA plugin of JAX is installed"


@functools.cache
def device(chip: str):
    if chip in TPUS:
        found = topologies.get_topology_desc(platform="tpu", topology_name=TPUS[chip])
    else:
        found = topologies.get_topology_desc(
            platform="cuda", topology_name="", target_config=H100, topology="1x1x1"
        )
    return found.devices[0]


def program_of(f, chip: str, *arrays: tuple):
    """`f` compiled for a chip, of arrays given as (shape, dtype)."""
    there = SingleDeviceSharding(device(chip))
    specs = [jax.ShapeDtypeStruct(*a, sharding=there) for a in arrays]
    return jax.jit(f).lower(*specs).compile()


def measured(chip, peer, labels, dtype, what) -> dict:
    """Of one program; `what` is "forward" or "gradient" (with the value)."""
    loss, shape = LOSSES[peer.removesuffix(", cast"), labels], (POSITIONS, CLASSES)

    def losses(x, y):
        return loss(x.astype(jnp.float32) if peer.endswith("cast") else x, y)

    def mean(x, y):
        return jnp.mean(losses(x, y).astype(jnp.float32))

    f = losses if what == "forward" else jax.value_and_grad(mean)
    y = (shape[:1], jnp.int32) if labels == "integer" else (shape, dtype)
    start = time.perf_counter()
    program = program_of(f, chip, (shape, dtype), y)
    seconds = time.perf_counter() - start
    itemsize = jnp.dtype(dtype).itemsize
    passes = traffic.passes(program, POSITIONS * CLASSES, itemsize)
    return {
        "chip": chip, "jax": jax.__version__, "program": f"{peer}, {labels} labels",
        "dtype": jnp.dtype(dtype).name, "pass": what, "passes": round(passes, 3),
        "temporaries_mib": program.memory_analysis().temp_size_in_bytes / 2**20,
        "compile_seconds": round(seconds, 1),
    }  # fmt: skip


NAMED = ("chip", "jax", "program", "dtype", "pass")
COLUMNS = (*NAMED, "passes", "temporaries_mib")


def table(rows: list[dict]) -> str:
    """One line a program; a program without passes is one of matrix products."""
    lines = [
        "| chip | jax | program | dtype | pass | passes | temporaries MiB | verdict |",
        "| --- | --- | --- | --- | --- | ---: | ---: | --- |",
    ]
    for r in rows:
        cells = [r.get(column, "–") for column in COLUMNS]
        cells = [f"{c:.1f}" if isinstance(c, float) else c for c in cells]
        spills = r.get("spilled_bytes")
        verdict = r.get("verdict", f"{spills} bytes spilled" if spills else "compiles")
        lines.append(f"| {' | '.join(map(str, cells))} | {verdict} |")
    return "\n".join(lines)


def save(rows: list[dict], folder: Path) -> None:
    """Beside what was found before of other programs, chips and versions of JAX."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "accelerators.json"
    kept = json.loads(path.read_text()) if path.exists() else []
    each = {tuple(r.get(k, "") for k in NAMED): r for r in kept + rows}
    rows = [each[key] for key in sorted(each)]
    path.write_text(json.dumps(rows, indent=1) + "\n")
    text = (
        "# Compiled for accelerators\n\nWhat the chips' own compilers make of each "
        "loss, by `make test-accelerators`: fewer readings and writings of the logits, "
        "and fewer temporaries, are better; nothing was run."
    )
    path.with_suffix(".md").write_text(f"{text}\n\n{table(rows)}\n")
