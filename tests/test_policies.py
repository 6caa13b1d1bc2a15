# SPDX-License-Identifier: Apache-2.0
"""The functions of two pages, as they stand there, against formulas in float64."""

from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_programs import blocks

DOCS = Path(__file__).parents[1] / "docs"


def functions(name):
    names = {}
    exec("\n\n".join(blocks(DOCS / f"{name}.md")), names)
    return SimpleNamespace(**names)


policies, distillation = functions("policies"), functions("distillation")
pytestmark = [pytest.mark.quickly_compiled, pytest.mark.usefixtures("x64")]

B, L, D, V, T = 3, 4, 5, 11, 0.75
RNG = np.random.default_rng(0)
HIDDEN, TEACHER = RNG.normal(size=(2, B, L, D))
HEAD, OTHER = RNG.normal(size=(2, V, D))
TOKENS = RNG.integers(0, V, (B, L))
WHERE = np.arange(L) < np.array([[4], [2], [3]])
ADVANTAGE = RNG.normal(size=(B, L))
OLD, REFERENCE = -2 + 0.5 * RNG.normal(size=(2, B, L))


def log_softmax(hidden, head, t=1.0):
    x = hidden @ head.T / t
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def of_tokens(log_p):
    return np.take_along_axis(log_p, TOKENS[..., None], -1)[..., 0]


LOG_P = log_softmax(HIDDEN, HEAD)
TOKEN = of_tokens(LOG_P)
ENTROPY = -np.sum(np.exp(LOG_P) * LOG_P, -1)


def by_sequence(values):
    return np.mean(np.sum(values * WHERE, 1) / WHERE.sum(1))


def gain():
    ratio = np.exp(TOKEN - OLD)
    return np.minimum(ratio * ADVANTAGE, np.clip(ratio, 0.8, 1.2) * ADVANTAGE)


def grpo():
    d = REFERENCE - TOKEN
    return by_sequence(-gain() + 0.04 * (np.exp(d) - d - 1))


def ppo():
    return np.sum((-gain() - 0.01 * ENTROPY) * WHERE) / WHERE.sum()


def sft():
    """The prompts are all but the tokens of WHERE; the last token has no label."""
    keep = WHERE[:, 1:]
    nll = -np.take_along_axis(LOG_P[:, :-1], TOKENS[:, 1:, None], -1)[..., 0]
    return np.mean(np.sum(nll * keep, 1) / keep.sum(1))


def kl(p, q, p_t=1.0):
    del p_t
    return np.sum(np.exp(p) * (p - q), -1)


def divergence(t=1.0):
    return kl(log_softmax(TEACHER, OTHER, t), log_softmax(HIDDEN, HEAD, t))


def hinton():
    return 0.5 * 4 * divergence(2.0).mean() - 0.5 * TOKEN.mean()


def top_k(k=3, t=2.0):
    teacher, student = log_softmax(TEACHER, OTHER, t), log_softmax(HIDDEN, HEAD, t)
    order = np.argsort(-teacher, -1)
    p, q = (np.exp(np.take_along_axis(x, order, -1)) for x in (teacher, student))
    p, q = (
        np.concatenate([x[..., :k], x[..., k:].sum(-1, keepdims=True)], -1)
        for x in (p, q)
    )
    return np.sum(np.sum(p * np.log(p / q), -1) * WHERE) / WHERE.sum()


HEADS = (HIDDEN, HEAD)
X, Y = HIDDEN @ HEAD.T, TEACHER @ OTHER.T
WORKED = {
    "grpo": (
        lambda: policies.grpo_loss(*HEADS, TOKENS, WHERE, ADVANTAGE, OLD, REFERENCE),
        grpo,
    ),
    "ppo": (lambda: policies.ppo_loss(*HEADS, TOKENS, WHERE, ADVANTAGE, OLD), ppo),
    "sft": (lambda: policies.sft_loss(*HEADS, TOKENS, ~WHERE), sft),
    "sequence": (
        lambda: policies.sequence_log_prob(*HEADS, TOKENS, WHERE),
        lambda: np.sum(TOKEN * WHERE, 1),
    ),
    "forward": (lambda: distillation.forward_kl(X, Y), lambda: divergence().mean()),
    "reverse": (
        lambda: distillation.reverse_kl(X, Y),
        lambda: kl(LOG_P, log_softmax(TEACHER, OTHER)).mean(),
    ),
    "hinton": (lambda: distillation.hinton_loss(X, Y, TOKENS), hinton),
    "heads": (
        lambda: distillation.heads_loss(*HEADS, TEACHER, OTHER, WHERE),
        lambda: np.sum(divergence() * WHERE) / WHERE.sum(),
    ),
    "top k": (lambda: distillation.top_k_loss(*HEADS, Y, 3, where=WHERE), top_k),
}


@pytest.mark.parametrize(("page", "formula"), WORKED.values(), ids=WORKED)
def test_a_page_s_function_is_its_formula(page, formula):
    np.testing.assert_allclose(page(), formula(), rtol=1e-10)


def test_log_probabilities_and_entropies_at_a_temperature():
    got = policies.log_probs_and_entropy(*HEADS, TOKENS, WHERE, T)
    log_p = log_softmax(HIDDEN, HEAD, T)
    entropy = -np.sum(np.exp(log_p) * log_p, -1)
    for a, b in zip(got, (of_tokens(log_p), entropy), strict=True):
        np.testing.assert_allclose(a, b * WHERE, rtol=1e-10)


def test_preferences():
    chosen, rejected, *reference = RNG.normal(size=(4, 6)) * 20
    margin = (chosen - reference[0]) - (rejected - reference[1])
    expected = np.mean(np.log1p(np.exp(-0.1 * margin)))
    got = policies.dpo_loss(chosen, rejected, *reference)
    np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_the_gradient_of_a_policy_is_that_of_its_formula():
    def f(hidden):
        return policies.grpo_loss(
            hidden, HEAD, TOKENS, WHERE, ADVANTAGE, OLD, REFERENCE
        )

    def plain(hidden):
        log_p = jax.nn.log_softmax(hidden @ HEAD.T)
        token = jnp.take_along_axis(log_p, TOKENS[..., None], -1)[..., 0]
        ratio, d = jnp.exp(token - OLD), REFERENCE - token
        won = jnp.minimum(ratio * ADVANTAGE, jnp.clip(ratio, 0.8, 1.2) * ADVANTAGE)
        each = (-won + 0.04 * (jnp.exp(d) - d - 1)) * jnp.asarray(WHERE, float)
        return jnp.mean(jnp.sum(each, 1) / jnp.asarray(WHERE.sum(1), float))

    got, expected = (jax.jit(jax.grad(g))(jnp.asarray(HIDDEN)) for g in (f, plain))
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)
