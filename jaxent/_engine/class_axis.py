# SPDX-License-Identifier: Apache-2.0
"""The class axis: whole, or in slices of equal size over the devices of a mapped axis.

What an engine adds up over the classes it adds up here, so that in its rules one line
serves both. A sum over slices is the same on every device; JAX knows (`check_vma`),
and transposes it to nothing.

A softmax over it may have a temperature T. Logits are never divided by it, for that
would round off what they differ by: differences are. So that the rules of the engines
need not know of a second argument, the logits carry its tangent, as if they moved with
it (`ClassAxis.carry`), and the rules divide tangents by T, and nothing else.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from .. import _options
from .._errors import fail
from .._types import AxisName, Shape
from .placement import placed_as, varying, whole_along


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["temperature"],
    meta_fields=["axis_name"],
)
@dataclasses.dataclass(frozen=True)
class ClassAxis:
    """What the classes are added up over, and the temperature of their softmax.

    It is a pytree, so that it can go wherever arrays go.
    """

    axis_name: AxisName | None = None
    """The mesh axes the classes are sliced over, if any: every sum over them is here.
    """
    temperature: ArrayLike | None = None

    def at(self, temperature: ArrayLike | None) -> "ClassAxis":
        return dataclasses.replace(self, temperature=temperature)

    def carry(self, x: Array) -> tuple[Array, "ClassAxis"]:
        """The logits x with the temperature's tangent, and the axis for their dtype."""
        if self.temperature is None:
            return x, self
        t = jnp.asarray(self.temperature, x.dtype)
        return _carrying(x, t, self.at(None)), self.at(t)

    def per(self, x: Array) -> Array:
        """x/T, for x a tangent, or what does not depend on the logits."""
        return x if self.temperature is None else x / self.temperature

    def scaled(self, x: Array) -> Array:
        """x/T of a difference x of logits, which carry the tangent of T."""
        return x if self.temperature is None else _scaled(x, self.temperature)

    @property
    def names(self) -> frozenset[str]:
        name = self.axis_name
        return frozenset((name,) if isinstance(name, str) else name or ())

    def count(self, size: int) -> int:
        """How many classes there are in all, where each slice has `size`."""
        return size * (lax.axis_size(self.axis_name) if self.names else 1)

    def local(self, ids: Array, size: int) -> Array:
        """Ids counted from the first class of this slice, where each has `size`."""
        return ids - lax.axis_index(self.axis_name) * size if self.names else ids

    def psum(self, x: Array) -> Array:
        """The sum of what each slice adds up to."""
        return lax.psum(x, self.axis_name) if self.names else x

    def pmax(self, x: Array) -> Array:
        """The largest of the slices' values; no derivative, and it may miss a NaN."""
        return lax.pmax(x, self.axis_name) if self.names else x

    def sum(self, x: Array, *, keepdims: bool = False) -> Array:
        return self.psum(jnp.sum(x, axis=-1, keepdims=keepdims))

    def max(self, x: Array) -> Array:
        """The largest, keeping the class axis."""
        return _max(x, self) if self.names else jnp.max(x, axis=-1, keepdims=True)

    def any(self, x: Array) -> Array:
        """Whether any is true, keeping the class axis."""
        some = jnp.any(x, axis=-1, keepdims=True)
        return self.pmax(some.astype(jnp.int32)) > 0 if self.names else some

    def top(self, x: Array) -> Array:
        """The id of the largest: the first of equals, or of NaNs if there are any."""
        own = lax.argmax(x, x.ndim - 1, jnp.int32)
        if not self.names:
            return own
        best = jnp.max(x, axis=-1)
        # A NaN leads, as it does in argmax, and pmax may not see it.
        best = lax.stop_gradient(jnp.where(jnp.isnan(best), jnp.inf, best))
        first = self.local(jnp.zeros_like(own), -x.shape[-1])
        leads = best == self.pmax(best)
        # The least id of the slices that lead, as the largest of negatives.
        return -self.pmax(jnp.where(leads, -(own + first), -self.count(x.shape[-1])))


WHOLE = ClassAxis()


@jax.custom_jvp
def _carrying(x: Array, temperature: Array, classes: ClassAxis) -> Array:
    del temperature, classes
    return x


def _carrying_jvp(primals, tangents):
    x, temperature, classes = primals
    dx, dt, _ = tangents
    if isinstance(dx, SymbolicZero):
        dx = jnp.zeros_like(x)
    if not isinstance(dt, SymbolicZero):
        # ∂(x/T)/∂T·T = −(x − c)/T, but for a constant that no difference depends on.
        below = x - lax.stop_gradient(classes.max(x))
        dx -= jnp.where(x == -jnp.inf, 0, below) / temperature * dt
    return _carrying(*primals), dx


_carrying.defjvp(_carrying_jvp, symbolic_zeros=True)


@jax.custom_jvp
def _scaled(x: Array, temperature: Array) -> Array:
    return x / temperature


@_scaled.defjvp
def _scaled_jvp(primals, tangents):
    return _scaled(*primals), tangents[0] / primals[1]


@jax.custom_jvp
def _max(x: Array, classes: ClassAxis) -> Array:
    return classes.pmax(jnp.max(x, axis=-1, keepdims=True))


@_max.defjvp
def _max_jvp(primals, tangents):
    """Equals share the tangent, as in `jnp.max`."""
    x, classes = primals
    largest = _max(x, classes)
    top = x == largest
    count = classes.sum(top.astype(x.dtype), keepdims=True)
    slope = classes.sum(jnp.where(top, tangents[0], 0), keepdims=True)
    return largest, slope / count


def classes_last(x: Array, axis: Shape) -> Array:
    """`x` with the class axes moved to the end and flattened into one, as in optax."""
    batch = tuple(a for a in range(x.ndim) if a not in axis)
    count = math.prod(x.shape[a] for a in axis)
    for a in axis[1:]:
        # What is divided along its first part alone can be written as one axis.
        x = whole_along(x, a)
    return x.transpose(batch + axis).reshape(*(x.shape[a] for a in batch), count)


def per_class(weights: Array, x: Array) -> Array:
    """A number a class, for each of the logits x [..., V]."""
    return placed_as(x, jnp.broadcast_to(weights.astype(x.dtype), x.shape))


def allowed_logits(logits: Array, axis: Shape, class_where: Array | None) -> Array:
    """The logits as they are given, classes last, forbidden classes at −inf."""
    if class_where is not None:
        class_where = placed_as(logits, jnp.broadcast_to(class_where, logits.shape))
        logits = jnp.where(class_where, logits, -jnp.inf)
    return classes_last(logits, axis)


def axis_index(argument: str, name: AxisName) -> Array:
    """The index along axes that are mapped where the call is."""
    # JAX has no question for whether a name is mapped here: it is asked by its use.
    try:
        return lax.axis_index(name)
    except NameError:
        must = "name an axis that is mapped where the call is"
        remedy = "Call it inside `jax.shard_map` over a mesh with this axis."
        fail(ValueError, argument, must, repr(name), remedy)


def class_axis(name: AxisName | None, temperature: object = None) -> ClassAxis:
    """All classes, or slices of them over an axis, or axes, that is mapped here."""
    t = _options.off_at_1("temperature", temperature)
    if name is None:
        return ClassAxis(temperature=t)
    argument = "vocab_axis_name"
    names, index = _options.axes(argument, name), axis_index(argument, name)
    if not varying(index).issuperset(names):
        must = "name an axis of a `jax.shard_map` that checks which values vary"
        remedy = "Leave `check_vma=True`: without it gradients are summed twice."
        fail(ValueError, argument, must, repr(name), remedy)
    return ClassAxis(name, t)
