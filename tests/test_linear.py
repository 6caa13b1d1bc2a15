# SPDX-License-Identifier: Apache-2.0
"""The fused heads: every option and transformation against the dense engine.

The dense losses are checked against the oracle elsewhere. What may differ here is a
sum over chunks, of float64 numbers: 1e-11 relative to the largest entry is ample.
"""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from given import put

import jaxent
from jaxent._heads import chunks

N, D, V = 13, 5, 11
ROW = 2 * V * 8  # bytes of one position's logits and their gradient, in float64
MEMORY = {"one chunk": N * ROW, "ragged chunks": 4 * ROW, "one row a chunk": ROW}


def draw(dtype=jnp.float64, n=N, d=D, v=V, scale=1.0):
    rng = np.random.default_rng(0)
    hidden = put(rng.normal(size=(n, d)) * scale, dtype)
    classifier = put(rng.normal(size=(v, d)), dtype)
    bias = put(rng.normal(size=v), dtype)
    labels = put(rng.integers(0, v, n), np.int32)
    return hidden, classifier, bias, labels


def mask():
    return put(np.arange(N) % 3 != 1)


def weights():
    w = np.random.default_rng(1).uniform(0.5, 2, N)
    w[::4] = 0
    return put(w)


def dense(hidden, classifier, labels, *, bias=None, softcap=None, **options):
    reduction = options.pop("reduction", "mean")
    w = options.pop("weights", None)
    options.pop("memory", None)
    logits = hidden @ classifier.T
    if bias is not None:
        logits += jnp.broadcast_to(bias, logits.shape)
    if softcap is not None:
        logits = softcap * jnp.tanh(logits / softcap)
    loss = jaxent.softmax_cross_entropy_with_integer_labels(logits, labels, **options)
    keep = options.get("where")
    if (index := options.get("ignore_index")) is not None:
        keep = (labels != index) & (True if keep is None else keep)
    return jaxent.reduce(loss, where=keep, weights=w, reduction=reduction)


OPTIONS = {
    "plain": {},
    "bias": {"bias": True},
    "where": {"where": True},
    "weights": {"weights": True, "reduction": "weighted_mean"},
    "ignore_index": {"ignore_index": 3},
    "class_weights": {"class_weights": True},
    "label_smoothing": {"label_smoothing": 0.1},
    "z_loss": {"z_loss": 0.01},
    "softcap": {"softcap": 2.0},
    "temperature": {"temperature": 0.7, "softcap": 2.0, "z_loss": 0.01, "bias": True},
    "sequence_mean": {"reduction": "sequence_mean", "where": True, "weights": True},
    "sum": {"reduction": "sum", "weights": True},
    "nonzero_mean": {"reduction": "nonzero_mean", "weights": True},
    "none": {"reduction": "none"},
    "none, masked": {"reduction": "none", "where": True, "weights": True},
    "all": {
        "bias": True, "where": True, "weights": True, "ignore_index": 3,
        "class_weights": True, "label_smoothing": 0.1, "z_loss": 0.01, "softcap": 2.0,
    },
    "all, none": {
        "bias": True, "where": True, "weights": True, "ignore_index": 3,
        "class_weights": True, "label_smoothing": 0.1, "z_loss": 0.01, "softcap": 2.0,
        "reduction": "none",
    },
}  # fmt: skip


def filled(options):
    arrays = {
        "where": mask(),
        "weights": weights(),
        "class_weights": jnp.linspace(0.5, 2.0, V),
    }
    return {k: arrays.get(k, v) for k, v in options.items()}


def pair(options, memory=4 * ROW):
    """Fused and dense as functions of (hidden, classifier, bias) to a number."""
    hidden, classifier, bias, labels = draw()
    options = filled(options)
    with_bias = options.pop("bias", False)
    # A cotangent that is not 1, and not the same for each position.
    cotangent = jnp.asarray(np.random.default_rng(2).normal(size=N))

    def scalar(loss, extra):
        def f(hidden, classifier, bias):
            b = bias if with_bias else None
            value = loss(hidden, classifier, labels, bias=b, **options, **extra)
            return jnp.sum(value * (cotangent if value.ndim else 1.7))

        return f

    fused = scalar(jaxent.linear_softmax_cross_entropy, {"memory": memory})
    return fused, scalar(dense, {}), (hidden, classifier, bias)


def close(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        scale = float(jnp.max(jnp.abs(y), initial=1e-300))
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-11 * max(scale, 1e-3))


@pytest.mark.quickly_compiled
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("memory", MEMORY.values(), ids=MEMORY)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_values_and_gradients(options, memory):
    fused, expected, args = pair(options, memory)
    slopes = functools.partial(jax.value_and_grad, argnums=(0, 1, 2))
    close(*jax.jit(lambda *a: (slopes(fused)(*a), slopes(expected)(*a)))(*args))


def forward_over_reverse(f, *args):
    direction = jax.tree.map(jnp.cos, args)
    return jax.jvp(jax.grad(f, argnums=(0, 1, 2)), args, direction)[1]


def reverse_over_forward(f, *args):
    direction = jax.tree.map(jnp.cos, args)
    slope = lambda *x: jax.jvp(f, x, direction)[1]  # noqa: E731
    return jax.grad(slope, argnums=(0, 1, 2))(*args)


def reverse_over_reverse(f, *args):
    slopes = jax.grad(f, argnums=(0, 1, 2))
    inner = lambda *x: sum(jnp.vdot(g, jnp.cos(a)) for g, a in zip(slopes(*x), args))  # noqa: E731, B905
    return jax.grad(inner, argnums=(0, 1, 2))(*args)


def per_example(f, hidden, classifier, bias):
    one = jax.grad(lambda h, s: f(h * s, classifier, bias))
    return jax.vmap(one, (None, 0))(hidden, jnp.array([0.5, 1.0, 2.0]))


TRANSFORMS = {
    "jit": lambda f, *a: f(*a),
    "jvp": lambda f, *a: jax.jvp(f, a, jax.tree.map(jnp.sin, a)),
    "linearize": lambda f, *a: jax.linearize(f, *a)[1](*jax.tree.map(jnp.sin, a)),
    "jacfwd": lambda f, *a: jax.jacfwd(f, argnums=2)(*a),
    "jacrev": lambda f, *a: jax.jacrev(f, argnums=(0, 1, 2))(*a),
    "hessian": lambda f, *a: jax.hessian(f, argnums=1)(*a),
    "jacrev of jacrev": lambda f, *a: jax.jacrev(jax.jacrev(f, argnums=2), 2)(*a),
    "jacfwd of jacfwd": lambda f, *a: jax.jacfwd(jax.jacfwd(f, argnums=2), 2)(*a),
    "forward over reverse": forward_over_reverse,
    "reverse over forward": reverse_over_forward,
    "reverse over reverse": reverse_over_reverse,
    "vmap": lambda f, h, w, b: jax.vmap(f, (0, None, None))(jnp.stack([h, -h]), w, b),
    "vmap of grad": per_example,
    "checkpoint": lambda f, *a: jax.grad(jax.checkpoint(f), argnums=(0, 1, 2))(*a),
    "scan": lambda f, h, w, b: jax.lax.scan(
        lambda total, s: (total + jax.grad(f)(s * h, w, b), None),
        jnp.zeros_like(h),
        jnp.array([1.0, 2.0]),
    )[0],
}


@pytest.fixture
def plans(monkeypatch):
    """Positions cut otherwise for a CPU than for a chip, and blocks of a gradient."""
    monkeypatch.setattr("jaxent._heads.given.CPU_MEMORY", 4 * ROW)
    monkeypatch.setattr("jaxent._heads.given.CHIP_MEMORY", 7 * ROW)
    monkeypatch.setattr("jaxent._heads.given.CPU_BLOCK", 3 * D * 8)


@pytest.mark.quickly_compiled
@pytest.mark.usefixtures("x64", "plans")
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("options", ["none", "all"])
def test_transforms(options, transform):
    fused, expected, args = pair(OPTIONS[options], memory=None)
    both = jax.jit(lambda *a: (transform(fused, *a), transform(expected, *a)))
    close(*both(*args))


@pytest.fixture
def gathered(monkeypatch):
    """As on a chip, in float64: pieces of chunks, whose slopes are multiplied at once.

    A chunk of 8 positions then is four pieces of 2, of which some are dropped whole.
    """
    monkeypatch.setattr("jaxent._heads.given._halves", lambda heads: True)
    monkeypatch.setattr(
        "jaxent._heads.chunks.Plans.run", lambda plans, f, *args: f(plans.chip, *args)
    )
    jax.clear_caches()
    made, one = [], chunks.in_pieces
    monkeypatch.setattr(
        "jaxent._heads.chunked.in_pieces",
        lambda *args: made.append(args[-1].pieces) or one(*args),
    )
    yield
    assert set(made) == {4}


@pytest.mark.quickly_compiled
@pytest.mark.usefixtures("x64", "gathered")
@pytest.mark.parametrize(
    "options", [k for k, options in OPTIONS.items() if "none" not in k]
)
def test_values_and_gradients_of_gathered_slopes(options):
    fused, expected, args = pair(OPTIONS[options])
    slopes = functools.partial(jax.value_and_grad, argnums=(0, 1, 2))
    close(*jax.jit(lambda *a: (slopes(fused)(*a), slopes(expected)(*a)))(*args))


@pytest.mark.quickly_compiled
@pytest.mark.usefixtures("x64", "gathered")
@pytest.mark.parametrize(
    "transform",
    ["jvp", "hessian", "reverse over reverse", "vmap of grad", "checkpoint", "scan"],
)
def test_transforms_of_gathered_slopes(transform):
    fused, expected, args = pair(OPTIONS["all"])
    transform = TRANSFORMS[transform]
    both = jax.jit(lambda *a: (transform(fused, *a), transform(expected, *a)))
    close(*both(*args))


@pytest.mark.quickly_compiled
@pytest.mark.usefixtures("x64")
def test_options_are_differentiable():
    hidden, classifier, _, labels = draw()

    def f(loss, weights, class_weights, smoothing, z, cap, temperature):
        return loss(
            hidden, classifier, labels, weights=weights, class_weights=class_weights,
            label_smoothing=smoothing, z_loss=z, softcap=cap, temperature=temperature,
            reduction="sum",
        )  # fmt: skip

    args = np.linspace(1.0, 2.0, N), np.linspace(0.5, 2.0, V), 0.1, 0.01, 3.0, 0.7
    got, expected = (
        jax.jit(jax.grad(functools.partial(f, loss), range(6)))(*args)
        for loss in (jaxent.linear_softmax_cross_entropy, dense)
    )
    close(got, expected)


def pulled_back(f, cotangent, *xs):
    """The value, and a cotangent pulled back to each argument, of one program."""

    @jax.jit
    def both(cotangent, *xs):
        value, back = jax.vjp(f, *xs)
        return value, back(cotangent)

    return both(cotangent, *xs)


@pytest.mark.quickly_compiled
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_half_inputs(dtype, reduction):
    """Halves are multiplied exactly and added in float32; gradients come back half.

    The loss is that of the rounded inputs to float32 accuracy; the gradient is off by
    one rounding of dlogits and one of the result: 2 half-ULP of the largest term.
    """
    hidden, classifier, bias, labels = draw(dtype)
    f = functools.partial(
        jaxent.linear_softmax_cross_entropy, labels=labels, reduction=reduction,
        memory=4 * ROW,
    )  # fmt: skip
    cotangent = np.linspace(-1.0, 2.0, N) if reduction == "none" else np.ones(())
    floats = hidden, classifier, bias
    value, slopes = pulled_back(
        lambda h, w, b: f(h, w, bias=b), cotangent.astype(np.float32), *floats
    )
    chex.assert_type(value, jnp.float32)
    chex.assert_trees_all_equal_dtypes(slopes, floats)
    with jax.enable_x64(True):
        wide = [np.asarray(x, np.float64) for x in floats]
        expected, truths = pulled_back(
            lambda h, w, b: dense(h, w, labels, bias=b, reduction=reduction),
            cotangent,
            *wide,
        )
    np.testing.assert_allclose(value, expected, rtol=2e-6)
    unit = float(jnp.finfo(dtype).eps)
    for got, true in zip(slopes, truths, strict=True):
        bound = 2 * unit * np.max(np.abs(true)) + 1e-6
        np.testing.assert_allclose(np.asarray(got, float), true, rtol=0, atol=bound)


@pytest.mark.quickly_compiled
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_mixed_precision_multiplies_halves(dtype, reduction):
    """A half hidden with a float32 classifier is the half head but for a last rounding.

    So it has the accuracy of that (`test_half_inputs`), and its products; the gradient
    of the classifier, a sum of float32, is not rounded to a half.
    """
    hidden, parameter, _, labels = draw(dtype)
    parameter = parameter.astype(jnp.float32) * 1.001

    def both(hidden, classifier):
        value, back = jax.vjp(
            lambda h, w: jaxent.linear_softmax_cross_entropy(
                h, w, labels, reduction=reduction, memory=4 * ROW
            ),
            hidden,
            classifier,
        )
        return value, *back(jnp.linspace(-1.0, 2.0, value.size).reshape(value.shape))

    program = jax.jit(both)
    value, d_hidden, d_parameter = program(hidden, parameter)
    halves = program(hidden, parameter.astype(dtype))
    chex.assert_trees_all_equal((value, d_hidden, d_parameter.astype(dtype)), halves)
    assert d_parameter.dtype == jnp.float32
    assert jnp.any(d_parameter != d_parameter.astype(dtype).astype(jnp.float32))

    mixed, half = (
        re.findall(r"dot_general.* : (\(.*)", program.lower(hidden, w).as_text())
        for w in (parameter, parameter.astype(dtype))
    )
    name = {"bfloat16": "bf16", "float16": "f16"}[jnp.dtype(dtype).name]
    both_half = re.compile(rf"\(tensor<\w+x{name}>, tensor<\w+x{name}>\) -> .*xf32>")
    assert mixed == half
    assert sum(map(bool, map(both_half.match, mixed))) == (
        3 if reduction == "mean" else 2
    )


def test_exact_at_saturation_and_never_negative():
    """Tokens predicted with margin 40, where other losses are 0 or below."""
    hidden = 40.0 * jnp.eye(6, 8)
    classifier = jnp.eye(7, 8)
    labels = jnp.arange(6)
    loss = jaxent.linear_softmax_cross_entropy(
        hidden, classifier, labels, reduction="none", memory=128
    )
    expected = oracle.softmax_cross_entropy_with_integer_labels(
        np.asarray(hidden @ classifier.T), labels
    )
    np.testing.assert_allclose(loss, expected, rtol=5e-7)
    slope = jax.grad(jaxent.linear_softmax_cross_entropy)(hidden, classifier, labels)
    p = 6 * np.exp(-40.0) / 6
    np.testing.assert_allclose(slope[0, 0], -p, rtol=1e-6)


def test_dropped_positions_are_never_read():
    hidden, classifier, _, labels = draw(jnp.float32)
    keep = mask()
    bad = jnp.where(keep[:, None], hidden, jnp.nan)
    worse = jnp.where(keep, labels, 2**31 - 1)
    f = functools.partial(jaxent.linear_softmax_cross_entropy, where=keep, memory=352)
    got = jax.value_and_grad(f, argnums=(0, 1))(bad, classifier, worse)
    expected = jax.value_and_grad(f, argnums=(0, 1))(hidden, classifier, labels)
    chex.assert_trees_all_equal(got, expected)
    assert not jnp.any(got[1][0][~keep])


def test_label_out_of_range_is_nan():
    hidden, classifier, _, labels = draw(jnp.float32)
    labels = labels.at[4].set(V)
    f = jaxent.linear_softmax_cross_entropy
    value, slopes = jax.value_and_grad(f, argnums=(0, 1))(hidden, classifier, labels)
    assert jnp.isnan(value)
    assert jnp.all(jnp.isnan(slopes[0][4]))
    assert jnp.all(jnp.isnan(slopes[1]))
    losses = f(hidden, classifier, labels, reduction="none")
    assert jnp.isnan(losses).sum() == 1


def test_nothing_kept_is_zero():
    hidden, classifier, _, labels = draw(jnp.float32)
    f = functools.partial(jaxent.linear_softmax_cross_entropy, where=labels < 0)
    value, slopes = jax.value_and_grad(f, argnums=(0, 1))(hidden, classifier, labels)
    assert value == 0
    assert not any(jnp.any(s) for s in slopes)


def test_no_positions():
    hidden, classifier, _, labels = draw(jnp.float32)
    f = jaxent.linear_softmax_cross_entropy
    value, slopes = jax.value_and_grad(f, (0, 1))(hidden[:0], classifier, labels[:0])
    assert value == 0
    assert not jnp.any(slopes[1])
    assert f(hidden[:0], classifier, labels[:0], reduction="none").shape == (0,)


@pytest.mark.quickly_compiled
@pytest.mark.usefixtures("x64")
def test_batch_axes():
    hidden, classifier, _, labels = draw(n=12)
    f = functools.partial(
        jaxent.linear_softmax_cross_entropy, reduction="none", memory=5 * ROW
    )
    got = f(hidden.reshape(2, 3, 2, D), classifier, labels.reshape(2, 3, 2))
    chex.assert_shape(got, (2, 3, 2))
    close(got.ravel(), f(hidden, classifier, labels))
    close(f(hidden[0], classifier, labels[0]), f(hidden, classifier, labels)[0])


@pytest.mark.quickly_compiled
def test_a_loss_of_your_own_may_make_arrays():
    """Of a chunk's shape, whichever that is: without a gradient chunks are smaller."""
    hidden, classifier, _, labels = draw(jnp.float32)

    def hinge(s):
        return jnp.where(
            s.correct, jnp.zeros_like(s.nll), s.nll * jnp.ones(s.nll.shape)
        )

    loss = functools.partial(
        jaxent.linear_softmax_loss, hinge, classifier=classifier, labels=labels,
        memory=4 * ROW,
    )  # fmt: skip
    s = jaxent.softmax_statistics(hidden @ classifier.T, labels)
    expected = np.mean(np.where(s.correct, 0.0, s.nll))
    np.testing.assert_allclose(loss(hidden), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.value_and_grad(loss)(hidden)[0], expected, rtol=1e-6)
