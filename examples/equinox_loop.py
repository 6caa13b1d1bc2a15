# SPDX-License-Identifier: Apache-2.0
"""Your Equinox loop, before and after: `python examples/equinox_loop.py`.

Only the loss changes. Both train on the same padded batch, to the same numbers; the
second stays exact when the model grows sure, and refuses shapes that do not fit.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxent


def loss_before(model, images, labels, mask):
    logits = jax.vmap(model)(images)
    label_logits = jnp.take_along_axis(logits, (labels * mask)[:, None], axis=-1)[:, 0]
    losses = jax.nn.logsumexp(logits, axis=-1) - label_logits
    return jnp.sum(jnp.where(mask, losses, 0)) / jnp.maximum(jnp.sum(mask), 1)


def loss_after(model, images, labels, mask):
    losses = jaxent.softmax_cross_entropy_with_integer_labels(
        jax.vmap(model)(images), labels, where=mask
    )
    return jaxent.reduce(losses, where=mask)


def train(loss_fn, batch, steps):
    model = eqx.nn.Linear(16, 4, key=jax.random.key(0))
    optimizer = optax.adam(1e-2)
    state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model, state, images, labels, mask):
        loss, grads = eqx.filter_value_and_grad(loss_fn)(model, images, labels, mask)
        updates, state = optimizer.update(grads, state)
        return eqx.apply_updates(model, updates), state, loss

    losses = []
    for _ in range(steps):
        model, state, loss = step(model, state, *batch)
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
