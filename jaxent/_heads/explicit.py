# SPDX-License-Identifier: Apache-2.0
"""Fused heads of arrays on known mesh axes: each device computes what it holds.

The types of arrays on explicit axes say where the tokens and the classes are, so that a
head runs under `jax.shard_map`: its loops then send what the sliced classes need, and
each gradient is summed once. Other axes, and a width that is divided, are gathered
first, as in FSDP. Of automatic axes the caller says which divide the tokens: the head
runs under `shard_map` over these alone, and XLA divides the rest.

There is no mathematics here: how sums over sliced classes are put together is in
`_engine.sums`, and what runs on each device in `chunked`. Read `_engine.placement` for
the other places an array may be.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
from jax import lax
from jax.sharding import AxisType, NamedSharding, reshard, use_abstract_mesh
from jax.sharding import PartitionSpec as P

from .._engine.class_axis import ClassAxis
from .._engine.linear import Head
from .._engine.placement import axis_names, explicit_axes, manual, mesh_of, spec_of
from .._errors import fail
from .._types import PyTree
from .chunks import Plan, Plans, Shared, plan_chunks
from .given import HeadInputs, HeadSettings, drops

Core = Callable[[HeadInputs, Shared, HeadSettings], tuple[PyTree, PyTree]]
"""A computation of a head whose arrays are whole, or one device's part of them."""


def under_shard_map(
    core: Core,
    given: HeadInputs,
    shared: Shared,
    settings: HeadSettings,
    *,
    summed: bool,
) -> tuple[PyTree, PyTree]:
    """`core` of the head: one result a position or, summed, one for all of them.

    Either way what else it returns is of each position.
    """
    hidden, classifier, _ = given.heads[0]
    mesh, names, tokens = _divided(given, settings)
    if not names:
        return core(given, shared, settings)
    rows = spec_of(classifier)[0]
    token_axes = axis_names(*tokens)
    # A mesh axis can divide the tokens or the classes, not both. Where it is asked to,
    # the tokens have it, and the classifier is gathered along it.
    class_axes = None if set(axis_names(rows)) & set(token_axes) else rows
    places = _places(given, tokens, class_axes)

    def on_each_device(given: HeadInputs, shared: Shared) -> PyTree:
        given = given._replace(classes=ClassAxis(axis_names(class_axes) or None))
        local = _local(given, settings, classifier.shape[0])
        result, aux = core(given, shared, local)
        if summed and token_axes:
            result = lax.psum(result, token_axes)
        return result, aux

    def put(spec: P, part: PyTree) -> PyTree:
        return jax.tree.map(lambda x: reshard(x, NamedSharding(mesh, spec)), part)

    runs = _runs_there(given, settings)
    if settings.tokens is None:
        given, shared = jax.tree.map(put, places, (given, shared))
    if not runs:
        return core(given, shared, settings)
    if AxisType.Manual in mesh.axis_types:
        # XLA takes no `shard_map` of what differs along axes that are manual already.
        name, x = ("hidden", hidden) if token_axes else ("classifier", classifier)
        must = "be whole along explicit axes inside of a `jax.shard_map` over others"
        remedy = "Give that `shard_map` all axes, or make the others automatic."
        fail(ValueError, name, must, P(*spec_of(x)), remedy)
    out = P() if summed else P(*tokens), P(*tokens)
    run = jax.shard_map(
        on_each_device, mesh=mesh, in_specs=places, out_specs=out, axis_names=names
    )
    return run(given, shared)


def inside(given: HeadInputs, settings: HeadSettings) -> AbstractContextManager:
    """Where what a head calls is traced as if it were in the `shard_map` it runs in."""
    mesh, names, _ = _divided(given, settings)
    there = _runs_there(given, settings)
    return use_abstract_mesh(manual(mesh, names)) if there else nullcontext()


def _divided(given: HeadInputs, settings: HeadSettings) -> tuple[Any, frozenset, tuple]:
    """The mesh, which of its axes are known, and what divides the tokens' axes."""
    hidden, tokens = given.heads[0].hidden, settings.tokens
    if tokens is None:
        return mesh_of(hidden), explicit_axes(hidden), spec_of(hidden)[:-1]
    return tokens.mesh, frozenset(axis_names(*tokens.spec)), tuple(tokens.spec)


def _runs_there(given: HeadInputs, settings: HeadSettings) -> bool:
    """Whether it is known where the head's arrays are: by their types, or by name."""
    hidden, classifier, _ = given.heads[0]
    placed = any((*spec_of(hidden), *spec_of(classifier)))
    return placed or settings.tokens is not None


def _places(
    given: HeadInputs, tokens: tuple[Any, ...], class_axes: Any
) -> tuple[HeadInputs, Shared]:
    """Where each array belongs: the same trees, with a spec in place of an array."""
    # Typed Any: `HeadInputs`, `Head` and `Shared` declare arrays, and are used here as
    # trees of `PartitionSpec`s.
    by_token: Any = P(*tokens)
    by_class: Any = P(class_axes)
    hidden: Any = P(*tokens, None)
    whole: Any = P()
    heads = (Head(hidden, by_class, by_class),) * len(given.heads)
    shared = Shared(*[whole] * len(Shared._fields))._replace(class_weights=by_class)
    places = HeadInputs(heads, by_token, by_token, by_token, given.classes)
    return places._replace(data=(by_token,) * len(given.data)), shared


def _local(given: HeadInputs, settings: HeadSettings, classes: int) -> HeadSettings:
    """The settings of one device: the same memory, for the part of the head it has."""
    hidden, classifier, _ = given.heads[0]
    count = hidden.size // hidden.shape[-1]
    compact = drops(given.where, given.weights, settings.ignore_index)

    def local(plan: Plan) -> Plan:
        fit = plan.size * classes // classifier.shape[0]
        return plan_chunks(
            count, fit, compact=compact, devices=1, block=plan.block,
            multiple=plan.multiple, pieces=plan.pieces,
        )  # fmt: skip

    return settings._replace(plans=Plans(*map(local, settings.plans)))
