# SPDX-License-Identifier: Apache-2.0
"""Draws the pictures of the pages: `python docs/pictures.py`, after which commit them.

Every curve is a function of jaxent's, evaluated; or memory, of compiled programs.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.style
import numpy as np
import optax
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

import jaxent

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from examples import exactness  # noqa: E402

PROBS = np.linspace(0, 1, 401, dtype=np.float32)
MARGINS = np.linspace(-4, 8, 401, dtype=np.float32)
CLASSES = 10
TOKENS, WIDTH = 4096, 512
VOCABULARIES = (8192, 32768, 131072)


def pairs(first: np.ndarray) -> np.ndarray:
    """Distributions over two classes, by the probability of the first."""
    return np.stack([first, 1 - first], axis=-1)


def panels(width: float = 9.0) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(width, 3.6))
    return figure, figure.subplots(1, 2)


def entropy() -> Figure:
    figure, (left, right) = panels()
    left.plot(PROBS, jaxent.entropy(pairs(PROBS), base=2))
    left.set(title="Entropy of a coin", xlabel="probability of heads", ylabel="bits")

    own, inner = np.float32(0.3), PROBS[4:-4]
    p = np.broadcast_to(pairs(own), (inner.size, 2))
    cross = np.asarray(jaxent.cross_entropy(p, pairs(inner), base=2))
    floor = float(jaxent.entropy(pairs(own), base=2))
    right.plot(inner, cross, label="cross-entropy H(p, q)")
    right.axhline(floor, color="C2", linestyle="--", label="entropy H(p)")
    right.fill_between(inner, floor, cross, color="C1", alpha=0.25, linewidth=0)
    right.annotate("KL(p‖q)", (0.72, 1.12), color="C1")
    right.set(
        title="A coin of 0.3, coded as one of q", xlabel="q", ylabel="bits", ylim=(0, 3)
    )
    right.legend(loc="upper center")
    return figure


def divergences() -> Figure:
    figure, (left, right) = panels()
    p = np.broadcast_to(pairs(np.float32(0.5)), (PROBS.size, 2))
    q = pairs(PROBS)
    with np.errstate(divide="ignore"):
        log_p, log_q = np.log(p), np.log(q)
    measures = {
        "KL(p‖q)": jaxent.kl_divergence(log_q, p),
        "KL(q‖p)": jaxent.kl_divergence(log_p, q),
        "Jensen–Shannon": jaxent.js_divergence(p, q),
    }
    for (name, value), line in zip(measures.items(), ("-", "--", ":"), strict=True):
        left.plot(PROBS, value, line, label=name)
    left.set(title="From a fair coin p to q", xlabel="q", ylabel="nats", ylim=(0, 1.5))
    left.legend(loc="upper center")

    d = np.geomspace(1e-6, 1, 200, dtype=np.float32)
    shifted = np.stack([d, np.zeros_like(d), np.zeros_like(d)], axis=-1)
    zero = np.zeros_like(shifted)
    right.loglog(
        d, jaxent.kl_divergence_from_logits(zero, shifted), label="from logits"
    )
    rounded = jaxent.kl_divergence(jax.nn.log_softmax(shifted), jax.nn.softmax(zero))
    right.loglog(d, np.abs(rounded), ".", markersize=3, label="from probabilities, |·|")
    right.set(
        title="Near distributions, in float32", xlabel="change of one logit of three"
    )
    right.legend(loc="upper left")
    return figure


def of_margin(loss, margins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Losses and slopes, where the label is ahead of nine equal logits by a margin."""

    def at(margin: jax.Array) -> jax.Array:
        return loss(jnp.zeros(CLASSES).at[0].set(margin))

    return jax.vmap(jax.value_and_grad(at))(jnp.asarray(margins))


LABEL = jnp.asarray(0)
ONE_HOT = jnp.eye(CLASSES)[0]
PAIR_LOSSES = {
    "cross-entropy": lambda x: jaxent.softmax_cross_entropy(x, ONE_HOT),
    "focal, γ = 2": lambda x: jaxent.softmax_focal_loss(x, LABEL),
    "poly, ε = 2": lambda x: jaxent.poly_loss_cross_entropy(x, ONE_HOT),
    "generalised, q = 0.7": lambda x: jaxent.generalized_cross_entropy(x, LABEL),
}


def pair_functions() -> Figure:
    figure, (left, right) = panels()
    lines = ("-", "--", ":", "-.")
    for (name, loss), line in zip(PAIR_LOSSES.items(), lines, strict=True):
        value, slope = of_margin(loss, MARGINS)
        left.plot(MARGINS, value, line, label=name)
        right.plot(MARGINS, -slope, line)
    left.set(title="Loss", xlabel="margin of the label", ylabel="nats", ylim=(0, 7))
    right.set(title="Pull on the label's logit", xlabel="margin of the label")
    left.legend()
    return figure


def smoothing() -> Figure:
    figure, (left, right) = panels()
    for alpha, line in ((0.0, "-"), (0.1, "--"), (0.3, ":")):

        def loss(x: jax.Array, alpha: float = alpha) -> jax.Array:
            return jaxent.softmax_cross_entropy_with_integer_labels(
                x, LABEL, label_smoothing=alpha
            )

        value, slope = of_margin(loss, np.linspace(-4, 14, 401, dtype=np.float32))
        margins = np.linspace(-4, 14, 401)
        left.plot(margins, value, line, label=f"α = {alpha:g}")
        right.plot(margins, -slope, line)
    left.set(title="Smoothed loss", xlabel="margin of the label", ylabel="nats")
    right.set(title="Pull on the label's logit", xlabel="margin of the label")
    left.legend()
    return figure


def fused(hidden: jax.Array, classifier: jax.Array, labels: jax.Array) -> jax.Array:
    return jaxent.linear_softmax_cross_entropy(hidden, classifier, labels)


def dense(hidden: jax.Array, classifier: jax.Array, labels: jax.Array) -> jax.Array:
    logits = hidden @ classifier.T
    return jnp.mean(
        optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    )


def temporaries(loss: Callable[..., jax.Array], classes: int) -> float:
    """MiB that a step holds beside its arguments and gradients: compiled, not run."""
    shapes = (TOKENS, WIDTH), (classes, WIDTH)
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    labels = jax.ShapeDtypeStruct((TOKENS,), jnp.int32)
    program = step.lower(*args, labels).compile()
    return program.memory_analysis().temp_size_in_bytes / 2**20


def plot_memory(axes: Axes) -> None:
    looks = {
        "dense logits, optax": (dense, "C1", "--"),
        "fused head": (fused, "C0", "-"),
    }
    for name, (loss, color, line) in looks.items():
        mib = [temporaries(loss, classes) for classes in VOCABULARIES]
        axes.loglog(VOCABULARIES, mib, line, marker="o", color=color, label=name)
    axes.set(
        title=f"Memory of a step, {TOKENS} tokens", xlabel="classes",
        ylabel="temporaries (MiB)", ylim=(20, 8000),
    )  # fmt: skip
    axes.set_xticks(VOCABULARIES, [f"{classes:,}" for classes in VOCABULARIES])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.legend(loc="upper left")


def why() -> Figure:
    """What the README opens with: exact where others are 0, and small."""
    with matplotlib.rc_context({"font.size": 15, "axes.titlesize": 16}):  # on a phone
        figure = Figure(figsize=(9.4, 4.6))
        left, right = figure.subplots(1, 2)
        exactness.plot_margins(left)
        plot_memory(right)
        left.set(
            title=f"Loss among {exactness.CLASSES} classes", xlabel="margin (nats)"
        )
        left.legend(loc="upper right", fontsize=13)
        for note, height in zip(left.texts, (1e-31, 1e-22), strict=True):
            note.set(position=(20, height), fontsize=13)
        right.set(title=f"A step of {TOKENS} tokens")
    return figure


PICTURES = {
    "why": why,
    "entropy": entropy,
    "divergences": divergences,
    "pair-functions": pair_functions,
    "smoothing": smoothing,
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT / "docs" / "pictures"
    parser.add_argument("--output", type=Path, default=default)
    output = parser.parse_args(argv).output
    output.mkdir(parents=True, exist_ok=True)
    matplotlib.style.use(ROOT / "examples" / "style.mplstyle")
    for name, draw in PICTURES.items():
        draw().savefig(output / f"{name}.png", metadata={"Software": None})
    exactness.draw_margins(output / "margins.png")


if __name__ == "__main__":
    main()
