# SPDX-License-Identifier: Apache-2.0
"""What jaxent is measured against: one mean loss of (x, y) a peer and a family.

A peer that is not installed is left out; one that fails is recorded as such.
"""

import functools
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxent

from .measure import Eager


def by_hand_integer(x, y):
    """As training loops write it."""
    log_p = jax.nn.log_softmax(x)
    return -jnp.take_along_axis(log_p, y[:, None], axis=-1)[:, 0]


def by_hand_soft(x, y):
    return -jnp.sum(y * jax.nn.log_softmax(x), axis=-1)


def by_hand_binary(x, y):
    return -y * jax.nn.log_sigmoid(x) - (1 - y) * jax.nn.log_sigmoid(-x)


def optax_kl(x, y):
    log_p, log_q = jax.nn.log_softmax(x), jax.nn.log_softmax(y)
    return optax.losses.kl_divergence_with_log_targets(log_q, log_p)


def jaxent_kl(x, y):
    return jaxent.kl_divergence_from_logits(x, y)


# family -> peer -> (x, y) -> one value a position, or a class of one
LOSSES = {
    "integer": {
        "jaxent": jaxent.softmax_cross_entropy_with_integer_labels,
        "optax": optax.softmax_cross_entropy_with_integer_labels,
        "log_softmax": by_hand_integer,
    },
    "soft": {
        "jaxent": jaxent.softmax_cross_entropy,
        "optax": optax.softmax_cross_entropy,
        "log_softmax": by_hand_soft,
    },
    "binary": {
        "jaxent": jaxent.sigmoid_binary_cross_entropy,
        "optax": optax.sigmoid_binary_cross_entropy,
        "log_sigmoid": by_hand_binary,
    },
    "kl": {"jaxent": jaxent_kl, "optax": optax_kl},
}


def keras_losses() -> dict:
    """Keras on JAX, if it is installed."""
    if importlib.util.find_spec("keras") is None:
        return {}
    import keras

    k = keras.losses
    logits = {"from_logits": True}
    return {
        "integer": lambda x, y: k.sparse_categorical_crossentropy(y, x, **logits),
        "soft": lambda x, y: k.categorical_crossentropy(y, x, **logits),
        "binary": lambda x, y: k.binary_crossentropy(y, x, **logits),
    }


def torch_programs(family: str, x, y, step: str) -> dict:
    """torch on the CPU, eager: its fused cross_entropy, on the same numbers."""
    if importlib.util.find_spec("torch") is None or family not in ("integer", "soft"):
        return {}
    if jax.default_backend() != "cpu":
        return {}
    import torch

    half = x.dtype == jnp.bfloat16
    tx = torch.from_numpy(np.asarray(x, np.float32))
    tx = tx.bfloat16() if half else tx
    ty = torch.from_numpy(np.asarray(y, np.int64 if family == "integer" else None))
    ty = ty.bfloat16() if half and family == "soft" else ty
    loss = functools.partial(torch.nn.functional.cross_entropy, target=ty)

    def forward():
        with torch.no_grad():
            loss(tx)

    def gradient():
        leaf = tx.detach().requires_grad_()
        loss(leaf).backward()

    return {"torch": Eager({"forward": forward, "gradient": gradient}[step])}


def losses(family: str) -> dict:
    extra = {k: v for k, v in (("keras", keras_losses().get(family)),) if v}
    return LOSSES[family] | extra
