# SPDX-License-Identifier: Apache-2.0
"""What the compiled programs of dense losses send: numbers a token, never a row."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from cases import CROSS_ENTROPY, LOSSES, each, losses
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxent
from benchmarks.collectives import collectives

pytestmark = pytest.mark.quickly_compiled

# Above the size from which the CPU takes the rows in groups.
N, V = 256, 8192
NAMES = "data", "vocab"
PLACES = {
    "data": P("data", None),
    "vocab": P(None, "vocab"),
    "both": P("data", "vocab"),
}
OPTIONS = {CROSS_ENTROPY: {"label_smoothing": 0.1, "z_loss": 1e-4}}


def step(call, *arguments):
    def mean(*args):
        return jaxent.reduce(call(*args))

    return jax.jit(jax.value_and_grad(mean)).lower(*arguments).compile()


def mesh_of(kind):
    return jax.make_mesh((2, 4), NAMES, axis_types=(kind,) * 2)


def arguments(loss, mesh, place):
    def array(shape, spec, dtype):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))

    logits = array((N, V), place, jnp.float32)
    if loss.kind.ids:
        return logits, array((N,), P(place[0]), jnp.int32)
    return (logits,) * len(loss.arrays)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
@each(losses(lambda x: x.kind.classes))
def test_a_few_numbers_a_token(loss, kind):
    mesh = mesh_of(kind)
    call = functools.partial(loss.call, **OPTIONS.get(loss.function, {}))
    with jax.set_mesh(mesh):
        program = step(call, *arguments(loss, mesh, PLACES["both"]))
    # Of a device's 128 positions, where a slice of the logits is 2048 numbers a token.
    assert 0 < max(m.size for m in collectives(program.as_text())) <= 16 * 4 * N // 2


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
@pytest.mark.parametrize("place", ["data", "vocab"])
def test_of_one_axis(place, kind):
    """Sharded tokens send the mean; sharded classes a maximum and two sums a token."""
    mesh, loss = mesh_of(kind), LOSSES[CROSS_ENTROPY]
    with jax.set_mesh(mesh):
        given = arguments(loss, mesh, PLACES[place])
        sent = collectives(step(loss.call, *given).as_text())
    assert {m.kind for m in sent} == {"all-reduce"}
    if place == "data":
        assert [m.size for m in sent] == [4]
    else:
        one, two = sorted(m.size for m in sent)
        assert two == 2 * one <= 2 * 4 * N


def test_inside_shard_map():
    """A maximum and a sum of two numbers; likeliest classes take one maximum more."""
    counts = {"softmax_focal_loss": [1, 2], "softmax_cross_entropy": [1, 1, 2, 3]}
    for name, numbers in counts.items():
        call = functools.partial(LOSSES[name].call, vocab_axis_name="vocab")
        mesh = mesh_of(AxisType.Auto)
        given = arguments(LOSSES[name], mesh, PLACES["both"])
        specs = tuple(x.sharding.spec for x in given)
        across = jax.shard_map(call, mesh=mesh, in_specs=specs, out_specs=P("data"))
        sent = collectives(step(across, *given).as_text())
        assert {m.kind for m in sent} == {"all-reduce"}
        mean, *rest = sorted(m.size for m in sent)
        assert mean == 4
        assert rest == [4 * N // 2 * k for k in numbers]


def test_rows_in_groups_are_right():
    mesh = mesh_of(AxisType.Auto)
    rng = np.random.default_rng(0)
    x = 3 * rng.normal(size=(N, V)).astype(np.float32)
    labels = rng.integers(0, V, N).astype(np.int32)
    x[np.arange(N), labels] += np.where(np.arange(N) % 2, 30, 0)
    given = [
        jax.device_put(a, NamedSharding(mesh, spec))
        for a, spec in ((x, PLACES["both"]), (labels, P("data")))
    ]
    f = jaxent.softmax_cross_entropy_with_integer_labels
    value, slope = jax.jit(jax.value_and_grad(lambda *a: jnp.sum(f(*a))))(*given)
    truth = oracle.softmax_cross_entropy_with_integer_labels(x, labels)
    np.testing.assert_allclose(value, float(truth.sum()), rtol=1e-6)
    right = oracle.label_gradient(x, labels).astype(np.float32)
    np.testing.assert_allclose(slope, right, rtol=1e-5, atol=1e-37)


def test_uneven_classes():
    """As a constraint inside a program may leave them: five classes on four devices."""
    mesh = mesh_of(AxisType.Auto)
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(7, 5)).astype(np.float32), np.arange(7) % 5

    @jax.jit
    @jax.value_and_grad
    def run(x):
        x = jax.lax.with_sharding_constraint(x, NamedSharding(mesh, PLACES["both"]))
        f = jaxent.softmax_cross_entropy_with_integer_labels
        return jnp.sum(f(x, labels) * jnp.arange(7.0))

    value, slope = run(x)
    truth = oracle.softmax_cross_entropy_with_integer_labels(x, labels)
    np.testing.assert_allclose(value, float(truth @ np.arange(7)), rtol=1e-6)
    right = oracle.label_gradient(x, labels) * np.arange(7)[:, None]
    np.testing.assert_allclose(slope, right.astype(float), rtol=1e-5, atol=1e-6)
