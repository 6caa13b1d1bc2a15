# SPDX-License-Identifier: Apache-2.0
"""torch's reductions: a mean over nothing is NaN."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ... import _checks, _options

NAMES = {
    **dict.fromkeys(("logits", "probs", "log_probs", "log_predictions"), "input"),
    **dict.fromkeys(("labels", "targets", "log_targets"), "target"),
    "class_weights": "weight",
}
"""Of the arguments of jaxent's losses in torch's."""
REDUCTIONS = ("none", "mean", "sum")


def chosen(
    reduction: str,
    size_average: bool | None = None,
    reduce: bool | None = None,
    allowed: tuple[str, ...] = REDUCTIONS,
) -> str:
    """The reduction, unless one of torch's two old flags overrides it."""
    for name, flag in (("size_average", size_average), ("reduce", reduce)):
        if flag is not None:
            _options.truth(name, flag)
    if size_average is not None or reduce is not None:
        mean = "sum" if size_average is False else "mean"
        return "none" if reduce is False else mean
    _options.one_of("reduction", reduction, allowed)
    return reduction


def reduced(values: Array, reduction: str, weights: Array | None = None) -> Array:
    """The mean divides by the sum of the weights, or by the number of values."""
    if reduction == "none":
        return values
    total = jnp.sum(values)
    if reduction == "sum":
        return total
    return total / (values.size if weights is None else jnp.sum(weights))


def class_weights(weight: ArrayLike | None, count: int) -> Array | None:
    """torch's `weight` of losses over classes."""
    remedy = 'For weights of positions multiply the losses of reduction="none".'
    return _checks.per_class(weight, count, remedy)
