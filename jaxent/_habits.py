# SPDX-License-Identifier: Apache-2.0
"""What callers are used to from elsewhere, and what to write here in its place."""

import difflib
from collections.abc import Iterable

ELSEWHERE = {
    "dim": ("axis",),
    "ignore_class": ("ignore_index",),
    "T": ("temperature",),
    "input": ("logits", "probs", "log_probs", "log_predictions", "hidden"),
    "losses": ("values",),
    "mask": ("where",),
    "predictions": ("logits", "probs", "log_probs", "log_predictions", "hidden"),
    "reduce": ("reduction",),
    "sample_weight": ("weights",),
    "size_average": ("reduction",),
    "target": ("labels", "targets"),
    "targets": ("labels", "targets"),
    "weight": ("class_weights", "weights"),
    "y_pred": ("probs", "log_probs", "logits"),
    "y_true": ("labels", "targets"),
}
"""What other frameworks call an argument, and what it is here: the first there is."""
DRAWN = (
    "Draw them: `candidates=jaxent.samplers.log_uniform(key, labels, num_sampled=n, "
    "num_classes=V)`."
)
LINES = (
    ("alpha", "gamma class_weights", "The paper's α is `class_weights`, one a class."),
    ("candidates", "", DRAWN),
    ("chunk_size", "memory", 'A chunk is what fits: write `memory="256MB"`.'),
    ("class_where", "bias", "Write `bias=jnp.where(class_where, 0.0, -jnp.inf)`, "
     "one a class."),
    ("class_where", "student_bias", "Write `student_bias=jnp.where(class_where, 0.0, "
     "-jnp.inf)`, and `teacher_bias` so too."),
    ("from_logits", "", "Losses of logits have names of their own, such as "
     "`sigmoid_binary_cross_entropy` and `softmax_cross_entropy`."),
    ("ignore_index", "tokens", "Write `where=tokens != {}`."),
    ("ignore_index", "where", "Drop positions by a mask: `where=ids != {}`."),
    ("key", "candidates", DRAWN),
    ("label_smoothing", "alpha axis", "Write `smooth_labels(labels, {})`."),
    ("log_target", "", "Its name says it: `kl_divergence_with_log_targets`."),
    ("losses", "mean_nll", "It is of their mean: `jnp.mean(losses)`."),
    ("num_classes", "candidates", DRAWN),
    ("num_sampled", "candidates", DRAWN),
    ("pad_id", "tokens", "Write `where=tokens != {}`."),
)  # fmt: skip
"""An argument, those a function has in its place, and what to write with its value."""
WITHOUT_MASS = {
    **dict.fromkeys(("logits", "p_logits", "q_logits"), "-jnp.inf"),
    **dict.fromkeys(("log_predictions", "log_targets"), "-jnp.inf"),
    **dict.fromkeys(("targets", "probs", "p", "q"), "0"),
}
"""What a class is given that is left out, in each distribution."""
FUNCTION = "be a function of `SoftmaxStatistics`"
FUNCTION_FIRST = "It comes first: `linear_softmax_loss(lambda s: s.nll, hidden, ...)`."


def near(name: str, parameters: dict) -> str:
    """A question after the argument that is called so elsewhere, or nearly so."""
    ours = [n for n in ELSEWHERE.get(name, ()) if n in parameters]
    ours = ours or difflib.get_close_matches(name, parameters, 1)
    return f"Did you mean `{ours[0]}`? " if ours else ""


def line(name: str, x: object, parameters: dict) -> str | None:
    """What to write in place of an argument and its value, if that is known."""
    for argument, needed, written in LINES:
        if argument == name and parameters.keys() >= {*needed.split()}:
            return written.format(x)
    if name == "class_where" and parameters.keys() & {"axis", "ids"}:
        return left_out(name, parameters)
    return None


def left_out(mask: str, parameters: Iterable[str]) -> str | None:
    """How classes are left out by a mask, in every distribution there is."""
    found = [f"{n}, {x}" for n, x in WITHOUT_MASS.items() if n in parameters]
    lines = " and ".join(f"`jnp.where({mask}, {each})`" for each in found)
    return f"To leave classes out write {lines}." if found else None


def by_name(arrays: list[str], options: list[str], args: tuple) -> str:
    """The line to write, where what came by position is an axis, and then a mask.

    That is Optax's order. Other arrays may be anything: torch's weights of classes.
    """
    if not options:
        return ""
    given, *rest = args[len(arrays) :]
    if isinstance(given, str) and "reduction" in options and not rest:
        option = f'reduction="{given}"'
    elif options[:2] != ["axis", "where"] or not isinstance(given, int) or rest[1:]:
        return f"Options go by name, such as `{options[0]}=`. "
    else:
        option = f"axis={given}{', where=...' if rest else ''}"
    return f"Options go by name: write `({', '.join(arrays)}, {option})`. "
