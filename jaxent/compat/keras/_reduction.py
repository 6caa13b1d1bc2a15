# SPDX-License-Identifier: Apache-2.0
"""How Keras weighs, masks and reduces losses."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ... import _checks
from ..._engine.means import ratio
from ..._errors import fail
from ..._reduce import reduce

REDUCTIONS = (
    "sum_over_batch_size",
    "sum",
    "none",
    "mean",
    "mean_with_sample_weight",
)
BY_COUNT = ("sum_over_batch_size", "mean")


def same_rank(x: Array, y: Array) -> tuple[Array, Array]:
    """Keras' repair of a last axis of length 1 that only one of the two has."""
    if x.ndim == y.ndim + 1 and x.shape[-1] == 1:
        return (x, y[..., None]) if y.ndim == 1 else (x[..., 0], y)
    if y.ndim == x.ndim + 1 and y.shape[-1] == 1:
        return (x[..., None], y) if x.ndim == 1 else (x, y[..., 0])
    return x, y


def fitting(argument: str, x: Array, losses: Array) -> Array:
    """Weights or a mask that broadcast against the losses."""
    values, repaired = same_rank(losses, x)
    if not _checks.meets(values.shape, repaired.shape):
        must = f"broadcast against the losses, of shape {losses.shape}"
        remedy = "Its axes must be equal or 1, counted from the last."
        fail(ValueError, argument, must, x.shape, remedy)
    return x


def masked(weights: Array | None, mask: Array | None, reduction: str) -> Array | None:
    """Sample weights times the mask, which a mean by count scales to the kept."""
    if mask is None:
        return weights
    kept = mask.astype(jnp.float32)
    if reduction in BY_COUNT:
        kept *= ratio(jnp.asarray(mask.size, kept.dtype), jnp.sum(kept))
    if weights is None:
        return kept
    fitting("sample_weight", weights, kept)
    kept, weights = same_rank(kept, weights.astype(jnp.float32))
    shape = jnp.broadcast_shapes(kept.shape, weights.shape)
    return jnp.broadcast_to(kept, shape) * jnp.broadcast_to(weights, shape)


def weighted(values: Array, weights: Array) -> Array:
    """w·v, w broadcast; 0 where w is, whatever v holds."""
    shape = jnp.broadcast_shapes(values.shape, weights.shape)
    values, weights = (jnp.broadcast_to(a, shape) for a in (values, weights))
    return reduce(values, weights=weights, reduction="none")


def reduced(
    values: Array,
    sample_weight: ArrayLike | None,
    mask: Array | None,
    reduction: str | None,
) -> Array:
    """Σ w·v over the number of values, or over Σ w; 0 for a mean over nothing."""
    reduction = reduction or "none"
    weights = None
    if sample_weight is not None:
        weights = _checks.weights("sample_weight", sample_weight)
        fitting("sample_weight", weights, values)
    weights = masked(weights, mask, reduction)
    if weights is not None:
        values, weights = same_rank(values, weights)
        values = weighted(values, weights)
    # Keras returns an empty batch as it is.
    if reduction == "none" or values.shape in ((), (0,)):
        return values
    total = jnp.sum(values)
    if reduction == "sum":
        return total
    if reduction == "mean_with_sample_weight" and weights is not None:
        return ratio(total, jnp.sum(weights).astype(total.dtype))
    return ratio(total, jnp.asarray(values.size, total.dtype))
