# SPDX-License-Identifier: Apache-2.0
"""A user's module that a type checker is to find nothing in."""

import jax
import numpy as np

import jaxent


def own_loss(s: jaxent.SoftmaxStatistics) -> jax.Array:
    return s.one_minus_prob**2 * s.nll


def step(logits: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
    losses: jax.Array = jaxent.softmax_cross_entropy_with_integer_labels(
        logits, labels, where=mask, label_smoothing=0.1
    )
    return jaxent.reduce(losses, where=mask, reduction="weighted_mean", weights=losses)


def on_host(probs: np.ndarray) -> float:
    return float(jaxent.entropy(probs, base=2))


def fused(hidden: jax.Array, classifier: jax.Array, labels: jax.Array) -> jax.Array:
    drawn: jaxent.Candidates = jaxent.samplers.log_uniform(
        jax.random.key(0), labels, num_sampled=4, num_classes=classifier.shape[0]
    )
    sampled = jaxent.sampled_softmax_cross_entropy(
        hidden, classifier, labels, candidates=drawn
    )
    mean = jaxent.WeightedMean.from_values(sampled).value
    return mean + jaxent.linear_softmax_loss(own_loss, hidden, classifier, labels)


def ported(x: jax.Array, y: jax.Array) -> jax.Array:
    return jaxent.compat.torch.cross_entropy(x, y, label_smoothing=0.1)


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jaxent.reduce(jaxent.softmax_statistics(logits, labels).correct)


def explained() -> bool:
    found: jaxent.Explanation = jaxent.explain([0, 0, 1], [0.3, 0.7, 0.0], got="12.03")
    rows = jaxent.explain([[0, 1], [1, 0]], [[0.3, 0.7], [0.5, 0.5]])
    return len(found.matching) > 0 and rows.readings[0].matches
