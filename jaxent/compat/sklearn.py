# SPDX-License-Identifier: Apache-2.0
"""scikit-learn's `log_loss`, of current releases and of old ones.

Numbers are float32 unless JAX's double precision is on (`jax.enable_x64(True)`), and
scikit-learn's clip is that of the dtype: turn it on for the digits scikit-learn prints.
"""

import functools
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Float

from .. import _checks, _options
from .._engine.exact import widen
from .._engine.labels import nan_unless
from .._engine.terms import one_hot
from .._errors import door, fail, shown
from .._probabilities import categorical_cross_entropy
from .._reduce import reduce


@door(probs="y_proba")
def log_loss(
    y_true: ArrayLike | Sequence[object],
    y_proba: ArrayLike | None = None,
    *,
    normalize: bool = True,
    sample_weight: ArrayLike | None = None,
    labels: ArrayLike | Sequence[object] | None = None,
    y_pred: ArrayLike | None = None,
    eps: float | None = None,
) -> Float[Array, ""]:
    """`sklearn.metrics.log_loss`: the mean of `−log p_y`, each p clipped.

    Since release 1.5 p is clipped to [ε, 1−ε], ε that of its dtype, and rows are taken
    as they are. With `eps`, as before 1.3: p is clipped to [eps, 1−eps] and rows are
    divided by their sum. The default was 1e-15 up to 1.1, the dtype's in 1.2.

    Args:
      y_true: labels, numbers or strings, `[samples]` or `[samples, 1]`, of any kind
        that NumPy reads (a data frame's column); or one row of weights a sample.
      y_proba: p, `[samples, classes]`, classes in sorted order; or `[samples]`, read
        as the probability of the second of two classes.
      normalize: the mean, or the sum.
      sample_weight: w, one number a sample; the mean is Σ w·v/Σ w.
      labels: all labels that there are; those of `y_true` if not given, or 0, 1, ...
        where `y_true` is traced.
      y_pred: the old name of `y_proba`.
      eps: the clip of an old release.
    Returns:
      A scalar, in nats. A traced label that is none of `labels`: NaN.
    Raises:
      ValueError: as scikit-learn: p outside [0, 1] or NaN, lengths or numbers of
        classes that differ, a single label, weights that are all 0. Values are not
        checked while they are traced.
      UserWarning: rows of p that do not sum to one, or `labels` out of order.
    Example:
      >>> jaxent.compat.sklearn.log_loss(["no", "yes"], jnp.array([0.2, 0.7]))
      Array(0.2899, dtype=float32)

    Source: scikit-learn 1.9, sklearn/metrics/_classification.py; 1.1 for `eps`.
    """
    normalize = _options.truth("normalize", normalize)
    p = _probabilities(_either(y_proba, y_pred), eps)
    targets = _targets(y_true, labels, p)
    weights = None
    if sample_weight is not None:
        weights = _checks.weights("sample_weight", sample_weight)
        _checks.same_shape("sample_weight", weights, p.shape[:1], "y_true")
        if _all_zero(weights):
            remedy = "A mean over nothing has no value."
            must = "have at least one number that is not 0"
            fail(ValueError, "sample_weight", must, "zeros", remedy)
    mean = "weighted_mean" if normalize else "sum"
    return _reduced(p, targets, weights, divided=eps is not None, reduction=mean)


@functools.partial(jax.jit, static_argnames=("divided", "reduction"))
def _reduced(
    p: Array,
    targets: ArrayLike,
    weights: Array | None,
    *,
    divided: bool,
    reduction: Literal["weighted_mean", "sum"],
) -> Array:
    """Of class ids or rows of weights; p clipped, or divided by the sum of each row."""
    y = jnp.asarray(targets)
    rows = one_hot(y, p) if y.ndim == 1 else y
    if divided:
        losses = categorical_cross_entropy(p / jnp.sum(p, axis=1, keepdims=True), rows)
    else:
        clip = float(jnp.finfo(p.dtype).eps)
        losses = categorical_cross_entropy(p, rows, eps=clip)
    return reduce(losses, weights=weights, reduction=reduction)


def _either(y_proba: ArrayLike | None, y_pred: ArrayLike | None) -> ArrayLike:
    """The probabilities, by their name or by their old one."""
    if y_proba is not None and y_pred is not None:
        remedy = "It is the old name of `y_proba`."
        fail(ValueError, "y_pred", "be left out beside `y_proba`", "both", remedy)
    given = y_proba if y_pred is None else y_pred
    if given is None:
        remedy = "Pass the probabilities of the classes."
        fail(TypeError, "y_proba", "be given", "nothing", remedy)
    return given


def _known(x: Array) -> np.ndarray | None:
    """The values, unless they are traced; NumPy compiles nothing to look at them."""
    return None if isinstance(x, Tracer) else np.asarray(x)


def _all_zero(weights: Array) -> bool:
    known = _known(weights)
    return known is not None and not known.any()


def _outside(p: Array) -> np.ndarray:
    """The numbers that are no probabilities, as far as they are known."""
    known = _known(p)
    return np.zeros(0) if known is None else known[~((known >= 0) & (known <= 1))]


def _uneven(p: Array) -> bool:
    """Whether there are rows, and are known, that do not sum to one."""
    known = _known(p)
    if known is None or p.ndim == 1 or p.shape[1] == 1:
        return False
    tolerance = float(jnp.finfo(p.dtype).eps) ** 0.5 + 1e-8
    rows = known.astype(float).sum(axis=1)
    return bool((abs(rows - 1) > tolerance).any())


def _probabilities(y_proba: ArrayLike, eps: float | None) -> Array:
    """p with its classes on axis 1, clipped if an old release is meant."""
    p = _checks.weights("y_proba", y_proba)
    p = p if jnp.issubdtype(p.dtype, jnp.floating) else jnp.asarray(p, float)
    if p.ndim not in (1, 2) or p.shape[0] == 0:
        remedy = "Give each sample its probability, or a row of them."
        must = "have one or two axes, and a sample"
        fail(ValueError, "y_proba", must, p.shape, remedy)
    wrong = _outside(p)
    if wrong.size:
        remedy = "Pass probabilities: the softmax of logits, not logits."
        fail(ValueError, "y_proba", "be in [0, 1]", float(wrong[0]), remedy)
    uneven = eps is None and _uneven(p)
    least = None if eps is None else _options.number("eps", eps, (0.0, 0.5))
    p = _columns(p, least)
    if uneven:
        message = (
            "The y_prob values do not sum to one. Make sure to pass probabilities."
        )
        warnings.warn(message, UserWarning, stacklevel=3)
    return p


@jax.jit
def _columns(p: Array, least: ArrayLike | None) -> Array:
    """One for each class, clipped to [least, 1 − least]."""
    if least is not None:
        p = jnp.clip(widen(p), least, 1 - least)
    if p.ndim == 1 or p.shape[1] == 1:
        p = p.reshape(-1, 1)
        p = jnp.concatenate([1 - p, p], axis=1)
    return p


def _targets(y_true: Any, labels: Any, p: Array) -> ArrayLike:
    """The class ids of the labels, or rows of weights as they are."""
    declared = None if labels is None else _listed("labels", labels)
    if isinstance(y_true, Tracer):
        return _traced_targets(y_true, declared, p)
    rows = _listed("y_true", y_true)
    if len(rows) != p.shape[0]:
        remedy = "Give each sample its label."
        must = f"have {p.shape[0]} labels, one for each row of `y_proba`"
        fail(ValueError, "y_true", must, len(rows), remedy)
    if all(isinstance(row, list) and len(row) == 1 for row in rows):
        rows = [label for (label,) in rows]
    if isinstance(rows[0], list):
        return _weights(rows, declared, p)
    _sorted("y_true", rows)
    classes = _sorted(*(("y_true", rows) if declared is None else ("labels", declared)))
    if declared is not None and classes != declared:
        message = (
            f"Labels passed were {declared}. But this function assumes labels are "
            f"ordered lexicographically. Pass the ordered labels={classes} and ensure "
            "that the columns of y_prob correspond to this ordering."
        )
        warnings.warn(message, UserWarning, stacklevel=3)
    _count(classes, declared, p)
    strangers = _sorted("y_true", [*{*rows}.difference(classes)])
    if strangers:
        remedy = "Declare every label that there is."
        must = f"be among the labels {classes}"
        fail(ValueError, "y_true", must, shown(strangers), remedy)
    ids = [classes.index(row) for row in rows]
    return np.asarray(ids, np.int32)


def _traced_targets(y_true: Array, declared: list | None, p: Array) -> Array:
    """One-hot rows of labels that are not known yet, NaN where they are none."""
    if y_true.ndim == 2 and y_true.shape[1] == 1:
        y_true = y_true[:, 0]
    if y_true.ndim == 2:
        _checks.same_shape("y_true", y_true, p.shape, "y_proba")
        return _checks.weights("y_true", y_true)
    _checks.same_shape("y_true", y_true, p.shape[:1], "y_proba[:, 0]")
    classes = _sorted(
        "labels", list(range(p.shape[1])) if declared is None else declared
    )
    _count(classes, declared, p)
    names = _names(classes).astype(y_true.dtype)
    hit = y_true[:, None] == names[None]
    known = nan_unless(jnp.any(hit, axis=1, keepdims=True)).astype(p.dtype)
    # Added: of a product with a boolean XLA makes a select, and 0 of 0·NaN.
    return hit.astype(p.dtype) + jnp.broadcast_to(known - 1, hit.shape)


def _names(classes: Any) -> Array:
    return _checks.weights("labels", classes)


def _weights(rows: Any, declared: list | None, p: Array) -> Array:
    """Rows of weights, one for each class, as they are."""
    targets = _checks.weights("y_true", rows)
    _checks.same_shape("y_true", targets, p.shape, "y_proba")
    _count(rows[0] if declared is None else declared, declared, p)
    return jnp.asarray(rows, p.dtype)


def _listed(argument: str, x: Any) -> list:
    """A list of labels, or of rows, of an array or any sequence."""
    unknown = isinstance(x, (Tracer, str, bytes, dict, set))
    if hasattr(x, "__array__") and not unknown:
        x = x.__array__().tolist()
    made = None if unknown else x
    if not isinstance(made, Iterable):
        remedy = "Pass a list or an array, known while tracing, of one label each."
        fail(TypeError, argument, "be a sequence of labels", shown(x), remedy)
    return [list(row) if isinstance(row, tuple) else row for row in made]


def _sorted(argument: str, labels: list) -> list:
    """Each label once, in the order of their names."""
    try:
        return sorted(set(labels))
    except TypeError:
        remedy = "Make them all strings, or all numbers."
        fail(TypeError, argument, "be labels of one kind", shown(labels), remedy)


def _count(classes: list, declared: list | None, p: Array):
    """As many classes as columns, and at least two."""
    argument = "y_true" if declared is None else "labels"
    if len(classes) != p.shape[1] or len(classes) < 2:
        remedy = "Give all classes, in sorted order, by `labels=`."
        must = f"have {p.shape[1]} classes, one for each column of `y_proba`"
        fail(ValueError, argument, must, shown(classes), remedy)
