# SPDX-License-Identifier: Apache-2.0
"""The conventions that `jaxent.explain` compares, and what sets each apart."""

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from .._engine.class_axis import WHOLE
from .._engine.exact import xlogy
from .._probabilities import binary_cross_entropy, categorical_cross_entropy
from ..compat import keras, optax, sklearn, tensorflow, torch


class Convention(NamedTuple):
    """A framework's call, and how it reads what it is given."""

    framework: str
    call: str
    compute: Callable[[], Array]
    traits: tuple[str, ...]
    """How it reads labels, predictions, extremes, rows, and how it reduces."""
    double: bool
    """Whether the framework computes in float64."""
    losses: int
    """The number of losses that are reduced."""
    size: int
    """The number of predictions."""

    @property
    def name(self) -> str:
        return f"{self.framework}: {self.call}"

    def __repr__(self) -> str:
        return f"<{self.name}>"


PROBABILITIES, LOGITS = "reads probabilities", "reads logits"
LOGS = "reads log-probabilities"
AS_THEY_ARE, DIVIDED = "takes rows as they are", "divides rows by their sum"
MEAN, SUM = "takes the mean", "takes the sum"
NO_CLIP = "clips nothing"
DEFINITION, TF1 = "the definition", "TensorFlow 1"
BEFORE, SINCE = "scikit-learn before 1.2", "scikit-learn since 1.5"
DOUBLE = (DEFINITION, BEFORE, SINCE)
"""They compute in float64, and all others in float32."""

Row = tuple[str, str, Callable[[], Array], tuple[str, ...]]
"""A framework, its call, what that computes, and all traits but the first."""


def clips(eps: float) -> str:
    return f"clips at {eps:.3g}"


def how(
    reads: str, extremes: str, divides: str = AS_THEY_ARE, reduces: str = MEAN
) -> tuple[str, ...]:
    return reads, extremes, divides, reduces


def conventions(
    rows: Iterable[Row], reading: str, losses: int, size: int
) -> Iterator[Convention]:
    """The rows of a table, which read labels and predictions alike."""
    for framework, call, compute, traits in rows:
        double = framework in DOUBLE and not call.endswith("of float32")
        yield Convention(
            framework, call, _quiet(compute), (reading, *traits), double, losses, size
        )


def _quiet(compute: Callable[[], Array]) -> Callable[[], Array]:
    """`compute` without the warnings of the framework: the table says what they say."""

    @functools.wraps(compute)
    def quietly() -> Array:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return compute()

    return quietly


def of_elements(y: Array, p: Array) -> Iterator[Convention]:
    """Conventions by which each element is a decision of its own: yes or no."""
    f, g = y.astype(jnp.float32), p.astype(jnp.float32)
    reading = f"{p.size} yes-or-no labels"
    if p.ndim == 1:
        yield from _log_losses(y.astype(jnp.int32), p, "y, p", reading, AS_THEY_ARE)
    cuts, logits = "cuts logarithms at -100", how(LOGITS, NO_CLIP)
    table = (
        (
            DEFINITION,
            "mean(-y log p - (1-y) log(1-p))",
            lambda: jnp.mean(binary_cross_entropy(p, y)),
            how(PROBABILITIES, NO_CLIP),
        ),
        (
            "Keras",
            "BinaryCrossentropy()(y, p)",
            lambda: keras.BinaryCrossentropy()(f, g),
            how(PROBABILITIES, clips(1e-7)),
        ),
        (
            "Keras",
            "BinaryCrossentropy(from_logits=True)(y, p)",
            lambda: keras.BinaryCrossentropy(from_logits=True)(f, g),
            logits,
        ),
        (
            TF1,
            "losses.log_loss(y, p)",
            lambda: tensorflow.losses.log_loss(f, g),
            how(PROBABILITIES, "adds 1e-07"),
        ),
        (
            TF1,
            "losses.sigmoid_cross_entropy(y, p)",
            lambda: tensorflow.losses.sigmoid_cross_entropy(f, g),
            logits,
        ),
        (
            "torch",
            "binary_cross_entropy(p, y)",
            lambda: torch.binary_cross_entropy(g, f),
            how(PROBABILITIES, cuts),
        ),
        (
            "torch",
            "binary_cross_entropy(p, y, reduction='sum')",
            lambda: torch.binary_cross_entropy(g, f, reduction="sum"),
            how(PROBABILITIES, cuts, reduces=SUM),
        ),
        (
            "torch",
            "binary_cross_entropy_with_logits(p, y)",
            lambda: torch.binary_cross_entropy_with_logits(g, f),
            logits,
        ),
        (
            "optax",
            "sigmoid_binary_cross_entropy(p, y).mean()",
            lambda: jnp.mean(optax.sigmoid_binary_cross_entropy(g, f)),
            logits,
        ),
    )
    yield from conventions(table, reading, p.size, p.size)


def _log_losses(
    y: Array, p: Array, args: str, reading: str, divides: str
) -> Iterator[Convention]:
    """scikit-learn's conventions, by release and by dtype."""
    single = p.astype(jnp.float32)
    old, new, low = 1e-15, 2.0**-52, 2.0**-23
    table = (
        (
            BEFORE,
            f"log_loss({args})",
            lambda: sklearn.log_loss(y, p, eps=old),
            how(PROBABILITIES, clips(old), divides),
        ),
        (
            BEFORE,
            f"log_loss({args}, normalize=False)",
            lambda: sklearn.log_loss(y, p, eps=old, normalize=False),
            how(PROBABILITIES, clips(old), divides, SUM),
        ),
        (
            SINCE,
            f"log_loss({args})",
            lambda: sklearn.log_loss(y, p),
            how(PROBABILITIES, clips(new)),
        ),
        (
            SINCE,
            f"log_loss({args}, normalize=False)",
            lambda: sklearn.log_loss(y, p, normalize=False),
            how(PROBABILITIES, clips(new), reduces=SUM),
        ),
        (
            SINCE,
            f"log_loss({args}) of float32",
            lambda: sklearn.log_loss(y, single),
            how(PROBABILITIES, clips(low)),
        ),
    )
    yield from conventions(table, reading, p.shape[0], p.size)


def of_rows(y: Array, p: Array, *, ids: bool) -> Iterator[Convention]:
    """Conventions by which each row is a distribution; one axis is one row."""
    args, swapped = ("[y], [p]", "[p], [y]") if p.ndim == 1 else ("y, p", "p, y")
    y, p = (a.reshape(-1, a.shape[-1]) for a in (y, p))
    f, g = y.astype(jnp.float32), p.astype(jnp.float32)
    count, classes = p.shape
    rows = "row" if count == 1 else "rows"
    reading = f"{count} {rows} of {classes} classes"
    # Where they sum to one already, it makes no difference.
    one = jnp.all(abs(jnp.sum(p, axis=1) - 1) < 1e-6)
    divided = AS_THEY_ARE if one else DIVIDED
    yield from _log_losses(y.astype(jnp.int32), p, args, reading, divided)
    keras_name = "SparseCategoricalCrossentropy" if ids else "CategoricalCrossentropy"
    sparse, labels = ("sparse_", "_with_integer_labels") if ids else ("", "")
    logits = how(LOGITS, NO_CLIP)
    table = [
        (
            DEFINITION,
            "mean(-sum(y log p))",
            lambda: jnp.mean(categorical_cross_entropy(p, y)),
            how(PROBABILITIES, NO_CLIP),
        ),
        (
            "Keras",
            f"{keras_name}()({args})",
            lambda: keras.CategoricalCrossentropy()(f, g),
            how(PROBABILITIES, clips(1e-7), divided),
        ),
        (
            "Keras",
            f"{keras_name}(reduction='sum')({args})",
            lambda: keras.CategoricalCrossentropy(reduction="sum")(f, g),
            how(PROBABILITIES, clips(1e-7), divided, SUM),
        ),
        (
            "Keras",
            f"{keras_name}(from_logits=True)({args})",
            lambda: keras.CategoricalCrossentropy(from_logits=True)(f, g),
            logits,
        ),
        (
            TF1,
            f"losses.{sparse}softmax_cross_entropy({args})",
            lambda: tensorflow.losses.softmax_cross_entropy(f, g),
            logits,
        ),
        (
            "torch",
            f"cross_entropy({swapped})",
            lambda: torch.cross_entropy(g, f),
            logits,
        ),
        (
            "optax",
            f"softmax_cross_entropy{labels}({swapped}).mean()",
            lambda: jnp.mean(optax.softmax_cross_entropy(g, f)),
            logits,
        ),
    ]
    if classes > 1 and count > 1:
        table.append(
            (
                "Keras",
                f"categorical_crossentropy({args}, axis=0), mean",
                lambda: jnp.mean(keras.categorical_crossentropy(f, g, axis=0)),
                how(PROBABILITIES, clips(1e-7), "divides columns by their sum"),
            )
        )
    if jnp.all((jnp.sum(y, axis=1) == 1) & jnp.any(y == 1, axis=1)):
        table += _of_ids(WHOLE.top(y), g)
    yield from conventions(table, reading, count, p.size)


def _of_ids(label: Array, p: Array) -> Iterator[Row]:
    """The conventions that take class ids alone."""
    logs = xlogy(jnp.ones_like(p), p)
    what = how(PROBABILITIES, NO_CLIP)
    yield "torch", "nll_loss(log p, ids)", lambda: torch.nll_loss(logs, label), what
    what = how(LOGS, NO_CLIP)
    yield "torch", "nll_loss(p, ids)", lambda: torch.nll_loss(p, label), what
