# SPDX-License-Identifier: Apache-2.0
"""The value of every case, against the truth."""

import chex
import jax
import jax.numpy as jnp
import pytest
import tolerance
from cases import CASES, cells, value, working


@pytest.mark.parametrize(("case", "dtype", "regime"), cells(CASES))
def test_value(case, dtype, regime):
    for batch, count in case.shapes(dtype):
        args, options = case.example(batch, count, dtype, regime)
        truth = value(case, args, options)
        with jax.enable_x64(dtype == "float64"):
            got = case.call(*map(jnp.asarray, args), **options)
            chex.assert_type(got, working(dtype))
            chex.assert_shape(got, truth.shape)
        spread = tolerance.spread(
            lambda a, o: value(case, a, o), case.kind.nearby, args, options
        )
        tolerance.check(
            got, truth, tolerance.budget(truth, spread, working(dtype), case.ulps)
        )
