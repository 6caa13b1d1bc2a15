# SPDX-License-Identifier: Apache-2.0
"""GPU kernels run on the CPU: threads, barriers and copies of one block simulated.

Memory starts as NaN and races are errors, but for those of wgmma, which it takes to be
done at once. It knows neither registers nor layouts; JAX 0.10 has no such interpreter.
"""

import contextlib
import functools
import itertools

import jax
import jax.numpy as jnp
import pytest
from interpreted import check, draw, with_gradients
from jax.experimental.pallas import mosaic_gpu as plgpu

from jaxent._heads.kernels import gpu, hopper

simulated = pytest.mark.skipif(
    not hasattr(plgpu, "InterpretGPUParams"),
    reason="this JAX interprets no GPU kernels",
)
CLASSES = 64
"""Of a tile here, so that small heads have several."""
SLOTS = 2
"""Of the ring, at least, so that it comes round."""
PROCESSORS = 1
"""So that one block walks over all the classes."""


@contextlib.contextmanager
def interpreted(monkeypatch):
    tile = (gpu.POSITIONS + CLASSES) * hopper.DEPTH * hopper.HALF
    out = gpu.POSITIONS * CLASSES * hopper.HALF
    for module in (gpu, hopper):
        monkeypatch.setattr(module, "CLASSES", CLASSES)
    monkeypatch.setattr(hopper, "SHARED", SLOTS * tile + out + hopper.BARRIERS)
    monkeypatch.setattr(hopper, "PROCESSORS", PROCESSORS)
    params = plgpu.InterpretGPUParams(detect_races=True, uninitialized_memory="nan")
    with plgpu.force_gpu_interpret_mode(params):
        yield


with_gradients = functools.partial(with_gradients, implementation="pallas_gpu")


def without(name, nth=0, of=1):
    """A function of `plgpu`; its nth call `of` those in a kernel does nothing."""
    honest, calls = getattr(plgpu, name), itertools.count()

    def forgetful(*args, **kwargs):
        if next(calls) % of != nth:
            honest(*args, **kwargs)

    return plgpu, name, forgetful


def unmasked():
    """The sums, to which all columns of a tile are classes."""
    honest = gpu.sums_with

    def of_all(found, piece):
        return honest(found, piece._replace(outside=jnp.zeros_like(piece.outside)))

    return gpu, "sums_with", of_all


@contextlib.contextmanager
def watched(monkeypatch):
    """The interpreter of JAX 0.12, with the reads of wgmma checked for races."""
    from jax._src.pallas.mosaic_gpu.interpret import (
        gpu_callbacks,
        interpret_pallas_call,
    )

    honest = gpu_callbacks.wgmma

    @gpu_callbacks.fail_on_exception
    def wgmma(token, thread, **rest):
        memory = gpu_callbacks._get_shared_memory()
        with memory.lock:
            clock = memory.clocks[thread]
            clock.inc(memory.thread_to_vc_position(thread))
            now = clock.async_smem_clock.copy()
        for name in "ab":
            key = gpu_callbacks.HostAllocationKey.from_array(
                rest[f"{name}_allocation_key_as_array"]
            )
            place = gpu_callbacks._remove_noop_transforms(rest[f"{name}_transforms"])
            place = memory.access(key, jax.tree.map(int, place))
            gpu_callbacks.get_races().check_read(thread, now, key, place)
        return honest(token=token, thread=thread, **rest)

    # What an earlier failure has left.
    interpret_pallas_call.reset_gpu_interpret_mode_state()
    monkeypatch.setattr(gpu_callbacks, "wgmma", wgmma)
    with interpreted(monkeypatch):
        yield


BUGS = {
    "no tail of classes": unmasked,
    "a slot filled before it is read": lambda: without("barrier_wait", 0, of=2),
    "a slot read before it is filled": lambda: without("barrier_wait", 1, of=2),
    "a tile of slopes unseen by TMA": lambda: without("commit_smem"),
    "a tile of slopes overwritten": lambda: without("wait_smem_to_gmem", 0, of=2),
}


def spoilt(monkeypatch, bug):
    """The kernels with one line spoilt, held against the definitions."""
    args = draw("bfloat16")
    if bug:
        monkeypatch.setattr(*BUGS[bug]())
    jax.clear_caches()
    try:
        with watched(monkeypatch):
            got = with_gradients(args)
    finally:
        jax.clear_caches()
    check(args, got)
