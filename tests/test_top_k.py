# SPDX-License-Identifier: Apache-2.0
"""Learning from a teacher's K likeliest classes, dense and fused, against the truth.

Tolerances: float32 rounds a log-probability of the size L by 6e-8·L, and what is left
of 1 by 1e-7; terms of the divergence are then off by some of these roundings.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import test_transforms
from given import put
from jax.experimental import checkify

import jaxent

pytestmark = pytest.mark.quickly_compiled
TAILS = ("category", "renormalize", "drop")
dense = jaxent.kl_divergence_from_top_k
fused = jaxent.linear_kl_divergence_from_top_k
truth = oracle.kl_divergence_from_top_k


def log_softmax(x):
    return -oracle.pairs(oracle.wide(x))[0]


def draw(n, v, k, *, apart=1.0, ahead=0.0, dtype=np.float32, seed=0):
    """A student's logits, and the likeliest classes of a teacher that is near it."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, v)).astype(dtype)
    ids = np.argsort(-x, axis=-1)[:, :k].astype(np.int32)
    np.put_along_axis(x, ids, np.take_along_axis(x, ids, -1) + dtype(ahead), -1)
    log_p = log_softmax(x + apart * rng.normal(size=x.shape))
    # In any order, for the listed need not be sorted.
    ids = rng.permuted(ids, axis=-1)
    return x, ids, np.take_along_axis(log_p, ids, -1).astype(dtype)


def pulled_back(f, x, log_p, cotangent):
    """Value, and gradients in the logits and in the log-probabilities."""

    @jax.jit
    def run(x, log_p):
        value, pull = jax.vjp(f, x, log_p)
        return value, *pull(jnp.asarray(cotangent, value.dtype))

    return run(x, log_p)


def true_gradient(f, x, cotangent):
    """Of a function of rows, by one class of all rows at a time."""
    out = np.zeros(x.shape)
    for j in range(x.shape[-1]):
        direction = np.zeros(x.shape)
        direction[:, j] = 1
        out[:, j] = cotangent * oracle.derivative(f, x, direction)
    return out


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize(
    ("v", "k", "temperature"), [(7, 1, None), (90, 64, 0.7), (131072, 64, None)]
)
def test_value(tail, v, k, temperature):
    x, ids, log_p = draw(3, v, k)
    ids[0, k // 2 :] = -1
    got = dense(x, ids, log_p, tail=tail, temperature=temperature)
    expected = truth(x, ids, log_p, tail=tail, temperature=temperature or 1.0)
    chex.assert_type(got, jnp.float32)
    np.testing.assert_allclose(got, expected.astype(float), rtol=4e-6, atol=3e-7)


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize(
    ("dtype", "v", "k"),
    [("float32", 12, 5), ("bfloat16", 12, 5), ("float32", 7, 1), ("float32", 90, 64)],
)
def test_gradients(tail, dtype, v, k):
    x, ids, log_p = draw(4, v, k)
    ids[1, 2:], ids[2] = -1, -1
    # Not where no other has mass: of that nothing is renormalised.
    log_p[3, 0] = -np.inf if k > 1 else log_p[3, 0]
    # What has no entry is not read, whatever is there.
    log_p[1, 2:], log_p[2] = np.nan, np.nan
    x, log_p = (jnp.asarray(a, dtype) for a in (x, log_p))
    cotangent = np.random.default_rng(1).normal(size=4)
    f = functools.partial(dense, tail=tail)
    value, *slopes = pulled_back(lambda x, p: f(x, ids, p), x, log_p, cotangent)
    as_read = np.where((ids < 0) | np.isnan(log_p), 0, log_p)

    def of(x, p):
        return truth(x, ids, p, tail=tail)

    # Of one class, renormalised, it is 0: what the oracle rounds is far below this.
    right = of(x, as_read).astype(float)
    np.testing.assert_allclose(value, right, rtol=4e-6, atol=1e-15)
    expected = (
        true_gradient(lambda z: of(z, as_read), oracle.wide(x), cotangent),
        true_gradient(lambda z: of(x, z), oracle.wide(as_read), cotangent),
    )
    rounding = 2.0**-8 if dtype == "bfloat16" else 1e-6
    for got, right in zip(slopes, expected, strict=True):
        chex.assert_type(got, dtype)
        got = np.asarray(got, float)
        np.testing.assert_allclose(got, right, rtol=rounding, atol=4e-7)
    assert not np.any(slopes[0][2])
    assert not np.any(slopes[1][2])


@pytest.mark.parametrize("ahead", [27.5, 40.0])
def test_a_student_s_tail_of_next_to_nothing(ahead):
    """1 − Σ q rounds it to 0, or to 6e-8; log q is wrong by its own size then."""
    x, ids, log_p = draw(3, 300, 4, ahead=ahead)
    log_p = np.asarray(log_softmax(np.where(log_p < 0, [3.0, 2.0, 1.0, 0.0], 0)))
    log_p = (log_p + np.log(0.75)).astype(np.float32)
    cotangent = np.ones(3)
    value, by_x, by_p = pulled_back(lambda x, p: dense(x, ids, p), x, log_p, cotangent)
    expected = truth(x, ids, log_p)
    assert np.all(expected > 0.2 * ahead)
    np.testing.assert_allclose(value, expected.astype(float), rtol=1e-6)
    right = true_gradient(lambda z: truth(z, ids, log_p), oracle.wide(x), cotangent)
    np.testing.assert_allclose(by_x, right, rtol=1e-5)
    right = true_gradient(lambda z: truth(x, ids, z), oracle.wide(log_p), cotangent)
    np.testing.assert_allclose(by_p, right, rtol=1e-5)


@pytest.mark.parametrize("k", [1, 8, 64])
def test_near_it_is_accurate_and_never_negative(k):
    """The plain sum of p·(log p − log q) is off by 1e-7, either way."""
    x, ids, log_p = draw(64, 64, k, apart=1e-2)
    value = np.asarray(dense(x, ids, log_p))
    assert np.all(value >= 0)
    own = np.take_along_axis(log_softmax(x), ids, -1).astype(np.float32)
    same = np.asarray(dense(x, ids, own))
    assert np.all((same >= 0) & (same < 1e-11))
    if k < 64:
        expected = truth(x, ids, log_p).astype(float)
        np.testing.assert_allclose(value, expected, rtol=3e-3)


@oracle.quiet
def test_a_given_tail_and_masses_that_do_not_sum_to_one():
    x, ids, log_p = draw(5, 30, 4)
    given = np.log(np.float32([0.5, 0.1, 1e-6, 0.0, 0.3]))
    value = dense(x, ids, log_p, tail_log_prob=given)
    expected = truth(x, ids, log_p, tail_log_prob=given).astype(float)
    assert np.any(expected < 0)
    np.testing.assert_allclose(value, expected, rtol=1e-6, atol=3e-7)
    rest = np.log(-np.expm1(np.log(np.sum(np.exp(log_p), -1)))).astype(np.float32)
    same = dense(x, ids, log_p, tail_log_prob=rest)
    np.testing.assert_allclose(same, dense(x, ids, log_p), rtol=1e-4)
    f = functools.partial(true_gradient, cotangent=np.ones(5))
    got = jax.grad(lambda t: dense(x, ids, log_p, tail_log_prob=t).sum())(given)
    right = f(
        lambda t: truth(x, ids, log_p, tail_log_prob=t[:, 0]),
        oracle.wide(given)[:, None],
    )
    right[3] = 0  # a mass of 0 is settled
    np.testing.assert_allclose(got, right[:, 0], rtol=1e-5)


@oracle.quiet
def test_edges():
    x = np.float32([[0.0, 1.0, -np.inf, 2.0]])
    inf = np.inf

    def value(ids, log_p, **options):
        log_p = np.log(np.float32([log_p]))
        of = lambda x, p: dense(x, np.array([ids]), p, **options)  # noqa: E731
        value, *slopes = pulled_back(of, x, log_p, np.ones(1))
        assert np.all(np.isfinite(np.concatenate(slopes, -1)))
        return value[0]

    # Forbidden: what the teacher gives mass is infinite, and what it does not is 0.
    assert value([0, 2], [0.5, 0.5]) == inf
    assert value([0, 2], [0.5, 0.0]) < 2
    # The tail holds only what is forbidden; all are listed; none is.
    assert value([0, 1, 3], [0.2, 0.3, 0.1]) == inf
    assert value([0, 1, 3], [0.2, 0.3, 0.5]) < 1
    assert value([0, 1, 2, 3], [0.2, 0.3, 0.0, 0.5]) < 1
    assert value([-1, -1], [0.2, 0.7]) == 0
    assert value([0, 1], [0.0, 1.0], tail="renormalize") < 2
    assert value([3, -1], [1.0, 0.5]) == pytest.approx(-float(log_softmax(x)[0, 3]))
    # A NaN, and +inf, are no logits.
    for bad in (np.nan, inf):
        for j in (0, 1):
            y = x.copy()
            y[0, j] = bad
            assert np.isnan(dense(y, np.array([[0, 3]]), np.log([[0.5, 0.25]]))[0])


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("dtype", [np.int32, np.int8, np.int64, np.uint8])
def test_an_id_out_of_range_is_nan_for_its_position_alone(tail, dtype):
    x, ids, log_p = draw(3, 9, 3)
    ids = ids.astype(dtype)
    ids[1, 0] = 9
    if np.issubdtype(dtype, np.signedinteger):
        ids[2, 1:], ids[2, 0] = -1, -2
    bad = np.array([False, True, np.issubdtype(dtype, np.signedinteger)])
    value, *slopes = pulled_back(
        lambda x, p: dense(x, ids, p, tail=tail), x, log_p, np.ones(3)
    )
    np.testing.assert_array_equal(np.isnan(value), bad)
    read = (ids.astype(int) != -1)[..., :]
    for slope, where in zip(slopes, (np.ones_like(x, bool), read), strict=True):
        np.testing.assert_array_equal(np.isnan(slope), bad[:, None] & where)
    kept = dense(x, ids, log_p, tail=tail, where=~bad)
    np.testing.assert_array_equal(kept, np.where(bad, 0, value))


# As test_checkify's, of what reads them: it takes long to compile.
@pytest.mark.thorough
def test_checked_ids_are_named():
    x, ids, log_p = draw(3, 9, 3)

    def report(ids, **options):
        f = checkify.checkify(functools.partial(dense, **options))
        return jax.jit(f)(x, jnp.asarray(ids), log_p)[0].get()

    assert report(ids) is None
    ids[1, 2] = -1
    assert report(ids) is None
    bad = ids.copy()
    bad[1, 1] = 9
    name = "`jaxent.kl_divergence_from_top_k(ids=...)`"
    assert f"{name} must be in [0, 9); got 9 at flat position 4." in report(bad)
    bad[1, 1] = bad[1, 0]
    assert f"{name} must differ within a position; got {bad[1, 1]} at flat position 4." in report(bad)  # fmt: skip # noqa: E501
    assert report(bad, where=np.arange(3) != 1) is None


# The fused head.

N, D, V, K = 11, 5, 13, 4
ROW = 2 * V * 8


def heads(dtype=np.float64):
    rng = np.random.default_rng(3)
    hidden, classifier = rng.normal(size=(N, D)), rng.normal(size=(V, D))
    _, ids, log_p = draw(N, V, K, dtype=np.float64)
    ids[2, 1:], ids[3] = -1, -1
    bias = rng.normal(size=V)
    return *(a.astype(dtype) for a in (hidden, classifier, bias, log_p)), ids


OPTIONS = {
    "category": {},
    "renormalize": {"tail": "renormalize", "temperature": 1.5},
    "drop": {"tail": "drop", "softcap": 2.0},
    "all": {"tail_log_prob": True, "softcap": 2.0, "temperature": 0.7, "masks": True},
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("name", "reduction"),
    [("category", "sum"), ("renormalize", "none"), ("drop", "sum"), ("all", "none"),
     ("all", "sequence_mean")],
)  # fmt: skip
def test_fused_is_dense(name, reduction):
    """In value, in every gradient and along a direction of the gradient."""
    *args, ids = heads()
    options = dict(OPTIONS[name])
    log_tail = np.linspace(-3, -1, N)
    with_tail = options.pop("tail_log_prob", False)
    positions = {}
    if options.pop("masks", False):
        positions = {"where": np.arange(N) % 3 != 1, "weights": np.arange(N) % 4 + 0.0}
        args[3][1], log_tail[1] = np.nan, np.nan
    cap = options.pop("softcap", None)
    cotangent = np.random.default_rng(1).normal(size=N)

    def loss(f):
        def of(hidden, classifier, bias, log_p, log_tail, temperature):
            given = options | {"tail_log_prob": log_tail if with_tail else None}
            value = f(
                hidden, classifier, bias, log_p, given | {"temperature": temperature}
            )
            return jnp.sum(value * (cotangent if reduction == "none" else 1.7))

        return of

    def by_head(hidden, classifier, bias, log_p, given):
        return fused(
            hidden, classifier, ids, log_p, bias=bias, softcap=cap, memory=4 * ROW,
            reduction=reduction, **given, **positions,
        )  # fmt: skip

    def by_logits(hidden, classifier, bias, log_p, given):
        x = hidden @ classifier.T
        x += jnp.broadcast_to(bias, x.shape)
        x = x if cap is None else cap * jnp.tanh(x / cap)
        return dense(x, ids, log_p, reduction=reduction, **given, **positions)

    args = (
        *map(put, args),
        jnp.asarray(log_tail),
        options.pop("temperature", 1.3),
    )
    numbers = tuple(range(len(args)))
    along = jax.tree.map(jnp.cos, args)
    along = jax.tree.map(lambda t: jnp.where(jnp.isnan(t), 1.0, t), along)

    def all_of(f):
        slopes = jax.value_and_grad(loss(f), argnums=numbers)
        return jax.jit(lambda *a: jax.jvp(slopes, a, along))(*args)

    got, expected = all_of(by_head), all_of(by_logits)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        scale = max(float(jnp.max(jnp.abs(b))), 1e-3)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * scale)


def test_statistics_come_from_the_same_sweep():
    hidden, classifier, bias, log_p, ids = heads(np.float32)
    keep = np.arange(N) != 4
    loss, s = fused(
        hidden, classifier, ids, log_p, bias=bias, where=keep, temperature=0.7,
        statistics=True, reduction="none",
    )  # fmt: skip
    x = hidden @ classifier.T + bias
    y = np.argmax(x, -1)
    expected = jaxent.softmax_statistics(x, y, temperature=0.7, where=keep)
    assert np.all(loss[3:5] == 0)
    for name in ("log_normalizer", "entropy", "top_id"):
        np.testing.assert_allclose(getattr(s, name), getattr(expected, name), rtol=1e-5)


# Every transform, in float64.


def row(tail, argument):
    x, ids, log_p = draw(3, 5, 2, dtype=np.float64)
    x[1, 4], x[2, ids[2]] = -np.inf, 20
    args = [x, log_p]
    others = {"ids": ids, "other": args[1 - argument]}

    def apply(f, x, others):
        x, log_p = (x, others["other"])[:: 1 - 2 * argument]
        return f(x, others["ids"], log_p, tail=tail)

    rng = np.random.default_rng(0)
    return test_transforms.Row(
        functools.partial(apply, dense),
        args[argument],
        others,
        rng.normal(size=3),
        rng.normal(size=args[argument].shape),
        functools.partial(apply, truth, others=others),
        1.0,
    )


@functools.cache
def truths(tail, argument):
    r = row(tail, argument)
    slopes = []
    for at in np.ndindex(*r.x.shape):
        e = np.zeros(r.x.shape)
        e[at] = 1
        slopes.append(oracle.derivative(r.truth, r.x, e))
    jacobian = np.stack(slopes, -1).reshape(-1, *r.x.shape)
    hessian = oracle.hessian(r.true_total, r.x, step=2.0**-17)
    t = test_transforms
    return {
        t.values: r.truth(r.x),
        t.directional: oracle.derivative(r.truth, r.x, r.tangent),
        t.jacobian: jacobian,
        t.gradient: np.tensordot(r.cotangent, jacobian, 1),
        t.hessian: hessian,
        t.blocks: np.stack([hessian[i, :, i] for i in range(3)]),
    }


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("order", test_transforms.TRANSFORMS)
@pytest.mark.parametrize(
    ("tail", "argument"), [("category", 0), ("category", 1), ("drop", 0)]
)
def test_transforms_of(tail, argument, order):
    r, chosen = row(tail, argument), test_transforms.TRANSFORMS[order]

    def run(x):
        return {k: function(r._replace(x=x)) for k, (function, _) in chosen.items()}

    made = (run if order == "eager" else jax.jit(run))(r.x)
    for transform, got in made.items():
        right = truths(tail, argument)[chosen[transform][1]]
        chex.assert_shape(got, right.shape)
        allowed = 1e-11 * (test_transforms.largest(right) + 1e-3)
        error = test_transforms.largest(oracle.wide(got) - right)
        assert np.all(error <= allowed), f"{transform}: {error}, allowed {allowed}"


@pytest.mark.usefixtures("x64")
def test_the_temperature_is_differentiable():
    x, ids, log_p = draw(3, 9, 3, dtype=np.float64)
    f = lambda t: dense(x, ids, log_p, temperature=t)  # noqa: E731
    right = lambda t: truth(x, ids, log_p, temperature=t)  # noqa: E731
    value, slope = jax.jvp(f, (0.7,), (1.0,))
    np.testing.assert_allclose(value, right(0.7).astype(float), rtol=1e-12)
    expected = oracle.derivative(right, 0.7, 1).astype(float)
    np.testing.assert_allclose(slope, expected, rtol=1e-12)
