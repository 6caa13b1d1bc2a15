# SPDX-License-Identifier: Apache-2.0
"""Softmax collapse: a network that stops learning because its loss rounds to zero.

A small network learns addition modulo 53 from 85 % of the pairs. It fits those
within a few hundred steps, and generalises only thousands of steps later, driven by
the tiny losses of pairs it already gets right (Prieto et al. 2025, "Grokking at the
Edge of Numerical Stability"). Three runs differ in the loss alone: optax in float32,
`log_softmax` in float64, jaxent in float32. All else is float32 in each.

    python examples/grokking.py --seeds 0 1 --losses optax float64 jaxent

takes two to four minutes a run on two cores, and writes `grokking.json` and
`grokking.png` to `--output` (`demo-output/` by default). It shows that a rounded
loss can stop learning; one tiny task is no evidence of how often it does.
"""

import argparse
import json
import re
import shlex
import sys
from pathlib import Path
from time import perf_counter

import jax
import jax.numpy as jnp
import matplotlib.style
import numpy as np
import optax
from matplotlib.figure import Figure
from tqdm import tqdm

import jaxent

P = 53
TRAIN_SHARE = 0.85
WIDTH = 200
LEARNING_RATE = 5e-4
# Adam divides by √v, and v underflows once gradients fall below 1e-19: the loss is
# scaled up, and eps is kept below the gradients. The update is otherwise the same.
LOSS_SCALE = 2.0**33
EPS = 1e-15
BETA2 = 0.99  # a second moment that keeps up with gradients shrinking exponentially


def optax_loss(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def float64_loss(logits, labels):
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float64))
    return -jnp.take_along_axis(log_probs, labels[:, None], axis=-1)[:, 0]


def jaxent_loss(logits, labels):
    return jaxent.softmax_cross_entropy_with_integer_labels(logits, labels)


LOSSES = {"optax": optax_loss, "float64": float64_loss, "jaxent": jaxent_loss}
LOOKS = {
    "optax": {"color": "C1", "linestyle": ":"},
    "float64": {"color": "C2", "linestyle": "--"},
    "jaxent": {"color": "C0", "linestyle": "-"},
}
LEGENDS = {
    "optax": "optax, float32",
    "float64": "log_softmax, float64",
    "jaxent": "jaxent, float32",
}


def addition_table(seed: int):
    """All pairs one-hot, their sums modulo P, split at random: (train, test)."""
    a, b = np.divmod(np.arange(P * P), P)
    eye = np.eye(P, dtype=np.float32)
    pairs = np.concatenate([eye[a], eye[b]], axis=-1)
    sums = ((a + b) % P).astype(np.int32)
    order = np.random.default_rng(seed).permutation(P * P)
    train, test = np.split(order, [int(TRAIN_SHARE * P * P)])
    return (pairs[train], sums[train]), (pairs[test], sums[test])


def initial_weights(seed: int):
    """Three matrices, uniform in ±1/√inputs, and no biases."""
    sizes = [2 * P, WIDTH, WIDTH, P]
    keys = jax.random.split(jax.random.key(seed), 3)
    return [
        jax.random.uniform(key, (n, m), jnp.float32, -(n**-0.5), n**-0.5)
        for key, n, m in zip(keys, sizes, sizes[1:], strict=False)
    ]


def network(weights, pairs):
    x = jax.nn.relu(pairs @ weights[0])
    return jax.nn.relu(x @ weights[1]) @ weights[2]


def true_losses(logits, labels):
    """The losses of these logits in float64, the largest term kept out of the log."""
    x = logits.astype(jnp.float64)
    is_label = labels[:, None] == jnp.arange(P)
    terms = jnp.exp(x - jnp.max(x, axis=-1, keepdims=True))
    rest = jnp.sum(jnp.where(is_label, 0, terms), axis=-1)
    behind = jnp.max(x, axis=-1) - jnp.sum(jnp.where(is_label, x, 0), axis=-1)
    total = rest + jnp.exp(-behind)
    return jnp.where(behind == 0, jnp.log1p(rest), behind + jnp.log(total))


def train(name: str, seed: int, steps: int, points: int) -> dict:
    """One run, measured `points` times after the start, equally spaced."""
    loss = LOSSES[name]
    train_set, test_set = jax.device_put(addition_table(seed))
    weights = initial_weights(seed)
    optimizer = optax.adam(LEARNING_RATE, b2=BETA2, eps=EPS)

    def objective(weights):
        losses = loss(network(weights, train_set[0]), train_set[1])
        return jnp.mean(losses) * LOSS_SCALE

    def step(carry, _):
        weights, state = carry
        updates, state = optimizer.update(jax.grad(objective)(weights), state)
        return (optax.apply_updates(weights, updates), state), None

    every = steps // points
    advance = jax.jit(lambda carry: jax.lax.scan(step, carry, length=every)[0])

    @jax.jit
    def measure(weights):
        logits, labels = network(weights, train_set[0]), train_set[1]
        reported = loss(logits, labels)
        test_logits = network(weights, test_set[0])
        return {
            "test_accuracy": jnp.mean(jnp.argmax(test_logits, -1) == test_set[1]),
            "train_accuracy": jnp.mean(jnp.argmax(logits, -1) == labels),
            "true_loss": jnp.mean(true_losses(logits, labels)),
            "reported_loss": jnp.mean(reported),
            "share_reported_zero": jnp.mean(reported == 0),
        }

    carry = (weights, optimizer.init(weights))
    history = {"step": [0]} | {k: [float(v)] for k, v in measure(weights).items()}
    started = perf_counter()
    total, desc = every * points, f"{name:7} seed {seed}"
    with tqdm(total=total, desc=desc, unit="step", disable=None) as bar:
        for point in range(1, points + 1):
            carry = advance(carry)
            history["step"].append(point * every)
            for key, value in measure(carry[0]).items():
                history[key].append(float(value))
            bar.update(every)
            bar.set_postfix_str(f"test accuracy {history['test_accuracy'][-1]:.3f}")
    rounded = {k: [float(f"{v:.4g}") for v in vs] for k, vs in history.items()}
    rounded["step"] = history["step"]
    seconds = round(perf_counter() - started)
    return {"loss": name, "seed": seed, "seconds": seconds, "history": rounded}


def as_json(record: dict) -> str:
    """JSON with each curve on a line of its own."""
    text = json.dumps(record, indent=1)
    return re.sub(r"(?<=[\[\d,])\n\s+(?=[-\d\]])", "", text) + "\n"


def draw(runs: list[dict], path: Path) -> None:
    """Test accuracy and true training loss against the step; a shade for each seed."""
    figure = Figure(figsize=(10, 4.4))
    accuracy, loss = figure.subplots(1, 2)
    names = list(dict.fromkeys(run["loss"] for run in runs))
    seeds = list(dict.fromkeys(run["seed"] for run in runs))
    for run in runs:
        name, history = run["loss"], run["history"]
        shade = 1 - 0.5 * seeds.index(run["seed"]) / max(len(seeds) - 1, 1)
        look = LOOKS[name] | {"alpha": shade}
        label = LEGENDS[name] if run["seed"] == seeds[0] else None
        test_accuracy = 100 * np.array(history["test_accuracy"])
        accuracy.plot(history["step"], test_accuracy, label=label, **look)
        loss.semilogy(history["step"], history["true_loss"], label=label, **look)
    accuracy.set(
        title="Accuracy on pairs held out", xlabel="training step",
        ylabel="test accuracy (%)", ylim=(0, 100),
    )  # fmt: skip
    loss.set(
        title="Loss on the training pairs, computed exactly", xlabel="training step",
        ylabel="true mean loss (nats)",
    )  # fmt: skip
    handles, labels = accuracy.get_legend_handles_labels()
    shades = f"seeds {', '.join(map(str, seeds))}: darker to lighter"
    title = shades if len(seeds) > 1 else f"seed {seeds[0]}"
    figure.legend(
        handles, labels, title=title, loc="outside lower center", ncols=len(names)
    )
    figure.savefig(path)


def main(argv: list[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=100, help="measurements a run")
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    args = parser.parse_args(argv)
    points = max(1, min(args.points, args.steps))

    args.output.mkdir(parents=True, exist_ok=True)
    matplotlib.style.use(Path(__file__).with_name("style.mplstyle"))
    path = args.output / "grokking.json"
    arguments = sys.argv[1:] if argv is None else map(str, argv)
    command = shlex.join(["python", "examples/grokking.py", *arguments])
    record = {"command": command, "jax": jax.__version__, "optax": optax.__version__}
    runs = []
    # Double precision is switched on for the float64 loss and for measuring; the
    # network, its optimizer and the other losses are float32 all the same.
    with jax.enable_x64(True):
        for seed in args.seeds:
            for name in args.losses:
                runs.append(train(name, seed, args.steps, points))
                path.write_text(as_json(record | {"runs": runs}))
    draw(runs, path.with_suffix(".png"))

    print("\nloss     seed  test accuracy  true loss  reported loss  reported as 0")
    for run in runs:
        last = {key: values[-1] for key, values in run["history"].items()}
        print(
            f"{run['loss']:7} {run['seed']:5}  {last['test_accuracy']:12.1%}  "
            f"{last['true_loss']:9.1e}  {last['reported_loss']:13.1e}  "
            f"{last['share_reported_zero']:12.0%}"
        )
    print(f"\nWrote {path} and {path.with_suffix('.png')}")
    return runs


if __name__ == "__main__":
    main()
