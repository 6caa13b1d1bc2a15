# SPDX-License-Identifier: Apache-2.0
"""The fused heads on eight devices, two of tokens by four of classes.

In float64, where only sums are rounded otherwise than by the truth, which is that of
the product in extended precision: 1e-11 of the largest entry is ample.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from test_sharded import MESH, NAMES, padded

import jaxent
from benchmarks.collectives import collectives
from jaxent._heads.chunked import _add_product

pytestmark = pytest.mark.quickly_compiled

N, D, V = 14, 5, 9
SLICE = 2 * 3 * 8  # bytes of a position's logits and their gradient, of three classes
TOKENS, CLASSES = P("data"), P("vocab")
REDUCED = {
    "where": TOKENS, "weights": TOKENS, "class_weights": CLASSES, "bias": CLASSES,
}  # fmt: skip


def draw():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(N, D))
    classifier, bias = rng.normal(size=(V, D)), rng.normal(size=V)
    # A label ahead by 30, and one in each slice and on each device.
    labels = rng.integers(0, V, N).astype(np.int32)
    labels[:4] = 0, 3, 6, 8
    hidden[1] = 30 * classifier[3] / np.sum(classifier[3] ** 2)
    return hidden, classifier, bias, labels


def arrays():
    rng = np.random.default_rng(1)
    weights = rng.uniform(0.5, 2, N)
    weights[::5] = 0
    return {
        "where": np.arange(N) % 3 != 1,
        "weights": weights,
        "class_weights": rng.uniform(0.5, 2, V),
    }


OPTIONS = {
    "plain": ({}, "sum"),
    "all": (
        arrays() | {"ignore_index": 3, "label_smoothing": 0.1, "z_loss": 0.01,
         "softcap": 2.5, "temperature": 0.7}, "sum",
    ),
    "none": ({"where": arrays()["where"], "label_smoothing": 0.1}, "none"),
}  # fmt: skip


@oracle.quiet
def truth(loss, hidden, classifier, bias, cotangent):
    """`loss` of the logits, and its gradients in their three factors."""
    x = oracle.wide(hidden) @ oracle.wide(classifier).T + bias
    directions = np.eye(x.shape[-1])[:, None] * np.ones((1, N, 1))
    slope = np.stack([oracle.derivative(loss, x, e) for e in directions], axis=-1)
    slope = slope * oracle.wide(cotangent)[..., None]
    return loss(x), (slope @ classifier, slope.T @ hidden, slope.sum(axis=0))


def cross_entropy(options, labels):
    options = dict(options)
    cap, weights = options.pop("softcap", None), options.pop("weights", 1.0)
    temperature = options.pop("temperature", 1.0)

    def loss(x):
        x = x if cap is None else cap * oracle.tanh(x / cap)
        f = oracle.softmax_cross_entropy_with_integer_labels
        return oracle.wide(weights) * f(x / temperature, labels, **options)

    return loss


def close(got, expected):
    scale = max(float(np.max(np.abs(expected))), 1e-3)
    np.testing.assert_allclose(oracle.wide(got), expected, rtol=0, atol=1e-11 * scale)


def across(f, specs, out):
    return jax.shard_map(f, mesh=MESH, in_specs=specs, out_specs=out)


@functools.cache
def program(name, memory, sharded=True):
    """(hidden, classifier, bias, labels, arrays) -> the loss, on the mesh or off it."""
    options, reduction = OPTIONS[name]
    fixed = {k: v for k, v in options.items() if not isinstance(v, np.ndarray)}

    def loss(hidden, classifier, bias, labels, arrays):
        value = jaxent.linear_softmax_cross_entropy(
            hidden, classifier, labels, bias=bias, reduction=reduction, memory=memory,
            vocab_axis_name="vocab" if sharded else None, **fixed, **arrays,
        )  # fmt: skip
        return value if reduction == "none" or not sharded else lax.psum(value, "data")

    if not sharded:
        return loss
    specs = {k: REDUCED[k] for k in options if k in REDUCED}
    out = TOKENS if reduction == "none" else P()
    return across(loss, (TOKENS, CLASSES, CLASSES, TOKENS, specs), out)


def given(name, hidden, classifier, bias, labels):
    """Padded: a bias of −inf makes a column no class."""
    options = {k: v for k, v in OPTIONS[name][0].items() if isinstance(v, np.ndarray)}
    options = {k: padded(v) for k, v in options.items()}
    classifier = np.pad(classifier, [(0, 3), (0, 0)])
    bias = np.pad(bias, (0, 3), constant_values=-np.inf)
    return hidden, classifier, bias, labels, options


def pulled_back(loss, args, cotangent):
    """Value of, and gradients in, the factors of the logits; one program."""

    @jax.jit
    def run(factors, rest, cotangent):
        value, pull = jax.vjp(lambda *factors: loss(*factors, *rest), *factors)
        return value, pull(cotangent)

    return jax.device_get(run(args[:3], args[3:], cotangent))


def check_slopes(slopes, expected):
    for slope, right in zip(slopes, expected, strict=True):
        close(slope[: len(right)], right)
        np.testing.assert_array_equal(slope[len(right) :], 0)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("memory", [None, 3 * SLICE], ids=["one chunk", "chunks"])
@pytest.mark.parametrize("name", OPTIONS)
def test_values_and_gradients(name, memory):
    options, reduction = OPTIONS[name]
    *factors, labels = draw()
    cotangent, total = np.float64(1.7), np.sum
    if reduction == "none":
        cotangent, total = np.random.default_rng(2).normal(size=N), np.asarray
    loss = cross_entropy(options, labels)
    value, expected = truth(loss, *factors, cotangent * np.ones(N))
    args = given(name, *factors, labels)
    got, slopes = pulled_back(program(name, memory), args, cotangent)
    close(got, total(value))
    check_slopes(slopes, expected)


def only(manual, specs):
    """The parts of specs that are of one mesh axis: the other is left to XLA."""
    return jax.tree.map(lambda p: P(*(a if a == manual else None for a in p)), specs)


def statistics_of(hidden, classifier, labels, **options):
    del options["reduction"], options["weights"]
    return jaxent.linear_softmax_statistics(hidden, classifier, labels, **options).nll


def own_loss_of(hidden, classifier, labels, **options):
    weights = options["weights"]
    return jaxent.linear_softmax_loss(
        lambda s, w: w * s.nll, hidden, classifier, labels, weights, **options
    )


def kl_of(hidden, classifier, labels, **options):
    del labels
    teacher = 2 * hidden, jnp.sin(classifier)
    return jaxent.linear_kl_divergence(hidden, classifier, *teacher, **options)


HEADS = {
    "cross-entropy": jaxent.linear_softmax_cross_entropy,
    "statistics": statistics_of,
    "a loss of your own": own_loss_of,
    "KL": kl_of,
}


def partly_automatic(head, manual, reduction):
    """The sum of a head's losses, where one axis of the mesh alone is manual."""
    memory = 4 * SLICE * (1 if manual == "vocab" else 4)

    def total(hidden, classifier, weights, labels):
        value = head(
            hidden, classifier, labels, weights=weights, where=weights != 0,
            reduction=reduction, memory=memory,
            vocab_axis_name="vocab" if manual == "vocab" else None,
        )  # fmt: skip
        value = jnp.sum(value * jnp.arange(1.0, value.size + 1).reshape(value.shape))
        return lax.psum(value, "data") if manual == "data" else value

    specs = only(manual, (TOKENS, CLASSES, TOKENS, TOKENS))
    return jax.shard_map(
        total, mesh=MESH, in_specs=specs, out_specs=P(), axis_names={manual}
    )


def head_arrays():
    hidden, classifier, _, labels = draw()
    classifier = np.concatenate([classifier, np.ones((3, D))])
    return (hidden, classifier, arrays()["weights"]), labels


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("manual", NAMES)
@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_partly_automatic_meshes_are_typed(head, reduction, manual):
    """All derivatives can be traced; the test below has what they are."""
    floats, labels = head_arrays()
    loss = partly_automatic(head, manual, reduction)
    f = lambda *x: loss(*x, labels)  # noqa: E731
    every = tuple(range(len(floats)))
    value, slopes = jax.eval_shape(jax.value_and_grad(f, every), *floats)
    assert value.shape == ()
    assert [s.shape for s in slopes] == [x.shape for x in floats]
    jax.eval_shape(lambda *x: reverse_over_forward(f, *x), *floats)


def from_top_k_of(hidden, classifier, labels, **options):
    ids = jnp.stack([labels, (labels + 4) % V], axis=-1)
    mass = jnp.tile(jnp.log(jnp.array([0.6, 0.3])), (labels.size, 1))
    return jaxent.linear_kl_divergence_from_top_k(
        hidden, classifier, ids, mass, **options
    )


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "head", [jaxent.linear_softmax_cross_entropy, kl_of, from_top_k_of]
)
def test_statistics_beside_a_loss_in_slices(head):
    """Those of the whole head, which test_step and test_top_k have against others."""
    (hidden, classifier, weights), labels = head_arrays()

    def whole(hidden, classifier, weights, labels, **options):
        return head(
            hidden, classifier, labels, weights=weights, where=weights != 0,
            reduction="sum", statistics=True, memory=16 * SLICE, **options,
        )  # fmt: skip

    def sliced(*args):
        loss, s = whole(*args, vocab_axis_name="vocab")
        return lax.psum(loss, "data"), s

    specs, out = (TOKENS, CLASSES, TOKENS, TOKENS), (P(), TOKENS)
    run = [
        jax.jit(jax.value_and_grad(f, (0, 1), has_aux=True))
        for f in (across(sliced, specs, out), whole)
    ]
    args = hidden, classifier, weights, labels
    jax.tree.map(close, *(jax.device_get(f(*args)) for f in run))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("manual", NAMES)
def test_partly_automatic_meshes(manual):
    floats, labels = head_arrays()
    f = jax.value_and_grad(
        partly_automatic(HEADS["cross-entropy"], manual, "sum"), (0, 1, 2)
    )
    value, slopes = jax.jit(f)(*floats, labels)
    hidden, classifier, weights = floats
    loss = cross_entropy({"weights": weights, "where": weights != 0}, labels)
    losses, expected = truth(loss, hidden, classifier, 0.0, np.ones(N))
    close(value, np.sum(losses))
    for slope, right in zip(slopes[:2], expected[:2], strict=True):
        close(slope, right)
    plain = cross_entropy({"where": weights != 0}, labels)
    close(slopes[2], truth(plain, hidden, classifier, 0.0, np.ones(N))[0])


FIELDS = "nll", "one_minus_prob", "log_normalizer", "label_logit", "entropy"


def of_statistics(cotangents, labels):
    def loss(x):
        *numbers, _, entropy, _ = oracle.softmax_statistics(x, labels)
        numbers.append(entropy)
        return sum(c * n for c, n in zip(cotangents, numbers, strict=True))

    return loss


@pytest.mark.usefixtures("x64")
def test_statistics():
    hidden, classifier, bias, labels = draw()
    # The likeliest class of position 5 is one of two slices': the first is its top.
    classifier[6], bias[6], hidden[5] = classifier[1], bias[1], 3 * classifier[1]
    labels[5] = 6
    cotangents = np.random.default_rng(3).normal(size=(5, N))

    def statistics(hidden, classifier, bias, labels):
        return jaxent.linear_softmax_statistics(
            hidden, classifier, labels, bias=bias, memory=3 * SLICE,
            vocab_axis_name="vocab",
        )  # fmt: skip

    mapped = across(statistics, (TOKENS, CLASSES, CLASSES, TOKENS), TOKENS)

    def weighted(*args):
        s = mapped(*args)
        total = sum(c * getattr(s, f) for c, f in zip(cotangents, FIELDS, strict=True))
        return total, s.correct, s.top_id

    *args, _ = given("plain", hidden, classifier, bias, labels)
    cotangent = np.ones(N), *(np.zeros(N, jax.dtypes.float0),) * 2
    (got, correct, top), slopes = pulled_back(weighted, args, cotangent)
    loss = of_statistics(cotangents, labels)
    value, expected = truth(loss, hidden, classifier, bias, np.ones(N))
    close(got, value)
    check_slopes(slopes, expected)
    x = oracle.wide(hidden) @ oracle.wide(classifier).T + bias
    np.testing.assert_array_equal(top, np.argmax(x, axis=-1))
    assert top[5] == 1
    assert not correct[5]
    np.testing.assert_array_equal(correct, oracle.softmax_statistics(x, labels)[4])


@pytest.mark.usefixtures("x64")
def test_a_loss_of_your_own():
    """And what it closes over: differentiated once, summed over the devices once."""
    *factors, labels = draw()
    scale = np.float64(0.3)

    def loss(hidden, classifier, bias, scale, labels):
        value = jaxent.linear_softmax_loss(
            lambda s: s.nll - scale * s.entropy, hidden, classifier, labels, bias=bias,
            reduction="sum", memory=3 * SLICE, vocab_axis_name="vocab",
        )  # fmt: skip
        return lax.psum(value, "data")

    mapped = across(loss, (TOKENS, CLASSES, CLASSES, P(), TOKENS), P())
    *args, _, _ = given("plain", *factors, labels)
    f = jax.jit(jax.value_and_grad(mapped, argnums=(0, 1, 2, 3)))
    got, (*slopes, d_scale) = f(*args, scale, labels)
    total = of_statistics((1, 0, 0, 0, -scale), labels)
    value, expected = truth(total, *factors, np.ones(N))
    close(got, np.sum(value))
    check_slopes(slopes, expected)
    entropy, _ = truth(of_statistics((0, 0, 0, 0, 1), labels), *factors, np.ones(N))
    close(d_scale, -np.sum(entropy))


@pytest.mark.usefixtures("x64")
def test_distillation():
    *factors, labels = draw()
    rng = np.random.default_rng(4)
    teacher = rng.normal(size=(N, 3)), rng.normal(size=(V, 3)), factors[2] / 2
    *padded_factors, _, _ = given("plain", *factors, labels)
    *padded_teacher, _, _ = given("plain", *teacher, labels)

    def loss(hidden, classifier, bias, *teacher):
        return jaxent.linear_kl_divergence(
            hidden, classifier, *teacher[:2], student_bias=bias,
            teacher_bias=teacher[2], reduction="none", memory=6 * SLICE,
            vocab_axis_name="vocab",
        )  # fmt: skip

    mapped = across(loss, (TOKENS, CLASSES, CLASSES) * 2, TOKENS)
    cotangent = rng.normal(size=N)
    args = *padded_factors, *padded_teacher
    got, slopes = pulled_back(mapped, args, cotangent)
    other = oracle.wide(teacher[0]) @ oracle.wide(teacher[1]).T + teacher[2]
    loss = functools.partial(oracle.kl_divergence_from_logits, other)
    value, expected = truth(loss, *factors, cotangent)
    close(got, value)
    check_slopes(slopes, expected)


PLACES = {
    "both": (P("data", None), P("vocab", None)),
    "data": (P("data", None), P(None, None)),
    "vocab": (P(None, None), P("vocab", None)),
    "fully sharded": (P("data", None), P("data", None)),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("kind", "place", "name"),
    [
        *((AxisType.Auto, "both", name) for name in ("all", "none")),
        *((AxisType.Explicit, "both", name) for name in OPTIONS),
        *((AxisType.Explicit, place, "all") for place in list(PLACES)[1:]),
    ],
    ids=str,
)
def test_sharded_arrays(kind, place, name):
    """Nothing is said of the mesh but where the arrays are; eight classes."""
    mesh = jax.make_mesh((2, 4), ("data", "vocab"), axis_types=(kind,) * 2)
    hidden, classifier, bias, labels = draw()
    factors, labels = (hidden, classifier[:8], bias[:8]), labels % 8
    options, reduction = OPTIONS[name]
    options = options | {k: v[:8] for k, v in options.items() if k == "class_weights"}
    cotangent, total = np.float64(1.7), np.sum
    if reduction == "none":
        cotangent, total = np.random.default_rng(2).normal(size=N), np.asarray
    value, expected = truth(
        cross_entropy(options, labels), *factors, cotangent * np.ones(N)
    )
    tokens, rows = P(PLACES[place][0][0]), P(PLACES[place][1][0])

    def put(x, spec):
        return jax.device_put(x, NamedSharding(mesh, spec))

    places = {"where": tokens, "weights": tokens, "class_weights": rows}
    arrays = {k: put(options[k], places[k]) for k in options if k in places}
    args = *map(put, factors, (*PLACES[place], rows)), put(labels, tokens), arrays
    loss = program(name, 12 * SLICE, sharded=False)
    got, slopes = pulled_back(
        loss, args, put(cotangent, tokens if reduction == "none" else P())
    )
    close(got, total(value))
    check_slopes(slopes, expected)


def along(x):
    return jax.tree.map(jnp.cos, x)


def forward_over_reverse(f, *args):
    return jax.jvp(jax.grad(f, argnums=(0, 1)), args, along(args))[1]


def reverse_over_forward(f, *args):
    def slope(*x):
        return jax.jvp(f, x, along(args))[1]

    return jax.grad(slope, argnums=(0, 1))(*args)


TRANSFORMS = {
    "jvp": lambda f, *a: jax.jvp(f, a, along(a)),
    "vmap": lambda f, h, w: jax.vmap(f, (0, None))(jnp.stack([h, -h]), w),
    "vmap of grad": lambda f, h, w: jax.vmap(jax.grad(f), (0, None))(
        jnp.stack([h, -h]), w
    ),
    "forward over reverse": forward_over_reverse,
    "reverse over forward": reverse_over_forward,
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_transforms(transform):
    """Of all options at once, on the mesh as off it, where others check them."""
    hidden, classifier, bias, labels, options = given("all", *draw())

    def of(sharded):
        loss = program("all", (3 if sharded else 12) * SLICE, sharded)
        return lambda h, w: loss(h, w, bias, labels, options)

    got, expected = (
        jax.jit(functools.partial(transform, of(sharded)))(hidden, classifier)
        for sharded in (True, False)
    )
    for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        close(g, np.asarray(e))


def compiled_step(f, mesh, n, d, v):
    def shape(dims, spec, dtype="float32"):
        return jax.ShapeDtypeStruct(dims, dtype, sharding=NamedSharding(mesh, spec))

    hidden, classifier = PLACES["both"]
    args = (
        shape((n, d), hidden),
        shape((v, d), classifier),
        shape((n,), TOKENS, "int32"),
    )
    return jax.jit(jax.value_and_grad(f, argnums=(0, 1))).lower(*args).compile()


@pytest.mark.parametrize("way", ["shard_map", "explicit"])
def test_what_is_sent(way):
    """Of a step: two messages a chunk, and each gradient once."""
    n, d, v, chunks = 64, 16, 4096, 4
    memory = 2 * 4 * (v // 4) * (n // 2 // chunks)
    mesh, f = MESH, jaxent.linear_softmax_cross_entropy
    if way == "explicit":
        mesh = jax.make_mesh((2, 4), NAMES, axis_types=(AxisType.Explicit,) * 2)
        loss = functools.partial(f, memory=memory, reduction="sum")
    else:

        def total(*args):
            given = {"memory": memory, "reduction": "sum", "vocab_axis_name": "vocab"}
            return lax.psum(f(*args, **given), "data")

        loss = across(total, (TOKENS, CLASSES, TOKENS), P())
    step = compiled_step(loss, mesh, n, d, v)
    sent = collectives(step.as_text())
    assert {m.kind for m in sent} == {"all-reduce"}
    rows = n // 2
    maxima, sums = rows // chunks * 4, rows // chunks * 8
    d_hidden, d_classifier = rows * d * 4, v // 4 * d * 4
    # The total goes with one of the others, or by itself.
    assert sum(m.size for m in sent) == maxima + sums + d_hidden + d_classifier + 4
    # A block of the classifier's gradient, and of each position what test_memory has.
    allowed = memory + d_classifier + rows * (2 * d + 16) * 4
    assert step.memory_analysis().temp_size_in_bytes <= allowed


def test_a_gradient_is_not_cut_in_blocks_where_its_factors_are_on_a_mesh():
    """It begins as zeros, which tell of no mesh (`zeros_like` too, since JAX 0.11)."""
    mesh = jax.make_mesh((2, 4), NAMES, axis_types=(AxisType.Auto,) * 2)

    def add(slope, hidden):
        return _add_product(jnp.zeros((64, 4)), slope, hidden, block=64)

    def steps(sharding=None):
        given = (
            jax.ShapeDtypeStruct(shape, "float32", sharding=sharding)
            for shape in ((8, 64), (8, 4))
        )
        return {str(e.primitive) for e in jax.jit(add).trace(*given).jaxpr.eqns}

    assert {"scan", "while"} & steps()
    assert not {"scan", "while"} & steps(NamedSharding(mesh, P()))


def test_what_is_sent_of_arrays_on_automatic_axes(monkeypatch):
    """Nothing is gathered, for blocks of the classifier's gradient neither; but it is
    summed over the devices in every chunk."""
    monkeypatch.setattr("jaxent._heads.given.CPU_BLOCK", 2**14)
    mesh = jax.make_mesh((2, 4), NAMES, axis_types=(AxisType.Auto,) * 2)
    n, d, v = 64, 16, 4096
    loss = functools.partial(
        jaxent.linear_softmax_cross_entropy, memory=2 * 4 * v * n // 5, ignore_index=-1
    )
    sent = collectives(compiled_step(loss, mesh, n, d, v).as_text())
    assert {m.kind for m in sent} == {"all-reduce"}
    d_classifier = v // 4 * d * 4
    assert sum(m.size for m in sent) <= d_classifier + n // 2 * d * 4 + 16 * n
