# SPDX-License-Identifier: Apache-2.0
"""A loss of one's own of a fused head: its data, and what it may and may not do."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from given import put

import jaxent

BATCH, D, V = (3, 100), 5, 17
# Against the dense statistics, whose last digits test_values holds.
pytestmark = pytest.mark.quickly_compiled


def arrays(dtype=np.float64):
    """A head, ids, and data: floats with a NaN where dropped, and integers."""
    rng = np.random.default_rng(0)
    hidden, classifier = (rng.normal(size=(*n, D)) for n in (BATCH, (V,)))
    labels = rng.integers(0, V, BATCH)
    where = rng.random(BATCH) < 0.6
    where[0, 0] = False
    floats = rng.normal(size=(*BATCH, 2))
    floats[0, 0] = np.nan
    floats = floats.astype(dtype)
    integers = rng.integers(0, 2, BATCH)
    return (hidden, classifier, floats, np.float64(0.3)), labels, where, integers


def own(s, floats, integers, beta):
    """Infinite, or NaN in its derivative, of the zeros that a dropped position has."""
    losses = floats[..., 0] * s.nll + jnp.log(s.nll) * floats[..., 1] * integers
    losses -= beta * s.entropy
    return losses, {"entropy": s.entropy, "top": s.top_id, "two": floats}


def fused(hidden, classifier, floats, beta, **options):
    _, labels, where, integers = arrays()

    def function(s, data):
        return own(s, data["floats"], data["integers"].astype(s.nll.dtype), beta)

    return jaxent.linear_softmax_loss(
        function, hidden, classifier, labels,
        {"floats": floats, "integers": integers},
        where=where, has_aux=True, **options,
    )  # fmt: skip


def dense(hidden, classifier, floats, beta, reduction):
    _, labels, where, integers = arrays()
    s = jaxent.softmax_statistics(hidden @ classifier.T, labels)
    floats = jnp.where(where[..., None], floats, 0)
    losses, aux = own(s, floats, integers.astype(s.nll.dtype), beta)
    losses = jnp.where(where, losses, 0)
    aux = jax.tree.map(
        lambda x: jnp.where(where.reshape(*BATCH, *(1,) * (x.ndim - 2)), x, 0), aux
    )
    return jaxent.reduce(losses, where=where, reduction=reduction), aux


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("memory", ["5KB", None], ids=["chunks", "whole"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_value_gradient_and_aux_are_the_dense_ones(reduction, memory):
    """The dense statistics are held to the oracle by tests of their own."""
    given = arrays()[0]

    def run(f):
        def total(*args):
            losses, aux = f(*args)
            return jnp.sum(jnp.cos(losses)), aux

        return jax.jit(jax.value_and_grad(total, (0, 1, 2, 3), has_aux=True))(*given)

    got = run(functools.partial(fused, reduction=reduction, memory=memory))
    chex.assert_trees_all_close(
        got, run(functools.partial(dense, reduction=reduction)), rtol=1e-11, atol=1e-12
    )
    assert np.all(np.asarray(got[1][2])[0, 0] == 0)


@pytest.mark.usefixtures("x64")
def test_every_mode_of_differentiation():
    *given, beta = arrays()[0]
    losses = [
        lambda b: fused(*given, b, reduction="mean", memory="5KB")[0] ** 2,
        lambda b: dense(*given, b, "mean")[0] ** 2,
    ]
    modes = {jax.jacfwd: beta, jax.jacrev: beta, jax.hessian: beta}
    for mode, at in {**modes, jax.vmap: np.arange(3.0)}.items():
        got, truth = (jax.jit(mode(f))(at) for f in losses)
        np.testing.assert_allclose(got, truth, rtol=1e-11)


H, W, Y = np.eye(3, dtype="f"), np.zeros((4, 3), "f"), np.arange(3)
ADVANTAGES = put([1.0, 10.0, 100.0], np.float32)


def test_data_go_with_their_positions():
    def call(advantages, reduction):
        return jaxent.linear_softmax_loss(
            lambda s, a: a * s.nll, H, W, Y, advantages, reduction=reduction
        )

    both = jax.jit(lambda x: (call(x, "none"), jax.grad(call)(x, "sum")))
    losses, slopes = both(ADVANTAGES)
    np.testing.assert_allclose(losses, np.log(4) * np.asarray(ADVANTAGES), rtol=1e-6)
    np.testing.assert_allclose(slopes, [np.log(4)] * 3, rtol=1e-6)


@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("memory", [None, "64B"])
def test_an_array_of_the_positions_cannot_be_closed_over(reduction, memory):
    """Its element 0 was taken for all of them, silently."""
    with pytest.raises(TypeError, match="incompatible shapes") as error:
        jaxent.linear_softmax_loss(
            lambda s: ADVANTAGES * s.nll, H, W, Y, reduction=reduction, memory=memory
        )
    assert any("are its `*data`" in note for note in error.value.__notes__)


def test_a_name_that_no_statistic_has_is_answered_with_all_of_them():
    with pytest.raises(AttributeError, match="loss") as error:
        jaxent.linear_softmax_loss(lambda s: s.loss, H, W, Y)
    fields = (
        "nll, one_minus_prob, log_normalizer, label_logit, correct, entropy, top_id"
    )
    assert any(fields in note for note in error.value.__notes__)


def logits_of(x):
    return x[:, None] * jnp.ones((1, 4), x.dtype)


TABLE = put(np.arange(14.0).reshape(7, 2), np.float32)
APART = {
    "elementwise": lambda s: jnp.where(s.nll > 1, jnp.clip(s.nll, 0, 2), s.entropy),
    "jitted": lambda s: jax.jit(jax.nn.softplus)(s.nll),
    "a table": lambda s: TABLE[s.top_id].sum(-1) * s.nll,
    "other axes": lambda s: jax.nn.log_softmax(logits_of(s.nll))[:, 0],
    "taken along": lambda s: jnp.take_along_axis(
        logits_of(s.nll), s.top_id[:, None], axis=1
    )[:, 0],
    "cumulated across": lambda s: jnp.cumsum(logits_of(s.nll), axis=1)[:, -1],
    "a table of such a length": lambda s: jnp.ones((131, 7)).sum() * s.nll,
    "vmap": lambda s: jax.vmap(lambda x: x * TABLE.sum())(s.nll),
    "a sum not used": lambda s: jax.grad(lambda x: jnp.sum(x**2))(s.nll),
    "map": lambda s: jax.lax.map(lambda x: x * TABLE.sum(), s.nll),
    "a branch": lambda s: jax.lax.cond(TABLE.sum() > 0, jnp.sin, jnp.cos, s.nll),
}
MIXED = {
    "mean": lambda x: x - x.mean(),
    "ratio": lambda x: x / x.mean(),
    "jitted": jax.jit(lambda x: x - jnp.mean(x)),
    "largest": lambda x: x / x.max(),
    "softmax": jax.nn.softmax,
    "cumulated": jnp.cumsum,
    "sorted": jnp.sort,
    "rolled": lambda x: jnp.roll(x, 1),
    "reversed": lambda x: x[::-1],
    "outer": lambda x: jnp.sum(x[:, None] * x[None], axis=1),
    "first": lambda x: x * x[0],
    "inner": lambda x: x * jnp.dot(x, x),
    "scan": lambda x: jax.lax.scan(lambda c, a: (c + a, c + a), x[0] * 0, x)[1],
    "replaced": lambda x: x.at[0].set(0.0),
    "transformed": lambda x: jnp.fft.fft(x).real,
    "convolved": lambda x: jnp.convolve(x, jnp.ones(3), "same"),
}


@pytest.mark.parametrize("function", APART.values(), ids=APART)
def test_what_keeps_positions_apart_is_computed(function):
    """Of 300 positions in blocks and chunks as of all of them at once."""
    (hidden, classifier, *_), labels, _, _ = arrays()
    hidden, classifier = (np.asarray(x, np.float32) for x in (hidden, classifier))
    got = jaxent.linear_softmax_loss(
        function, hidden, classifier, labels, reduction="none", memory="5KB"
    )

    @jax.jit
    def of_all(hidden, classifier):
        s = jaxent.softmax_statistics(hidden @ classifier.T, labels)
        return function(jax.tree.map(jnp.ravel, s)).reshape(BATCH)

    truth = of_all(hidden, classifier)
    np.testing.assert_allclose(got, truth, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("function", MIXED.values(), ids=MIXED)
def test_what_mixes_positions_is_refused(function):
    """It would be of a chunk's positions."""
    with pytest.raises(ValueError, match="must keep the positions apart"):
        jaxent.linear_softmax_loss(lambda s: function(s.nll), H, W, Y)


@pytest.mark.parametrize("axis", ["tokens", "classes"])
def test_on_explicit_axes(axis):
    """Data are cut with the tokens, whatever divides the head."""
    kind = jax.sharding.AxisType.Explicit
    mesh = jax.make_mesh((2, 2), ("tokens", "classes"), axis_types=(kind,) * 2)
    (hidden, classifier, floats, _), *_ = arrays()
    hidden, classifier, floats = (
        np.nan_to_num(a).astype(np.float32)[:2] if a.ndim == 3 else np.float32(a)[:16]
        for a in (hidden, classifier, floats)
    )
    labels = np.arange(200).reshape(2, 100) % 16

    def loss(hidden, classifier, floats, labels):
        def function(s, floats):
            return floats[:, 0] * s.nll, s.entropy

        return jaxent.linear_softmax_loss(
            function, hidden, classifier, labels, floats, has_aux=True, memory="5KB"
        )

    run = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))
    truth = run(hidden, classifier, floats, labels)
    P = jax.sharding.PartitionSpec
    with jax.set_mesh(mesh):
        tokens = "tokens" if axis == "tokens" else None
        specs = P(tokens), P("classes"), P(tokens), P(tokens)
        given = map(jax.device_put, (hidden, classifier, floats, labels), specs)
        got = run(*given)
    chex.assert_trees_all_close(got, truth, rtol=1e-5, atol=1e-6)
