# SPDX-License-Identifier: Apache-2.0
"""A language model trained on a sample of its classes, and judged by all of them.

    python examples/sampled_softmax.py --steps 200 --num-sampled 1024

The model, the text and the batches of `examples/language_model.py`. It trains twice
from the same weights: by the exact loss of the fused head, and by sampled softmax, with
classes drawn at each step by how often they occur in the text. Prints the exact loss
of both on files held out, and the time and memory of a step.
"""

import argparse
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxent

if __package__:
    from . import language_model
else:
    import language_model

ROWS = ("loss", "perplexity", "bits_per_byte", "seconds", "temporaries")


def make_sampled_step(
    graph, optimizer: optax.GradientTransformation, counts: np.ndarray, num_sampled: int
) -> Callable:
    """A step of training; its state is the optimizer's, and a key."""

    def step(parameters, state, batch):
        optimizer_state, key = state
        key, now = jax.random.split(key)

        def objective(parameters):
            model = nnx.merge(graph, parameters)
            hidden, embedding, labels, mask = language_model.forward(model, batch)
            drawn = jaxent.samplers.fixed_unigram(
                now, labels, weights=jnp.asarray(counts), num_sampled=num_sampled,
                num_classes=counts.size,
            )  # fmt: skip
            losses = jaxent.sampled_softmax_cross_entropy(
                hidden, embedding, labels, candidates=drawn, where=mask
            )
            return jaxent.reduce(losses, where=mask)

        value, gradients = jax.value_and_grad(objective)(parameters)
        updates, optimizer_state = optimizer.update(
            gradients, optimizer_state, parameters
        )
        parameters = optax.apply_updates(parameters, updates)
        return parameters, (optimizer_state, key), value

    return step


def compare(args: argparse.Namespace) -> dict[str, dict]:
    """Train by each loss, and return what was measured of each."""
    setup = language_model.prepare(args)
    graph, parameters, optimizer, batches, validation, num_bytes = setup
    tokens = np.concatenate([batch.tokens.ravel() for batch in batches])
    counts = 1 + np.bincount(tokens, minlength=num_bytes.size)
    exact = language_model.make_step(language_model.fused_loss, graph, optimizer)
    sampled = make_sampled_step(graph, optimizer, counts, args.num_sampled)
    state = optimizer.init(parameters)
    starts = {
        "sampled": (sampled, (state, jax.random.key(args.seed))),
        "exact": (exact, state),
    }

    measure = language_model.make_measure(graph, num_bytes)
    steps, trained, measured = {}, {}, {}
    for name, (step, state) in starts.items():
        steps[name] = jax.jit(step).lower(parameters, state, batches[0]).compile()
        *trained[name], _ = language_model.train(
            name, steps[name], parameters, state, batches
        )
        measured[name] = language_model.evaluate(measure, trained[name][0], validation)
        memory = steps[name].memory_analysis()
        measured[name]["temporaries"] = memory.temp_size_in_bytes
    times = language_model.step_times(steps, trained, batches)
    for name, seconds in times.items():
        measured[name]["seconds"] = seconds
    return measured


def report(measured: dict[str, dict]) -> str:
    """What was measured of both, in a table."""
    lines = [f"{'':27}{'sampled':>10}{'exact':>10}{'ratio':>9}"]
    for key in ROWS:
        name, scale, spec = language_model.ROWS[key]
        a, b = (scale * one[key] for one in measured.values())
        lines.append(f"{name:27}{a:>10{spec}}{b:>10{spec}}{a / b:>9.3f}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> dict[str, dict]:
    parser = language_model.parser_of(__doc__.splitlines()[0])
    parser.add_argument("--num-sampled", type=int, default=1024)
    args = parser.parse_args(argv)
    measured = compare(args)
    print(report(measured))
    return measured


if __name__ == "__main__":
    main()
