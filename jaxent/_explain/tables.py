# SPDX-License-Identifier: Apache-2.0
"""Calls of frameworks, a row each: what they compute, and what sets each apart."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .._engine.class_axis import WHOLE
from .._engine.exact import xlogy
from .._probabilities import binary_cross_entropy, categorical_cross_entropy
from ..compat import keras, optax, sklearn, tensorflow, torch

PROBABILITIES, LOGITS = "reads probabilities", "reads logits"
LOGS = "reads log-probabilities"
AS_THEY_ARE, DIVIDED = "takes rows as they are", "divides rows by their sum"
MEAN, SUM = "takes the mean", "takes the sum"
NO_CLIP, CUTS = "clips nothing", "cuts logarithms at -100"
DEFINITION, TF1 = "the definition", "TensorFlow 1"
BEFORE, SINCE = "scikit-learn before 1.2", "scikit-learn since 1.5"
DOUBLE = (DEFINITION, BEFORE, SINCE)
"""They compute in float64, and all others in float32."""

Compute = Callable[[Array, Array], Array]
Row = tuple[str, str, Compute, tuple[str, ...]]
"""A framework, its call, what that computes of labels and predictions, and all traits
but the first."""

OF_IDS = {"Sparse": "Sparse", "sparse_": "sparse_", "_ids": "_with_integer_labels"}
"""What a call's name has in the place of `{Sparse}` where labels are class ids, and
else nothing. `{args}` are labels and predictions, `{swapped}` the other way round."""


def clips(eps: float) -> str:
    return f"clips at {eps:.3g}"


def how(
    reads: str, extremes: str, divides: str = AS_THEY_ARE, reduces: str = MEAN
) -> tuple[str, ...]:
    return reads, extremes, divides, reduces


def compiled(*rows: Row) -> tuple[Row, ...]:
    """Each a program of its own, kept for the next call of `explain`."""
    return tuple((name, call, jax.jit(f), traits) for name, call, f, traits in rows)


def log_loss(eps: float | None, *, normalize: bool = True) -> Compute:
    """scikit-learn's, which looks at the values and is not compiled."""

    def compute(y: Array, p: Array) -> Array:
        ids = np.asarray(y).astype(np.int32)
        return sklearn.log_loss(ids, p, eps=eps, normalize=normalize)

    return compute


OLD, NEW, LOW = 1e-15, 2.0**-52, 2.0**-23
PLAIN, RAW = how(PROBABILITIES, NO_CLIP), how(LOGITS, NO_CLIP)
KERAS = how(PROBABILITIES, clips(1e-7))
LOG_LOSSES = (
    (
        BEFORE,
        "log_loss({args})",
        log_loss(OLD),
        how(PROBABILITIES, clips(OLD), DIVIDED),
    ),
    (
        BEFORE,
        "log_loss({args}, normalize=False)",
        log_loss(OLD, normalize=False),
        how(PROBABILITIES, clips(OLD), DIVIDED, SUM),
    ),
    (SINCE, "log_loss({args})", log_loss(None), how(PROBABILITIES, clips(NEW))),
    (
        SINCE,
        "log_loss({args}, normalize=False)",
        log_loss(None, normalize=False),
        how(PROBABILITIES, clips(NEW), reduces=SUM),
    ),
    (
        SINCE,
        "log_loss({args}) of float32",
        log_loss(None),
        how(PROBABILITIES, clips(LOW)),
    ),
)
ELEMENTS = compiled(
    (
        DEFINITION,
        "mean(-y log p - (1-y) log(1-p))",
        lambda y, p: jnp.mean(binary_cross_entropy(p, y)),
        PLAIN,
    ),
    (
        "Keras",
        "BinaryCrossentropy()({args})",
        keras.BinaryCrossentropy(),
        KERAS,
    ),
    (
        "Keras",
        "BinaryCrossentropy(from_logits=True)({args})",
        keras.BinaryCrossentropy(from_logits=True),
        RAW,
    ),
    (
        TF1,
        "losses.log_loss({args})",
        tensorflow.losses.log_loss,
        how(PROBABILITIES, "adds 1e-07"),
    ),
    (
        TF1,
        "losses.sigmoid_cross_entropy({args})",
        tensorflow.losses.sigmoid_cross_entropy,
        RAW,
    ),
    (
        "torch",
        "binary_cross_entropy({swapped})",
        lambda y, p: torch.binary_cross_entropy(p, y),
        how(PROBABILITIES, CUTS),
    ),
    (
        "torch",
        "binary_cross_entropy({swapped}, reduction='sum')",
        lambda y, p: torch.binary_cross_entropy(p, y, reduction="sum"),
        how(PROBABILITIES, CUTS, reduces=SUM),
    ),
    (
        "torch",
        "binary_cross_entropy_with_logits({swapped})",
        lambda y, p: torch.binary_cross_entropy_with_logits(p, y),
        RAW,
    ),
    (
        "optax",
        "sigmoid_binary_cross_entropy({swapped}).mean()",
        lambda y, p: jnp.mean(optax.sigmoid_binary_cross_entropy(p, y)),
        RAW,
    ),
)
ROWS = compiled(
    (
        DEFINITION,
        "mean(-sum(y log p))",
        lambda y, p: jnp.mean(categorical_cross_entropy(p, y)),
        PLAIN,
    ),
    (
        "Keras",
        "{Sparse}CategoricalCrossentropy()({args})",
        keras.CategoricalCrossentropy(),
        how(PROBABILITIES, clips(1e-7), DIVIDED),
    ),
    (
        "Keras",
        "{Sparse}CategoricalCrossentropy(reduction='sum')({args})",
        keras.CategoricalCrossentropy(reduction="sum"),
        how(PROBABILITIES, clips(1e-7), DIVIDED, SUM),
    ),
    (
        "Keras",
        "{Sparse}CategoricalCrossentropy(from_logits=True)({args})",
        keras.CategoricalCrossentropy(from_logits=True),
        RAW,
    ),
    (
        TF1,
        "losses.{sparse_}softmax_cross_entropy({args})",
        tensorflow.losses.softmax_cross_entropy,
        RAW,
    ),
    (
        "torch",
        "cross_entropy({swapped})",
        lambda y, p: torch.cross_entropy(p, y),
        RAW,
    ),
    (
        "optax",
        "softmax_cross_entropy{_ids}({swapped}).mean()",
        lambda y, p: jnp.mean(optax.softmax_cross_entropy(p, y)),
        RAW,
    ),
)
COLUMNS = compiled(
    (
        "Keras",
        "categorical_crossentropy({args}, axis=0), mean",
        lambda y, p: jnp.mean(keras.categorical_crossentropy(y, p, axis=0)),
        how(PROBABILITIES, clips(1e-7), "divides columns by their sum"),
    )
)
ONE_HOT = compiled(
    (
        "torch",
        "nll_loss(log p, ids)",
        lambda y, p: torch.nll_loss(xlogy(jnp.ones_like(p), p), WHOLE.top(y)),
        PLAIN,
    ),
    (
        "torch",
        "nll_loss(p, ids)",
        lambda y, p: torch.nll_loss(p, WHOLE.top(y)),
        how(LOGS, NO_CLIP),
    ),
)
"""For labels that are one class each."""
