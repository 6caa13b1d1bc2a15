# SPDX-License-Identifier: Apache-2.0
"""What the compiled programs hold, read off them; nothing of N×V elements is run."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import pytest

import jaxent
from jaxent._heads.chunks import gathered, plan_chunks

BLOCK = 16 * 2**20


def lowered(f, n, d, v, *platforms, dtype=jnp.float32):
    shape = jax.ShapeDtypeStruct
    args = shape((n, d), dtype), shape((v, d), dtype), shape((n,), jnp.int32)
    return jax.jit(f).trace(*args).lower(lowering_platforms=platforms or None)


def compiled(f, n, d, v, dtype=jnp.float32):
    return lowered(f, n, d, v, dtype=dtype).compile()


def temporaries(program):
    return program.memory_analysis().temp_size_in_bytes


def gradient(**options):
    loss = functools.partial(jaxent.linear_softmax_cross_entropy, **options)
    return jax.value_and_grad(loss, argnums=(0, 1))


def largest_array(program):
    """Elements of the largest array that the optimised program names anywhere."""
    shapes = re.findall(r"\b(?:f32|bf16|s32|pred)\[([\d,]+)\]", program.as_text())
    return max(math.prod(map(int, shape.split(","))) for shape in shapes)


@pytest.mark.parametrize("memory", ["16MB", "64MB", None])
@pytest.mark.parametrize("n", [2048, 65536])
def test_temporaries_follow_the_budget(memory, n):
    """Not N·V: at 65536 positions the logits alone would be 12 GiB."""
    d, v = 64, 50257
    program = compiled(gradient(memory=memory), n, d, v)
    budget = {"16MB": 16e6, "64MB": 64e6, None: 144e6}[memory]
    # Two copies of hidden (in chunks, and its gradient), and a word a position for
    # each of the few numbers that come with one.
    rows = n * (2 * d + 16) * 4
    assert temporaries(program) <= budget + BLOCK + rows
    assert largest_array(program) < n * v


PLATFORMS = {"cpu": 342, "cuda": 2048, "rocm": 2048, "tpu": 2048}
"""Rows a chunk of 4096, of 50257 classes: "144MB" has room for 358, "1GiB" for 2670."""


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("memory", [None, "64MB"])
def test_the_default_is_of_the_platform_that_a_program_is_for(platform, memory):
    """Lowered, not compiled. Chips make the classifier's gradient in one product."""
    n, d, v = 4096, 96, 50257
    program = lowered(gradient(memory=memory), n, d, v, platform).as_text()
    rows = {int(k) for k in re.findall(rf"tensor<(\d+)x{v}xf32>", program)}
    assert max(rows) == (PLATFORMS[platform] if memory is None else 128)
    products = re.findall(r"stablehlo.dot_general.* -> tensor<(\d+)x(\d+)", program)
    classes = max(int(a) for a, b in products if int(b) == d)
    assert classes == (2**20 * 16 // (4 * d) if platform == "cpu" else v)


def per_position(reduction_of):
    def f(hidden, classifier, labels):
        return jnp.sum(jnp.cos(reduction_of(hidden, classifier, labels)))

    return f


def losses(hidden, classifier, labels):
    f = jaxent.linear_softmax_cross_entropy
    return f(hidden, classifier, labels, reduction="none")


def entropies(hidden, classifier, labels):
    return jaxent.linear_softmax_statistics(hidden, classifier, labels).entropy


def distilled(hidden, classifier, labels):
    del labels
    return jaxent.linear_kl_divergence(hidden, classifier, 2 * hidden, classifier)


@pytest.mark.parametrize(
    ("f", "budgets"),
    [
        (gradient(softcap=30.0), 1.5),
        (gradient(ignore_index=-100), 1.1),
        (gradient(label_smoothing=0.1, z_loss=1e-4, softcap=30.0), 2.5),
        (jax.value_and_grad(per_position(losses), argnums=(0, 1)), 2.2),
        (jax.value_and_grad(per_position(entropies), argnums=(0, 1)), 4.0),
        (jax.value_and_grad(distilled, argnums=(0, 1)), 2.2),
    ],
    ids=["softcap", "ignore_index", "options", "none", "entropy", "distillation"],
)
def test_nothing_brings_the_logits_back(f, budgets):
    """What the documentation says of each, in budgets of the default 144 MB."""
    n, d, v = 4096, 64, 32768
    program = compiled(f, n, d, v)
    assert temporaries(program) <= budgets * 144e6 + BLOCK + n * (3 * d + 16) * 4
    assert largest_array(program) < n * v


def own_losses(**options):
    def f(hidden, classifier, labels):
        return jaxent.linear_softmax_loss(
            lambda s: s.nll * s.entropy, hidden, classifier, labels,
            reduction="none", **options,
        )  # fmt: skip

    return f


def statistics_of(**options):
    def f(hidden, classifier, labels):
        s = jaxent.linear_softmax_statistics(hidden, classifier, labels, **options)
        return s.nll * s.entropy

    return f


def losses_of(**options):
    return functools.partial(
        jaxent.linear_softmax_cross_entropy, reduction="none", **options
    )


def distilled_of(**options):
    def f(hidden, classifier, labels):
        del labels
        teacher = 2 * hidden, classifier
        return jaxent.linear_kl_divergence(
            hidden, classifier, *teacher, reduction="none", **options
        )

    return f


@pytest.mark.parametrize("memory", ["1MB", "4MB"])
@pytest.mark.parametrize(
    "make",
    [losses_of, statistics_of, own_losses, distilled_of],
    ids=lambda make: make.__name__,
)
def test_a_gradient_per_position_keeps_no_classifier_a_chunk(make, memory):
    """It kept one for each: the smaller the budget, the more memory it took.

    Of two heads the gradients are two, and each is added up in two arrays beside it.
    """
    n, d, v = 1024, 256, 8192
    step = jax.value_and_grad(per_position(make(memory=memory)), argnums=(0, 1))
    program = compiled(step, n, d, v)
    assert largest_array(program) <= v * d
    budget = {"1MB": 1e6, "4MB": 4e6}[memory]
    rows = n * (6 * d + 32) * 4
    assert temporaries(program) <= 4 * budget + 6 * v * d * 4 + rows


def test_evaluation_pays_for_no_gradient():
    """A quarter of the gradient's chunk, and one product instead of three."""
    n, d, v = 4096, 64, 50257
    program = compiled(jaxent.linear_softmax_cross_entropy, n, d, v)
    assert temporaries(program) <= 144e6 / 4 + n * (d + 16) * 4
    products = re.findall(r"= \S+ dot\(", program.as_text())
    assert len(products) <= 1
    assert not re.search(rf"f32\[{v},{d}\]\S* (add|fusion)", program.as_text())


def test_dense_loss_keeps_one_array():
    """value_and_grad in the logits: no more than one array beside the gradient."""
    n, v = 1024, 32768

    def mean(logits, labels):
        loss = jaxent.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jaxent.reduce(loss)

    shape = jax.ShapeDtypeStruct
    args = shape((n, v), jnp.float32), shape((n,), jnp.int32)
    program = jax.jit(jax.value_and_grad(mean)).lower(*args).compile()
    assert temporaries(program) <= 1.01 * n * v * 4


@pytest.mark.parametrize(
    "measure",
    [
        jaxent.softmax_cross_entropy,
        jaxent.kl_divergence_from_logits,
        jaxent.js_divergence_from_logits,
    ],
)
def test_measures_keep_rows_in_the_cache(measure):
    """A few arrays of a group of rows, and not one of all."""
    n, v = 1024, 8192
    array = jax.ShapeDtypeStruct((n, v), jnp.float32)
    program = jax.jit(measure).lower(array, array).compile()
    assert temporaries(program) <= 16 * 2**20 < 4 * n * v


@pytest.mark.parametrize(
    ("rows", "fit", "devices", "size", "chunks"),
    [
        (32768, 549, 1, 512, 64),  # 60 would do, with padding
        (4096, 358, 1, 342, 12),  # the next divisor is 16: too many
        (4099, 1000, 1, 820, 5),  # a prime number
        (4096, 358, 8, 256, 16),  # on a mesh padding is worse
        (10, 100, 1, 10, 1),
        (0, 100, 1, 0, 1),
    ],
)
def test_chunks_are_padded_where_few_more_would_not_do(
    rows, fit, devices, size, chunks
):
    plan = plan_chunks(rows, fit, compact=True, devices=devices)
    assert (plan.size, plan.chunks, plan.compact) == (size, chunks, devices == 1)


@pytest.mark.parametrize(
    ("rows", "fit", "size", "chunks"),
    [
        (16384, 1046, 1024, 16),
        (16384, 974, 896, 19),  # 17 of 964 would fit
        (16384, 127, 127, 130),  # fewer than 128 fit
        (500, 974, 500, 1),
    ],
)
def test_chunks_for_a_chip_are_of_a_multiple_of_rows(rows, fit, size, chunks):
    plan = plan_chunks(rows, fit, compact=False, devices=1, multiple=128)
    assert (plan.size, plan.chunks) == (size, chunks)


@pytest.mark.parametrize(
    ("rows", "fit", "devices", "size", "pieces"),
    [
        (16384, 1046, 1, 2048, 4),
        (8192, 2671, 1, 4096, 4),
        (1500, 1046, 1, 1500, 4),  # all of them are one chunk, of pieces of 375
        (1501, 1046, 1, 768, 1),  # and cannot be, where 4 does not divide them
        (16384, 10, 1, 16, 4),
        (1000, 1046, 1, 1000, 1),  # one chunk as it is
        (16384, 1046, 8, 1024, 1),  # pieces would be moved between devices
    ],
)
def test_twice_the_rows_where_slopes_are_halves(rows, fit, devices, size, pieces):
    options = {"compact": False, "devices": devices, "multiple": 128, "pieces": 4}
    plan = gathered(plan_chunks(rows, fit, **options), rows)
    assert (plan.size, plan.pieces) == (size, pieces)
    assert plan.size * plan.chunks >= rows
    # Slopes in halves, and the logits of a piece, twice in float32.
    assert pieces == 1 or 2 * size + 2 * 4 * size // pieces <= 2 * 4 * fit
