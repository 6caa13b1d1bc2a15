# SPDX-License-Identifier: Apache-2.0
"""Every public function of arrays, each argument on each axis of an explicit mesh.

Where an array lies is in its type, so that what JAX refuses is seen while tracing, and
nothing is compiled; `test_values` has what comes out, of a few.
"""

import functools
import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, CROSS_ENTROPY, LOSSES
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxent

pytestmark = pytest.mark.quickly_compiled

MESH = jax.make_mesh((2, 2), ("data", "classes"), axis_types=(AxisType.Explicit,) * 2)
BATCH, COUNT, WIDTH = (2, 4), 8, 6
ROWS, LENGTH, CLASSES = (2, "data"), (4, "classes"), (8, "classes")


def floats(*shape):
    return np.random.default_rng(0).uniform(0.1, 1, shape).astype(np.float32)


def ids(*shape):
    return np.random.default_rng(1).integers(COUNT, size=shape).astype(np.int32)


AXES = "softmax_cross_entropy-axes", f"{CROSS_ENTROPY}-axes"
KEEP = np.arange(8).reshape(BATCH) % 3 != 1
HEAD = {
    "hidden": floats(*BATCH, WIDTH), "classifier": floats(COUNT, WIDTH),
    "labels": ids(*BATCH), "bias": floats(COUNT), "where": KEEP,
}  # fmt: skip
LINEAR = HEAD | {"weights": floats(*BATCH)}
VALUES = {"values": floats(*BATCH), "where": KEEP, "weights": floats(*BATCH)}
FOUR_ROWS = 2 * 4 * COUNT * 4  # bytes of a chunk


def of(function, *order, **fixed):
    """`function`, its arrays by name, those in `order` by position."""

    def call(**arrays):
        first = [arrays.pop(name) for name in order]
        return function(*first, **arrays, **fixed)

    return call


def with_candidates(function, **fixed):
    def call(hidden, classifier, labels, ids, true, drawn, **arrays):
        candidates = jaxent.Candidates(ids, true, drawn)
        return function(
            hidden, classifier, labels, candidates=candidates, **arrays, **fixed
        )

    return call


def own_loss(hidden, classifier, labels, data, **options):
    return jaxent.linear_softmax_loss(
        lambda s, d: s.nll * d, hidden, classifier, labels, data, **options
    )


def drawn_by(sampler, **fixed):
    key = jax.random.key(0)
    sizes = {"num_sampled": 4, "num_classes": COUNT} | fixed
    return lambda labels, **arrays: sampler(key, labels, **arrays, **sizes)


def renumber(labels, ids, true, drawn):
    candidates = jaxent.Candidates(ids, true, drawn)
    return jaxent.samplers.renumber(labels, candidates, num_classes=COUNT)


def calls():
    """(name, function of arrays by name, arrays)."""
    for case in CASES:
        # What the other options, and the axes of a measure, add is of the same types.
        if case.tag not in ("", "together", "pos_weight") and case.name not in AXES:
            continue
        args, options = case.example(BATCH, COUNT, "float32", "unit")
        names = LOSSES[case.function].arrays
        arrays = {k: v for k, v in options.items() if isinstance(v, np.ndarray)}
        fixed = {k: v for k, v in options.items() if k not in arrays}
        given = dict(zip(names, args, strict=True)) | arrays
        given = {k: x.astype("float32") if is_float(x) else x for k, x in given.items()}
        yield case.name, of(case.call, *names, **fixed), given
    logits = {"logits": floats(*BATCH, COUNT), "labels": ids(*BATCH)}
    yield "softmax_statistics", of(jaxent.softmax_statistics, *logits), logits
    for reduction in ("none", "weighted_mean", "nonzero_mean"):
        call = of(jaxent.reduce, "values", reduction=reduction)
        yield f"reduce-{reduction}", call, VALUES
    call = of(jaxent.reduce, "values", axis=-1)
    yield "reduce-axis", call, VALUES
    yield "reduce-batch", of(jaxent.reduce, "values", reduction="batch_mean"), VALUES
    yield "WeightedMean", of(jaxent.WeightedMean.from_values, "values"), VALUES
    segments = VALUES | {"segment_ids": ids(*BATCH) % 3}
    call = of(jaxent.reduce, "values", reduction="sequence_mean")
    yield "reduce-sequence_mean", call, VALUES
    yield "reduce-segments", call, segments
    call = of(jaxent.segment_means, "values", "segment_ids", num_segments=4)
    yield "segment_means", call, segments
    call = of(
        jaxent.softmax_cross_entropy_with_integer_labels, *logits,
        reduction="weighted_mean", temperature=0.5,
    )  # fmt: skip
    yield (
        f"{CROSS_ENTROPY}-weights",
        call,
        logits | {"where": KEEP, "weights": floats(*BATCH)},
    )
    yield "perplexity", jaxent.perplexity, {"mean_nll": floats(*BATCH)}
    sizes = {"total_nll": floats(*BATCH), "num_bytes": ids(*BATCH)}
    yield "bits_per_byte", jaxent.bits_per_byte, sizes
    soft = {"labels": floats(*BATCH, COUNT), "class_where": ids(*BATCH, COUNT) > 2}
    yield "smooth_labels", functools.partial(jaxent.smooth_labels, alpha=0.1), soft
    tokens = {"tokens": ids(*BATCH), "where": KEEP, "segment_ids": ids(*BATCH) % 3}
    yield "next_token_labels", jaxent.next_token_labels, tokens

    fixed = {"reduction": "mean", "memory": FOUR_ROWS}
    order = "hidden", "classifier", "labels"
    given = LINEAR | {"class_weights": floats(COUNT)}
    call = of(jaxent.linear_softmax_cross_entropy, *order, **fixed)
    yield "linear_softmax_cross_entropy", call, given
    call = of(jaxent.linear_softmax_statistics, *order, memory=FOUR_ROWS)
    yield "linear_softmax_statistics", call, HEAD
    call = of(own_loss, *order, memory=FOUR_ROWS)
    yield "linear_softmax_loss", call, LINEAR | {"data": floats(*BATCH)}
    student = {"student_hidden": HEAD["hidden"], "student": HEAD["classifier"]}
    teacher = {"teacher_hidden": 2 * HEAD["hidden"], "teacher": HEAD["classifier"]}
    two = student | teacher
    given = two | {"student_bias": HEAD["bias"], "where": KEEP}
    fixed["memory"] *= 2
    for f in (jaxent.linear_kl_divergence, jaxent.linear_js_divergence):
        yield f.__name__, of(f, *two, **fixed), given
    entries = {
        "ids": np.argsort(floats(*BATCH, COUNT))[..., :2].astype(np.int32),
        "log_probs": -floats(*BATCH, 2) - 1, "tail_log_prob": -floats(*BATCH) - 1,
        "where": KEEP, "weights": floats(*BATCH),
    }  # fmt: skip
    order, f = ("logits", "ids", "log_probs"), jaxent.kl_divergence_from_top_k
    yield f.__name__, of(f, *order), entries | {"logits": floats(*BATCH, COUNT)}
    given = {k: HEAD[k] for k in ("hidden", "classifier", "bias")}
    order, f = (*order[1:],), jaxent.linear_kl_divergence_from_top_k
    call = of(f, "hidden", "classifier", *order, **fixed)
    yield f.__name__, call, given | entries
    f = jaxent.linear_sigmoid_binary_cross_entropy
    call = of(f, "hidden", "classifier", "labels", **fixed)
    several = {"labels": entries["ids"], "pos_weight": floats(COUNT)}
    yield f.__name__, call, LINEAR | several

    for several in ((), (2,)):
        labels = {"labels": ids(*BATCH, *several), "true": floats(*BATCH, *several)}
        given = HEAD | labels | {"ids": ids(4), "drawn": floats(4)}
        tag = f"-{several[0]}" if several else ""
        losses = jaxent.sampled_softmax_cross_entropy, jaxent.nce_loss
        for f in losses:
            yield f.__name__ + tag, with_candidates(f), given
        f = jaxent.rank_sampled_softmax_cross_entropy
        yield f.__name__ + tag, with_candidates(f, num_resampled=2), given
    labels, s = {"labels": ids(*BATCH)}, jaxent.samplers
    for f in (s.uniform, s.log_uniform):
        yield f.__name__, drawn_by(f), labels
    for unique in (True, False):
        given = labels | {"weights": floats(COUNT - 2)}
        call = drawn_by(
            s.fixed_unigram, unique=unique, num_reserved_ids=2, distortion=0.75
        )
        yield f"fixed_unigram-{unique}", call, given
        given = labels | {"counts": 1 + ids(COUNT)}
        yield (
            f"learned_unigram-{unique}",
            drawn_by(s.learned_unigram, unique=unique),
            (given),
        )
    yield "all_candidates", drawn_by(s.all_candidates, num_sampled=COUNT), labels
    given = labels | {"ids": ids(4), "true": floats(*BATCH), "drawn": floats(4)}
    yield "renumber", renumber, given


def alone(arrays):
    """Each array divided along each axis, and all along one alike."""
    for name, x in arrays.items():
        for axis in range(x.ndim):
            if x.shape[axis] % 2 == 0:
                yield {name: P(*[None] * axis, "data")}
    for lengths in ([ROWS], [LENGTH], [CLASSES]):
        yield divided(arrays, lengths)


def together(arrays):
    """All arrays divided along two axes, as trainers do."""
    for lengths in ([ROWS, LENGTH], [ROWS, CLASSES]):
        yield divided(arrays, lengths)


def divided(arrays, lengths):
    """Where all arrays are divided along their axes of these lengths."""
    return {k: first_of_each(lengths, x.shape) for k, x in arrays.items()}


def first_of_each(lengths, shape):
    """The spec of an array, whose first axis of each length lies on a mesh axis."""
    spec = [None] * len(shape)
    for length, name in lengths:
        if length in shape:
            spec[shape.index(length)] = name
    return P(*spec)


def is_float(x):
    return x.dtype.kind == "f"


def with_gradient(call):
    """(**arrays) -> the results of `call`, and the gradients of a sum of them."""

    def total(chosen, rest):
        out = call(**chosen, **rest)
        numbers = [
            x for x in jax.tree.leaves(out) if jnp.issubdtype(x.dtype, jnp.floating)
        ]
        return sum((jnp.sum(jnp.sin(x)) for x in numbers), jnp.float32(0)), out

    def run(**arrays):
        chosen = {k: x for k, x in arrays.items() if is_float(x)}
        rest = {k: x for k, x in arrays.items() if k not in chosen}
        return jax.value_and_grad(total, has_aux=True)(chosen, rest)

    return run


CALLS = [pytest.param(*call, id=name) for name, *call in calls()]


def traced(function, arrays, place):
    """The types of what `function` makes of arrays that lie there."""

    def typed(x, spec):
        return jax.ShapeDtypeStruct(
            x.shape, x.dtype, sharding=NamedSharding(MESH, spec)
        )

    given = {k: typed(x, place.get(k, P())) for k, x in arrays.items()}
    with jax.set_mesh(MESH):
        return jax.eval_shape(function, **given)


@pytest.mark.parametrize(("call", "arrays"), CALLS)
def test_arguments_may_lie_anywhere(call, arrays):
    here = jax.tree.map(jnp.shape, jax.eval_shape(call, **arrays))
    for place in alone(arrays):
        assert jax.tree.map(jnp.shape, traced(call, arrays, place)) == here
    for place in together(arrays):
        (_, out), slopes = traced(with_gradient(call), arrays, place)
        assert jax.tree.map(jnp.shape, out) == here
        for name, slope in slopes.items():
            assert slope.shape == arrays[name].shape


def test_every_function_is_tried():
    tried = {c.id.split("-")[0] for c in CALLS} | {"explain"}  # which reads lists
    rooms = vars(jaxent), vars(jaxent.samplers)
    public = {k for room in rooms for k, f in room.items() if is_door(f)}
    assert public <= tried


def is_door(f):
    return inspect.isfunction(f) and hasattr(f, "__wrapped__")


FEW = (
    "softmax_cross_entropy-together",
    "js_divergence",
    "reduce-axis",
    "reduce-segments",
    "next_token_labels",
    "linear_softmax_cross_entropy",
    "kl_divergence_from_top_k",
    "sampled_softmax_cross_entropy-2",
    "learned_unigram-True",
)


@pytest.mark.parametrize(("call", "arrays"), [c for c in CALLS if c.id in FEW])
def test_values(call, arrays):
    run = jax.jit(with_gradient(call))
    expected = run(**arrays)
    *_, both = together(arrays)
    first = next(iter(arrays))
    for place in (both, {first: P("data")}):
        given = {
            k: jax.device_put(x, NamedSharding(MESH, place.get(k, P())))
            for k, x in arrays.items()
        }
        with jax.set_mesh(MESH):
            got = run(**given)
        # float32: sums of at most 64 terms, added up in another order.
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
            got, expected,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("argument", "place"),
    [("hidden", {"hidden": P("data")}), ("classifier", {"classifier": P("data")})],
)
def test_no_shard_map_within_another(argument, place):
    """XLA has none, where the inner one takes what differs along the outer's axes."""
    arrays = {k: LINEAR[k] for k in ("hidden", "classifier", "labels")}
    f, out = jaxent.linear_softmax_cross_entropy, P()
    loss = jax.shard_map(f, in_specs=P(), out_specs=out, axis_names={"classes"})
    message = (
        f"`jaxent.linear_softmax_cross_entropy({argument}=...)` must be whole along "
        f"explicit axes inside of a `jax.shard_map` over others; got "
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        traced(of(loss, *arrays), arrays, place)
