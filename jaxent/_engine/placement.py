# SPDX-License-Identifier: Apache-2.0
"""Where an array lives: the one room that asks JAX, which knows it from types alone.

An array may be found in five situations, and each part of the library meets them so:

- **Whole**: on one device, no mesh. On CPU dense losses take the classes in blocks, or
  a few rows at a time (`cpu_sums`, `row_groups`); heads put dropped positions last and
  skip chunks of them (`chunks`).
- **Automatic** axes: XLA spreads the array as it likes, and its type only names the
  mesh. Rows of a group, and of a chunk, are a stride apart, so that each device has a
  share of them; nothing is reordered, and a classifier's gradient is not cut in blocks.
  Where `token_axis_name` says which axes divide the tokens, a head runs under
  `shard_map` over these, and XLA spreads the rest as before.
- **Explicit** axes: the type says which mesh axis divides which array axis. Rows are
  taken all at once, a label's logit is a masked sum and no gather, and what meets the
  logits is first divided as they are (`placed_as`). A head runs under `shard_map` on
  what each device holds (`_heads.explicit`); sampled classes are drawn by all alike.
- **Manual** axes: inside `shard_map`, each device has its own. The type says along
  which axes values may differ (`varying`); loops take all that they carry as differing
  along the same ones, so that a gradient is summed over devices once, after the loop.
- **Sliced classes**: manual, and the devices of `vocab_axis_name` hold different
  classes of the same positions. What is added up over the classes is added up over
  these devices too, by `class_axis.ClassAxis`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import (
    AbstractMesh,
    AxisType,
    Mesh,
    NamedSharding,
    get_abstract_mesh,
    reshard,
)
from jax.sharding import PartitionSpec as P

from .._types import PyTree


def varying(x: Array) -> frozenset[str]:
    """The manual axes along which a value may differ, as JAX's types know."""
    return jax.typeof(x).manual_axis_type.varying


def vary(x: Array, names: frozenset[str]) -> Array:
    """x, marked as differing along these axes too, so that its gradient is summed once.

    `lax.pcast` changes the type alone; its transpose is the sum over the axes.
    """
    missing = tuple(sorted(names - varying(x)))
    return lax.pcast(x, missing, to="varying") if missing else x


def zeros_of(shape: jax.ShapeDtypeStruct) -> Array:
    """Zeros of what `jax.eval_shape` tells, which vary along the same manual axes.

    `jnp.zeros_like` would ask JAX for the type of what is no array, and where other
    axes of the mesh are automatic it has none.
    """
    kind, zeros = shape.manual_axis_type, jnp.zeros(shape.shape, shape.dtype)
    return zeros if kind is None else vary(zeros, kind.varying)


def aligned(
    sliced: PyTree, whole: PyTree, class_names: frozenset[str]
) -> tuple[PyTree, PyTree]:
    """Both trees, all arrays marked as varying along every axis that any varies along.

    For loops, which must keep the types of what they carry. `class_names` are the axes
    the classes are sliced over: only the arrays of `sliced` differ along these.
    """
    every = map(varying, jax.tree.leaves((sliced, whole)))
    names = frozenset().union(*every) - class_names
    return (
        jax.tree.map(lambda x: vary(x, names | class_names), sliced),
        jax.tree.map(lambda x: vary(x, names), whole),
    )


def spec_of(x: Array) -> tuple[str | tuple[str, ...] | None, ...]:
    """The explicit mesh axes that divide each axis of x; None where it is whole."""
    spec = tuple(jax.typeof(x).sharding.spec)
    return spec + (None,) * (x.ndim - len(spec))


def is_sharded(x: Array) -> bool:
    """Whether the type of x names mesh axes.

    Such rows are taken all at once: to take some would move them between devices.
    """
    return any(spec_of(x))


def placed(x: Array, mesh: Mesh | AbstractMesh, spec: tuple) -> Array:
    """x, divided as a spec says by the explicit axes of a mesh, if it has any axes."""
    return reshard(x, NamedSharding(mesh, P(*spec))) if mesh.axis_names else x


def placed_as(like: Array, x: Array) -> Array:
    """x, divided as the first axes of `like` are, where they are as long as its own.

    What meets in a loss lies as its logits do: JAX refuses to choose between arrays
    that are divided in different ways, and where it need not refuse it guesses.
    """
    pairs = zip(like.shape, x.shape, spec_of(like), strict=False)
    spec = tuple(axes if n == m else None for n, m, axes in pairs)
    return x if spec_of(x) == spec else placed(x, mesh_of(like), spec)


def by_position(logits: Array, x: Array) -> Array:
    """x, divided along the positions as the logits are, and along nothing else."""
    spec = spec_of(logits)[:-1] + (None,) * (x.ndim - logits.ndim + 1)
    return x if spec_of(x) == spec else placed(x, mesh_of(logits), spec)


def whole(x: Array) -> Array:
    """x, all of it on every device, where it was divided explicitly."""
    return placed(x, mesh_of(x), ()) if is_sharded(x) else x


def by_first_axis(x: Array) -> Array:
    """x, divided along its first axis alone, where it was divided explicitly.

    Positions of several axes can then be written as one, which stays divided.
    """
    spec = spec_of(x)
    return placed(x, mesh_of(x), spec[:1]) if any(spec[1:]) else x


def taken(table: Array, ids: Array, **how: Any) -> Array:
    """`table[ids]`, divided as the ids are."""
    divided = is_sharded(table) or is_sharded(ids)
    mesh = mesh_of(ids) if is_sharded(ids) else mesh_of(table)
    out = NamedSharding(mesh, P(*spec_of(ids))) if divided else None
    return table.at[ids].get(out_sharding=out, **how)


def whole_along(x: Array, axis: int) -> Array:
    """x, with all of an axis on every device, where that is divided explicitly."""
    spec = list(spec_of(x))
    if spec[axis] is None:
        return x
    spec[axis] = None
    return placed(x, mesh_of(x), tuple(spec))


def mesh_of(x: Array) -> Mesh | AbstractMesh:
    """The mesh that x is on; one without axes where there is none."""
    return jax.typeof(x).sharding.mesh


def known_mesh(*arrays: Array) -> Mesh | AbstractMesh:
    """The mesh of the first array that is on one, or else that of `jax.set_mesh`."""
    on = (mesh for mesh in map(mesh_of, arrays) if mesh.axis_names)
    return next(on, get_abstract_mesh())


def explicit_axes(x: Array) -> frozenset[str]:
    """The explicit axes of the mesh that x is on, of which its type may name some."""
    mesh = mesh_of(x)
    axes = zip(mesh.axis_names, mesh.axis_types, strict=True)
    return frozenset(name for name, kind in axes if kind == AxisType.Explicit)


def manual(mesh: Mesh | AbstractMesh, names: frozenset[str]) -> AbstractMesh:
    """A mesh as it is inside of a `shard_map` over some of its axes."""
    abstract = mesh if isinstance(mesh, AbstractMesh) else mesh.abstract_mesh
    return abstract.update_axis_types(dict.fromkeys(names, AxisType.Manual))


def spread_over(x: Array) -> int:
    """How many devices XLA may have spread x over: all but those of manual axes."""
    mesh = mesh_of(x)
    axes = zip(mesh.axis_sizes, mesh.axis_types, strict=True)
    return math.prod(n for n, kind in axes if kind != AxisType.Manual)


def axis_names(*axes: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """The mesh axes of some entries of a spec, in one tuple."""
    given = (() if a is None else (a,) if isinstance(a, str) else a for a in axes)
    return sum(given, ())
