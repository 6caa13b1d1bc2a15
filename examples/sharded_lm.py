# SPDX-License-Identifier: Apache-2.0
"""The language model on eight devices: of one process, and of two that are stopped.

    python -m examples.sharded_lm --steps 8

The devices are a mesh of 2 × 4: rows of the batch over `data`, and over `vocab` the
rows of the embedding, which is the head too, with what the optimizer keeps of them.
Trains twice from the same weights on the same batches: in one process of 8 devices;
and in two processes of 4, which end halfway, after a checkpoint by Orbax, that one
process goes on from. Prints the losses side by side. Made for CPUs, where devices are
threads: it shows what is computed, not how fast.
"""

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxent

from .language_model import make_step, parser_of, prepare, train

DATA, VOCAB = 2, 4


def connect(args: argparse.Namespace) -> None:
    """Take a share of the devices, and meet the other processes."""
    jax.config.update("jax_num_cpu_devices", DATA * VOCAB // args.processes)
    if args.processes > 1:
        jax.distributed.initialize(
            args.address, args.processes, args.process,
            coordinator_bind_address=args.address, heartbeat_timeout_seconds=20,
        )  # fmt: skip


def make_loss(mesh: Mesh):
    """The mean over the kept tokens of all devices; each has a slice of the classes."""

    def of_a_device(hidden, embedding, labels, mask):
        total = jaxent.linear_softmax_cross_entropy(
            hidden, embedding, labels, where=mask,
            reduction="sum", vocab_axis_name="vocab",
        )  # fmt: skip
        return jaxent.WeightedMean(total, mask.sum().astype(total.dtype)).psum("data")

    specs = P("data"), P("vocab"), P("data"), P("data")
    sharded = jax.shard_map(of_a_device, mesh=mesh, in_specs=specs, out_specs=P())
    return lambda *args: sharded(*args).value


def place(tree, mesh: Mesh, spec_of):
    """Host arrays, the same in every process, as arrays over all devices."""

    def one(x):
        x = np.asarray(x)
        sharding = NamedSharding(mesh, spec_of(x))
        return jax.make_array_from_callback(x.shape, sharding, lambda i: x[i])

    return jax.tree.map(one, tree)


def work(args: argparse.Namespace) -> None:
    """Train from a step to another, as one process of some; leave a checkpoint."""
    connect(args)
    mesh = Mesh(np.reshape(jax.devices(), (DATA, VOCAB)), ("data", "vocab"))
    setup = prepare(args)
    classes = len(setup.num_bytes)

    def by_class(x):
        return P("vocab") if x.shape[:1] == (classes,) else P()

    state = setup.optimizer.init(setup.parameters)
    trained = place((setup.parameters, state), mesh, by_class)
    batches = place(setup.batches[args.first : args.last], mesh, lambda _: P("data"))

    leaves, tree = jax.tree.flatten(trained)
    with ocp.StandardCheckpointer() as checkpointer:
        if args.first:
            leaves = checkpointer.restore(args.checkpoint / str(args.first), leaves)
        step = jax.jit(make_step(make_loss(mesh), setup.graph, setup.optimizer))
        name = f"process {args.process} of {args.processes}"
        *trained, losses = train(name, step, *tree.unflatten(leaves), batches)
        if args.last < args.steps:
            leaves = jax.tree.leaves(trained)
            checkpointer.save(args.checkpoint / str(args.last), leaves)
    if args.process == 0:
        args.losses.write_text(json.dumps(losses))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def launch(passed: list[str], processes: int, first: int, last: int, folder: Path):
    """The losses of these steps, trained by so many processes."""
    folder.mkdir(exist_ok=True)
    losses = folder / f"losses-from-{first}.json"
    common = [
        sys.executable, "-m", "examples.sharded_lm", *passed,
        "--processes", processes, "--first", first, "--last", last,
        "--address", f"127.0.0.1:{free_port()}", "--losses", losses,
        "--checkpoint", folder,
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:
        running = []
        for i in range(processes):
            command = [*map(str, common), "--process", str(i)]
            quiet = None if i == 0 else subprocess.DEVNULL
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=quiet)
            stack.callback(process.wait)
            stack.callback(process.kill)
            running.append(process)
        if any(process.wait() for process in running):
            raise SystemExit("A process failed: see above.")
    return json.loads(losses.read_text())


def report(whole: list[float], parts: list[float], stop: int) -> str:
    lines = [f"{'step':>4}{'1 process':>20}{'2 processes, then 1':>22}"]
    for i, (a, b) in enumerate(zip(whole, parts, strict=True), 1):
        lines.append(f"{i:4}{a:>20.6f}{b:>22.6f}")
        if i == stop:
            lines.append(f"{'stopped here, and resumed':>46}")
    largest = max(abs(a - b) for a, b in zip(whole, parts, strict=True))
    apart = np.spacing(np.float32(max(whole)))
    lines.append(
        f"\nLargest difference: {largest:.1e} nats (float32 numbers near "
        f"{max(whole):.0f} lie {apart:.1e} apart)"
    )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = parser_of(__doc__.splitlines()[0])
    parser.set_defaults(steps=8)
    shown = sorted(vars(parser.parse_args([])))
    hidden = {"process": int, "processes": int, "first": int, "last": int,
              "address": str, "losses": Path, "checkpoint": Path}  # fmt: skip
    for name, kind in hidden.items():
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.process is not None:
        return work(args)

    stop = args.steps // 2
    passed = [
        text for name in shown
        for text in (f"--{name.replace('_', '-')}", str(getattr(args, name)))
    ]  # fmt: skip
    print(
        f"A mesh of {DATA} × {VOCAB} devices, data × vocab, whatever the processes: "
        f"each has {args.batch_size // DATA} of {args.batch_size} rows, and "
        f"{args.vocabulary // VOCAB} of {args.vocabulary} classes.\n",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        whole = launch(passed, 1, 0, args.steps, folder / "whole")
        parts = launch(passed, 2, 0, stop, folder / "parts")
        parts += launch(passed, 1, stop, args.steps, folder / "parts")
    print(report(whole, parts, stop))
    return None


if __name__ == "__main__":
    main()
