# SPDX-License-Identifier: Apache-2.0
"""Fused heads on automatic axes that are told which of them divide the tokens."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from test_explicit_meshes import CALLS, with_gradient

import jaxent
from benchmarks.collectives import collectives

pytestmark = pytest.mark.quickly_compiled

MESH = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
ROWS = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
FUSED = jaxent.linear_softmax_cross_entropy
HEADS = [call for call in CALLS if "linear_" in call.id]


def sums(jaxpr, *, looped=False):
    """(looped or not, how many numbers) of each sum over devices in a program."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name.startswith("psum"):
            yield looped, sum(math.prod(x.aval.shape) for x in eqn.invars)
        inner = looped or eqn.primitive.name in ("scan", "while")
        for part in jax.tree.leaves([*eqn.params.values()]):
            inside = getattr(part, "jaxpr", part)
            if hasattr(inside, "eqns"):
                yield from sums(inside, looped=inner)


@pytest.mark.parametrize(("call", "arrays"), HEADS)
def test_every_head_sums_its_gradients_after_its_loops(call, arrays):
    """Traced and not compiled: the sums are in the program as it is written."""
    run = with_gradient(functools.partial(call, token_axis_name="data"))
    with jax.set_mesh(ROWS):
        program = jax.make_jaxpr(lambda arrays: run(**arrays))(arrays)
    found = list(sums(program.jaxpr))
    assert not any(looped for looped, _ in found)
    classifiers = [k for k in arrays if k in ("classifier", "student", "teacher")]
    sizes = sorted(count for _, count in found)[-len(classifiers) :]
    assert sizes == [arrays[k].size for k in classifiers]


PLACES = {
    "whole": (P(), ["all-reduce"], 0),
    "width": (P(None, "model"), ["all-reduce"], 4 * 4096),
    "classes": (P("model"), ["all-reduce"], 64),
    "fully sharded": (P("data"), ["all-gather", "all-reduce"], 0),
}
"""Where the classifier is, what is sent of its size, and the largest sum in a loop: a
chunk's logits along a divided width are sums over the devices of "model"."""


def step(place, **options):
    """Value and gradients, compiled for 64 positions in four chunks a device."""
    n, d, v = 64, 16, 4096
    shapes = ((n, d), P("data")), ((v, d), place), ((n,), P("data"))

    def loss(hidden, classifier, labels):
        return FUSED(hidden, classifier, labels, memory=2 * 4 * v * n // 16, **options)

    kinds = "float32", "float32", "int32"
    arrays = [
        jax.ShapeDtypeStruct(shape, kind, sharding=NamedSharding(MESH, spec))
        for (shape, spec), kind in zip(shapes, kinds, strict=True)
    ]
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(*arrays).compile()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mesh_is_set", [True, False])
def test_what_is_sent(place, mesh_is_set):
    """The classifier's gradient once a step, and in a chunk what its logits need."""
    spec, once, largest = PLACES[place]
    if mesh_is_set:
        with jax.set_mesh(MESH):
            program = step(spec, token_axis_name="data")
    else:
        program = step(spec, token_axis_name="data")
    sent = collectives(program.as_text())
    large = [m for m in sent if m.largest >= 4096 * 16 // 2]
    assert sorted(m.kind for m in large) == once
    assert {m.times for m in large} == {1}
    assert {m.kind for m in sent if m not in large} <= {"all-reduce"}
    assert max((m.largest for m in sent if m.times > 1), default=0) <= largest


def test_without_the_name_it_is_sent_in_every_chunk():
    """What the name is there for: where it is not needed any more, it can go."""
    with jax.set_mesh(MESH):
        sent = collectives(step(P()).as_text())
    assert max(m.times for m in sent if m.largest >= 4096 * 16) > 1


@functools.cache
def example():
    rng = np.random.default_rng(0)
    hidden, classifier = rng.normal(size=(8, 3, 5)), rng.normal(size=(12, 5))
    labels, scale = rng.integers(0, 12, (8, 3)), np.float64(0.3)
    return hidden, classifier, scale, labels, rng.normal(size=(8, 3))


def own(hidden, classifier, scale, labels, data, **options):
    """A loss that closes over a traced number, and has data and dropped positions."""
    values = jaxent.linear_softmax_loss(
        lambda s, a: s.nll * a - scale * s.entropy, hidden, classifier, labels, data,
        where=labels % 4 != 1, memory=2 * 8 * 12 * 2, **options,
    )  # fmt: skip
    return jnp.sum(jnp.sin(values))


def second(f, *args):
    """Value, gradient, and the gradient's derivative along the arguments."""
    first = jax.value_and_grad(f, argnums=(0, 1, 2))
    return jax.jvp(lambda *a: first(*a, *args[3:]), args[:3], args[:3])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_first_and_second_derivatives(reduction):
    """In float64, where devices add up otherwise: 1e-12 is thousands of roundings."""
    loss = functools.partial(own, reduction=reduction)
    truth = jax.jit(functools.partial(second, loss))(*example())
    named = functools.partial(loss, token_axis_name="data")
    specs = P("data"), P("model"), P(), P("data"), P("data")
    with jax.set_mesh(MESH):
        got = jax.jit(functools.partial(second, named))(
            *map(jax.device_put, example(), specs)
        )
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12),
        got, truth,
    )  # fmt: skip


MIXED = jax.make_mesh(
    (4, 2), ("data", "model"), axis_types=(AxisType.Explicit, AxisType.Auto)
)
REFUSED = [
    (MESH, 8, "batch", "token_axis_name", "name axes of the mesh, 'data', 'model'"),
    (MESH, 6, "data", "hidden", "have a first axis that 4 devices divide"),
    (MIXED, 8, "data", "token_axis_name", "be left out where a mesh has explicit"),
]  # fmt: skip


@pytest.mark.parametrize(("mesh", "rows", "name", "argument", "must"), REFUSED)
def test_refused(mesh, rows, name, argument, must):
    hidden, labels = jnp.ones((rows, 4)), jnp.zeros(rows, int)
    message = f"`jaxent.linear_softmax_cross_entropy({argument}=...)` must {must}"
    with jax.set_mesh(mesh), pytest.raises(ValueError, match=re.escape(message)):
        FUSED(hidden, jnp.ones((5, 4)), labels, token_axis_name=name)
