# SPDX-License-Identifier: Apache-2.0
"""What a dense softmax loss is given, checked."""

import math
from typing import NamedTuple

from jax import Array
from jax.typing import ArrayLike

from .. import _checks
from .._options import option
from .._types import Axis, AxisName, Shape
from .class_axis import WHOLE, ClassAxis, sliced


class ClassInputs(NamedTuple):
    """What a softmax loss is given, checked; `None` is an option that is off."""

    logits: Array
    labels: Array
    where: Array | None = None
    class_where: Array | None = None
    class_weights: Array | None = None
    label_smoothing: ArrayLike | None = None
    z_loss: ArrayLike | None = None
    classes: ClassAxis = WHOLE


def softmax_inputs(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    integer: bool,
    axis: Axis,
    where: ArrayLike | None = None,
    class_where: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
    label_smoothing: ArrayLike = 0.0,
    z_loss: ArrayLike = 0.0,
    vocab_axis_name: AxisName | None = None,
) -> tuple[ClassInputs, Shape]:
    """The checks that all softmax losses share; the class axes come second."""
    x = _checks.floats("logits", logits)
    axes, shape = _checks.class_axes(axis, "logits", x)
    if integer:
        y = _checks.class_ids(labels, shape, x.shape)
    else:
        y = _checks.distributions("labels", labels, x, "logits")
    keep = _checks.positions(where, shape, x.shape)
    allowed = _checks.classes(class_where, x)
    w = _checks.per_class(class_weights, math.prod(x.shape[a] for a in axes))
    alpha = option("label_smoothing", label_smoothing, 1.0)
    z = option("z_loss", z_loss, math.inf)
    slices = sliced(vocab_axis_name)
    return ClassInputs(x, y, keep, allowed, w, alpha, z, slices), axes
