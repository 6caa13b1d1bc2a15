# SPDX-License-Identifier: Apache-2.0
"""A check for NaN, or for infinities, is quiet where all results are finite: rule 12.

What is not chosen counts too, where each step is run by itself, or by `checkify`. For
infinities steps cannot be run by themselves: JAX then finds those of `x == jnp.inf`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES
from given import put
from jax.experimental import checkify
from test_public_api import FUNCTIONS

import jaxent

pytestmark = pytest.mark.quickly_compiled


def in_results(f, *args):
    with jax.debug_nans(True), jax.debug_infs(True):
        return jax.jit(f)(*args)


def in_steps(f, *args):
    with jax.disable_jit(), jax.debug_nans(True):
        return f(*args)


def checkified(f, *args):
    checked = jax.jit(checkify.checkify(f, errors=checkify.float_checks))
    error, results = checked(*args)
    error.throw()
    return results


DETECTORS = [
    pytest.param(in_results, id="debug_nans and debug_infs"),
    pytest.param(in_steps, id="debug_nans, disable_jit"),
    # What it sees are the steps above, and it takes long to compile.
    pytest.param(checkified, id="checkify", marks=pytest.mark.thorough),
]

RICHEST = {case.function: case for case in CASES if case.axis == -1}


def of_case(case, regime):
    args, options = case.example((2,), 4, "float32", regime)
    if case.kind.regimes[-1] == "sharp" and "log" not in case.function:
        # A class of probability 0 on either side, which adds nothing.
        for a in args:
            if a.dtype.kind == "f" and case.kind.classes and np.all(a >= 0):
                a[..., 0] = 0
    count = len(case.kind.differentiable)

    def call(*x):
        return case.call(*x, *args[count:], **options)

    return call, args[:count]


H, W, B = (np.cos(np.arange(k * 3.0, dtype=np.float32)) for k in (3, 5, 5 / 3))
H, W = H.reshape(3, 3), W.reshape(5, 3)
Y, KEEP = np.array([0, 4, 7]), np.array([True, True, False])
DRAWN = jaxent.Candidates(np.arange(4), np.ones(3, np.float32), np.ones(4, np.float32))
FORBIDS = np.where(np.arange(5) == 2, -np.inf, B).astype(np.float32)
HEAD = {"memory": 2 * 2 * 2 * 5 * 4}


def sampled(loss, **options):
    def call(h, w, b):
        return loss(h, w, Y, candidates=DRAWN, bias=b, where=KEEP, **options)

    return call


HEADS = {
    "linear_softmax_cross_entropy": lambda h, w, b: jaxent.linear_softmax_cross_entropy(
        h,
        w,
        Y,
        bias=b,
        where=KEEP,
        label_smoothing=0.1,
        z_loss=0.1,
        softcap=2.0,
        **HEAD,
    ),
    "linear_softmax_loss": lambda h, w, b: jaxent.linear_softmax_loss(
        lambda s: s.nll - s.entropy, h, w, Y, bias=b, where=KEEP, **HEAD
    ),
    "linear_softmax_statistics": lambda h, w, b: jaxent.linear_softmax_statistics(
        h, w, Y, bias=b, where=KEEP, **HEAD
    )[:4],
    "linear_kl_divergence": lambda h, w, b: jaxent.linear_kl_divergence(
        h, w, 2 * h, w, student_bias=b, teacher_bias=b, **HEAD
    ),
    "softmax_statistics": lambda h, w, b: jaxent.softmax_statistics(
        h @ w.T + jnp.broadcast_to(b, (3, 5)), Y, where=KEEP
    )[:4],
    "sampled_softmax_cross_entropy": sampled(jaxent.sampled_softmax_cross_entropy),
    "nce_loss": sampled(jaxent.nce_loss),
    "rank_sampled_softmax_cross_entropy": sampled(
        jaxent.rank_sampled_softmax_cross_entropy, num_resampled=2, temperature=1.0
    ),
    "linear_js_divergence": lambda h, w, b: jaxent.linear_js_divergence(
        h, w, 2 * h, w, **HEAD
    ),
    "linear_sigmoid_binary_cross_entropy": lambda h, w, b: (
        jaxent.linear_sigmoid_binary_cross_entropy(h, w, Y[:, None] % 5, bias=b, **HEAD)
    ),
    "linear_kl_divergence_from_top_k": lambda h, w, b: (
        jaxent.linear_kl_divergence_from_top_k(
            h, w, Y[:, None] % 5, -jnp.ones((3, 1)), bias=b, **HEAD
        )
    ),
    "kl_divergence_from_top_k": lambda h, w, b: jaxent.kl_divergence_from_top_k(
        h @ w.T, Y[:, None] % 5, -jnp.ones((3, 1))
    ),
    "reduce": lambda h, w, b: jaxent.reduce(b, where=b > 9),
}
# A class that the bias forbids; sampled heads have to have drawn it.
# The temperature's gradient, that nobody asked for here, is NaN then.
FORBIDDEN = {name for name in HEADS if "softmax" in name and "sampled" not in name}


LABELS_OR_MEANS = {
    "bits_per_byte", "next_token_labels", "perplexity", "segment_means",
    "smooth_labels",
}  # fmt: skip


def test_every_public_function_is_asked():
    assert {*FUNCTIONS} == RICHEST.keys() | HEADS.keys() | LABELS_OR_MEANS


def quiet(run, call, moving):
    def with_slopes(*moving):
        def total(*moving):
            results = jax.tree.leaves(call(*moving))
            return sum(jnp.sum(1.5 * x) for x in results), results

        grad = jax.value_and_grad(total, tuple(range(len(moving))), has_aux=True)
        return grad(*moving)

    results = run(with_slopes, *map(put, moving))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(results))


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("name", RICHEST)
def test_nothing_is_found_in_a_loss(name, detector):
    case = RICHEST[name]
    regime = "forbidden" if "forbidden" in case.kind.regimes else case.kind.regimes[-1]
    quiet(detector, *of_case(case, regime))


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("name", HEADS)
def test_nothing_is_found_in_a_head(name, detector):
    bias = FORBIDS if name in FORBIDDEN else B
    quiet(detector, HEADS[name], (H, W, bias))
