# SPDX-License-Identifier: Apache-2.0
"""GPU kernels run on the CPU: threads, barriers and copies of one block simulated.

Memory starts as NaN and races are errors, but for those of wgmma, which it takes to be
done at once. It knows neither registers nor layouts; JAX 0.10 has no such interpreter.
"""

import contextlib
import functools

import jax
import jax.numpy as jnp
import pytest
from interpreted import check, draw
from jax.experimental.pallas import mosaic_gpu as plgpu

import jaxent
from jaxent.kernels import _hopper, gpu

simulated = pytest.mark.skipif(
    not hasattr(plgpu, "InterpretGPUParams"), reason="this JAX interprets no GPU kernels"
)
CLASSES = 64
"""Of a tile here, so that small heads have several."""
SLOTS = 2
"""Of the ring, so that it comes round."""


@contextlib.contextmanager
def interpreted(monkeypatch):
    from jax._src.pallas.mosaic_gpu.interpret import interpret_pallas_call

    tile = (gpu.POSITIONS + CLASSES) * _hopper.DEPTH * _hopper.HALF
    out = gpu.POSITIONS * CLASSES * _hopper.HALF
    for module in (gpu, _hopper):
        monkeypatch.setattr(module, "CLASSES", CLASSES)
    monkeypatch.setattr(_hopper, "SHARED", SLOTS * tile + out + _hopper.BARRIERS)
    # What an earlier failure has left.
    interpret_pallas_call.reset_gpu_interpret_mode_state()
    params = plgpu.InterpretGPUParams(detect_races=True, uninitialized_memory="nan")
    with plgpu.force_gpu_interpret_mode(params):
        yield


@functools.partial(jax.jit, static_argnames=("bias", "options"))
def _run(head, labels, cotangent, *, bias, options):
    def f(hidden, classifier, b):
        return jaxent.linear_softmax_cross_entropy(
            hidden, classifier, labels, bias=b if bias else None, reduction="none",
            implementation="pallas_gpu", **dict(options),
        )  # fmt: skip

    value, back = jax.vjp(f, *head)
    return value, *back(cotangent)


def with_gradients(args, *, bias=True, **options):
    """Losses, and what a cotangent pulls back to the head."""
    *head, labels, cotangent = args
    options = tuple(options.items())
    return jax.block_until_ready(
        _run(head, labels, cotangent, bias=bias, options=options)
    )


def without(name, nth):
    """Of `plgpu`, the function with this name; its nth call in a kernel does nothing."""
    honest, calls = getattr(plgpu, name), []

    def forgetful(*args, **kwargs):
        calls.append(None)
        if len(calls) != nth:
            honest(*args, **kwargs)

    return plgpu, name, forgetful


def unmasked(name):
    """Of `gpu`, the arithmetic with this name, to which all columns are classes."""
    honest = getattr(gpu, name)

    def of_all(first, second):
        return honest(*(
            x._replace(outside=jnp.zeros_like(x.outside))
            if isinstance(x, _hopper.Piece) else x
            for x in (first, second)
        ))  # fmt: skip

    return gpu, name, of_all


BUGS = {
    "no tail of classes": lambda: unmasked("sums_with"),
    "no tail of classes' slopes": lambda: unmasked("slopes_of"),
    "a slot filled before it is read": lambda: without("barrier_wait", 1),
    "a slot read before it is filled": lambda: without("barrier_wait", 2),
    "a tile of slopes unseen by TMA": lambda: without("commit_smem", 1),
    "a tile of slopes overwritten": lambda: without("wait_smem_to_gmem", 1),
}


def spoilt(monkeypatch, bug):
    """The kernels with one line spoilt, held against the definitions."""
    args = draw("bfloat16")
    monkeypatch.setattr(*BUGS[bug]())
    jax.clear_caches()
    try:
        with interpreted(monkeypatch):
            got = with_gradients(args, memory=2 * CLASSES * 2 * len(args[3]))
    finally:
        jax.clear_caches()
    check(args, got)
