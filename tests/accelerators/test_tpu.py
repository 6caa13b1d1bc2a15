# SPDX-License-Identifier: Apache-2.0
"""The TPU kernels: compiled for each chip, and interpreted with every bug put in."""

import time

import jax
import pytest
from interpreted import BUGS, check, draw, interpreted, spoilt, with_gradients

import jaxent
from benchmarks import compiled
from jaxent._heads.kernels import vmem

absent = compiled.absent("v5e")
pytestmark = pytest.mark.skipif(bool(absent), reason=str(absent))
MIB = 2**20
TEMPORARIES = MIB // 2
"""A dozen numbers of each of 8192 tokens, and nothing that grows with the classes."""
EVERYTHING = {"label_smoothing": 0.1, "z_loss": 1e-4, "softcap": 30.0}


def loss(with_bias=False, **options):
    def f(hidden, classifier, bias, labels):
        return jaxent.linear_softmax_cross_entropy(
            hidden, classifier, labels, bias=bias if with_bias else None,
            implementation="pallas_tpu", **options,
        )  # fmt: skip

    return f


def gradient(**options):
    return jax.value_and_grad(loss(**options), (0, 1, 2))


def program(f, chip, n, d, v, dtype):
    shapes = ((n, d), dtype), ((v, d), dtype), ((v,), "float32"), ((n,), "int32")
    return compiled.program_of(f, chip, *shapes)


@pytest.mark.parametrize("chip", compiled.TPUS)
def test_a_language_model_s_head(chip, record_property):
    """Outputs are of the parameters' type, and the logits are never in memory."""
    n, d, v = 8192, 2048, 131_072
    start = time.perf_counter()
    memory = program(gradient(), chip, n, d, v, "bfloat16").memory_analysis()
    record_property("row", {
        "chip": chip, "jax": jax.__version__, "program": "pallas_tpu, linear head",
        "dtype": "bfloat16", "pass": "gradient",
        "temporaries_mib": memory.temp_size_in_bytes / MIB,
        "compile_seconds": round(time.perf_counter() - start, 1),
    })  # fmt: skip
    assert memory.temp_size_in_bytes <= TEMPORARIES
    assert memory.output_size_in_bytes <= 2 * (n * d + v * d) + 4 * v + MIB


@pytest.mark.parametrize("chip", ["v5e", "v6e"])
def test_a_head_in_chunks_makes_one_gradient(chip, record_property):
    """Chunks are added to it as they are made: no second array of its size."""
    n, d, v = 16384, 4096, 128_256
    f = jax.value_and_grad(jaxent.linear_softmax_cross_entropy, (0, 1))
    arrays = ((n, d), "bfloat16"), ((v, d), "bfloat16"), ((n,), "int32")
    made = compiled.program_of(f, chip, *arrays)
    mib = made.memory_analysis().temp_size_in_bytes / MIB
    record_property("row", {
        "chip": chip, "jax": jax.__version__, "dtype": "bfloat16",
        "program": f"xla, linear head {n} × {d} × {v}", "pass": "gradient",
        "temporaries_mib": mib,
    })  # fmt: skip
    assert made.as_text().count(" convolution(") == 3
    # That gradient in float32, what `memory` says, and hidden in chunks, twice.
    assert mib <= (4 * v * d + 2**30 + 2 * 4 * n * d) / MIB


@pytest.mark.parametrize(
    ("chip", "shape", "dtype", "options"),
    [
        ("v5e", (1000, 200, 5000), "float32", EVERYTHING | {"memory": "4MiB"}),
        ("v7x", (13, 5, 11), "bfloat16", EVERYTHING),
        ("v5p", (4096, 16_384, 32_768), "bfloat16", {}),
        ("v7x", (4096, 8192, 32_768), "bfloat16", {"memory": vmem.VMEM}),
    ],
)
def test_ragged_and_wide_heads_compile(chip, shape, dtype, options):
    f = gradient(with_bias=True, **options)
    assert program(f, chip, *shape, dtype).memory_analysis().temp_size_in_bytes <= MIB


def test_heads_compile_where_double_is_enabled():
    with jax.enable_x64(True):
        f = gradient(with_bias=True, memory="4MiB", **EVERYTHING)
        program(f, "v5e", 300, 200, 500, "bfloat16")


def test_the_model_of_vmem_is_needed(monkeypatch):
    """Without it tiles are asked for that the compiler has no room for."""
    monkeypatch.setattr(vmem, "VMEM", 2**40)
    monkeypatch.setattr(vmem, "STREAMED", 128)
    monkeypatch.setattr(vmem, "ROWS", 128)
    with pytest.raises(jax.errors.JaxRuntimeError, match="vmem"):
        program(loss(memory=2**30), "v5p", 256, 65_536, 256, "bfloat16")


@pytest.mark.parametrize("bug", BUGS)
def test_every_bug_is_caught(capsys, monkeypatch, bug):
    with pytest.raises(AssertionError, match="budgets"):
        spoilt(capsys, monkeypatch, bug)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_option_at_once(capsys, monkeypatch, dtype):
    args = draw(dtype)
    with interpreted(capsys, monkeypatch):
        got = with_gradients(args, **EVERYTHING)
    check(args, got, **EVERYTHING)
