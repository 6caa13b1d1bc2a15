# SPDX-License-Identifier: Apache-2.0
"""Several processes train as one does; and when one dies, the others say so and end."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
import trainer

import jaxent

pytestmark = pytest.mark.quickly_compiled

HERE = Path(__file__).parent
PATIENCE = 150  # seconds; a run takes a few, on a machine that does nothing else


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def processes(count, folder, **signals):
    """So many trainers, each with its output in `folder`; none outlives the block."""
    port, running = free_port(), []
    path = os.pathsep.join(filter(None, [str(HERE.parent), os.getenv("PYTHONPATH")]))
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    try:
        for i in range(count):
            given = [i, count, port, folder / "result.npz", *signals.get(f"to_{i}", [])]
            command = [sys.executable, HERE / "trainer.py", *map(str, given)]
            with (folder / f"{i}.txt").open("w") as output:
                process = subprocess.Popen(
                    command, env=environment, stdout=output, stderr=subprocess.STDOUT
                )
            running.append(process)
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def alone():
    """One process, the same mesh."""
    losses, params = trainer.train_sharded(jax.devices()[: trainer.DEVICES])
    return {"losses": losses, **jax.tree.map(np.asarray, params)}


def dense(params, tokens, keep):
    """As a program without jaxent's losses does it, on one device."""
    labels, where = jaxent.next_token_labels(tokens, where=keep)
    logits = trainer.activations(params, tokens) @ params["classifier"].T
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return (losses * where).sum() / where.sum()


def assert_same(a, b, tolerance):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], tolerance, tolerance, name)


def test_a_mesh_trains_as_one_device_does(alone):
    with jax.numpy_dtype_promotion("standard"):
        losses, params = trainer.train(dense, *trainer.start())
    assert losses[-1] < losses[0] - 0.1
    assert_same(alone, {"losses": losses, **params}, 2e-6)


@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_train_as_one_does(count, alone, tmp_path):
    with processes(count, tmp_path) as running:
        for i, process in enumerate(running):
            assert process.wait(PATIENCE) == 0, (tmp_path / f"{i}.txt").read_text()
    with np.load(tmp_path / "result.npz") as result:
        assert_same(dict(result), alone, 5e-7)


# It waits, ten seconds.
@pytest.mark.thorough
@pytest.mark.parametrize(
    ("victim", "number"),
    [(1, signal.SIGKILL), (0, signal.SIGKILL), (1, signal.SIGSTOP)],
    ids=["killed", "coordinator killed", "stopped"],
)
def test_the_others_end_when_a_process_does(victim, number, tmp_path):
    """Within the heartbeat's timeout, with an error that says why.

    A dead process closes its sockets, which Gloo notices; of one that hangs, only
    the missing heartbeats tell.
    """
    with processes(2, tmp_path, **{f"to_{victim}": [int(number)]}) as running:
        other = 1 - victim
        assert running[other].wait(PATIENCE) != 0
        ended = time.monotonic()
    said = (tmp_path / f"{victim}.txt").read_text()
    (signalled,) = re.findall(r"^signalled at (\S+)$", said, re.MULTILINE)
    assert ended - float(signalled) < trainer.HEARTBEAT + 10
    assert "another task died" in (tmp_path / f"{other}.txt").read_text()
    assert not (tmp_path / "result.npz").exists()
