# SPDX-License-Identifier: Apache-2.0
"""Heads that learn from heads, and from lists of classes, against the truth.

In float64 products and sums are rounded by 1e-15: 1e-11 of the largest entry is ample.
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
from oracle import wide
from test_sharded import MESH, NAMES
from test_top_k import draw

import jaxent

pytestmark = pytest.mark.quickly_compiled
N, D, V, K = 6, 4, 8, 3
ROW = 2 * V * 8


def head(seed, width=D):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N, width)), rng.normal(size=(V, width))


def close(got, truth):
    truth = np.asarray(truth, float)
    scale = max(np.max(np.abs(truth)), 1e-6)
    np.testing.assert_allclose(got, truth, rtol=0, atol=1e-11 * scale)


def slopes(f, x):
    """∂/∂x of the sum of f, a function of rows."""
    columns = [
        oracle.derivative(f, x, np.eye(V)[j] * np.ones((N, 1))) for j in range(V)
    ]
    return np.stack(columns, -1)


def pulled(slope, factors):
    return slope @ factors[1], slope.T @ factors[0]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("weight", [0.9, 0.0])
def test_js_of_two_heads(weight):
    student, teacher = head(0), head(1, 2)
    options = {"temperature": 0.7, "memory": 4 * ROW, "reduction": "sum"}

    def loss(*args):
        *heads, w = args
        return jaxent.linear_js_divergence(*heads, weight=w, **options)

    value, got = jax.value_and_grad(loss, range(5))(*student, *teacher, weight)
    x, t = (wide(h) @ wide(w).T / wide(0.7) for h, w in (student, teacher))

    def truth(t, x, weight=weight):
        return oracle.js_divergence_from_logits(t, x, weight=weight)

    close(value, np.sum(truth(t, x)))
    assert (value == 0) == (weight == 0)
    by_x = slopes(functools.partial(truth, t), x) / wide(0.7)
    by_t = slopes(lambda t: truth(t, x), t) / wide(0.7)
    expected = *pulled(by_x, student), *pulled(by_t, teacher)
    for g, e in zip(got, expected, strict=False):
        close(g, e)
    by_weight = oracle.derivative(lambda w: truth(t, x, w), weight, 1)
    close(got[-1], np.sum(by_weight))


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_mixture_of_one_is_it(weight):
    """Also where the other has no mass: 0, and no gradient is NaN or infinite."""
    p, q = jnp.array([0.5, 0.5, 0.0]), jnp.array([0.0, 0.25, 0.75])
    x, y = jnp.log(p), jnp.array([-200.0, 0.0, 200.0])
    for f, pair in (
        (jaxent.js_divergence, (p, q)), (jaxent.js_divergence_from_logits, (x, y)),
    ):  # fmt: skip
        value, got = jax.value_and_grad(f, (0, 1))(*pair, weight=weight)
        assert value == 0
        assert not np.any(got)
        slope = jax.grad(lambda w: f(*pair, weight=w))(weight)  # noqa: B023
        assert np.isfinite(slope)


@pytest.mark.parametrize("weight", [1e-6, 0.1, 0.999])
def test_js_keeps_its_accuracy_at_every_weight(weight):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 30)).astype(np.float32)
    for apart in (1e-3, 1.0, 20.0):
        y = (x + apart * rng.normal(size=x.shape)).astype(np.float32)
        w = np.float32(weight)
        got = jaxent.js_divergence_from_logits(x, y, weight=weight)
        truth = oracle.js_divergence_from_logits(x, y, weight=w).astype(float)
        # 24 bits of log(q/p), in which the offset of both logits' sums is rounded.
        np.testing.assert_allclose(got, truth, rtol=5e-6 if apart < 1 else 3e-6)
        p, q = (np.asarray(jax.nn.softmax(z)) for z in (x, y))
        got = jaxent.js_divergence(p, q, weight=weight)
        truth = oracle.js_divergence(p, q, weight=w).astype(float)
        np.testing.assert_allclose(got, truth, rtol=3e-6)


OPTIONS = {
    "plain": {},
    "one for all": {"bias": np.float64(-3), "pos_weight": np.float64(2.5)},
    "each": {
        "bias": np.linspace(-2, 1, V),
        "pos_weight": np.linspace(0.5, 3, V),
        "label_smoothing": 0.1,
    },
}


def labels():
    ids = np.random.default_rng(5).integers(-1, V, (N, K)).astype(np.int32)
    ids[0], ids[1] = -1, 2
    return ids


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", OPTIONS)
def test_a_yes_or_no_for_every_class(name):
    factors, options, ids = head(0), OPTIONS[name], labels()
    y = (ids[..., None, :] == np.arange(V)[:, None]).any(-1).astype(float)
    cotangent = np.random.default_rng(1).normal(size=N)

    def loss(hidden, classifier, options):
        value = jaxent.linear_sigmoid_binary_cross_entropy(
            hidden, classifier, ids, reduction="none", memory=4 * ROW, **options
        )
        return jnp.sum(value * cotangent), value

    x = wide(factors[0]) @ wide(factors[1]).T + options.get("bias", 0)
    rest = {k: v for k, v in options.items() if k != "bias"}

    def truth(x, **changed):
        f = oracle.sigmoid_binary_cross_entropy
        return np.sum(f(x, y, **rest | changed), axis=-1)

    of = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)
    (_, value), got = of(*factors, options)
    close(value, truth(x))
    by_x = slopes(truth, x) * cotangent[:, None]
    for g, e in zip(got, pulled(by_x, factors), strict=False):
        close(g, e)
    if "bias" in options:
        one = np.ndim(options["bias"]) == 0
        close(got[2]["bias"], np.sum(by_x) if one else np.sum(by_x, axis=0))
        along = np.ones(()) if one else np.eye(V)[3]
        moved = oracle.derivative(
            lambda p: truth(x, pos_weight=p), options["pos_weight"], along
        )
        slope = got[2]["pos_weight"]
        close(slope if one else slope[3], np.sum(moved * cotangent))


def test_saturated_decisions_and_labels_out_of_range():
    ids = np.array([[0, -1], [0, 9], [0, -2]])
    f = functools.partial(
        jaxent.linear_sigmoid_binary_cross_entropy,
        jnp.array([[30.0], [1.0], [1.0]]), jnp.array([[1.0], [-1.0], [-1.0]]),
        reduction="none",
    )  # fmt: skip
    value = f(ids)
    np.testing.assert_allclose(value[0], 3 * np.exp(-30), rtol=1e-6)
    assert np.all(np.isnan(value[1:]))
    keep = np.array([True, False, False])
    np.testing.assert_array_equal(f(ids, where=keep)[1:], 0)


@pytest.mark.parametrize("name", ["top_k", "binary"])
def test_no_array_of_all_logits(name):
    """The chunks' logits, what they are masked and picked to, and K a position."""
    n, d, v, k = 4096, 64, 32768, 16
    shape = jax.ShapeDtypeStruct
    head = shape((n, d), jnp.float32), shape((v, d), jnp.float32)
    ids, log_p = shape((n, k), jnp.int32), shape((n, k), jnp.float32)
    f, data = {
        "top_k": (jaxent.linear_kl_divergence_from_top_k, (ids, log_p)),
        "binary": (jaxent.linear_sigmoid_binary_cross_entropy, (ids,)),
    }[name]
    step = jax.jit(jax.value_and_grad(f, (0, 1))).lower(*head, *data).compile()
    rows = n * (3 * d + 8 * k + 16) * 4
    temporaries = step.memory_analysis().temp_size_in_bytes
    assert temporaries <= 3 * 144e6 + 16 * 2**20 + rows < n * v * 4


# Sliced classes, and arrays on explicit axes.


def teacher():
    _, ids, log_p = draw(N, V, K, dtype=np.float64)
    ids[1, 1:] = -1
    return ids, log_p


def losses(name, **place):
    options = {"memory": 12 * ROW, "reduction": "none", **place}
    ids, log_p = teacher()
    tail = {"tail": name}
    if name == "js":
        other = head(1, 2)
        return (
            other,
            P("vocab"),
            lambda h, w, t, u: jaxent.linear_js_divergence(
                h, w, t, u, weight=0.9, temperature=0.7, **options
            ),
        )
    if name == "binary":
        return (
            (labels(), np.float64(-2)),
            P(),
            lambda h, w, y, b: jaxent.linear_sigmoid_binary_cross_entropy(
                h, w, y, bias=b, **options
            ),
        )
    return (
        (ids, log_p),
        P("data"),
        lambda h, w, y, p: jaxent.linear_kl_divergence_from_top_k(
            h, w, y, p, **tail, **options
        ),
    )


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("name", "way"),
    [("js", "sliced"), ("binary", "sliced"), ("binary", "explicit"),
     ("category", "sliced"), ("drop", "explicit")],
)  # fmt: skip
def test_on_a_mesh(name, way):
    data, last, f = losses(name)
    factors, cotangent = head(0), np.random.default_rng(2).normal(size=N)
    first = P("data", None)
    specs = first, P("vocab", None), first, P(*last, None) if name != "binary" else P()
    moving = [i for i, a in enumerate((*factors, *data)) if a.dtype.kind == "f"]

    def all_of(f, *args):
        def total(*args):
            value = f(*args)
            return jnp.sum(value * cotangent), value

        return jax.value_and_grad(total, moving, has_aux=True)(*args)

    expected = jax.jit(functools.partial(all_of, f))(*factors, *data)
    if way == "sliced":
        g = losses(name, vocab_axis_name="vocab")[2]
        g = jax.shard_map(g, mesh=MESH, in_specs=specs, out_specs=P("data"))
        got = jax.jit(functools.partial(all_of, g))(*factors, *data)
    else:
        mesh = jax.make_mesh((2, 4), NAMES, axis_types=(AxisType.Explicit,) * 2)

        def put(x, spec):
            return jax.device_put(x, NamedSharding(mesh, spec))

        cotangent = put(cotangent, P("data"))
        args = map(put, (*factors, *data), specs)
        got = jax.jit(functools.partial(all_of, f))(*args)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        close(a, b)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("tail", ["category", "renormalize"])
def test_dense_logits_on_a_mesh(tail):
    (x, *_), (ids, log_p) = draw(N, V, K, dtype=np.float64), teacher()
    cotangent = np.random.default_rng(2).normal(size=N)

    def all_of(x, log_p, **place):
        def f(x, p):
            return jaxent.kl_divergence_from_top_k(x, ids, p, tail=tail, **place)

        value, pull = jax.vjp(f, x, log_p)
        return value, *pull(jnp.asarray(cotangent))

    expected = all_of(x, log_p)
    explicit = jax.make_mesh((2, 4), NAMES, axis_types=(AxisType.Explicit,) * 2)

    def put(x, spec):
        return jax.device_put(x, NamedSharding(explicit, spec))

    def loss(x, ids, p):
        return jaxent.kl_divergence_from_top_k(x, ids, p, tail=tail)

    def on_it(x, ids, p, cotangent):
        value, pull = jax.vjp(lambda x, p: loss(x, ids, p), x, p)
        return value, *pull(cotangent)

    tokens = P("data", None)
    got = jax.jit(on_it)(
        put(x, P("data", "vocab")), put(ids, tokens), put(log_p, tokens),
        put(cotangent, P("data")),
    )  # fmt: skip
    for a, b in zip(got, expected, strict=True):
        close(a, b)

    def sliced(x, ids, p, cotangent):
        def f(x, p):
            return jaxent.kl_divergence_from_top_k(
                x, ids, p, tail=tail, vocab_axis_name="vocab"
            )

        return lax.psum(jnp.sum(f(x, p) * cotangent), "data")

    mapped = jax.shard_map(
        sliced, mesh=MESH, out_specs=P(),
        in_specs=(P("data", "vocab"), tokens, tokens, P("data")),
    )  # fmt: skip
    got = jax.jit(jax.grad(mapped, (0, 2)))(x, ids, log_p, cotangent)
    for a, b in zip(got, expected[1:], strict=True):
        close(a, b)
