# SPDX-License-Identifier: Apache-2.0
"""The functions of a training step, as they stand on its pages, against trainers."""

import functools
import re
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from given import put
from replay import Golden, check
from test_programs import blocks

import jaxent

DOCS = Path(__file__).parents[1] / "docs"
PAGES = (DOCS / f"{name}.md" for name in ("training-step", "gradient-accumulation"))
NAMES = {}
for path in PAGES:
    exec("\n\n".join(blocks(path)), NAMES)
page = SimpleNamespace(**NAMES)

pytestmark = pytest.mark.quickly_compiled
UNIT, HALF = 2.0**-24, 2.0**-9  # one rounding of float32, of bfloat16


@pytest.fixture(autouse=True)
def as_a_user_finds_it():
    """Without the strictness of the suite, which Flax itself does not meet."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def recipe(name):
    """A trainer's function as the page replaces it: its numbers in one array."""

    def f(*args, **options):
        if name == "t5x_average_per_sequence":
            args = args[:-1]  # the positions follow from the segments
        results = jax.tree.leaves(getattr(page, name)(*args, **options))
        loss, *logged = (jnp.asarray(x, jnp.float32) for x in results)
        return jnp.stack([loss, *map(jax.lax.stop_gradient, logged)])

    return f


RECORDED = Golden("trainers", recipe)


@pytest.mark.parametrize("name", RECORDED.cases)
def test_a_recipe_gives_its_trainer_s_numbers(name):
    check(RECORDED, name)


N, D, V = 12, 5, 11
RNG = np.random.default_rng(0)
HIDDEN = put(RNG.normal(size=(3, 4, D)), jnp.float32)
EMBEDDING = put(RNG.normal(size=(V, D)), jnp.float32)
LABELS = put(RNG.integers(0, V, (3, 4)), jnp.int32)
WHERE = jnp.ones((3, 4), bool).at[1, 1:].set(False)


def same(got, expected, tolerance):
    """Each leaf within the tolerance of its largest element."""
    for a, b in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
        a, b = (np.asarray(x, np.float64) for x in (a, b))
        scale = np.max(np.abs(b))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


def step(loss, *args, **options):
    return jax.jit(jax.value_and_grad(loss, has_aux=True, **options))(*args)


def test_a_step_takes_three_products():
    def products(loss):
        f = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        text = jax.jit(f).lower(HIDDEN, EMBEDDING, LABELS, WHERE).compile().as_text()
        return len(re.findall(r"= \S+ (?:dot|custom-call)\(", text))

    assert products(page.loss_after) == products(page.loss_before) == 3


def test_before_and_after_agree():
    """Logits up to 8, and a dozen more roundings: see tests/golden/from_trainers.py."""
    args = HIDDEN, EMBEDDING, LABELS, WHERE
    before, after = (
        step(f, *args, argnums=(0, 1)) for f in (page.loss_before, page.loss_after)
    )
    same(after, before, 2 * (8 + 12) * UNIT)


def test_logits_of_halves_are_kept_in_float32():
    """As of the same halves in float32, but for the rounding of the gradients."""
    half = HIDDEN.astype(jnp.bfloat16)
    rounded = EMBEDDING.astype(jnp.bfloat16).astype(jnp.float32)
    args = LABELS, WHERE
    wide = step(page.loss_before, half.astype(jnp.float32), rounded, *args, argnums=1)
    value, slope = step(page.loss_after, half, EMBEDDING, *args, argnums=1)
    same(value, wide[0], 2 * (8 + 12) * UNIT)
    assert slope.dtype == jnp.float32
    # p − y is rounded, and the product.
    same(slope, wide[1], 2 * 2 * HALF)


def test_flax_nnx_and_linen():
    nn = pytest.importorskip("flax.linen", reason="the recipes of Flax need it")
    from flax import nnx

    class Decoder(nnx.Module):
        def __init__(self):
            self.embed = nnx.Embed(V, D, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))

        def __call__(self, tokens):
            return jnp.tanh(self.embed(tokens))

    class LinenDecoder(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            return jnp.tanh(nn.Embed(V, D, dtype=jnp.bfloat16, name="embed")(tokens))

    model, tokens = Decoder(), jnp.roll(LABELS, 1, axis=1)
    table = model.embed.embedding[...]
    assert table.dtype == jnp.float32

    def linen_loss(params):
        return page.linen_loss(params, LinenDecoder(), tokens, LABELS, WHERE)

    def by_hand(table):
        hidden = jnp.tanh(table.astype(jnp.bfloat16)[tokens])
        return page.loss_before(hidden, table, LABELS, WHERE)

    nnx_step = nnx.jit(nnx.value_and_grad(page.nnx_loss, has_aux=True))
    got = nnx_step(model, tokens, LABELS, WHERE)
    same(got, step(linen_loss, {"embed": {"embedding": table}}), 2 * 12 * UNIT)
    # The logits by hand are rounded, of size 1 beside a loss of 2; and the gradients.
    same(got, step(by_hand, table), 4 * HALF)


def test_several_tokens_ahead():
    tokens, segments = LABELS, jnp.array([[1, 1, 1, 1], [1, 1, 2, 2], [1, 1, 1, 0]])
    hiddens = [HIDDEN, jnp.cos(HIDDEN), jnp.sin(HIDDEN)]
    args = hiddens, EMBEDDING, tokens, segments
    before, after = (
        jax.jit(jax.value_and_grad(f, argnums=(0, 1)))(*args)
        for f in (page.ahead_before, page.ahead_after)
    )
    same(after, before, 2 * (8 + 12) * UNIT)


def test_accumulation_is_exact_over_uneven_counts():
    where = WHERE.at[2].set(False)  # 4, 1 and no tokens
    batches = {"hidden": HIDDEN, "labels": LABELS, "where": where}
    run = functools.partial(page.accumulate, page.loss_sum)
    got = jax.jit(run)(EMBEDDING, batches)
    before = functools.partial(page.loss_before, z_loss=0.0)
    (loss, _), slope = step(before, HIDDEN, EMBEDDING, LABELS, where, argnums=1)
    same(got, (loss, slope), 2 * (8 + 12) * UNIT)
    losses = jaxent.softmax_cross_entropy_with_integer_labels(
        HIDDEN @ EMBEDDING.T, LABELS, where=where
    )
    mean_of_means = (jnp.mean(losses[0]) + losses[1, 0]) / 2
    assert abs(mean_of_means - loss) > 0.1


def test_a_temperature_is_learned():
    scale = jnp.log(10.0)
    images, texts = HIDDEN.reshape(N, D), jnp.cos(HIDDEN).reshape(N, D)
    args = scale, *(x / jnp.linalg.norm(x, axis=-1)[:, None] for x in (images, texts))
    before, after = (
        jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2)))
        for f in (page.clip_before, page.clip_after)
    )
    got = after(*args)
    with jax.enable_x64(True):
        expected = before(*(np.float64(x) for x in args))
    # Logits of 10 are rounded in the product, and their distances of up to 20.
    same(got, expected, 2 * (20 + 12) * UNIT)
