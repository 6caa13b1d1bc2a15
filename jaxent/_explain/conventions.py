# SPDX-License-Identifier: Apache-2.0
"""The conventions that `jaxent.explain` compares, and what sets each apart."""

import functools
import warnings
from collections.abc import Callable, Iterator
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


PROBABILITIES, LOGITS = "reads probabilities", "reads logits"
LOGS = "reads log-probabilities"
AS_THEY_ARE, DIVIDED = "takes rows as they are", "divides rows by their sum"
MEAN, SUM = "takes the mean", "takes the sum"
NO_CLIP = "clips nothing"
BEFORE, SINCE = "scikit-learn before 1.2", "scikit-learn since 1.5"


def clips(eps: float) -> str:
    return f"clips at {eps:.3g}"


def _quiet(compute: Callable[[], Array]) -> Callable[[], Array]:
    """Without the warnings of the framework: the table says what they say."""

    @functools.wraps(compute)
    def quietly() -> Array:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return compute()

    return quietly


def of_elements(y: Array, p: Array) -> Iterator[Convention]:
    """Each element a decision of its own: yes or no."""
    f, g = y.astype(jnp.float32), p.astype(jnp.float32)
    reading = f"{p.size} yes-or-no labels"
    if p.ndim == 1:
        yield from _log_losses(y.astype(jnp.int32), p, "y, p", reading, AS_THEY_ARE)

    def row(framework, call, compute, reads, extremes, *, reduces=MEAN, double=False):
        traits = (reading, reads, extremes, AS_THEY_ARE, reduces)
        return Convention(
            framework, call, _quiet(compute), traits, double, p.size, p.size
        )

    yield row(
        "the definition", "mean(-y log p - (1-y) log(1-p))",
        lambda: jnp.mean(binary_cross_entropy(p, y)), PROBABILITIES, NO_CLIP,
        double=True,
    )  # fmt: skip
    yield row(
        "Keras", "BinaryCrossentropy()(y, p)",
        lambda: keras.BinaryCrossentropy()(f, g), PROBABILITIES, clips(1e-7),
    )  # fmt: skip
    yield row(
        "Keras", "BinaryCrossentropy(from_logits=True)(y, p)",
        lambda: keras.BinaryCrossentropy(from_logits=True)(f, g), LOGITS, NO_CLIP,
    )  # fmt: skip
    yield row(
        "TensorFlow 1", "losses.log_loss(y, p)",
        lambda: tensorflow.losses.log_loss(f, g), PROBABILITIES, "adds 1e-07",
    )  # fmt: skip
    yield row(
        "TensorFlow 1", "losses.sigmoid_cross_entropy(y, p)",
        lambda: tensorflow.losses.sigmoid_cross_entropy(f, g), LOGITS, NO_CLIP,
    )  # fmt: skip
    cut = "cuts logarithms at -100"
    yield row(
        "torch", "binary_cross_entropy(p, y)",
        lambda: torch.binary_cross_entropy(g, f), PROBABILITIES, cut,
    )  # fmt: skip
    yield row(
        "torch", "binary_cross_entropy(p, y, reduction='sum')",
        lambda: torch.binary_cross_entropy(g, f, reduction="sum"), PROBABILITIES, cut,
        reduces=SUM,
    )  # fmt: skip
    yield row(
        "torch", "binary_cross_entropy_with_logits(p, y)",
        lambda: torch.binary_cross_entropy_with_logits(g, f), LOGITS, NO_CLIP,
    )  # fmt: skip
    yield row(
        "optax", "sigmoid_binary_cross_entropy(p, y).mean()",
        lambda: jnp.mean(optax.sigmoid_binary_cross_entropy(g, f)), LOGITS, NO_CLIP,
    )  # fmt: skip


def _log_losses(
    y: Array, p: Array, args: str, reading: str, divides: str
) -> Iterator[Convention]:
    """scikit-learn's, by release and by dtype."""
    count = p.shape[0]

    def row(framework, call, compute, eps, rows, reduces=MEAN, double=True):
        traits = (reading, PROBABILITIES, clips(eps), rows, reduces)
        return Convention(
            framework, call, _quiet(compute), traits, double, count, p.size
        )

    single = p.astype(jnp.float32)
    old, new, low = 1e-15, 2.0**-52, 2.0**-23
    yield row(
        BEFORE, f"log_loss({args})", lambda: sklearn.log_loss(y, p, eps=old), old,
        divides,
    )  # fmt: skip
    yield row(
        BEFORE, f"log_loss({args}, normalize=False)",
        lambda: sklearn.log_loss(y, p, eps=old, normalize=False), old, divides, SUM,
    )  # fmt: skip
    yield row(
        SINCE, f"log_loss({args})", lambda: sklearn.log_loss(y, p), new, AS_THEY_ARE
    )
    yield row(
        SINCE, f"log_loss({args}, normalize=False)",
        lambda: sklearn.log_loss(y, p, normalize=False), new, AS_THEY_ARE, SUM,
    )  # fmt: skip
    yield row(
        SINCE, f"log_loss({args}) of float32",
        lambda: sklearn.log_loss(y, single), low, AS_THEY_ARE, double=False,
    )  # fmt: skip


def of_rows(y: Array, p: Array, *, ids: bool) -> Iterator[Convention]:
    """Each row a distribution over classes; one row if there is one axis."""
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

    def row(
        framework, call, compute, reads, extremes,
        *, divides=AS_THEY_ARE, reduces=MEAN, double=False,
    ):  # fmt: skip
        traits = (reading, reads, extremes, divides, reduces)
        return Convention(
            framework, call, _quiet(compute), traits, double, count, p.size
        )

    yield row(
        "the definition", "mean(-sum(y log p))",
        lambda: jnp.mean(categorical_cross_entropy(p, y)), PROBABILITIES, NO_CLIP,
        double=True,
    )  # fmt: skip
    sparse = "Sparse" if ids else ""
    name = f"{sparse}CategoricalCrossentropy"
    yield row(
        "Keras", f"{name}()({args})", lambda: keras.CategoricalCrossentropy()(f, g),
        PROBABILITIES, clips(1e-7), divides=divided,
    )  # fmt: skip
    yield row(
        "Keras", f"{name}(reduction='sum')({args})",
        lambda: keras.CategoricalCrossentropy(reduction="sum")(f, g),
        PROBABILITIES, clips(1e-7), divides=divided, reduces=SUM,
    )  # fmt: skip
    yield row(
        "Keras", f"{name}(from_logits=True)({args})",
        lambda: keras.CategoricalCrossentropy(from_logits=True)(f, g), LOGITS, NO_CLIP,
    )  # fmt: skip
    sparse = "sparse_" if ids else ""
    yield row(
        "TensorFlow 1", f"losses.{sparse}softmax_cross_entropy({args})",
        lambda: tensorflow.losses.softmax_cross_entropy(f, g), LOGITS, NO_CLIP,
    )  # fmt: skip
    yield row(
        "torch", f"cross_entropy({swapped})", lambda: torch.cross_entropy(g, f),
        LOGITS, NO_CLIP,
    )  # fmt: skip
    labels = "_with_integer_labels" if ids else ""
    yield row(
        "optax", f"softmax_cross_entropy{labels}({swapped}).mean()",
        lambda: jnp.mean(optax.softmax_cross_entropy(g, f)), LOGITS, NO_CLIP,
    )  # fmt: skip
    if classes > 1 and count > 1:
        yield row(
            "Keras", f"categorical_crossentropy({args}, axis=0), mean",
            lambda: jnp.mean(keras.categorical_crossentropy(f, g, axis=0)),
            PROBABILITIES, clips(1e-7), divides="divides columns by their sum",
        )  # fmt: skip
    if jnp.all((jnp.sum(y, axis=1) == 1) & jnp.any(y == 1, axis=1)):
        label = WHOLE.top(y)
        logs = xlogy(jnp.ones_like(g), g)
        yield row(
            "torch", "nll_loss(log p, ids)", lambda: torch.nll_loss(logs, label),
            PROBABILITIES, NO_CLIP,
        )  # fmt: skip
        yield row(
            "torch", "nll_loss(p, ids)", lambda: torch.nll_loss(g, label), LOGS, NO_CLIP
        )
