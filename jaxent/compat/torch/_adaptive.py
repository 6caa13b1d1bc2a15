# SPDX-License-Identifier: Apache-2.0
"""`torch.nn.AdaptiveLogSoftmaxWithLoss` as parameters and pure functions."""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from ... import _checks
from ..._engine.class_axis import WHOLE
from ..._engine.exact import widen
from ..._engine.statistics import class_pairs
from ..._errors import door, fail
from ..._softmax import softmax_cross_entropy_with_integer_labels
from ._reduction import NAMES


class AdaptiveLogSoftmax(NamedTuple):
    """The parameters, as torch's module holds them: a pytree.

    Frequent classes, the shortlist, are scored by the head; the head also scores each
    cluster of rarer ones, within which a low-rank tail decides.
    """

    head: Array
    """`head.weight`, [shortlist + clusters, in_features]."""
    tail: tuple[tuple[Array, Array], ...]
    """For each cluster its two weights: [rank, in_features] and [classes, rank]."""
    head_bias: Array | None = None
    """`head.bias`, [shortlist + clusters]."""

    @property
    def shortlist(self) -> int:
        """The number of classes that the head scores by themselves."""
        return self.head.shape[0] - len(self.tail)

    @property
    def cutoffs(self) -> tuple[int, ...]:
        """The class each cluster begins with, and the number of classes."""
        ends = [self.shortlist]
        for _, last in self.tail:
            ends.append(ends[-1] + last.shape[0])
        return tuple(ends)

    def logits(self, hidden: Array) -> list[Array]:
        """Those of the head, and of each cluster."""
        head = hidden @ self.head.T
        if self.head_bias is not None:
            head += jnp.broadcast_to(self.head_bias, head.shape)
        return [head, *((hidden @ first.T) @ last.T for first, last in self.tail)]


@door
def adaptive_log_softmax(
    key: Array,
    in_features: int,
    n_classes: int,
    cutoffs: tuple[int, ...],
    div_value: float = 4.0,
    head_bias: bool = False,
) -> AdaptiveLogSoftmax:
    """New parameters, of torch's shapes and drawn as torch draws them.

    Args:
      key: a JAX random key.
      in_features: width of the activations.
      n_classes: number of classes, the most frequent first.
      cutoffs: the class each cluster begins with, increasing.
      div_value: cluster i has rank `in_features // div_value**(i + 1)`.
      head_bias: whether the head has a bias.
    Returns:
      `AdaptiveLogSoftmax`, each weight uniform in ±1/√(its inputs), float32.
    Raises:
      ValueError: cutoffs that do not increase between 1 and `n_classes − 1`.
    Example:
      >>> p = jaxent.compat.torch.adaptive_log_softmax(
      ...     jax.random.key(0), 16, 100, (10, 40))
      >>> p.cutoffs, p.head.shape
      ((10, 40, 100), (12, 16))

    Source: torch 2.13, torch/nn/modules/adaptive.py; Grave et al. (2017).
    """
    ends = (0, *cutoffs, n_classes)
    if not cutoffs or any(a >= b for a, b in itertools.pairwise(ends)):
        must = f"increase from 1 to at most n_classes − 1 = {n_classes - 1}"
        remedy = "They are where the clusters begin."
        fail(ValueError, "cutoffs", must, cutoffs, remedy)
    keys = iter(jax.random.split(key, 2 + 2 * len(cutoffs)))

    def uniform(*shape: int) -> Array:
        bound = 1 / math.sqrt(max(shape[-1], 1))
        return jax.random.uniform(next(keys), shape, minval=-bound, maxval=bound)

    head = uniform(cutoffs[0] + len(cutoffs), in_features)
    ranks = [int(in_features // div_value ** (i + 1)) for i in range(len(cutoffs))]
    tail = tuple(
        (uniform(rank, in_features), uniform(end - start, rank))
        for rank, (start, end) in zip(ranks, itertools.pairwise(ends[1:]), strict=True)
    )
    bound = 1 / math.sqrt(in_features)
    bias = jax.random.uniform(next(keys), head.shape[:1], minval=-bound, maxval=bound)
    return AdaptiveLogSoftmax(head, tail, bias if head_bias else None)


@door(**NAMES)
def adaptive_log_softmax_with_loss(
    input: Float[ArrayLike, "*batch d"],
    target: Int[ArrayLike, "*batch"],
    parameters: AdaptiveLogSoftmax,
) -> tuple[Float[Array, "*batch"], Float[Array, ""]]:
    """The module's `forward`: log-probability of each target, and the mean loss.

    Args:
      input: activations.
      target: class ids in [0, n_classes).
      parameters: the weights.
    Returns:
      `(output, loss)`: log p of the targets, and `mean(−output)`. NaN for a target
      out of range, where torch raises.
    Raises:
      TypeError, ValueError: shapes or dtypes that do not fit.
    Example:
      >>> p = jaxent.compat.torch.adaptive_log_softmax(
      ...     jax.random.key(0), 16, 100, (10, 40))
      >>> output, loss = jaxent.compat.torch.adaptive_log_softmax_with_loss(
      ...     jnp.zeros((2, 16)), jnp.array([3, 50]), p)
      >>> output  # −log 12, and −log 12 − log 60
      Array([-2.4849, -6.5793], dtype=float32)

    Source: torch 2.13, torch/nn/modules/adaptive.py.
    """
    x = _checks.floats("input", input)
    y = _checks.integers("target", target)
    _checks.same_shape("target", y, x.shape[:-1], "input[..., 0]")
    head, *clusters = parameters.logits(x)
    own, losses = y, []
    for i, (start, logits) in enumerate(
        zip(parameters.cutoffs, clusters, strict=False)
    ):
        inside = (y >= start) & (y < start + logits.shape[-1])
        own = jnp.where(inside, parameters.shortlist + i, own)
        losses.append(
            softmax_cross_entropy_with_integer_labels(logits, y - start, where=inside)
        )
    own = jnp.where(y < parameters.cutoffs[-1], own, -1)
    output = -sum(losses, softmax_cross_entropy_with_integer_labels(head, own))
    return output, jnp.mean(-output)


@door(**NAMES)
def adaptive_log_prob(
    input: Float[ArrayLike, "*batch d"], parameters: AdaptiveLogSoftmax
) -> Float[Array, "*batch classes"]:
    """The module's `log_prob`: log-probabilities of all classes.

    Args:
      input: activations.
      parameters: the weights.
    Returns:
      Log-probabilities, float32 (float64 for float64).
    Raises:
      TypeError: activations that are not floats.
    Example:
      >>> p = jaxent.compat.torch.adaptive_log_softmax(jax.random.key(0), 4, 3, (1,))
      >>> jaxent.compat.torch.adaptive_log_prob(jnp.zeros(4), p)
      Array([-0.6931, -1.3863, -1.3863], dtype=float32)

    Source: torch 2.13, torch/nn/modules/adaptive.py.
    """
    x = _checks.floats("input", input)
    head, *clusters = (-class_pairs(widen(a)).nll for a in parameters.logits(x))
    n = parameters.shortlist
    within = [a + head[..., n + i, None] for i, a in enumerate(clusters)]
    return jnp.concatenate([head[..., :n], *within], axis=-1)


@door
def adaptive_predict(
    input: Float[ArrayLike, "*batch d"], parameters: AdaptiveLogSoftmax
) -> Int[Array, "*batch"]:
    """The module's `predict`: the likeliest class.

    Args:
      input: activations.
      parameters: the weights.
    Returns:
      Class ids, int32.
    Raises:
      TypeError: activations that are not floats.
    Example:
      >>> p = jaxent.compat.torch.adaptive_log_softmax(jax.random.key(0), 4, 3, (1,))
      >>> jaxent.compat.torch.adaptive_predict(jnp.zeros((2, 4)), p)
      Array([0, 0], dtype=int32)

    Source: torch 2.13, torch/nn/modules/adaptive.py.
    """
    return WHOLE.top(adaptive_log_prob(input, parameters))
