# SPDX-License-Identifier: Apache-2.0
"""`keras.losses`' objects: a function with its options, weighted and reduced.

Each takes Keras' arguments in Keras' order, and is called as
`loss(y_true, y_pred, sample_weight=None, mask=None)`; `mask` is what Keras attaches
to `y_pred`, True to keep. `reduction` is "sum_over_batch_size" (also "mean"), "sum",
"mean_with_sample_weight" (Σ w·v/Σ w), or "none" (also None). `name` and `dtype` are
accepted; the dtype is that of the arrays.
"""

import abc
import dataclasses

from jax import Array
from jax.typing import ArrayLike

from ... import _checks, _options
from ..._errors import door
from .._objects import made, no_arrays
from . import _functions, _robust
from ._inputs import NAMES, checked, predictions
from ._reduction import REDUCTIONS, fitting, reduced, same_rank

DEFAULT = "sum_over_batch_size"
SOFT = {
    "weights": "sample_weight",
    **dict.fromkeys(
        ("jaxent.softmax_cross_entropy", NAMES["jaxent.softmax_cross_entropy"]),
        "jaxent.compat.keras.CategoricalCrossentropy",
    ),
}


class Loss(abc.ABC):
    """What the loss objects share."""

    reduction: str | None

    @door
    def __post_init__(self):
        no_arrays(self)
        reduction = "none" if self.reduction is None else self.reduction
        _options.one_of("reduction", reduction, REDUCTIONS)
        checked(**vars(self))

    @abc.abstractmethod
    def call(self, y_true: Array, y_pred: Array) -> Array:
        """The losses, unreduced."""

    def with_mask(self, y_true: Array, y_pred: Array) -> tuple[Array, Array | None]:
        """The losses, and which of them count."""
        return self.call(y_true, y_pred), None

    @door(**NAMES | SOFT)
    def __call__(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> Array:
        t = _checks.weights("y_true", y_true)
        t, p = same_rank(t, predictions(y_pred, y_true))
        losses, kept = self.with_mask(t, p)
        if mask is not None:
            mask = fitting("mask", _checks.mask("mask", mask), losses)
            kept = mask if kept is None else mask & kept
        return reduced(losses, sample_weight, kept, self.reduction)


@made
@dataclasses.dataclass(frozen=True)
class BinaryCrossentropy(Loss):
    """`keras.losses.BinaryCrossentropy`, of `binary_crossentropy`.

    Example:
      >>> loss = jaxent.compat.keras.BinaryCrossentropy(from_logits=True)
      >>> loss(jnp.array([[1.0, 0.0]]), jnp.array([[2.0, -1.0]]))
      Array(0.2201, dtype=float32)
    """

    from_logits: bool = False
    label_smoothing: float = 0.0
    axis: int = -1
    reduction: str | None = DEFAULT
    name: str | None = "binary_crossentropy"
    dtype: object = None

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return _functions.binary_crossentropy(
            y_true, y_pred, self.from_logits, self.label_smoothing, self.axis
        )


@made
@dataclasses.dataclass(frozen=True)
class BinaryFocalCrossentropy(Loss):
    """`keras.losses.BinaryFocalCrossentropy`, of `binary_focal_crossentropy`."""

    apply_class_balancing: bool = False
    alpha: float = 0.25
    gamma: float = 2.0
    from_logits: bool = False
    label_smoothing: float = 0.0
    axis: int = -1
    reduction: str | None = DEFAULT
    name: str | None = "binary_focal_crossentropy"
    dtype: object = None

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return _robust.binary_focal_crossentropy(
            y_true, y_pred, self.apply_class_balancing, self.alpha, self.gamma,
            self.from_logits, self.label_smoothing, self.axis,
        )  # fmt: skip


@made
@dataclasses.dataclass(frozen=True)
class CategoricalCrossentropy(Loss):
    """`keras.losses.CategoricalCrossentropy`, of `categorical_crossentropy`."""

    from_logits: bool = False
    label_smoothing: float = 0.0
    axis: int = -1
    reduction: str | None = DEFAULT
    name: str | None = "categorical_crossentropy"
    dtype: object = None

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return _functions.categorical_crossentropy(
            y_true, y_pred, self.from_logits, self.label_smoothing, self.axis
        )


@made
@dataclasses.dataclass(frozen=True)
class CategoricalFocalCrossentropy(Loss):
    """`keras.losses.CategoricalFocalCrossentropy`, of the function of that name."""

    alpha: ArrayLike = 0.25
    gamma: float = 2.0
    from_logits: bool = False
    label_smoothing: float = 0.0
    axis: int = -1
    reduction: str | None = DEFAULT
    name: str | None = "categorical_focal_crossentropy"
    dtype: object = None

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return _robust.categorical_focal_crossentropy(
            y_true, y_pred, self.alpha, self.gamma, self.from_logits,
            self.label_smoothing, self.axis,
        )  # fmt: skip


@made
@dataclasses.dataclass(frozen=True)
class SparseCategoricalCrossentropy(Loss):
    """`keras.losses.SparseCategoricalCrossentropy`, of class ids.

    Positions of the ignored class count neither in the loss nor in its mean; an id
    out of range adds 0 and is counted.

    Example:
      >>> loss = jaxent.compat.keras.SparseCategoricalCrossentropy(ignore_class=0)
      >>> loss(jnp.array([2, 0]), jnp.array([[0.3, 0.2, 0.5], [0.5, 0.2, 0.3]]))
      Array(0.6931, dtype=float32)
    """

    from_logits: bool = False
    ignore_class: int | None = None
    reduction: str | None = DEFAULT
    axis: int = -1
    name: str | None = "sparse_categorical_crossentropy"
    dtype: object = None

    def with_mask(self, y_true: Array, y_pred: Array) -> tuple[Array, Array | None]:
        return _functions.sparse_with_mask(
            y_true, y_pred, self.from_logits, self.ignore_class, self.axis
        )

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return self.with_mask(y_true, y_pred)[0]


@made
@dataclasses.dataclass(frozen=True)
class CategoricalGeneralizedCrossEntropy(Loss):
    """`keras.losses.CategoricalGeneralizedCrossEntropy`, of class ids."""

    q: float = 0.5
    reduction: str | None = DEFAULT
    name: str | None = "categorical_generalized_cross_entropy"
    dtype: object = None

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return _robust.categorical_generalized_cross_entropy(y_true, y_pred, self.q)


@made
@dataclasses.dataclass(frozen=True)
class KLDivergence(Loss):
    """`keras.losses.KLDivergence`, of `kl_divergence`."""

    reduction: str | None = DEFAULT
    name: str | None = "kl_divergence"
    dtype: object = None

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return _functions.kl_divergence(y_true, y_pred)


@made
@dataclasses.dataclass(frozen=True)
class Poisson(Loss):
    """`keras.losses.Poisson`, of `poisson`."""

    reduction: str | None = DEFAULT
    name: str | None = "poisson"
    dtype: object = None

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return _functions.poisson(y_true, y_pred)
