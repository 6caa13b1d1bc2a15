# SPDX-License-Identifier: Apache-2.0
"""Every check of arrays, and what is said where one does not hold.

All are made while tracing, from shapes, dtypes and Python values; those of the values
of arrays are in `_values`.
"""

from .arrays import (
    array,
    cast,
    floats,
    integers,
    mask,
    segment_ids,
    weights,
)
from .labels import (
    class_ids,
    distributions,
    in_order,
    not_ids,
    paired,
    paired_logits,
    per_class,
)
from .shapes import (
    axes,
    broadcastable,
    class_axes,
    classes,
    fits,
    has_axes,
    integer,
    meets,
    positions,
    repeated,
    same_shape,
    transposed,
    without_last,
)

__all__ = [
    "array",
    "axes",
    "broadcastable",
    "cast",
    "class_axes",
    "class_ids",
    "classes",
    "distributions",
    "fits",
    "floats",
    "has_axes",
    "in_order",
    "integer",
    "integers",
    "mask",
    "meets",
    "not_ids",
    "paired",
    "paired_logits",
    "per_class",
    "positions",
    "repeated",
    "same_shape",
    "segment_ids",
    "transposed",
    "weights",
    "without_last",
]
