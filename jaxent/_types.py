# SPDX-License-Identifier: Apache-2.0
"""Names for the types that the doors, the checks and the engines share."""

from typing import Any, Literal

from jax import Array

PyTree = Any
"""Arrays in any nesting of tuples, dicts and registered classes."""

Axis = int | tuple[int, ...]
Shape = tuple[int, ...]
"""Lengths, or axes counted from 0."""
AxisName = str | tuple[str, ...]
"""The name or names of mapped axes, such as those of a mesh."""

Number = float | Array
"""A Python number, or a traced scalar such as a schedule's value."""

Reduction = Literal[
    "none",
    "sum",
    "mean",
    "weighted_mean",
    "nonzero_mean",
    "batch_mean",
    "sequence_mean",
]

Implementation = Literal["xla", "pallas_tpu", "pallas_gpu"]
"""Who computes a fused head: the compiler, or a kernel written for a chip."""

Tail = Literal["category", "renormalize", "drop"]
"""What is made of the classes that a teacher does not list."""
