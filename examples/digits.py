# SPDX-License-Identifier: Apache-2.0
"""Handwritten digits with Flax NNX, Optax and jaxent: a whole training program.

    python examples/digits.py --epochs 20 --seed 0

The data are the 1797 real images inside scikit-learn: 1293 to train on, 144 to
validate and 360 to test, split alike for every seed. No share is a multiple of the
batch size, so the last batch is padded to keep shapes static, and a mask keeps the
padding out of the loss, its gradient and every mean: each image counts once.

Prints loss, accuracy and perplexity an epoch, and draws `training-curves.png`.
"""

import argparse
import functools
from pathlib import Path

import jax.numpy as jnp
import matplotlib.style
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import jaxent

LABEL_SMOOTHING = 0.1
LEARNING_RATE = 3e-3


def splits():
    """Images and labels to train on, to validate and to test: ((x, y), (x, y), …)."""
    digits = load_digits()
    images = (digits.images[..., None] / 16).astype(np.float32)
    labels = digits.target.astype(np.int32)

    def split(images, labels, share):
        x, held_x, y, held_y = train_test_split(
            images, labels, test_size=share, stratify=labels, random_state=0
        )
        return (x, y), (held_x, held_y)

    rest, test = split(images, labels, 0.2)
    train, validation = split(*rest, 0.1)
    return train, validation, test


def batches(images, labels, size, order):
    """Batches of one static shape, each with the mask of its real images."""
    for start in range(0, len(order), size):
        index = order[start : start + size]
        mask = np.arange(size) < len(index)
        index = np.resize(index, size)  # pads with images seen before, masked out
        yield images[index], labels[index], mask


class ConvNet(nnx.Module):
    """Two convolutions and a linear layer, for images of 8 × 8 × 1."""

    def __init__(self, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(1, 32, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(32, 64, (3, 3), strides=2, rngs=rngs)
        self.dropout = nnx.Dropout(0.3, rngs=rngs)
        self.linear = nnx.Linear(4 * 4 * 64, 10, rngs=rngs)

    def __call__(self, images):
        x = nnx.relu(self.conv1(images))
        x = nnx.relu(self.conv2(x))
        return self.linear(self.dropout(x.reshape(len(x), -1)))


def measure(logits, labels, mask):
    """Running totals of the plain loss and of the hits, over the real images."""
    statistics = jaxent.softmax_statistics(logits, labels)
    hits = statistics.correct.astype(jnp.float32)
    return {
        "loss": jaxent.WeightedMean.from_values(statistics.nll, where=mask),
        "accuracy": jaxent.WeightedMean.from_values(hits, where=mask),
    }


@nnx.jit
def train_step(model, optimizer, images, labels, mask):
    def loss_fn(model):
        logits = model(images)
        losses = jaxent.softmax_cross_entropy_with_integer_labels(
            logits, labels, label_smoothing=LABEL_SMOOTHING, where=mask
        )
        return jaxent.reduce(losses, where=mask), logits

    (_, logits), grads = nnx.value_and_grad(loss_fn, has_aux=True)(model)
    optimizer.update(model, grads)
    return measure(logits, labels, mask)


@nnx.jit
def eval_step(model, images, labels, mask):
    return measure(model(images), labels, mask)


def means(steps: list[dict]) -> dict[str, float]:
    """The means over all images of all steps, and the perplexity of the loss."""
    merge = functools.partial(functools.reduce, jaxent.WeightedMean.merge)
    mean = {name: merge([step[name] for step in steps]).value for name in steps[0]}
    mean["perplexity"] = jaxent.perplexity(mean["loss"])
    return {name: float(value) for name, value in mean.items()}


def train(epochs: int, seed: int, batch_size: int) -> dict:
    """Train, printing a line an epoch; the history and the test's measures."""
    train_set, validation_set, test_set = splits()
    rng = np.random.default_rng(seed)
    model = ConvNet(nnx.Rngs(seed))
    steps = -(-len(train_set[0]) // batch_size)
    schedule = optax.cosine_decay_schedule(LEARNING_RATE, epochs * steps)
    optimizer = nnx.Optimizer(model, optax.adamw(schedule), wrt=nnx.Param)

    def evaluate(images, labels):
        model.eval()
        order = np.arange(len(images))
        return means([
            eval_step(model, *batch)
            for batch in batches(images, labels, batch_size, order)
        ])  # fmt: skip

    history = {"train": [], "validation": []}
    print("        train                          validation")
    print("epoch   loss (nats)  accuracy  perpl.  loss (nats)  accuracy  perpl.")
    with tqdm(
        total=epochs * steps, desc="training", unit="step", leave=False, disable=None
    ) as bar:
        for epoch in range(1, epochs + 1):
            model.train()
            measured = []
            order = rng.permutation(len(train_set[0]))
            for batch in batches(*train_set, batch_size, order):
                measured.append(train_step(model, optimizer, *batch))
                bar.update()
            history["train"].append(means(measured))
            history["validation"].append(evaluate(*validation_set))
            columns = [
                f"{m['loss']:11.4f}  {m['accuracy']:8.2%}  {m['perplexity']:6.3f}"
                for m in (history["train"][-1], history["validation"][-1])
            ]
            bar.write(f"{epoch:5}   {'  '.join(columns)}")
    return history | {"test": evaluate(*test_set)}


def draw(history: dict, path: Path) -> None:
    """Loss, accuracy and perplexity against the epoch."""
    figure = Figure(figsize=(11, 3.8))
    panels = {
        "loss": ("Cross-entropy", "mean loss (nats per image)", 1),
        "accuracy": ("Accuracy", "images classified right (%)", 100),
        "perplexity": ("Perplexity", "exp(mean loss); 10 is guessing", 1),
    }
    for axes, (name, panel) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        title, unit, scale = panel
        for split, marker in (("train", "o"), ("validation", "s")):
            values = [scale * epoch[name] for epoch in history[split]]
            epochs = range(1, len(values) + 1)
            axes.plot(epochs, values, marker=marker, markersize=4, label=split)
        axes.axhline(
            scale * history["test"][name],
            color="0.3",
            linestyle=":",
            label="test, at the end",
        )
        axes.set(title=title, xlabel="epoch", ylabel=unit)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.axes[0].legend()
    figure.savefig(path)


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    args = parser.parse_args(argv)

    history = train(args.epochs, args.seed, args.batch_size)
    test = history["test"]
    print(
        f"\nTest: loss {test['loss']:.4f} nats, accuracy {test['accuracy']:.2%}, "
        f"perplexity {test['perplexity']:.3f}"
    )
    args.output.mkdir(parents=True, exist_ok=True)
    matplotlib.style.use(Path(__file__).with_name("style.mplstyle"))
    path = args.output / "training-curves.png"
    draw(history, path)
    print(f"Drew {path}")
    return history


if __name__ == "__main__":
    main()
