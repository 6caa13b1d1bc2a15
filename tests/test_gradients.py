# SPDX-License-Identifier: Apache-2.0
"""The gradient of every case in each argument, pulled back from random cotangents."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import tolerance
from cases import CASES, HALF, cells, gradient, probes, working


def pullback(case):
    """(arguments, options that are arrays, cotangent) -> gradients."""

    @jax.jit
    def run(args, arrays, cotangent):
        def f(*differentiable):
            full = list(args)
            for i, x in zip(case.kind.differentiable, differentiable, strict=True):
                full[i] = x
            return case.call(*full, **case.fixed, **arrays)

        return jax.vjp(f, *(args[i] for i in case.kind.differentiable))[1](cotangent)

    return run


# Compiled once for all regimes.
PULLBACKS = {case.name: pullback(case) for case in CASES}


@pytest.mark.parametrize(("case", "dtype", "regime"), cells(CASES))
def test_gradient(case, dtype, regime):
    for batch, count in case.shapes(dtype):
        args, options = case.example(batch, count, dtype, regime)
        shape = np.shape(case.truth(*args, **options))
        rng = np.random.default_rng(count)
        cotangent = np.asarray(rng.normal(size=shape), working(dtype))
        arrays = {k: v for k, v in options.items() if isinstance(v, np.ndarray)}
        with jax.enable_x64(dtype == "float64"):
            got = PULLBACKS[case.name](list(map(jnp.asarray, args)), arrays, cotangent)
        for i, g in zip(case.kind.differentiable, got, strict=True):
            chex.assert_type(g, args[i].dtype)
            chex.assert_shape(g, args[i].shape)
            at = probes(case, args[i])
            f = functools.partial(gradient, case, i, cotangent, at)
            truth = f(args, options)
            spread = tolerance.spread(f, case.kind.nearby, args, options)
            allowed = tolerance.budget(truth, spread, working(dtype), case.ulps)
            allowed += case.kind.noise
            if dtype in HALF:
                # The one rounding to the input's dtype, correct to half an ULP.
                allowed += 0.5 * tolerance.ulp(truth, dtype)
            g = oracle.wide(g)
            tolerance.check(np.stack([g[index] for index in at]), truth, allowed)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in CASES])
def test_single_precision_where_double_is_enabled(case):
    """float32 in, float32 out: nothing made inside takes the wider default."""
    args, options = case.example((2,), 5, "float32", "unit")
    arrays = {k: v for k, v in options.items() if isinstance(v, np.ndarray)}
    loss = jax.eval_shape(lambda a: case.call(*a, **options), args)
    assert loss.dtype == jnp.float32
    cotangent = np.ones(loss.shape, np.float32)
    for g in jax.eval_shape(PULLBACKS[case.name], args, arrays, cotangent):
        assert g.dtype == jnp.float32
