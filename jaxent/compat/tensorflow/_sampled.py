# SPDX-License-Identifier: Apache-2.0
"""TensorFlow's losses of sampled classes; its random state is a `key`.

Arguments that all share:

- `weights`: one row a class, `[num_classes, dim]`; or a list of its shards, cut as
  `partition_strategy` says: "mod" deals the rows out in turn, "div" in blocks.
- `biases`: one number a class, or its shards, cut alike.
- `labels`: class ids, `[batch, num_true]`.
- `inputs`: activations, `[batch, dim]`.
- `num_classes`: how many classes there are.
- `sampled_values`: `(sampled_candidates, true_expected_count, sampled_expected_count)`
  or what a sampler of `jaxent.samplers` returns; if None, drawn with `key`.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from ... import _checks, _options, samplers
from ..._errors import door, fail
from ..._sampled import nce_loss as nce
from ..._sampled import (
    rank_sampled_softmax_cross_entropy,
    sampled_softmax_cross_entropy,
)
from ..._sampling.candidates import Candidates
from ..._types import Number

NAMES = {
    "hidden": "inputs",
    "classifier": "weights",
    "bias": "biases",
    "candidates": "sampled_values",
}
Sampled = Candidates | tuple[ArrayLike, ArrayLike, ArrayLike]


@door(**NAMES)
def sampled_softmax_loss(
    weights: ArrayLike | Sequence[ArrayLike],
    biases: ArrayLike | Sequence[ArrayLike],
    labels: Int[ArrayLike, "batch num_true"],
    inputs: Float[ArrayLike, "batch dim"],
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Sampled | None = None,
    remove_accidental_hits: bool = True,
    partition_strategy: str = "mod",
    name: str | None = None,
    *,
    key: Array | None = None,
) -> Float[Array, " batch"]:
    """`tf.nn.sampled_softmax_loss`, with the arguments of `tf.compat.v1`.

    TensorFlow 2's takes `seed` where this takes `key`, and has no
    `partition_strategy`: it is "div".

    Args:
      num_sampled: how many classes to draw: log-uniformly, each once.
      num_true: labels a position, the length of the last axis of `labels`.
      remove_accidental_hits: leave out the drawn among a position's own labels.
      key: a JAX random key, if `sampled_values` is None.
    Returns:
      One loss a position.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit, or no key.
    Example:
      >>> jaxent.compat.tensorflow.sampled_softmax_loss(
      ...     jnp.eye(8, 4), jnp.zeros(8), jnp.array([[0], [7]]), jnp.ones((2, 4)),
      ...     num_sampled=5, num_classes=8, key=jax.random.key(0)).shape
      (2,)

    Source: TensorFlow 2.21, python/ops/nn_impl.py.
    """
    del name
    ids = _labels(labels, num_true)
    drawn = _drawn(sampled_values, key, ids, num_sampled, num_classes)
    return sampled_softmax_cross_entropy(
        jnp.asarray(inputs), _whole(weights, num_classes, partition_strategy),
        ids, bias=_whole(biases, num_classes, partition_strategy),
        candidates=drawn, remove_accidental_hits=remove_accidental_hits,
    )  # fmt: skip


@door(**NAMES)
def nce_loss(
    weights: ArrayLike | Sequence[ArrayLike],
    biases: ArrayLike | Sequence[ArrayLike],
    labels: Int[ArrayLike, "batch num_true"],
    inputs: Float[ArrayLike, "batch dim"],
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Sampled | None = None,
    remove_accidental_hits: bool = False,
    partition_strategy: str = "mod",
    name: str | None = None,
    *,
    key: Array | None = None,
) -> Float[Array, " batch"]:
    """`tf.nn.nce_loss`, with the arguments of `tf.compat.v1`.

    Args:
      num_sampled: how many classes to draw: log-uniformly, each once.
      num_true: labels a position, the length of the last axis of `labels`.
      remove_accidental_hits: leave out the drawn among a position's own labels.
      key: a JAX random key, if `sampled_values` is None.
    Returns:
      One loss a position.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit, or no key.
    Example:
      >>> jaxent.compat.tensorflow.nce_loss(
      ...     jnp.eye(8, 4), jnp.zeros(8), jnp.array([[0], [7]]), jnp.ones((2, 4)),
      ...     num_sampled=5, num_classes=8, key=jax.random.key(0)).shape
      (2,)

    Source: TensorFlow 2.21, python/ops/nn_impl.py.
    """
    del name
    ids = _labels(labels, num_true)
    drawn = _drawn(sampled_values, key, ids, num_sampled, num_classes)
    return nce(
        jnp.asarray(inputs), _whole(weights, num_classes, partition_strategy),
        ids, bias=_whole(biases, num_classes, partition_strategy),
        candidates=drawn, remove_accidental_hits=remove_accidental_hits,
    )  # fmt: skip


@door(**NAMES, temperature="resampling_temperature")
def rank_sampled_softmax_loss(
    weights: ArrayLike | Sequence[ArrayLike],
    biases: ArrayLike | Sequence[ArrayLike],
    labels: Int[ArrayLike, "batch num_true"],
    inputs: Float[ArrayLike, "batch dim"],
    num_sampled: int,
    num_resampled: int,
    num_classes: int,
    num_true: int,
    sampled_values: Sampled | None,
    resampling_temperature: Number,
    remove_accidental_hits: bool,
    partition_strategy: str,
    *,
    key: Array | None = None,
    counts: Int[ArrayLike, " num_classes"] | None = None,
) -> Float[Array, " batch"]:
    """`tf.contrib.nn.rank_sampled_softmax_loss` of TensorFlow 1: the hardest drawn.

    Args:
      num_sampled: how many classes to draw, by how often each was a label, each once.
      num_resampled: how many of these to keep, fewer.
      num_true: labels a position, the length of the last axis of `labels`.
      resampling_temperature: τ > 0.
      remove_accidental_hits: leave out the drawn among a position's own labels.
      key: a JAX random key, if `sampled_values` is None.
      counts: TensorFlow's hidden state, how often each class was a label: that which
        `jaxent.samplers.learned_unigram` returns; None is the start.
    Returns:
      One loss a position.
    Raises:
      TypeError, ValueError: shapes, dtypes or options that do not fit, or no key.
    Example:
      >>> jaxent.compat.tensorflow.rank_sampled_softmax_loss(
      ...     jnp.eye(8, 4), jnp.zeros(8), jnp.array([[0], [7]]), jnp.ones((2, 4)),
      ...     5, 3, 8, 1, None, 1.0, True, "mod", key=jax.random.key(0)).shape
      (2,)

    Source: TensorFlow 1.15, contrib/nn/python/ops/sampling_ops.py.
    """
    ids = _labels(labels, num_true)
    if sampled_values is None:
        drawn, _ = samplers.learned_unigram(
            _key(key), ids, num_sampled=num_sampled, num_classes=num_classes,
            counts=counts,
        )  # fmt: skip
    else:
        drawn = _drawn(sampled_values, key, ids, num_sampled, num_classes)
    return rank_sampled_softmax_cross_entropy(
        jnp.asarray(inputs), _whole(weights, num_classes, partition_strategy),
        ids, bias=_whole(biases, num_classes, partition_strategy),
        candidates=drawn, num_resampled=num_resampled,
        temperature=resampling_temperature,
        remove_accidental_hits=remove_accidental_hits,
    )  # fmt: skip


def _labels(labels: ArrayLike, num_true: int) -> Array:
    ids = _checks.integers("labels", labels)
    if ids.ndim != 2 or ids.shape[1] != num_true:
        remedy = "Add the axis: `labels[:, None]`."
        must = f"have shape (batch, {num_true}), `num_true` ids a position"
        fail(ValueError, "labels", must, ids.shape, remedy)
    return ids


def _key(key: Array | None) -> Array:
    if key is None:
        remedy = "Pass a key such as `jax.random.key(0)`, or `sampled_values`."
        fail(ValueError, "key", "be a JAX random key", key, remedy)
    return key


def _drawn(
    sampled: Sampled | None,
    key: Array | None,
    ids: Array,
    num_sampled: int,
    num_classes: int,
) -> Candidates:
    """What was drawn; or now, as TensorFlow draws if it is given nothing."""
    if sampled is not None:
        return Candidates(*(jnp.asarray(part) for part in sampled))
    return samplers.log_uniform(
        _key(key), ids, num_sampled=num_sampled, num_classes=num_classes
    )


def _whole(
    given: ArrayLike | Sequence[ArrayLike], num_classes: int, strategy: str
) -> Array:
    """The rows of shards in the order of their ids."""
    _options.one_of("partition_strategy", strategy, ("mod", "div"))
    if not isinstance(given, (list, tuple)):
        return jnp.asarray(given)
    shards = [jnp.asarray(shard) for shard in given]
    rows = jnp.concatenate(shards)
    if strategy == "div":
        return rows
    starts = [sum(s.shape[0] for s in shards[:i]) for i in range(len(shards))]
    ids = jnp.arange(num_classes)
    return rows[jnp.asarray(starts)[ids % len(shards)] + ids // len(shards)]
