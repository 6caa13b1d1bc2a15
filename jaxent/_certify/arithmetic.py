# SPDX-License-Identifier: Apache-2.0
"""What a device does to numbers, measured, and what to do about it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._engine import elementary as _elementary
from .._engine.elementary import quotient
from .._engine.linear import matmul

ULPS = 4
"""Errors of exp, log1p and tanh that the bounds of the losses were made for."""
FUNCTIONS = {  # as the engine calls them
    "exp": (_elementary.exp, np.exp, (-80.0, 20.0)),
    "log": (_elementary.log, np.log, (1e-6, 20.0)),
    "log1p": (_elementary.log1p, np.log1p, (-0.5, 20.0)),
    "expm1": (_elementary.expm1, np.expm1, (-20.0, 20.0)),
    "tanh": (_elementary.tanh, np.tanh, (-10.0, 10.0)),
    "1/x": (lambda x: quotient(jnp.ones_like(x), x), np.reciprocal, (0.1, 20.0)),
}


class Arithmetic(NamedTuple):
    """float32, on one device, as compiled with the settings in force."""

    functions: dict[str, float]
    """Largest error, in ULP."""
    product_bits: float
    """Bits of a number that enter a matrix product: 24 is all of them."""
    keeps_order: bool
    """Whether (x + y) − y is computed as it is written."""
    keeps_nan: bool
    keeps_subnormals: bool

    def __str__(self) -> str:
        errors = ", ".join(f"{k} {v:.2g}" for k, v in self.functions.items())
        return "; ".join(
            [
                f"float32 here: errors in ULP {errors}",
                f"products of {self.product_bits:.0f} bits",
                f"arithmetic {'as' if self.keeps_order else 'NOT as'} written",
                f"NaNs {'kept' if self.keeps_nan else 'NOT kept'}",
                f"subnormals {'kept' if self.keeps_subnormals else 'flushed to 0'}",
            ]
        )


def measured() -> Arithmetic:
    grids = {
        name: np.linspace(low, high, 4001, dtype=np.float32)
        for name, (_, _, (low, high)) in FUNCTIONS.items()
    }
    a, b = np.full((8, 8), 4095, np.float32), np.eye(8, dtype=np.float32)
    tiny, nan = np.finfo(np.float32).smallest_normal, np.float32(np.nan)

    @jax.jit
    def everything(grids, a, b, x, y, tiny, nan):
        values = {k: FUNCTIONS[k][0](grid) for k, grid in grids.items()}
        lost = (x + y) - y
        return values, matmul(a, b, (1, 1)), lost, jnp.isnan(nan + x), tiny * 0.5

    x, y = np.float32(1e-3), np.float32(1e4)
    given = jax.device_put((grids, a, b, x, y, tiny, nan))
    values, product, lost, is_nan, half = jax.device_get(everything(*given))
    functions = {}
    for name, (_, truth, _) in FUNCTIONS.items():
        exact = truth(grids[name].astype(np.longdouble))
        ulp = np.spacing(np.abs(exact).astype(np.float32))
        error = np.abs(values[name] - exact) / ulp
        functions[name] = float(np.max(error))
    error = float(np.max(np.abs(product - a)) / 4095)
    return Arithmetic(
        functions,
        float(np.floor(-np.log2(error))) if error else 24.0,
        bool(lost == np.float32(x + y) - y),
        bool(is_nan),
        bool(half > 0),
    )


def remedies(a: Arithmetic) -> tuple[str, ...]:
    """Why bounds are broken, as far as the arithmetic says, and what to do."""
    found = []
    if a.product_bits < 24:
        found.append(
            f"Matrix products keep {a.product_bits:.0f} bits of float32's 24, as in "
            "TF32 or bfloat16: for exact heads call "
            'jax.config.update("jax_default_matmul_precision", "highest"), or use '
            'jax.default_matmul_precision("highest") around the loss.'
        )
    if not (a.keeps_order and a.keeps_nan):
        found.append(
            "The compiler rewrites floating-point arithmetic: take fast-math flags out "
            "of XLA_FLAGS, or set XLA_FLAGS=--xla_cpu_enable_fast_math=false."
        )
    coarse = [f"{k} by {v:.3g} ULP" for k, v in a.functions.items() if v > ULPS]
    if coarse:
        found.append(
            f"Functions of this device are coarse: {', '.join(coarse)}. No setting "
            "mends it; where digits matter compute the loss in float64, or on the CPU."
        )
    if not found:
        found.append(
            "The arithmetic of this device explains none of it. That is a bug of "
            "jaxent: please report this table (--json FILE)."
        )
    return tuple(found)
