# SPDX-License-Identifier: Apache-2.0
"""No derivative is NaN beside numbers that a GPU keeps, and a CPU takes for 0.

Found on an H100: with γ = 0 the second derivatives of the focal losses were 0·(1/p) of
such a p. First and second derivatives, along ones, of every loss and with all options.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import subnormal
from cases import BINARY, CASES, INTEGER, PAIRS, PROBS, Case

pytestmark = pytest.mark.quickly_compiled

TINY = [1, 0.5, 1e-30, 1.2e-38, 1.1e-38, 3e-39, 1e-39, 1e-41, 1e-45, 0]
FAR = [0, 60, 80, 86, 87.5, 88.5, 92, 96, 103, 110]
"""Distances between logits, of which exp(−x) is normal up to 87.3, and 0 from 104."""
ROWS = len(FAR) * 6

# What is left, of second derivatives: terms that overflow and would cancel.
LEFT = {
    "sigmoid_focal_loss-soft": "by logit and label at once: (log p)/p of 1 − p = 1e-38",
}
CHOSEN = [
    *(c for c in CASES if c.axis == -1 and c.tag in ("", "together", "soft")),
    Case("softmax_focal_loss", INTEGER, {"gamma": 0.0}, "gamma0"),
    Case("sigmoid_focal_loss", BINARY, {"gamma": 0.0}, "gamma0"),
]


def arguments(case):
    """Of a class, of two distributions at once, all pairs of what is far or tiny."""
    args, options = case.example((ROWS,), 4, "float32", case.kind.regimes[1])
    floats = [a for a in args if a.dtype.kind == "f"]
    for i, x in enumerate(floats):
        places = (..., 0) if case.kind.classes else ...
        if case.kind.regimes is PROBS:
            chosen = np.log(np.maximum(TINY, 1e-44)) if np.all(x <= 0) else TINY
        elif i == 0 or case.kind.regimes is PAIRS:
            chosen = FAR if case.kind.classes else [*FAR, *(-d for d in FAR[1:])]
        else:
            chosen = x[places].ravel() if case.kind.classes else [0, 0.3, 1]
        # In turn, and each as often beside each of the other's.
        turn = np.resize(chosen, x[places].size) if i == 0 else np.repeat(
            chosen, -(-x[places].size // len(chosen))
        )  # fmt: skip
        x[places] = turn[: x[places].size].reshape(x[places].shape)
        if case.kind.classes and case.kind.regimes is not PROBS and i < 2:
            x[::2] = -x[::2]
    return args, options


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_no_derivative_is_nan(case):
    args, options = arguments(case)
    count = len(case.kind.differentiable)
    first = jax.grad(
        lambda *x: jnp.sum(case.call(*x, *args[count:], **options)), tuple(range(count))
    )

    def both(*x):
        return first(*x), jax.jvp(first, x, tuple(map(jnp.ones_like, x)))[1]

    for order, found in enumerate(subnormal.run(both, *args[:count]), 1):
        nan = np.isnan(np.stack([np.broadcast_to(x, args[0].shape) for x in found]))
        if order == 2 and case.name in LEFT:
            assert nan.any(), "it is left no more: take it out of the list"
        else:
            assert not nan.any(), (order, np.argwhere(nan)[:5])
        if case.kind.regimes is not PROBS and case.name not in LEFT:
            # By a logit no derivative is infinite; by a p near 0, 1/p may be, in truth.
            assert all(np.isfinite(x).all() for x in found), order


def test_it_keeps_them():
    assert subnormal.run(lambda x: x / 2, np.float32(1e-40)) > 0
