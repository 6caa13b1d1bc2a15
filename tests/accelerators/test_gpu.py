# SPDX-License-Identifier: Apache-2.0
"""The GPU kernels: interpreted in every regime, spoilt, and compiled for an H100."""

import re
import time

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import tolerance
from interpreted import N, check, check_masked, draw, regimes
from interpreted_gpu import BUGS, interpreted, simulated, spoilt, with_gradients

import jaxent
from benchmarks import compiled
from jaxent._heads.kernels import hopper

OPTIONS = {
    "plain": ("bfloat16", {"bias": False}),
    "softcap": ("bfloat16", {"softcap": 3.0}),
    "float16": ("float16", {"label_smoothing": 0.1, "z_loss": 0.01, "bias": False}),
    "two slabs": ("float16", {"softcap": 3.0, "memory": 2 * 64 * 2 * N}),
}


@simulated
@pytest.mark.parametrize("case", OPTIONS)
def test_ragged_tiles(monkeypatch, case):
    dtype, options = OPTIONS[case]
    args = draw(dtype)
    with interpreted(monkeypatch):
        got = with_gradients(args, **options)
    assert [x.dtype for x in got[1:3]] == [args[0].dtype] * 2
    check(args, got, **{k: v for k, v in options.items() if k != "memory"})


@simulated
def test_a_head_that_tma_cannot_see_whole(monkeypatch):
    """Positions and classes that 8 does not divide."""
    hidden, classifier, bias, labels, cotangent = (x[:-3] for x in draw("bfloat16"))
    labels = jnp.minimum(labels, bias.size - 1)
    args = hidden, classifier, bias, labels, cotangent
    with interpreted(monkeypatch):
        got = with_gradients(args)
    check(args, got)


def in_every_regime():
    """hidden is the identity: the classifier is the logits, its gradient the slopes."""
    x, labels = regimes()
    cotangent = np.where(np.arange(N) % 2, 0.5, -2).astype(np.float32)
    eye, w = jnp.eye(N, dtype=jnp.bfloat16), jnp.asarray(x.T, jnp.bfloat16)
    return eye, w, jnp.zeros(x.shape[1]), jnp.asarray(labels), cotangent


@simulated
def test_exact_in_every_regime(monkeypatch):
    args = in_every_regime()
    with interpreted(monkeypatch):
        loss, _, slopes, _ = with_gradients(args)
    x, labels = np.asarray(args[1].T.astype("float32")), args[3]
    slopes = slopes.T.astype("float32") / args[-1][:, None]
    for got, rounding, f in (
        (loss, 0, oracle.softmax_cross_entropy_with_integer_labels),
        # They are rounded to bfloat16 to be multiplied: half of 2⁻⁷.
        (slopes, 2.0**-8, oracle.label_gradient),
    ):
        truth = f(x, labels)
        spread = tolerance.spread(
            lambda a, _, f=f: f(*a), tolerance.of_logits, (x, labels), {}
        )
        allowed = tolerance.budget(truth, spread, "float32")
        tolerance.check(got, truth, allowed + rounding * np.abs(truth))


@simulated
def test_masks_weights_and_means(monkeypatch):
    hidden, classifier, bias, *rows = draw("bfloat16")
    # Large enough for exp of it to be infinite, where a dropped position has no more.
    args = hidden, classifier, bias + 200, *rows
    check_masked(args, interpreted(monkeypatch), "pallas_gpu")


@simulated
def test_poison_stays_where_it_is(monkeypatch):
    """A NaN, a label of no class, and a class with a bias of −inf and one label."""
    hidden, classifier, bias, labels, cotangent = in_every_regime()
    hidden, labels = hidden.at[3].set(jnp.nan), labels.at[4].set(-1).at[5].set(0)
    args = hidden, classifier, bias.at[0].set(-jnp.inf), labels, cotangent
    with interpreted(monkeypatch):
        loss, d_hidden, _, _ = with_gradients(args)
    assert np.isnan(loss).nonzero()[0].tolist() == [3, 4]
    assert np.isnan(d_hidden).any(1).nonzero()[0].tolist() == [3, 4]
    assert np.isinf(loss).nonzero()[0].tolist() == [5]


@simulated
def test_the_smallest_heads(monkeypatch):
    """One class, and one position."""
    one, two = jnp.ones((1, 8), jnp.bfloat16), jnp.ones((2, 8), jnp.bfloat16)
    zero = jnp.zeros(1, jnp.int32)
    with interpreted(monkeypatch):
        alone = with_gradients((one, one, jnp.zeros(1), zero, jnp.ones(1)))
        among_two = with_gradients((one, two, jnp.zeros(2), zero, jnp.ones(1)))
    assert not any(np.any(x) for x in alone)
    np.testing.assert_allclose(among_two[0], np.log(2), rtol=1e-6)
    np.testing.assert_array_equal(among_two[3], [-0.5, 0.5])


@simulated
@pytest.mark.parametrize("bug", [None, *BUGS])
def test_a_bug_is_caught(monkeypatch, bug):
    """A race, or a wrong result; and without a bug, with wgmma watched too, neither."""
    if bug is None:
        spoilt(monkeypatch, bug)
    else:
        with pytest.raises((AssertionError, jax.errors.JaxRuntimeError)) as caught:
            spoilt(monkeypatch, bug)
        assert re.search("budgets|RACE DETECTED", str(caught.value))


WHY = compiled.absent("H100")
on_h100 = pytest.mark.skipif(bool(WHY), reason=str(WHY))
# Positions, d, classes, dtype; MiB of temporaries forward, and with the gradient: the
# slab, float32 sums for hidden, and for a ragged last tile copies of its rows.
HEADS = {
    "large": (8192, 2048, 131_072, "bfloat16", 0.25, 230),
    "ragged": (8184, 2048, 131_064, "bfloat16", 0.25, 330),
    "odd": (8191, 2048, 131_071, "bfloat16", 34, 330),
    "float16": (1000, 1024, 50_257, "float16", 2, 200),
}
EVERYTHING = {"label_smoothing": 0.1, "z_loss": 1e-4, "softcap": 30.0}


# Bytes that a kernel may store as it spills: of 5000 instructions at the end of a tile,
# and of none of those that wait for the tensor cores.
SPILLED = 96
# Names of heads. No kernel is compiled twice by a process, and none said of it again.
COMPILED = set()


def spilled(said: str) -> list[int]:
    """What each kernel stores, of what ptxas said; no wgmma is waited for at once."""
    assert not re.search(r"C75(?!19)\d\d|serialized", said), said
    return [int(n) for n in re.findall(r"(\d+) bytes spill stores", said)]


def program_of(name, what, **options):
    n, d, v, dtype, *_ = HEADS[name]

    def f(hidden, classifier, labels):
        return jaxent.linear_softmax_cross_entropy(
            hidden, classifier, labels, implementation="pallas_gpu", **options
        )

    arrays = ((n, d), dtype), ((v, d), dtype), ((n,), jnp.int32)
    f = f if what == "forward" else jax.value_and_grad(f, (0, 1))
    return compiled.program_of(f, "H100", *arrays)


@on_h100
@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("what", ["forward", "gradient"])
def test_compiles_for_sm_90a(name, what, record_property, monkeypatch, capfd):
    options = EVERYTHING if name == "float16" else {}
    monkeypatch.setenv("MOSAIC_GPU_DUMP_PTXAS", "1")
    start = time.perf_counter()
    program = program_of(name, what, **options)
    stored = spilled(capfd.readouterr().out)
    assert stored or name in COMPILED
    COMPILED.add(name)
    n, d, v, dtype, *bounds = HEADS[name]
    assert "mosaic_gpu" in program.as_text()
    memory = program.memory_analysis()
    row = {
        "chip": "H100", "jax": jax.__version__, "dtype": dtype, "pass": what,
        "program": f"pallas_gpu, {n} × {d} × {v}",
        "temporaries_mib": memory.temp_size_in_bytes / 2**20,
        "compile_seconds": round(time.perf_counter() - start, 1),
        "spilled_bytes": max(stored, default=0),
    }  # fmt: skip
    record_property("row", row)
    assert row["spilled_bytes"] <= SPILLED
    bound = bounds[what == "gradient"]
    if v % 8 and what == "forward" and jax.__version_info__ < (0, 12):
        # It slices by copying.
        bound += v * d * 2 / 2**20
    assert row["temporaries_mib"] <= bound
    if what == "gradient":
        # Gradients are of the parameters' type, halves, and there is the loss.
        assert memory.output_size_in_bytes == pytest.approx((n + v) * d * 2, abs=256)


def roots(computation: str) -> str:
    """The operation that a computation ends with."""
    return re.search(r"ROOT \S+ = \S+ (\w+)\(", computation)[1]


@on_h100
def test_a_head_in_chunks_makes_one_gradient(record_property):
    """Chunks are added to it as they are made: no second array of its size."""
    n, d, v = 16384, 4096, 128_256

    def f(hidden, classifier, labels):
        return jaxent.linear_softmax_cross_entropy(hidden, classifier, labels)

    arrays = ((n, d), "bfloat16"), ((v, d), "bfloat16"), ((n,), jnp.int32)
    program = compiled.program_of(jax.value_and_grad(f, (0, 1)), "H100", *arrays)
    mib = program.memory_analysis().temp_size_in_bytes / 2**20
    record_property("row", {
        "chip": "H100", "jax": jax.__version__, "dtype": "bfloat16",
        "program": f"xla, linear head {n} × {d} × {v}", "pass": "gradient",
        "temporaries_mib": mib,
    })  # fmt: skip
    # Two products a chunk of 2048 positions, and in each of its four pieces the
    # logits: 6·n·d·v operations.
    text = program.as_text()
    assert text.count(" dot(") == 3
    loops = re.findall(r'"known_trip_count":\{"n":"(\d+)"\}', text)
    assert sorted(loops) == ["4", str(n // 2048)]
    # Nothing is fused with the product of logits: where a library multiplies, that
    # would be a pass of its own. The sum of gradients is, which a library adds up.
    alone = [part for part in text.split("\n\n") if " dot(" in part]
    assert sorted(map(roots, alone)) == ["add", "dot", "dot"]
    # That gradient in float32; of `memory` a half for slopes, a quarter for logits.
    assert mib <= (4 * v * d + 2**30 * 3 / 4) / 2**20


@on_h100
def test_shared_memory_is_what_we_take_it_for(monkeypatch):
    """One more slot of the ring, and the compiler refuses."""
    honest = hopper.stages
    jax.clear_caches()
    monkeypatch.setattr(hopper, "stages", lambda scratch: honest(scratch) + 1)
    with pytest.raises(ValueError, match="available shared memory"):
        program_of("float16", "forward")
