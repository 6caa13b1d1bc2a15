# SPDX-License-Identifier: Apache-2.0
"""A language model on real text, its head and loss in one: no logits are ever alive.

    python examples/language_model.py --steps 200 --seed 0

The text is jaxent's own: its sources, tests and pages, the same on every machine. Its
words are the vocabulary, the most frequent ones where there are more, after 256 bytes;
other words are made of those, and ids that are left over are padding, as in many a
trained model. Documents are packed end to end in rows; attention and labels stay
within one.

The model trains twice, from the same weights on the same batches: by jaxent's fused
head, and by the dense loss of optax, logits and all. Prints what differs: losses,
perplexity and bits per byte on files held out, time and memory; and draws it, in
`language-model.png`. On a CPU the gain is memory, at about equal time.
"""

import argparse
import functools
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.style
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure
from tqdm import tqdm

import jaxent

ROOT = Path(__file__).parents[1]
TEXT = ("jaxent", "tests", "examples", "benchmarks", "docs")
HELD_OUT = 20  # one file in so many is for validation, whatever the seed
VALIDATION_BATCHES = 6
TIMED_STEPS = 7

# Every character is in exactly one word: a line break takes the indentation after it.
WORD = re.compile(r" ?\w+|\n\s*| ?[^\w\s]+|\s+")
BYTES = 256  # the first ids: what no known word begins is spelt in UTF-8

HEADS = 4
LEARNING_RATE = 2e-3
ROWS = {
    "last": ("last training loss (nats)", 1, ".4f"),
    "loss": ("validation loss (nats)", 1, ".4f"),
    "perplexity": ("validation perplexity", 1, ".2f"),
    "bits_per_byte": ("validation bits per byte", 1, ".4f"),
    "seconds": ("median step (ms)", 1e3, ".0f"),
    "temporaries": ("compiled temporaries (MiB)", 2**-20, ".1f"),
}


def library() -> list[list[str]]:
    """The documents of each file: its top-level pieces, two blank lines apart."""
    files = [path for name in TEXT for path in (ROOT / name).rglob("*.[mp][dy]")]
    texts = (path.read_text("utf-8") for path in sorted(files))
    return [re.split(r"(?<=\n\n\n)(?=\S)", text) for text in texts]


class Tokenizer:
    """Ids of the most frequent words, equally frequent ones in the order met."""

    def __init__(self, texts: Iterable[str], size: int):
        counts = Counter(word for text in texts for word in WORD.findall(text))
        words = [word for word, _ in counts.most_common(size - BYTES)]
        self.ids = {word: BYTES + i for i, word in enumerate(words)}
        self.size = size
        sizes = [1] * BYTES + [len(word.encode()) for word in words]
        # Of text, that each id stands for.
        self.num_bytes = np.array(sizes + [0] * (size - len(sizes)), np.int32)
        self.parts = functools.cache(self.split)

    def encode(self, text: str) -> np.ndarray:
        words = WORD.findall(text)
        return np.array([i for word in words for i in self.parts(word)], np.int32)

    def split(self, word: str) -> list[int]:
        """The longest known words that it is made of, from the left, or bytes."""
        ids: list[int] = []
        while word:
            ends = (end for end in range(len(word), 0, -1) if word[:end] in self.ids)
            end = next(ends, 0)
            ids += [self.ids[word[:end]]] if end else word[0].encode()
            word = word[end or 1 :]
        return ids


class Batch(NamedTuple):
    """Rows of tokens, and of the documents they are of, from 1; 0 is padding."""

    tokens: np.ndarray
    segments: np.ndarray


def pack(documents: list[np.ndarray], length: int, batch_size: int) -> Batch:
    """The documents end to end in rows, as many as fill whole batches."""
    tokens = np.concatenate(documents)
    numbers = np.arange(1, len(documents) + 1, dtype=np.int32)
    segments = np.repeat(numbers, [len(document) for document in documents])
    padding = (0, -len(tokens) % (length * batch_size))
    return Batch(*(np.pad(x, padding).reshape(-1, length) for x in (tokens, segments)))


def in_batches(
    rows: Batch, batch_size: int, count: int, rng: np.random.Generator
) -> list[Batch]:
    """So many batches of rows in a random order, over again once all were seen."""
    order = rng.permutation(len(rows.tokens)).reshape(-1, batch_size)
    chosen = (order[i % len(order)] for i in range(count))
    return [Batch(*(x[index] for x in rows)) for index in chosen]


class Block(nnx.Module):
    """Attention and a two-layer network, each normalised first and added."""

    def __init__(self, width: int, rngs: nnx.Rngs):
        self.norm1, self.norm2 = (nnx.LayerNorm(width, rngs=rngs) for _ in range(2))
        self.attention = nnx.MultiHeadAttention(HEADS, width, decode=False, rngs=rngs)
        self.wide = nnx.Linear(width, 4 * width, rngs=rngs)
        self.narrow = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x, visible):
        x = x + self.attention(self.norm1(x), mask=visible)
        return x + self.narrow(nnx.gelu(self.wide(self.norm2(x))))


class LanguageModel(nnx.Module):
    """A small transformer. It ends at the head: its output is the last activations."""

    def __init__(
        self, vocabulary: int, length: int, width: int, blocks: int, rngs: nnx.Rngs
    ):
        self.embedding = nnx.Embed(vocabulary, width, rngs=rngs)
        self.position = nnx.Embed(length, width, rngs=rngs)
        self.blocks = nnx.List([Block(width, rngs) for _ in range(blocks)])
        self.norm = nnx.LayerNorm(width, rngs=rngs)

    def __call__(self, tokens, segments):
        length = tokens.shape[-1]
        same = segments[:, None, :, None] == segments[:, None, None, :]
        visible = same & jnp.tri(length, dtype=bool)
        x = self.embedding(tokens) + self.position(jnp.arange(length))
        for block in self.blocks:
            x = block(x, visible)
        return self.norm(x)


def fused_loss(hidden, embedding, labels, mask, *, memory=None):
    return jaxent.linear_softmax_cross_entropy(
        hidden, embedding, labels, where=mask, memory=memory
    )


def dense_loss(hidden, embedding, labels, mask):
    logits = hidden @ embedding.T
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.sum(jnp.where(mask, losses, 0)) / jnp.sum(mask)


def forward(model: LanguageModel, batch: Batch):
    """What a loss is of: activations, the tied head, labels and their mask."""
    labels, mask = jaxent.next_token_labels(batch.tokens, segment_ids=batch.segments)
    return model(*batch), model.embedding.embedding[...], labels, mask


def make_step(loss: Callable, graph, optimizer: optax.GradientTransformation):
    """A step of training: (parameters, state, batch) to the next two, and the loss."""

    def step(parameters, state, batch):
        def objective(parameters):
            return loss(*forward(nnx.merge(graph, parameters), batch))

        value, gradients = jax.value_and_grad(objective)(parameters)
        updates, state = optimizer.update(gradients, state, parameters)
        return optax.apply_updates(parameters, updates), state, value

    return step


def make_measure(graph, num_bytes: np.ndarray):
    """(parameters, batch) to the mean loss of its kept tokens, and to their bytes."""

    @jax.jit
    def measure(parameters, batch):
        hidden, embedding, labels, mask = forward(nnx.merge(graph, parameters), batch)
        losses = jaxent.linear_softmax_cross_entropy(
            hidden, embedding, labels, where=mask, reduction="none"
        )
        kept_bytes = jnp.sum(jnp.asarray(num_bytes)[labels], where=mask)
        return jaxent.WeightedMean.from_values(losses, where=mask), kept_bytes

    return measure


def evaluate(measure: Callable, parameters, batches: list[Batch]) -> dict[str, float]:
    """Loss, perplexity and bits per byte over the kept tokens of all batches."""
    means, kept_bytes = zip(*(measure(parameters, b) for b in batches), strict=True)
    mean = functools.reduce(jaxent.WeightedMean.merge, means)
    return {
        "loss": float(mean.value),
        "perplexity": float(jaxent.perplexity(mean.value)),
        "bits_per_byte": float(jaxent.bits_per_byte(mean.total, sum(kept_bytes))),
    }


def train(name: str, step: Callable, parameters, state, batches: list[Batch]):
    """The parameters and state after all batches, and the loss before each."""
    losses = []
    size = batches[0].tokens.size
    with tqdm(
        total=len(batches) * size, desc=name, unit=" tokens", unit_scale=True,
        disable=None,
    ) as bar:  # fmt: skip
        for batch in batches:
            parameters, state, loss = step(parameters, state, batch)
            losses.append(float(loss))
            bar.set_postfix_str(f"loss {losses[-1]:.3f}", refresh=False)
            bar.update(size)
    return parameters, state, losses


def step_times(steps: dict[str, Callable], trained: dict, batches: list[Batch]) -> dict:
    """Median seconds of each step, the steps taking turns."""
    times = {name: [] for name in steps}
    for i in range(TIMED_STEPS):
        for name, step in steps.items():
            started = perf_counter()
            jax.block_until_ready(step(*trained[name], batches[i % len(batches)]))
            times[name].append(perf_counter() - started)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


class Setup(NamedTuple):
    """What every loss starts from: the same weights and batches."""

    graph: nnx.GraphDef
    parameters: nnx.State
    optimizer: optax.GradientTransformation
    batches: list[Batch]
    validation: list[Batch]
    num_bytes: np.ndarray


def prepare(args: argparse.Namespace) -> Setup:
    files = library()
    held_out = [text for file in files[::HELD_OUT] for text in file]
    del files[::HELD_OUT]
    texts = [text for file in files for text in file]
    tokenizer = Tokenizer(texts, args.vocabulary)
    length, size = args.length, args.batch_size

    def batches_of(texts, count, rng):
        rng.shuffle(texts)
        rows = pack([tokenizer.encode(text) for text in texts], length, size)
        return in_batches(rows, size, count, rng)

    validation = batches_of(held_out, VALIDATION_BATCHES, np.random.default_rng(0))
    batches = batches_of(texts, args.steps, np.random.default_rng(args.seed))

    model = LanguageModel(
        tokenizer.size, length, args.width, args.blocks, nnx.Rngs(args.seed)
    )
    graph, parameters = nnx.split(model, nnx.Param)
    schedule = optax.warmup_cosine_decay_schedule(
        0, LEARNING_RATE, max(args.steps // 10, 1), max(args.steps, 2)
    )
    optimizer = optax.adamw(schedule)
    weights = sum(x.size for x in jax.tree.leaves(parameters))
    print(
        f"{len(texts)} documents of {len(files)} files to train on, {len(held_out)} "
        f"held out.\n{weights:,} weights; the logits of a batch are "
        f"{size} × {length} × {tokenizer.size}.\n"
    )
    return Setup(graph, parameters, optimizer, batches, validation, tokenizer.num_bytes)


def compare(args: argparse.Namespace) -> dict[str, dict]:
    """Train by each loss, and return what was measured of each."""
    graph, parameters, optimizer, batches, validation, num_bytes = prepare(args)
    state = optimizer.init(parameters)
    measure = make_measure(graph, num_bytes)
    losses = {
        "fused": functools.partial(fused_loss, memory=args.memory),
        "dense": dense_loss,
    }
    steps, trained, measured = {}, {}, {}
    for name, loss in losses.items():
        step = jax.jit(make_step(loss, graph, optimizer))
        steps[name] = step.lower(parameters, state, batches[0]).compile()
        *trained[name], curve = train(name, steps[name], parameters, state, batches)
        measured[name] = evaluate(measure, trained[name][0], validation) | {
            "curve": curve,
            "last": curve[-1],
            "temporaries": steps[name].memory_analysis().temp_size_in_bytes,
        }
    for name, seconds in step_times(steps, trained, batches).items():
        measured[name]["seconds"] = seconds
    return measured


def report(measured: dict[str, dict]) -> str:
    """What was measured of both, in a table, and their largest difference in loss."""
    lines = [f"{'':27}{'fused':>10}{'dense':>10}{'ratio':>9}"]
    for key, (name, scale, spec) in ROWS.items():
        a, b = (scale * one[key] for one in measured.values())
        lines.append(f"{name:27}{a:>10{spec}}{b:>10{spec}}{a / b:>9.3f}")
    fused, dense = (np.array(one["curve"], np.float32) for one in measured.values())
    lines.append(
        f"\nLargest loss difference in {len(fused)} steps: "
        f"{np.abs(fused - dense).max():.1e} nats\n(float32 numbers near "
        f"{fused.max():.0f} lie {np.spacing(fused.max()):.1e} apart)"
    )
    return "\n".join(lines)


def draw(measured: dict[str, dict], path: Path) -> None:
    """What differs: memory and time of a step; and how little the losses do."""
    figure = Figure(figsize=(11, 3.6))
    memory, time, loss = figure.subplots(1, 3, width_ratios=(1, 1, 2))
    bars = {"temporaries": memory, "seconds": time}
    for key, axes in bars.items():
        name, scale, spec = ROWS[key]
        heights = [scale * one[key] for one in measured.values()]
        drawn = axes.bar([*measured], heights, color=["C0", "C1"], width=0.6)
        axes.bar_label(drawn, [f"{height:{spec}}" for height in heights])
        axes.set(title=name[0].upper() + name[1:], xlim=(-0.6, 1.6))
        axes.grid(axis="x", visible=False)
    fused, dense = (np.array(one["curve"], np.float32) for one in measured.values())
    steps = range(1, len(fused) + 1)
    loss.plot(steps, fused - dense, ".", color="C0", label="fused less dense")
    spacing = np.spacing(fused.max())
    loss.axhspan(-spacing, spacing, color="0.9", label="one float32 number either way")
    loss.set(
        title=f"Difference of the losses, {fused[0]:.1f} to {fused[-1]:.1f} nats",
        xlabel="training step", ylabel="nats per token",
    )  # fmt: skip
    loss.xaxis.get_major_locator().set_params(integer=True)
    loss.margins(y=0.35)
    loss.legend(loc="upper left")
    figure.savefig(path)


def parser_of(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=16, help="rows a step")
    parser.add_argument("--length", type=int, default=128, help="tokens a row")
    parser.add_argument("--width", type=int, default=128, help="a multiple of 4")
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--vocabulary", type=int, default=32768)
    return parser


def main(argv: list[str] | None = None) -> dict[str, dict]:
    parser = parser_of(__doc__.splitlines()[0])
    parser.add_argument("--memory", help='of the fused head, such as "32MB"')
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    args = parser.parse_args(argv)

    measured = compare(args)
    print(f"{report(measured)}\n")
    args.output.mkdir(parents=True, exist_ok=True)
    matplotlib.style.use(Path(__file__).with_name("style.mplstyle"))
    path = args.output / "language-model.png"
    draw(measured, path)
    print(f"Drew {path}")
    return measured


if __name__ == "__main__":
    main()
