# SPDX-License-Identifier: Apache-2.0
"""TensorFlow's losses of sampled classes; its random state is a `key`.

Arguments that all share:

- `weights`: one row a class, `[num_classes, dim]`; or a list of its shards, cut as
  `partition_strategy` says: "div" in blocks, as always in TensorFlow 2; "mod" deals the
  rows out in turn, the default of `tf.compat.v1`.
- `biases`: one number a class, or its shards, cut alike.
- `labels`: class ids, `[batch, num_true]`.
- `inputs`: activations, `[batch, dim]`.
- `num_classes`: how many classes there are.
- `sampled_values`: `(sampled_candidates, true_expected_count, sampled_expected_count)`
  or what a sampler of `jaxent.samplers` returns; if None, drawn with `key`.
"""

from collections.abc import Sequence

from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from ... import _checks, _options, samplers
from ..._errors import door, fail, shown
from ..._sampled import nce_loss as nce
from ..._sampled import (
    rank_sampled_softmax_cross_entropy,
    sampled_softmax_cross_entropy,
)
from ..._sampling.candidates import Candidates
from ..._types import Number
from ._shards import whole

NAMES = {
    "hidden": "inputs",
    "classifier": "weights",
    "bias": "biases",
    "candidates": "sampled_values",
    "sampled_softmax_cross_entropy": "jaxent.compat.tensorflow.sampled_softmax_loss",
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
    partition_strategy: str = "div",
    name: str | None = None,
    *,
    key: Array | None = None,
) -> Float[Array, " batch"]:
    """`tf.nn.sampled_softmax_loss`, with the arguments of `tf.compat.v1`.

    TensorFlow takes `seed` where this takes `key`. A list of shards is cut by "div", as
    in TensorFlow 2; code of TensorFlow 1 passes `partition_strategy="mod"`.

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
    x, ids = _positions(inputs, labels, num_true)
    drawn = _drawn(sampled_values, key, ids, num_sampled, num_classes)
    return sampled_softmax_cross_entropy(
        x, whole("weights", weights, num_classes, partition_strategy),
        ids, bias=whole("biases", biases, num_classes, partition_strategy),
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
    partition_strategy: str = "div",
    name: str | None = None,
    *,
    key: Array | None = None,
) -> Float[Array, " batch"]:
    """`tf.nn.nce_loss`, with the arguments of `tf.compat.v1`.

    A list of shards is cut by "div", as in TensorFlow 2; code of TensorFlow 1 passes
    `partition_strategy="mod"`.

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
    x, ids = _positions(inputs, labels, num_true)
    drawn = _drawn(sampled_values, key, ids, num_sampled, num_classes)
    return nce(
        x, whole("weights", weights, num_classes, partition_strategy),
        ids, bias=whole("biases", biases, num_classes, partition_strategy),
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
    x, ids = _positions(inputs, labels, num_true)
    if sampled_values is None:
        sampled, classes = _sizes(num_sampled, num_classes)
        drawn, _ = samplers.learned_unigram(
            _key(key), ids, num_sampled=sampled, num_classes=classes,
            counts=counts,
        )  # fmt: skip
    else:
        drawn = _drawn(sampled_values, key, ids, num_sampled, num_classes)
    return rank_sampled_softmax_cross_entropy(
        x, whole("weights", weights, num_classes, partition_strategy),
        ids, bias=whole("biases", biases, num_classes, partition_strategy),
        candidates=drawn, num_resampled=num_resampled,
        temperature=resampling_temperature,
        remove_accidental_hits=remove_accidental_hits,
    )  # fmt: skip


def _positions(
    inputs: ArrayLike, labels: ArrayLike, num_true: int
) -> tuple[Array, Array]:
    """The activations, and `num_true` labels for each."""
    x = _checks.in_order(("inputs", "labels"), inputs, labels)
    ids = _checks.integers("labels", labels)
    if x.ndim != 2:
        remedy = "Flatten the positions to one axis, of the labels too."
        fail(ValueError, "inputs", "have shape (batch, dim)", x.shape, remedy)
    shape = x.shape[0], _options.count("num_true", num_true, 1)
    if ids.shape != shape:
        remedy = "`num_true` is the length of its last axis."
        if ids.ndim == 1:
            remedy = "Add the axis: `labels[:, None]`."
        must = f"have shape {shape}, `num_true` ids for each of `inputs`"
        fail(ValueError, "labels", must, ids.shape, remedy)
    return x, ids


def _sizes(num_sampled: int, num_classes: int) -> tuple[int, int]:
    classes = _options.count("num_classes", num_classes, 1)
    sampled = _options.count("num_sampled", num_sampled, 1)
    if sampled > classes:
        remedy = "Each is drawn once: draw fewer, or pass `sampled_values`."
        fail(ValueError, "num_sampled", f"be at most {classes}", sampled, remedy)
    return sampled, classes


def _key(key: Array | None) -> Array:
    if key is None:
        remedy = "Pass a key such as `jax.random.key(0)`, or `sampled_values`."
        fail(ValueError, "key", "be a JAX random key", key, remedy)
    return _options.key("key", key)


def _drawn(
    sampled: Sampled | None,
    key: Array | None,
    ids: Array,
    num_sampled: int,
    num_classes: int,
) -> Candidates:
    """What was drawn; or now, as TensorFlow draws if it is given nothing."""
    if sampled is not None:
        return _given(sampled, ids)
    count, classes = _sizes(num_sampled, num_classes)
    return samplers.log_uniform(_key(key), ids, num_sampled=count, num_classes=classes)


def _given(sampled: Sampled, labels: Array) -> Candidates:
    """What the caller drew."""
    if not isinstance(sampled, (tuple, list)) or len(sampled) != 3:
        must = "be three arrays: the ids, their labels' and their own expected counts"
        remedy = "Pass what a sampler of `jaxent.samplers` returns, or a `key`."
        fail(TypeError, "sampled_values", must, shown(sampled), remedy)
    names = [f"sampled_values[{i}]" for i in range(3)]
    ids = _checks.integers(names[0], sampled[0])
    if ids.ndim != 1:
        remedy = "All positions share one draw."
        fail(ValueError, names[0], "have shape (num_sampled,)", ids.shape, remedy)
    own, drawn = (_checks.floats(*a) for a in zip(names[1:], sampled[1:], strict=True))
    _checks.same_shape(names[1], own, labels.shape, "labels")
    _checks.same_shape(names[2], drawn, ids.shape, names[0])
    return Candidates(ids, own, drawn)
