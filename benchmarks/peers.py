# SPDX-License-Identifier: Apache-2.0
"""What jaxent is measured against: one mean loss of (x, y) a peer and a family.

A peer that is not installed is left out; one that fails is recorded as such.
"""

import functools
import importlib.util
import os
from collections.abc import Callable

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
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    k = keras.losses
    logits = {"from_logits": True}
    return {
        "integer": lambda x, y: k.sparse_categorical_crossentropy(y, x, **logits),
        "soft": lambda x, y: k.categorical_crossentropy(y, x, **logits),
        # That of `losses` is the mean of each row.
        "binary": lambda x, y: keras.ops.binary_crossentropy(y, x, **logits),
    }


def torch_loss(family: str) -> Callable | None:
    """torch's cross_entropy on the CPU, eager: of (x, y), a function of a tensor."""
    if importlib.util.find_spec("torch") is None or family not in ("integer", "soft"):
        return None
    import torch

    def tensor(a):
        if jnp.issubdtype(a.dtype, jnp.integer):
            return torch.from_numpy(np.array(a, np.int64))
        t = torch.from_numpy(np.array(a, np.float32))
        return t.bfloat16() if a.dtype == jnp.bfloat16 else t

    def prepared(x, y, reduction="mean"):
        tx, ty = tensor(x), tensor(y)
        entropy = torch.nn.functional.cross_entropy
        return functools.partial(entropy, target=ty, reduction=reduction), tx

    return prepared


def torch_programs(family: str, x, y, what: str) -> dict:
    """The same loss of the same numbers, forward or with its gradient."""
    prepared = torch_loss(family)
    if prepared is None:
        return {}
    if jax.default_backend() != "cpu":
        return {}
    import torch

    loss, tx = prepared(x, y)

    def forward():
        with torch.no_grad():
            loss(tx)

    def gradient():
        loss(tx.detach().requires_grad_()).backward()

    return {"torch": Eager({"forward": forward, "gradient": gradient}[what])}


def torch_values(family: str) -> dict:
    """Its loss of each position, for its error."""
    prepared = torch_loss(family)
    if prepared is None:
        return {}

    def values(x, y):
        loss, tx = prepared(x, y, "none")
        return loss(tx).float().numpy()

    return {"torch": Eager(values)}


def losses(family: str) -> dict:
    extra = {k: v for k, v in (("keras", keras_losses().get(family)),) if v}
    return LOSSES[family] | extra
