# SPDX-License-Identifier: Apache-2.0
"""Optax's divergences, of log-predictions."""

import math

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from ..._divergence import generalized_kl_divergence as generalized
from ..._divergence import kl_divergence as relative
from ..._divergence import kl_divergence_with_log_targets as relative_of_logs
from ..._errors import door
from ..._types import Axis
from ._inputs import broadcast, class_axes, elements


@door
def kl_divergence(
    log_predictions: Float[ArrayLike, "..."],
    targets: Float[ArrayLike, "..."],
    axis: Axis | None = -1,
    where: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """`optax.losses.kl_divergence`: `Σⱼ tⱼ·(log tⱼ − log_predictionsⱼ)`.

    Args:
      where: elements to sum, broadcast to the arrays, here and in the two below.
    Returns:
      One divergence a position; the gradient of a zero target is −log_predictions
      (Optax: NaN).
    Raises:
      TypeError, ValueError: inputs that are not floats, shapes that do not broadcast.
    Example:
      >>> jaxent.compat.optax.kl_divergence(
      ...     jnp.log(jnp.array([[0.2, 0.8]])), jnp.array([0.5, 0.5]))
      Array([0.2231], dtype=float32)

    Source: optax 0.2.8, optax/losses/_classification.py.
    """
    x, t, axes = _summed(log_predictions, targets, axis, where, 0, 0)
    return relative(x, t, axis=axes)


@door
def kl_divergence_with_log_targets(
    log_predictions: Float[ArrayLike, "..."],
    log_targets: Float[ArrayLike, "..."],
    axis: Axis | None = -1,
    where: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """`optax.losses.kl_divergence_with_log_targets`: the same of log-targets.

    Returns:
      One divergence a position; a −inf target adds 0 (Optax: NaN).
    Raises:
      TypeError, ValueError: inputs that are not floats, shapes that do not broadcast.
    Example:
      >>> jaxent.compat.optax.kl_divergence_with_log_targets(
      ...     jnp.log(jnp.array([[0.2, 0.8]])), jnp.log(jnp.array([0.5, 0.5])))
      Array([0.2231], dtype=float32)

    Source: optax 0.2.8, optax/losses/_classification.py.
    """
    x, t, axes = _summed(
        log_predictions, log_targets, axis, where, 0, -math.inf, "log_targets"
    )
    return relative_of_logs(x, t, axis=axes)


@door
def generalized_kl_divergence(
    log_predictions: Float[ArrayLike, "..."],
    targets: Float[ArrayLike, "..."],
    axis: Axis | None = -1,
    where: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """`optax.losses.generalized_kl_divergence`: of measures that need not sum to one.

    Returns:
      `Σⱼ tⱼ·(log tⱼ − log_predictionsⱼ) + exp(log_predictionsⱼ) − tⱼ`.
    Raises:
      TypeError, ValueError: inputs that are not floats, shapes that do not broadcast.
    Example:
      >>> jaxent.compat.optax.generalized_kl_divergence(
      ...     jnp.log(jnp.array([0.2, 0.8])), jnp.array([1.0, 1.0]))
      Array(0.8326, dtype=float32)

    Source: optax 0.2.8, optax/losses/_classification.py.
    """
    x, t, axes = _summed(log_predictions, targets, axis, where, -math.inf, 0)
    return generalized(x, t, axis=axes)


@door
def convex_kl_divergence(
    log_predictions: Float[ArrayLike, "..."],
    targets: Float[ArrayLike, "..."],
    axis: Axis | None = -1,
    where: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """The same by `optax.losses.convex_kl_divergence`, the name it had before.

    Returns:
      `Σⱼ tⱼ·(log tⱼ − log_predictionsⱼ) + exp(log_predictionsⱼ) − tⱼ`.
    Raises:
      TypeError, ValueError: inputs that are not floats, shapes that do not broadcast.
    Example:
      >>> jaxent.compat.optax.convex_kl_divergence(
      ...     jnp.log(jnp.array([0.2, 0.8])), jnp.array([1.0, 1.0]))
      Array(0.8326, dtype=float32)

    Source: optax 0.2.8, optax/losses/_classification.py.
    """
    return generalized_kl_divergence(log_predictions, targets, axis, where)


def _summed(
    log_predictions: ArrayLike,
    targets: ArrayLike,
    axis: Axis | None,
    where: ArrayLike | None,
    no_prediction: float,
    no_target: float,
    second: str = "targets",
) -> tuple[Array, Array, tuple[int, ...]]:
    """Arrays whose elements that `where` leaves out add nothing."""
    names = ("log_predictions", second)
    x, t = broadcast(log_predictions, targets, names)
    if where is not None:
        kept = elements(where, names[0], x.shape)
        x, t = jnp.where(kept, x, no_prediction), jnp.where(kept, t, no_target)
    return x, t, class_axes(axis, names[0], x)
