# SPDX-License-Identifier: Apache-2.0
"""Every case: its value, and its gradient in each argument from random cotangents.

One program has the value as it is without a derivative, the value that comes with one,
and the gradients. float32 is compiled as it is shipped: its budget holds for those
instructions. Half types are float32 but for the casts.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import tolerance
from cases import CASES, HALF, cells, gradient, probes, value, working
from given import put


def program(case):
    """(arguments, options that are arrays, cotangent) -> values and gradients."""

    @jax.jit
    def run(args, arrays, cotangent):
        def f(*differentiable):
            full = list(args)
            for i, x in zip(case.kind.differentiable, differentiable, strict=True):
                full[i] = x
            return case.call(*full, **case.fixed, **arrays)

        given = [args[i] for i in case.kind.differentiable]
        with_slope, pull = jax.vjp(f, *given)
        return (f(*given), with_slope), pull(cotangent)

    return run


# Compiled once for all regimes.
PROGRAMS = {case.name: program(case) for case in CASES}


@pytest.mark.parametrize(("case", "dtype", "regime"), cells(CASES))
def test_value_and_gradient(case, dtype, regime):
    check(case, dtype, regime, case.shapes(dtype))


@pytest.mark.quickly_compiled
@pytest.mark.parametrize(
    ("case", "regime"),
    [
        pytest.param(c, regime, id=f"{c.name}-{regime}")
        for c in CASES
        if c.smallest
        for regime in c.kind.regimes
    ],
)
def test_one_position_and_one_class_or_two(case, regime):
    check(case, "float32", regime, case.smallest)


def check(case, dtype, regime, shapes):
    near, wide = case.kind.nearby, working(dtype)
    for batch, count in shapes:
        args, options = case.example(batch, count, dtype, regime)
        rng = np.random.default_rng(count)
        shape = np.shape(case.truth(*args, **options))
        cotangent = np.asarray(rng.normal(size=shape), wide)
        arrays = {k: v for k, v in options.items() if isinstance(v, np.ndarray)}
        with jax.enable_x64(dtype == "float64"):
            values, slopes = PROGRAMS[case.name](
                list(map(put, args)), arrays, cotangent
            )
        for got in values:
            chex.assert_type(got, wide)
        f = functools.partial(value, case)
        tolerance.check_all(values, f, near, args, options, wide, case.ulps)
        for i, g in zip(case.kind.differentiable, slopes, strict=True):
            chex.assert_type(g, args[i].dtype)
            chex.assert_shape(g, args[i].shape)
            at = probes(case, args[i])
            f = functools.partial(gradient, case, i, cotangent, at)
            rounding = case.kind.noise
            if dtype in HALF:
                # The one rounding to the input's dtype, correct to half an ULP.
                rounding += 0.5 * tolerance.ulp(f(args, options), dtype)
            got = np.stack([oracle.wide(g)[index] for index in at])
            tolerance.check_all(
                [got], f, near, args, options, wide, case.ulps, rounding
            )


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in CASES])
def test_single_precision_where_double_is_enabled(case):
    """float32 in, float32 out: nothing made inside takes the wider default."""
    args, options = case.example((2,), 5, "float32", "unit")
    arrays = {k: v for k, v in options.items() if isinstance(v, np.ndarray)}
    shape = np.shape(case.truth(*args, **options))
    cotangent = np.ones(shape, np.float32)
    made = jax.eval_shape(PROGRAMS[case.name], args, arrays, cotangent)
    for leaf in jax.tree.leaves(made):
        assert leaf.dtype == jnp.float32
