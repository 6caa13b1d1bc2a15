# SPDX-License-Identifier: Apache-2.0
"""A user's module: a type checker is to find each line that is marked, and no other."""

from jax import Array

import jaxent


def mistakes(logits: Array, labels: Array, mask: Array) -> None:
    loss = jaxent.softmax_cross_entropy_with_integer_labels
    loss(logits)  # error
    loss(logits, labels, mask)  # error
    loss(logits, labels, mask=mask)  # error
    loss(logits, "first")  # error
    loss(logits, labels, axis="last")  # error
    jaxent.reduce(logits, reduction="average")  # error
    print(jaxent.softmax_statistics(logits, labels).probability)  # error
    jaxent.samplers.uniform(labels, labels, num_sampled=4)  # error
    jaxent.compat.torch.cross_entropy(logits, labels, reduction=3)  # error
    jaxent.softmax_crossentropy(logits, labels)  # error
    jaxent.explain([0, "cat"], [0.3, 0.7])  # error


def number(logits: Array) -> float:
    return jaxent.entropy(logits)  # error
