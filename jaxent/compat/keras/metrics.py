# SPDX-License-Identifier: Apache-2.0
"""`keras.metrics` of the cross-entropies: running means, as pytrees.

Each takes Keras' arguments in Keras' order. Nothing is updated in place:

    metric = metrics.BinaryCrossentropy(from_logits=True)
    metric = metric.update(y_true, y_pred, sample_weight)
    metric.merge(another).result()

Losses of a sample, all axes but the first, are averaged before samples are; with
`sample_weight` w the result is Σ w·v/Σ w. As in Keras, `ignore_class` leaves the
ignored out of the mean only if there are weights: without them they count, as 0.
"""

import abc
import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ... import _checks
from ..._errors import door, fail
from ..._reduce import WeightedMean
from .._objects import made, no_arrays
from . import _functions
from ._inputs import NAMES, checked, predictions
from ._reduction import masked, same_rank, weighted

SOFT = {
    "weights": "sample_weight",
    "jaxent.softmax_cross_entropy": (
        "jaxent.compat.keras.metrics.CategoricalCrossentropy"
    ),
}


def _nothing() -> WeightedMean:
    return WeightedMean(jnp.zeros(()), jnp.zeros(()))


@dataclasses.dataclass(frozen=True)
class Metric(abc.ABC):
    """What the metrics share."""

    state: WeightedMean = dataclasses.field(default_factory=_nothing, kw_only=True)

    @door
    def __post_init__(self):
        no_arrays(self)
        checked(**vars(self))

    @abc.abstractmethod
    def losses(self, y_true: Array, y_pred: Array) -> tuple[Array, Array | None]:
        """The losses, and which of them count."""

    @door(**NAMES | SOFT)
    def update(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> Self:
        """The metric with these samples added."""
        t = _checks.weights("y_true", y_true)
        values, kept = self.losses(t, predictions(y_pred, y_true))
        weights = None
        if sample_weight is not None:
            weights = _checks.weights("sample_weight", sample_weight)
            _leading("sample_weight", weights, values)
        if mask is not None:
            mask = _leading("mask", _checks.mask("mask", mask), values)
            weights = masked(weights, mask, "sum")
        if weights is not None:
            weights = masked(weights, kept, "sum")
        added = self.state.merge(_samplewise(values, weights))
        return dataclasses.replace(self, state=added)

    def merge(self, other: Self) -> Self:
        """The metric of both sets of samples."""
        return dataclasses.replace(self, state=self.state.merge(other.state))

    def result(self) -> Array:
        """The mean so far; 0 of nothing."""
        return self.state.value


def _leading(argument: str, x: Array, losses: Array) -> Array:
    """Weights or a mask of the first axes of the losses."""
    values, repaired = same_rank(losses, x)
    if not _checks.fits(repaired, values.shape[: repaired.ndim]):
        must = f"broadcast to the first axes of the losses, of shape {losses.shape}"
        remedy = "Give one number a sample, or one a loss."
        fail(ValueError, argument, must, x.shape, remedy)
    return x


def _samplewise(values: Array, weights: Array | None) -> WeightedMean:
    """Keras' two sums: the mean of each sample is taken first."""
    if weights is None:
        count = values.shape[0] if values.ndim else 1
        return WeightedMean(_of_samples(values), jnp.asarray(count, jnp.float32))
    values, weights = same_rank(values, weights)
    values = jnp.mean(values, axis=tuple(range(weights.ndim, values.ndim)))
    weights = jnp.broadcast_to(weights, values.shape)
    total = _of_samples(weighted(values, weights))
    return WeightedMean(total, _of_samples(weights.astype(total.dtype)))


def _of_samples(x: Array) -> Array:
    return jnp.sum(jnp.mean(x, axis=tuple(range(1, x.ndim))))


def _option(default: Any) -> Any:
    return dataclasses.field(default=default, metadata={"static": True})


@jax.tree_util.register_dataclass
@made
@dataclasses.dataclass(frozen=True)
class BinaryCrossentropy(Metric):
    """`keras.metrics.BinaryCrossentropy`.

    Example:
      >>> metric = jaxent.compat.keras.metrics.BinaryCrossentropy()
      >>> metric = metric.update(jnp.array([[0, 0, 1]]), jnp.array([[0.3, 0.7, 0.0]]))
      >>> metric.update(jnp.array([[1]]), jnp.array([[0.5]])).result()
      Array(3.293, dtype=float32)
    """

    name: str | None = _option("binary_crossentropy")
    dtype: object = _option(None)
    from_logits: bool = _option(False)
    label_smoothing: float = _option(0.0)

    def losses(self, y_true: Array, y_pred: Array) -> tuple[Array, Array | None]:
        values = _functions.binary_crossentropy(
            y_true, y_pred, self.from_logits, self.label_smoothing
        )
        return values, None


@jax.tree_util.register_dataclass
@made
@dataclasses.dataclass(frozen=True)
class CategoricalCrossentropy(Metric):
    """`keras.metrics.CategoricalCrossentropy`."""

    name: str | None = _option("categorical_crossentropy")
    dtype: object = _option(None)
    from_logits: bool = _option(False)
    label_smoothing: float = _option(0.0)
    axis: int = _option(-1)

    def losses(self, y_true: Array, y_pred: Array) -> tuple[Array, Array | None]:
        values = _functions.categorical_crossentropy(
            y_true, y_pred, self.from_logits, self.label_smoothing, self.axis
        )
        return values, None


@jax.tree_util.register_dataclass
@made
@dataclasses.dataclass(frozen=True)
class SparseCategoricalCrossentropy(Metric):
    """`keras.metrics.SparseCategoricalCrossentropy`, of class ids."""

    name: str | None = _option("sparse_categorical_crossentropy")
    dtype: object = _option(None)
    from_logits: bool = _option(False)
    ignore_class: int | None = _option(None)
    axis: int = _option(-1)

    def losses(self, y_true: Array, y_pred: Array) -> tuple[Array, Array | None]:
        return _functions.sparse_with_mask(
            y_true, y_pred, self.from_logits, self.ignore_class, self.axis
        )


@jax.tree_util.register_dataclass
@made
@dataclasses.dataclass(frozen=True)
class KLDivergence(Metric):
    """`keras.metrics.KLDivergence`."""

    name: str | None = _option("kl_divergence")
    dtype: object = _option(None)

    def losses(self, y_true: Array, y_pred: Array) -> tuple[Array, Array | None]:
        return _functions.kl_divergence(y_true, y_pred), None


@jax.tree_util.register_dataclass
@made
@dataclasses.dataclass(frozen=True)
class Poisson(Metric):
    """`keras.metrics.Poisson`."""

    name: str | None = _option("poisson")
    dtype: object = _option(None)

    def losses(self, y_true: Array, y_pred: Array) -> tuple[Array, Array | None]:
        return _functions.poisson(y_true, y_pred), None
