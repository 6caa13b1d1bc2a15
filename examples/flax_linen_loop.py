# SPDX-License-Identifier: Apache-2.0
"""Your Flax Linen loop, before and after: `python examples/flax_linen_loop.py`.

Only the loss changes. Both train on the same padded batch, to the same numbers; the
second stays exact when the model grows sure, and refuses shapes that do not fit.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.training.train_state import TrainState

import jaxent


def loss_before(logits, labels, mask):
    one_hot = jax.nn.one_hot(labels, logits.shape[-1])
    losses = -jnp.sum(one_hot * jax.nn.log_softmax(logits), axis=-1)
    return jnp.sum(losses * mask) / jnp.maximum(jnp.sum(mask), 1)


def loss_after(logits, labels, mask):
    losses = jaxent.softmax_cross_entropy_with_integer_labels(
        logits, labels, where=mask
    )
    return jaxent.reduce(losses, where=mask)


def train(loss_fn, batch, steps):
    images, labels, mask = batch
    model = nn.Dense(4)
    state = TrainState.create(
        apply_fn=model.apply,
        params=model.init(jax.random.key(0), images),
        tx=optax.adam(1e-2),
    )

    @jax.jit
    def step(state):
        def objective(params):
            return loss_fn(state.apply_fn(params, images), labels, mask)

        loss, grads = jax.value_and_grad(objective)(state.params)
        return state.apply_gradients(grads=grads), loss

    losses = []
    for _ in range(steps):
        state, loss = step(state)
        losses.append(float(loss))
    return losses


def padded_batch():
    """27 examples in a batch of 32; the other rows have no label, and no say."""
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=32).astype(np.int32)
    images = (rng.normal(size=(32, 16)) + labels[:, None]).astype(np.float32)
    mask = np.arange(32) < 27
    return images, np.where(mask, labels, -1), mask


def main(steps: int = 100) -> None:
    before = train(loss_before, padded_batch(), steps)
    after = train(loss_after, padded_batch(), steps)
    print("            before     after")
    print(f"step 1    {before[0]:8.6f}  {after[0]:8.6f}")
    print(f"step {steps}  {before[-1]:8.6f}  {after[-1]:8.6f}")


if __name__ == "__main__":
    main()
