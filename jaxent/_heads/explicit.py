# SPDX-License-Identifier: Apache-2.0
"""Fused heads of arrays on explicit mesh axes: each device computes what it holds.

Their types say where the tokens and the classes are, so that a head runs under
`jax.shard_map`: its loops then send what the merged classes need, and each gradient is
summed once. Other axes, and a width that is divided, are gathered first, as in FSDP.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.sharding import AxisType, NamedSharding, reshard
from jax.sharding import PartitionSpec as P

from .._engine.class_axis import Classes
from .._engine.linear import Head
from .._engine.placement import axis_names, mesh_of, spec_of
from .._types import PyTree
from .chunks import cut
from .given import Given, Settings, drops

Kernel = Callable[[Given, PyTree, Settings], PyTree]


def on_devices(
    kernel: Kernel, given: Given, shared: PyTree, settings: Settings, *, summed: bool
) -> PyTree:
    """`kernel` of the head: one result a position or, summed, one for all of them."""
    hidden, classifier, _ = given.heads[0]
    mesh = mesh_of(hidden)
    tokens, rows = spec_of(hidden)[:-1], spec_of(classifier)[0]
    explicit = any(kind == AxisType.Explicit for kind in mesh.axis_types)
    if not explicit or not any((*tokens, *spec_of(hidden), *spec_of(classifier))):
        return kernel(given, shared, settings)
    over = axis_names(*tokens)
    # Where an axis divides both, it is the tokens'.
    sliced = None if set(axis_names(rows)) & set(over) else rows
    # In a tree of specs they stand where the arrays do.
    by_token: Any = P(*tokens)
    by_class: Any = P(sliced)
    hidden_spec: Any = P(*tokens, None)
    head = Head(hidden_spec, by_class, by_class)
    places = (
        Given((head,) * len(given.heads), by_token, by_token, by_token, given.classes),
        {k: by_class if k == "class_weights" else P() for k in shared},
    )

    def here(given: Given, shared: PyTree) -> PyTree:
        given = given._replace(classes=Classes(axis_names(sliced) or None))
        result = kernel(given, shared, _local(given, settings, classifier.shape[0]))
        return lax.psum(result, over) if summed and over else result

    def put(spec: P, part: PyTree) -> PyTree:
        return jax.tree.map(lambda x: reshard(x, NamedSharding(mesh, spec)), part)

    moved = jax.tree.map(put, places, (given, shared))
    out = P() if summed else by_token
    return jax.shard_map(here, mesh=mesh, in_specs=places, out_specs=out)(*moved)


def _local(given: Given, settings: Settings, classes: int) -> Settings:
    """The same memory, for the positions and the classes that a device has."""
    hidden, classifier, _ = given.heads[0]
    fit = settings.plan.size * classes // classifier.shape[0]
    count = hidden.size // hidden.shape[-1]
    compact = drops(given.where, given.weights, settings.ignore_index)
    plan = cut(count, fit, compact=compact, devices=1)
    return settings._replace(plan=plan)
