# SPDX-License-Identifier: Apache-2.0
"""`torch.nn.AdaptiveLogSoftmaxWithLoss` as parameters and pure functions."""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from ... import _checks, _options
from ..._engine.class_axis import WHOLE
from ..._engine.exact import widen
from ..._engine.linear import matmul
from ..._engine.statistics import class_pairs
from ..._errors import door, fail, shown
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
        head = _projected(hidden, self.head)
        if self.head_bias is not None:
            head += jnp.broadcast_to(self.head_bias.astype(head.dtype), head.shape)
        low = (_projected(hidden, first) for first, _ in self.tail)
        return [head, *map(_projected, low, (last for _, last in self.tail))]


def _projected(x: Array, kernel: Array) -> Array:
    """x @ kernel.T; halves are not rounded on the way."""
    return matmul(x, kernel, (x.ndim - 1, 1))


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
    key = _options.key("key", key)
    in_features = _options.count("in_features", in_features, 1)
    ends = _ends(cutoffs, _options.count("n_classes", n_classes, 2))
    cutoffs, divisor = ends[1:-1], _divisor(div_value)
    head_bias = _options.truth("head_bias", head_bias)
    keys = iter(jax.random.split(key, 2 + 2 * len(cutoffs)))

    def uniform(*shape: int) -> Array:
        bound = 1 / math.sqrt(max(shape[-1], 1))
        return jax.random.uniform(next(keys), shape, minval=-bound, maxval=bound)

    head = uniform(cutoffs[0] + len(cutoffs), in_features)
    ranks = [int(in_features // divisor ** (i + 1)) for i in range(len(cutoffs))]
    tail = tuple(
        (uniform(rank, in_features), uniform(end - start, rank))
        for rank, (start, end) in zip(ranks, itertools.pairwise(ends[1:]), strict=True)
    )
    bound = 1 / math.sqrt(in_features)
    bias = jax.random.uniform(next(keys), head.shape[:1], minval=-bound, maxval=bound)
    return AdaptiveLogSoftmax(head, tail, bias if head_bias else None)


def _ends(cutoffs: Sequence[int], n_classes: int) -> tuple[int, ...]:
    """0, the cutoffs and the number of classes, which increase."""
    remedy = "They are where the clusters begin."
    given = list(cutoffs) if isinstance(cutoffs, Iterable) else [None]
    ends = [0, *map(_checks.integer, given), n_classes]
    known = [end for end in ends if end is not None]
    if len(known) < len(ends):
        fail(TypeError, "cutoffs", "be a tuple of ints", shown(cutoffs), remedy)
    if not given or any(a >= b for a, b in itertools.pairwise(known)):
        must = f"increase from 1 to at most n_classes − 1 = {n_classes - 1}"
        fail(ValueError, "cutoffs", must, cutoffs, remedy)
    return tuple(known)


def _divisor(div_value: float) -> float:
    value = _options.positive("div_value", div_value)
    if isinstance(value, Tracer):
        remedy = "Shapes depend on it: it is fixed when the call is traced."
        fail(TypeError, "div_value", "be one Python number", value, remedy)
    if value <= 0:
        fail(
            ValueError, "div_value", "be above 0", value, _options.meaning("div_value")
        )
    return float(value)


def _logits(input: ArrayLike, parameters: AdaptiveLogSoftmax) -> tuple[Array, list]:
    """The activations, and the logits that they and the parameters make."""
    if not isinstance(parameters, AdaptiveLogSoftmax):
        remedy = "Make them by `jaxent.compat.torch.adaptive_log_softmax`."
        kind = type(parameters).__name__
        fail(TypeError, "parameters", "be an AdaptiveLogSoftmax", kind, remedy)
    _shapes(parameters)
    x = _checks.has_axes("input", _checks.floats("input", input), "features")
    width = parameters.head.shape[1]
    if x.shape[-1] != width:
        must = f"have {width} features on its last axis, `in_features`"
        remedy = "Those of `parameters.head[0]`."
        fail(ValueError, "input", must, x.shape, remedy)
    return x, parameters.logits(x)


def _shapes(parameters: AdaptiveLogSoftmax):
    """The weights fit each other."""
    head, tail, bias = parameters
    width = _width("parameters.head", head, "shortlist + clusters")
    if bias is not None:
        bias = _checks.floats("parameters.head_bias", bias)
        name = "parameters.head[:, 0]"
        _checks.same_shape("parameters.head_bias", bias, head.shape[:1], name)
    if not isinstance(tail, tuple) or any(len(pair) != 2 for pair in tail):
        must = "be a tuple, of two weights for each cluster"
        fail(TypeError, "parameters.tail", must, shown(tail), AS_MADE)
    for i, (first, last) in enumerate(tail):
        _width(f"parameters.tail[{i}][0]", first, "rank", width)
        _width(f"parameters.tail[{i}][1]", last, "classes", first.shape[0])


def _width(argument: str, x: Array, rows: str, width: int | None = None) -> int:
    """The length of the last of two axes, which may be known already."""
    x = _checks.floats(argument, x)
    if x.ndim != 2 or width not in (None, x.shape[1]):
        must = f"have shape ({rows}, {'in_features' if width is None else width})"
        fail(ValueError, argument, must, x.shape, AS_MADE)
    return x.shape[1]


AS_MADE = "Keep the shapes that `jaxent.compat.torch.adaptive_log_softmax` gives."


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
    x, (head, *clusters) = _logits(input, parameters)
    y = _checks.integers("target", target)
    y = y if y.dtype.itemsize > 4 else y.astype(int)
    _checks.same_shape("target", y, x.shape[:-1], "input[..., 0]")
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
    _, logits = _logits(input, parameters)
    head, *clusters = (-class_pairs(widen(a)).nll for a in logits)
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
