# SPDX-License-Identifier: Apache-2.0
"""`torch.nn`'s losses: the options of a function, called as `loss(input, target)`.

They hold no state and are no pytrees: close over one, or pass it as a static argument,
for which it has to be hashable: an array among its options is not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from jax import Array
from jax.typing import ArrayLike

from ... import _options
from ..._errors import door
from ..._types import Number
from .._objects import made, no_arrays
from ._binary import (
    DIVERGENCE_REDUCTIONS,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    kl_div,
)
from ._classes import cross_entropy, ignored, nll_loss
from ._reduction import NAMES, REDUCTIONS, chosen


class Loss:
    """What the modules share."""

    _function: ClassVar[Callable[..., Array]]
    _reductions: ClassVar[tuple[str, ...]] = REDUCTIONS

    @door
    def __post_init__(self):
        no_arrays(self)
        options = vars(self)
        size_average, reduce = options["size_average"], options["reduce"]
        chosen(options["reduction"], size_average, reduce, self._reductions)
        ignored(options.get("ignore_index", -100))
        _options.option("label_smoothing", options.get("label_smoothing", 0), 1.0)
        _options.truth("log_target", options.get("log_target", False))

    @door(**NAMES)
    def __call__(self, input: ArrayLike, target: ArrayLike) -> Array:
        return self._function(input, target, **vars(self))


@made
@dataclass(frozen=True)
class CrossEntropyLoss(Loss):
    """`torch.nn.CrossEntropyLoss`, of `cross_entropy`.

    Example:
      >>> loss = jaxent.compat.torch.CrossEntropyLoss(ignore_index=0)
      >>> loss(jnp.array([[1.2, -0.8, -0.5], [0.9, -1.2, 1.1]]), jnp.array([0, 2]))
      Array(0.6518, dtype=float32)
    """

    _function = staticmethod(cross_entropy)
    weight: ArrayLike | None = None
    size_average: bool | None = None
    ignore_index: int = -100
    reduce: bool | None = None
    reduction: str = "mean"
    label_smoothing: Number = 0.0


@made
@dataclass(frozen=True)
class NLLLoss(Loss):
    """`torch.nn.NLLLoss`, of `nll_loss`."""

    _function = staticmethod(nll_loss)
    weight: ArrayLike | None = None
    size_average: bool | None = None
    ignore_index: int = -100
    reduce: bool | None = None
    reduction: str = "mean"


@made
@dataclass(frozen=True)
class BCELoss(Loss):
    """`torch.nn.BCELoss`, of `binary_cross_entropy`."""

    _function = staticmethod(binary_cross_entropy)
    weight: ArrayLike | None = None
    size_average: bool | None = None
    reduce: bool | None = None
    reduction: str = "mean"


@made
@dataclass(frozen=True)
class BCEWithLogitsLoss(Loss):
    """`torch.nn.BCEWithLogitsLoss`, of `binary_cross_entropy_with_logits`."""

    _function = staticmethod(binary_cross_entropy_with_logits)
    weight: ArrayLike | None = None
    size_average: bool | None = None
    reduce: bool | None = None
    reduction: str = "mean"
    pos_weight: ArrayLike | None = None


@made
@dataclass(frozen=True)
class KLDivLoss(Loss):
    """`torch.nn.KLDivLoss`, of `kl_div`."""

    _function = staticmethod(kl_div)
    _reductions = DIVERGENCE_REDUCTIONS
    size_average: bool | None = None
    reduce: bool | None = None
    reduction: str = "mean"
    log_target: bool = False
