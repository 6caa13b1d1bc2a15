# SPDX-License-Identifier: Apache-2.0
"""JAX's programs as a GPU runs them: step by step in NumPy, which keeps subnormals.

XLA's programs for CPUs take these numbers for 0, and no other test sees any. What is
chosen by the platform is what neither CPUs nor TPUs have of their own.
"""

import jax
import numpy as np
from given import put
from jax.extend.core import Literal

ARITHMETIC = {
    "abs": np.abs, "add": np.add, "add_any": np.add, "div": np.divide, "eq": np.equal,
    "exp": np.exp, "expm1": np.expm1, "ge": np.greater_equal, "gt": np.greater,
    "is_finite": np.isfinite, "le": np.less_equal, "log": np.log, "log1p": np.log1p,
    "lt": np.less, "max": np.maximum, "min": np.minimum, "mul": np.multiply,
    "ne": np.not_equal, "neg": np.negative, "pow": np.power, "sign": np.sign,
    "sqrt": np.sqrt, "square": np.square, "sub": np.subtract, "tanh": np.tanh,
}  # fmt: skip
REDUCTIONS = {"reduce_sum": np.sum, "reduce_max": np.max, "reduce_min": np.min}
MOVED = {
    "argmax", "bitcast_convert_type", "broadcast_in_dim", "iota", "reshape",
    "slice", "squeeze", "stop_gradient",
}  # fmt: skip
"""Left to XLA, as are integers: nothing is computed of floats."""


def run(f, *args):
    """f of float32 arrays."""
    made, shape = jax.make_jaxpr(f, return_shape=True)(*args)
    with np.errstate(all="ignore"):
        found = _run(made.jaxpr, made.consts, jax.tree.leaves(args))
    return jax.tree.unflatten(jax.tree.structure(shape), found)


def _run(jaxpr, consts, args):
    env = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(x):
        return np.asarray(x.val if isinstance(x, Literal) else env[x])

    for step in jaxpr.eqns:
        found = _step(step.primitive, [read(x) for x in step.invars], step.params)
        found = found if step.primitive.multiple_results else [found]
        env |= zip(step.outvars, found, strict=True)
    return [read(x) for x in jaxpr.outvars]


def _step(primitive, xs, params):
    name = primitive.name
    if name in ARITHMETIC and xs[0].dtype.kind == "f":
        return ARITHMETIC[name](*xs)
    if name == "integer_pow":
        return np.power(*xs, xs[0].dtype.type(params["y"]))
    if name in REDUCTIONS and xs[0].dtype.kind == "f":
        return REDUCTIONS[name](*xs, axis=tuple(params["axes"]))
    if name == "reduce":
        return _reduce(params["jaxpr"], xs, *params["dimensions"])
    if name == "platform_index":
        return np.asarray(params["platforms"].index(None))
    if name == "convert_element_type":
        return xs[0].astype(params["new_dtype"])
    if name == "reduce_precision":
        return xs[0]
    if name == "optimization_barrier":
        return xs
    if name == "select_n" and xs[0].dtype == bool:
        return np.where(xs[0], xs[2], xs[1])
    if name == "cond":
        chosen = params["branches"][int(xs[0])]
        return _run(chosen.jaxpr, chosen.consts, xs[1:])
    inner = (params.get(k) for k in ("jaxpr", "call_jaxpr", "fun_jaxpr"))
    if name not in ("while", "scan") and (body := next(filter(None, inner), None)):
        return _run(getattr(body, "jaxpr", body), getattr(body, "consts", ()), xs)
    # What is not listed would be computed by XLA, and flushed.
    assert name in MOVED or not any(x.dtype.kind == "f" for x in xs), name
    return primitive.bind(*map(put, xs), **params)


def _reduce(jaxpr, xs, axis):
    operands, found = xs[: len(xs) // 2], xs[len(xs) // 2 :]
    for i in range(operands[0].shape[axis]):
        taken = [np.take(x, i, axis) for x in operands]
        found = _run(jaxpr.jaxpr, jaxpr.consts, [*found, *taken])
    return found
