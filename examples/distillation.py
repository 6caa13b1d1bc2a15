# SPDX-License-Identifier: Apache-2.0
"""A small language model learns from a larger one's likeliest classes.

    python examples/distillation.py --steps 120 --k 16

The model, the text and the batches of `examples/language_model.py`. A teacher trains on
the labels. Then a narrower student trains four times from the same weights: on the
labels alone; on the teacher's whole distribution, by `linear_kl_divergence`; and on its
K likeliest classes, with all others as one category, and renormalised to the K. Prints
what each is worth on files held out, and draws `distillation.png`. No logits of student
or teacher are kept, but of one row for the teacher's K.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.style
import numpy as np
from flax import nnx
from matplotlib.figure import Figure

import jaxent

if __package__:
    from . import language_model
else:
    import language_model

LOOKS = {
    "labels": "the labels alone",
    "full": "the whole distribution",
    "category": "K classes, and one category more",
    "renormalize": "K classes, renormalised",
}


class Lesson(NamedTuple):
    """A batch, and what the teacher says of it."""

    batch: language_model.Batch
    hidden: jax.Array
    embedding: jax.Array
    ids: jax.Array
    log_probs: jax.Array


def make_lesson(graph, parameters, k: int) -> Callable:
    """What is said of a batch: last activations, and K classes for each token."""

    @jax.jit
    def lesson(batch: language_model.Batch) -> Lesson:
        model = nnx.merge(graph, parameters)
        hidden, embedding, *_ = language_model.forward(model, batch)

        def likeliest(row: jax.Array) -> tuple[jax.Array, jax.Array]:
            return tuple(jax.lax.top_k(jax.nn.log_softmax(row @ embedding.T), k))

        log_probs, ids = jax.lax.map(likeliest, hidden)
        return Lesson(batch, hidden, embedding, ids, log_probs)

    return lesson


def loss_of(name: str, hidden, embedding, labels, mask, lesson: Lesson) -> jax.Array:
    """What the student's activations and tied head lose by one of the four losses."""
    if name == "labels":
        return language_model.fused_loss(hidden, embedding, labels, mask)
    if name == "full":
        teacher = lesson.hidden, lesson.embedding
        return jaxent.linear_kl_divergence(hidden, embedding, *teacher, where=mask)
    return jaxent.linear_kl_divergence_from_top_k(
        hidden, embedding, lesson.ids, lesson.log_probs, tail=name, where=mask
    )


def make_objective(name: str, graph) -> Callable:
    def objective(parameters, lesson: Lesson) -> jax.Array:
        model = nnx.merge(graph, parameters)
        return loss_of(name, *language_model.forward(model, lesson.batch), lesson)

    return objective


def study(objective: Callable, optimizer, parameters, lessons: list[Lesson], judge):
    """The parameters after all lessons, and the divergence from the teacher on the way.

    `judge` says it of the parameters, every so many steps.
    """

    @jax.jit
    def step(parameters, state, lesson):
        value, gradients = jax.value_and_grad(objective)(parameters, lesson)
        updates, state = optimizer.update(gradients, state, parameters)
        return jax.tree.map(jnp.add, parameters, updates), state, value

    state, curve = optimizer.init(parameters), []
    every = max(len(lessons) // 8, 1)
    for i, lesson in enumerate(lessons, start=1):
        parameters, state, _ = step(parameters, state, lesson)
        if i % every == 0 or i == len(lessons):
            curve.append((i, judge(parameters)))
    return parameters, curve


def mean_over(objective: Callable, lessons: list[Lesson]) -> Callable:
    """The mean of an objective over lessons of as many tokens each."""
    one = jax.jit(objective)
    return lambda parameters: float(np.mean([one(parameters, x) for x in lessons]))


def compare(args: argparse.Namespace) -> dict[str, dict]:
    setup = language_model.prepare(args)
    teacher, optimizer, batches = setup.parameters, setup.optimizer, setup.batches
    step = jax.jit(
        language_model.make_step(language_model.fused_loss, setup.graph, optimizer)
    )
    state = optimizer.init(teacher)
    teacher, *_ = language_model.train("teacher", step, teacher, state, batches)
    lesson = make_lesson(setup.graph, teacher, args.k)
    lessons, held_out = (list(map(lesson, x)) for x in (batches, setup.validation))

    student = language_model.LanguageModel(
        setup.num_bytes.size, args.length, args.student_width, 1, nnx.Rngs(args.seed)
    )
    graph, parameters = nnx.split(student, nnx.Param)
    apart, loss = (
        mean_over(make_objective(name, graph), held_out) for name in ("full", "labels")
    )
    measured = {}
    for name in LOOKS:
        objective = make_objective(name, graph)
        trained, curve = study(objective, optimizer, parameters, lessons, apart)
        measured[name] = {"curve": curve, "kl": curve[-1][1], "loss": loss(trained)}
        print(f"Studied by {LOOKS[name]}.", flush=True)
    return measured


def report(measured: dict[str, dict]) -> str:
    """What was measured on the files held out, in nats per token."""
    lines = [f"{'The student learns from':34}{'KL from the teacher':>20}{'loss':>10}"]
    for name, one in measured.items():
        lines.append(f"{LOOKS[name]:34}{one['kl']:>20.4f}{one['loss']:>10.4f}")
    return "\n".join(lines)


def draw(measured: dict[str, dict], path: Path) -> None:
    figure = Figure(figsize=(7.4, 4.4))
    axes = figure.subplots()
    for name, one in measured.items():
        axes.plot(*zip(*one["curve"], strict=True), marker=".", label=LOOKS[name])
    axes.set(
        title="How far a student is from its teacher, on files held out",
        xlabel="training step", ylabel="KL(teacher ‖ student), nats per token",
    )  # fmt: skip
    axes.legend(title="It learns from")
    figure.savefig(path)


def main(argv: list[str] | None = None) -> dict[str, dict]:
    parser = language_model.parser_of(__doc__.splitlines()[0])
    parser.add_argument("--k", type=int, default=16, help="classes of the teacher")
    parser.add_argument("--student-width", type=int, default=32)
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    parser.set_defaults(steps=120, vocabulary=8192)
    args = parser.parse_args(argv)

    measured = compare(args)
    print(f"\n{report(measured)}\n")
    args.output.mkdir(parents=True, exist_ok=True)
    matplotlib.style.use(Path(__file__).with_name("style.mplstyle"))
    path = args.output / "distillation.png"
    draw(measured, path)
    print(f"Drew {path}")
    return measured


if __name__ == "__main__":
    main()
