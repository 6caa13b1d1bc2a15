# SPDX-License-Identifier: Apache-2.0
"""What a training step takes from one sweep: the loss, and what is logged beside it."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_linear
from given import put

import jaxent

pytestmark = pytest.mark.quickly_compiled

N, D, V = 12, 5, 11
BUDGET = {"memory": 4 * 2 * V * 4}
RNG = np.random.default_rng(0)
HIDDEN = put(RNG.normal(size=(3, 4, D)), jnp.float32)
CLASSIFIER = put(RNG.normal(size=(V, D)), jnp.float32)
LABELS = RNG.integers(0, V, (3, 4), np.int32)
LABELS[0, 1] = -100
WHERE, WEIGHTS = np.ones((3, 4), bool), np.ones((3, 4), np.float32)
WHERE[1, 2], WEIGHTS[2] = False, [0.5, 0, 2, 1]
SEEN = WHERE & (WEIGHTS != 0) & (LABELS != -100)
LOSS = functools.partial(jaxent.linear_softmax_cross_entropy, **BUDGET)
MASKS = {"where": WHERE, "weights": WEIGHTS, "ignore_index": -100}
SOFTMAX = {"softcap": 3.0, "temperature": 0.75}


@pytest.mark.parametrize("reduction", ["mean", "sequence_mean", "none"])
def test_the_statistics_are_those_of_a_sweep_of_their_own(reduction):
    options = MASKS | SOFTMAX | {"reduction": reduction, "z_loss": 0.01}

    def f(statistics, hidden, classifier):
        found = LOSS(hidden, classifier, LABELS, statistics=statistics, **options)
        loss, s = found if statistics else (found, ())
        return jnp.sum(jnp.cos(loss)), (loss, s)

    @jax.jit
    def run(*args):
        alone, both = (
            jax.value_and_grad(functools.partial(f, x), (0, 1), has_aux=True)(*args)
            for x in (False, True)
        )
        s = jaxent.linear_softmax_statistics(
            *args, LABELS, where=SEEN, ignore_index=-100, **BUDGET, **SOFTMAX
        )
        return alone, both, s

    ((_, (loss, _)), slopes), ((_, (other, got)), others), expected = run(
        HIDDEN, CLASSIFIER
    )
    np.testing.assert_allclose(loss, other, rtol=1e-6)
    for a, b in zip(slopes, others, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert isinstance(got, jaxent.SoftmaxStatistics)
    for field, a, b in zip(got._fields, got, expected, strict=True):
        assert a.shape == (3, 4)
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=field)
        assert not np.any(np.asarray(a)[~SEEN])


def test_the_student_s_statistics_beside_a_divergence():
    teacher = jnp.cos(CLASSIFIER)

    def f(hidden, statistics):
        return jaxent.linear_kl_divergence(
            hidden, CLASSIFIER, HIDDEN, teacher, temperature=0.75, where=WHERE,
            statistics=statistics, **BUDGET,
        )  # fmt: skip

    alone = jax.value_and_grad(f)(HIDDEN, False)
    (value, s), slope = jax.value_and_grad(f, has_aux=True)(HIDDEN, True)
    np.testing.assert_allclose(value, alone[0], rtol=1e-6)
    np.testing.assert_allclose(slope, alone[1], rtol=1e-5, atol=1e-8)
    logits = HIDDEN @ CLASSIFIER.T
    expected = jaxent.softmax_statistics(
        logits, jnp.zeros((3, 4), jnp.int32), where=WHERE, temperature=0.75
    )
    for field in ("log_normalizer", "entropy", "top_id"):
        a, b = getattr(s, field), getattr(expected, field)
        np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=field)


def test_statistics_are_not_differentiated():
    def f(hidden):
        _, s = LOSS(hidden, CLASSIFIER, LABELS, ignore_index=-100, statistics=True)
        return jnp.sum(s.entropy + s.nll)

    np.testing.assert_array_equal(jax.grad(f)(HIDDEN), np.zeros_like(HIDDEN))


def products(f, *args):
    """Matrix products of the compiled program, by their number in the text."""
    text = jax.jit(f).lower(*args).compile().as_text()
    return len(re.findall(r"= \S+ (?:dot|custom-call)\(", text))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("transform", test_linear.TRANSFORMS)
def test_statistics_beside_a_loss_in_every_transform(transform):
    """Numbers of the primal alone, as dense statistics are that are stopped."""
    *args, labels = test_linear.draw()
    keep = test_linear.mask()

    def total(loss, s):
        parts = jax.lax.stop_gradient(jax.tree.map(lambda x: x.astype(float), s))
        each = jnp.cos(jnp.arange(labels.size, dtype=float))
        return 1.7 * loss + sum(jnp.vdot(each, x) for x in jax.tree.leaves(parts))

    def fused(hidden, classifier, bias):
        return total(*LOSS(
            hidden, classifier, labels, bias=bias, where=keep, statistics=True,
            memory=4 * test_linear.ROW,
        ))  # fmt: skip

    def dense(hidden, classifier, bias):
        x = hidden @ classifier.T + jnp.broadcast_to(bias, (labels.size, bias.size))
        s = jaxent.softmax_statistics(x, labels, where=keep)
        loss = test_linear.dense(hidden, classifier, labels, bias=bias, where=keep)
        return total(loss, s)

    run = test_linear.TRANSFORMS[transform]
    test_linear.close(*jax.jit(lambda *a: (run(fused, *a), run(dense, *a)))(*args))


def test_a_step_that_logs_takes_three_products():
    """The logits, and the gradients of both factors, of all that a trainer logs."""

    def f(hidden, classifier, statistics):
        found = LOSS(
            hidden, classifier, LABELS, statistics=statistics, z_loss=1e-4, **MASKS
        )
        loss, s = found if statistics else (found, None)
        if s is None:
            return loss, ()
        kept = functools.partial(jaxent.reduce, where=SEEN)
        z, accuracy = 1e-4 * kept(s.log_normalizer**2), kept(s.correct)
        return loss, (z, accuracy, kept(s.entropy), jaxent.perplexity(kept(s.nll)))

    def step(statistics, loss=f):
        g = functools.partial(loss, statistics=statistics)
        return jax.value_and_grad(g, argnums=(0, 1), has_aux=True)

    def twice(hidden, classifier, statistics):
        loss, _ = f(hidden, classifier, statistics=False)
        s = jaxent.linear_softmax_statistics(
            hidden, classifier, LABELS, ignore_index=-100, **BUDGET
        )
        return loss, s.correct

    args = HIDDEN, CLASSIFIER
    alone = products(step(False), *args)
    assert products(step(True), *args) == alone
    # What is counted are products: a sweep more is one more at least.
    assert products(step(False, twice), *args) > alone


def test_statistics_that_are_not_used_cost_nothing():
    def unused(hidden, classifier):
        return LOSS(hidden, classifier, LABELS, ignore_index=-100, statistics=True)[0]

    def plain(hidden, classifier):
        return LOSS(hidden, classifier, LABELS, ignore_index=-100)

    a, b = (
        jax.jit(jax.value_and_grad(f, argnums=(0, 1)))
        .lower(HIDDEN, CLASSIFIER)
        .compile()
        for f in (unused, plain)
    )
    assert a.cost_analysis()["flops"] <= b.cost_analysis()["flops"] * 1.001
    sizes = [p.memory_analysis().temp_size_in_bytes for p in (a, b)]
    assert sizes[0] <= sizes[1] + 64


def test_a_kernel_says_that_it_has_neither():
    for option in ({"temperature": 0.5}, {"statistics": True}):
        with pytest.raises(NotImplementedError, match="must be left out with"):
            LOSS(HIDDEN, CLASSIFIER, LABELS, implementation="pallas_tpu", **option)
