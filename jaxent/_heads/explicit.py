# SPDX-License-Identifier: Apache-2.0
"""Fused heads of arrays on explicit mesh axes: each device computes what it holds.

Their types say where the tokens and the classes are, so that a head runs under
`jax.shard_map`: its loops then send what the sliced classes need, and each gradient is
summed once. Other axes, and a width that is divided, are gathered first, as in FSDP.

There is no mathematics here: how sums over sliced classes are put together is in
`_engine.sums`, and what runs on each device in `chunked`. Read `_engine.placement` for
the other places an array may be.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.sharding import AxisType, NamedSharding, reshard
from jax.sharding import PartitionSpec as P

from .._engine.class_axis import ClassAxis
from .._engine.linear import Head
from .._engine.placement import axis_names, mesh_of, spec_of
from .._types import PyTree
from .chunks import Shared, plan_chunks
from .given import HeadInputs, HeadSettings, drops

Core = Callable[[HeadInputs, Shared, HeadSettings], PyTree]
"""A computation of a head whose arrays are whole, or one device's part of them."""


def under_shard_map(
    core: Core,
    given: HeadInputs,
    shared: Shared,
    settings: HeadSettings,
    *,
    summed: bool,
) -> PyTree:
    """`core` of the head: one result a position or, summed, one for all of them."""
    hidden, classifier, _ = given.heads[0]
    mesh = mesh_of(hidden)
    tokens, rows = spec_of(hidden)[:-1], spec_of(classifier)[0]
    explicit = any(kind == AxisType.Explicit for kind in mesh.axis_types)
    if not explicit or not any((*tokens, *spec_of(hidden), *spec_of(classifier))):
        return core(given, shared, settings)
    token_axes = axis_names(*tokens)
    # A mesh axis can divide the tokens or the classes, not both. Where it is asked to,
    # the tokens have it, and the classifier is gathered along it.
    class_axes = None if set(axis_names(rows)) & set(token_axes) else rows
    places = _places(given, tokens, class_axes)

    def on_each_device(given: HeadInputs, shared: Shared) -> PyTree:
        given = given._replace(classes=ClassAxis(axis_names(class_axes) or None))
        result = core(given, shared, _local(given, settings, classifier.shape[0]))
        return lax.psum(result, token_axes) if summed and token_axes else result

    def put(spec: P, part: PyTree) -> PyTree:
        return jax.tree.map(lambda x: reshard(x, NamedSharding(mesh, spec)), part)

    moved = jax.tree.map(put, places, (given, shared))
    out = P() if summed else P(*tokens)
    run = jax.shard_map(on_each_device, mesh=mesh, in_specs=places, out_specs=out)
    return run(*moved)


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
    return HeadInputs(heads, by_token, by_token, by_token, given.classes), shared


def _local(given: HeadInputs, settings: HeadSettings, classes: int) -> HeadSettings:
    """The settings of one device: the same memory, for the part of the head it has."""
    hidden, classifier, _ = given.heads[0]
    fit = settings.plan.size * classes // classifier.shape[0]
    count = hidden.size // hidden.shape[-1]
    compact = drops(given.where, given.weights, settings.ignore_index)
    plan = plan_chunks(count, fit, compact=compact, devices=1)
    return settings._replace(plan=plan)
