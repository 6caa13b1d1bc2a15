# SPDX-License-Identifier: Apache-2.0
"""What a dense softmax loss is given, checked."""

import math
from collections.abc import Callable
from typing import NamedTuple

from jax import Array
from jax.typing import ArrayLike

from .. import _checks, _options, _values
from .._types import Axis, AxisName, Reduction, Shape
from .class_axis import WHOLE, ClassAxis, class_axis
from .labels import looked_at
from .means import averaged


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


Average = Callable[[Array], Array]
"""What is made of one value for each position."""


def positions(
    shape: Shape,
    where: ArrayLike | None,
    weights: ArrayLike | None,
    reduction: Reduction,
    *,
    full: Shape = (),
    labels: Array | None = None,
    ignore_index: int | None = None,
    of: str = "",
) -> tuple[Array | None, Average]:
    """Which positions are looked at, and how one value of each is reduced.

    `full` is the shape of the logits; without `class_where`, `of` names distributions.
    """
    keep = _checks.positions(where, shape, full, of)
    how = _options.reduction(reduction, shape)
    if weights is None and how == "none":
        return keep, lambda values: values
    w = None
    if weights is not None:
        w = _checks.weights("weights", weights)
        _checks.same_shape("weights", w, shape, "the result")
    return looked_at(keep, w), lambda values: averaged(
        values, keep, w, labels, ignore_index=ignore_index, reduction=how
    )


def softmax_inputs(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    integer: bool,
    axis: Axis,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    class_where: ArrayLike | None = None,
    ignore_index: int | None = None,
    class_weights: ArrayLike | None = None,
    label_smoothing: ArrayLike = 0.0,
    z_loss: ArrayLike = 0.0,
    temperature: ArrayLike | None = None,
    reduction: Reduction = "none",
    vocab_axis_name: AxisName | None = None,
    of_ids: str | None = None,
) -> tuple[ClassInputs, Shape, Average]:
    """The checks that all softmax losses share; class axes and the mean come after.

    `of_ids` is the loss that takes class ids, if this one does not.
    """
    x = _checks.in_order(("logits", "labels"), logits, labels)
    axes, shape = _checks.class_axes(axis, "logits", x)
    if integer:
        y = _checks.class_ids(labels, shape, x.shape, movable=True)
        _options.heeded(ignore_index, y)
    else:
        y = _checks.distributions("labels", labels, x, "logits", of_ids)
    keep, average = positions(
        shape, where, weights, reduction, full=x.shape,
        labels=y if integer else None, ignore_index=ignore_index,
    )  # fmt: skip
    if not integer:
        _values.within("labels", y, _values.UP, keep, axes)
    allowed = _checks.classes(class_where, x)
    w = _checks.per_class(class_weights, math.prod(x.shape[a] for a in axes))
    alpha = _options.option("label_smoothing", label_smoothing, 1.0)
    z = _options.option("z_loss", z_loss, math.inf)
    classes = class_axis(vocab_axis_name, temperature)
    return ClassInputs(x, y, keep, allowed, w, alpha, z, classes), axes, average
