# SPDX-License-Identifier: Apache-2.0
"""Where other losses round to zero: three tables and two pictures, in float32.

    python examples/exactness.py            # tables, and pictures in demo-output/
    python examples/exactness.py --markdown # the tables alone, for a README

Truth is float64, computed from the same float32 logits without a cancelling term. A
zero in a table is exactly zero: no loss, and nothing left to learn from.
"""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.style
import numpy as np
import optax
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import jaxent

MARGINS = (5, 10, 16, 20, 40, 80)
DISTANCES = (1e-2, 1e-3, 1e-4)
CLASSES = 1000
LABEL = 0
BOTTOM = 1e-40


def jaxent_loss(logits):
    return jaxent.softmax_cross_entropy_with_integer_labels(logits, jnp.array(LABEL))


def optax_loss(logits):
    return optax.losses.softmax_cross_entropy_with_integer_labels(
        logits, jnp.array(LABEL)
    )


def log_softmax_loss(logits):
    return -jax.nn.log_softmax(logits)[LABEL]


LOSSES = {"jaxent": jaxent_loss, "optax": optax_loss, "log_softmax": log_softmax_loss}


def logits_at(margin: float) -> np.ndarray:
    """Random logits, float32, the label's ahead of the runner-up by `margin`."""
    logits = np.random.default_rng(0).normal(size=CLASSES).astype(np.float32)
    logits[LABEL] = np.delete(logits, LABEL).max() + np.float32(margin)
    return logits


def true_loss_and_gradient(logits: np.ndarray) -> tuple[float, float]:
    """−log p and −(1 − p) of the label, the largest logit: t = Σ exp(x_j − x_y)."""
    x = logits.astype(np.float64)
    rest = np.exp(np.delete(x, LABEL) - x[LABEL]).sum()
    return float(np.log1p(rest)), float(-rest / (1 + rest))


def true_kl(p_logits: np.ndarray, q_logits: np.ndarray) -> float:
    """log(1 + Σ p·(exp d − 1 − d)), d the logits' difference less its mean under p."""
    a, b = p_logits.astype(np.float64), q_logits.astype(np.float64)
    p = np.exp(a - a.max()) / np.exp(a - a.max()).sum()
    d = (b - a) - p @ (b - a)
    return float(np.log1p(p @ (np.expm1(d) - d)))


def loss_rows(margins: Iterable[float] = MARGINS) -> list[dict[str, float]]:
    """The loss at each margin, by each implementation.

    One row at a time, in the picture too: a batch is summed in another order, and may
    round to zero elsewhere.
    """
    rows = []
    for margin in margins:
        logits = logits_at(margin)
        row = {"margin": margin, "true": true_loss_and_gradient(logits)[0]}
        rows.append(row | {name: float(f(logits)) for name, f in LOSSES.items()})
    return rows


def gradient_rows() -> list[dict[str, float]]:
    """The gradient in the label's logit at each margin, by each implementation."""
    rows = []
    for margin in MARGINS:
        logits = logits_at(margin)
        row = {"margin": margin, "true": true_loss_and_gradient(logits)[1]}
        gradients = {n: float(jax.grad(f)(logits)[LABEL]) for n, f in LOSSES.items()}
        rows.append(row | gradients)
    return rows


def kl_rows() -> list[dict[str, float]]:
    """KL(p‖q) where the logits of q are those of p plus noise of size Δ."""
    rng = np.random.default_rng(0)
    p_logits, noise = rng.normal(size=(2, CLASSES)).astype(np.float32)
    rows = []
    for distance in DISTANCES:
        q_logits = p_logits + np.float32(distance) * noise
        optax_kl = optax.losses.kl_divergence(
            jax.nn.log_softmax(q_logits), jax.nn.softmax(p_logits)
        )
        rows.append({
            "Δ": distance,
            "true": true_kl(p_logits, q_logits),
            "jaxent": float(jaxent.kl_divergence_from_logits(p_logits, q_logits)),
            "optax": float(optax_kl),
        })  # fmt: skip
    return rows


TABLES: dict[str, Callable[[], list[dict[str, float]]]] = {
    "Cross-entropy in nats (margin: the label's logit less the runner-up's)": loss_rows,
    "Its gradient in the label's logit": gradient_rows,
    "KL divergence in nats between logits that differ by about Δ": kl_rows,
}


def cells(rows: list[dict[str, float]]) -> list[list[str]]:
    """The table as text: a header, then a line a row."""
    return [
        list(rows[0]),
        *[[f"{value + 0.0:.6g}" for value in row.values()] for row in rows],
    ]


def markdown(rows: list[dict[str, float]]) -> str:
    header, *lines = cells(rows)
    rule = ["---:"] * len(header)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))


def plain(rows: list[dict[str, float]]) -> str:
    return "\n".join(
        f"{line[0]:>8}" + "".join(f"{text:>14}" for text in line[1:])
        for line in cells(rows)
    )


def draw_log_loss(path: Path) -> None:
    """The curves every text on cross-entropy opens with."""
    probs = np.linspace(0, 1, 1001, dtype=np.float32)[1:-1]
    figure = Figure(figsize=(6.6, 4.2))
    axes = figure.subplots()
    for label, dash in ((1, "-"), (0, "--")):
        losses = jaxent.binary_cross_entropy(probs, np.full_like(probs, label))
        axes.plot(probs, losses, dash, label=f"label y = {label}")
    axes.plot(0.5, np.log(2), "o", color="0.2")
    axes.text(0.5, 1.0, "an even guess\ncosts log 2", ha="center", color="0.2")
    axes.set(
        title="Log loss of one prediction", xlabel="predicted probability of y = 1",
        ylabel="loss (nats)", xlim=(0, 1), ylim=(0, 7),
    )  # fmt: skip
    axes.legend(loc="upper center")
    figure.savefig(path)


def plot_margins(axes: Axes) -> None:
    """Loss against margin on a log scale, where an exact zero has no place."""
    rows = loss_rows(np.arange(0, 85, 0.5).tolist())
    curves = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    margins = curves["margin"]
    axes.semilogy(
        margins, curves["true"], color="0.85", linewidth=8, label="true (float64)"
    )
    looks = {"jaxent": "-", "log_softmax": "-", "optax": "--"}
    colors = {"jaxent": "C0", "log_softmax": "C2", "optax": "C1"}
    notes = {"log_softmax": (22, 1e-26), "optax": (-1, 1e-17)}
    for name, look in looks.items():
        # A zero is drawn as a fall out of the picture.
        drawn = np.where(curves[name] > 0, curves[name], BOTTOM)
        axes.semilogy(
            margins, drawn, look, color=colors[name], label=f"{name}, float32"
        )
        if (curves[name] <= 0).any():
            zero = margins[curves[name] > 0].max() + 0.5
            text = f"{name}:\nexactly 0\nfrom {zero:g} on"
            axes.text(*notes[name], text, color=colors[name], va="center")
    axes.set(
        title=f"Loss of a right answer among {CLASSES} classes", ylim=(1e-36, 1e2),
        xlabel="margin: label's logit less the runner-up's (nats)",
        ylabel="loss (nats)",
    )  # fmt: skip
    axes.legend(loc="upper right")


def draw_margins(path: Path) -> None:
    figure = Figure(figsize=(7.4, 4.8))
    plot_margins(figure.subplots())
    figure.savefig(path)


PICTURES: dict[str, Callable[[Path], None]] = {
    "log-loss-curves.png": draw_log_loss,
    "loss-against-margin.png": draw_margins,
}


def main(argv: list[str] | None = None) -> dict[str, list[dict[str, float]]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--markdown", action="store_true", help="print tables only")
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    args = parser.parse_args(argv)

    tables = {title: rows() for title, rows in TABLES.items()}
    for title, rows in tables.items():
        print(f"{title}\n\n{(markdown if args.markdown else plain)(rows)}\n")
    if not args.markdown:
        args.output.mkdir(parents=True, exist_ok=True)
        matplotlib.style.use(Path(__file__).with_name("style.mplstyle"))
        for name, draw in PICTURES.items():
            draw(args.output / name)
            print(f"Drew {args.output / name}")
    return tables


if __name__ == "__main__":
    main()
