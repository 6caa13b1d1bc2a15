# SPDX-License-Identifier: Apache-2.0
"""Logits that the program itself makes, as a product: held to what they are rounded to.

XLA may fuse a product with the subtraction that follows it, which then is not of the
rounded logits: a distance from the largest that is 0 becomes a rounding error, of the
size of the logits themselves. Each position has another scale, in one program.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import tolerance
from cases import CASES, LOGITS, PAIRS, gradient, probes, value

import jaxent

SCALES = np.array([[1.3], [1 / 0.7], [1 / 0.9], [3.0]], np.float32)
BATCH, COUNT = (4,), 6
SCALED = [
    case
    for case in CASES
    if case.kind.regimes in (LOGITS, PAIRS, LOGITS[:4])
    if case.tag in ("", "together", "one_hot")
]


def of_logits(case):
    """The arguments that are logits: all but labels."""
    return (0, 1) if case.kind.regimes is PAIRS else (0,)


def scaled(case):
    """(arguments, arrays of options, scale, cotangent) -> value, gradient, or both."""

    def run(args, arrays, scale, cotangent):
        def f(*logits):
            full = list(args)
            for i, x in zip(of_logits(case), logits, strict=True):
                full[i] = x * scale
            return case.call(*full, **case.fixed, **arrays)

        return jax.vjp(f, *(args[i] for i in of_logits(case)))

    def both(*given):
        loss, pull = run(*given)
        return loss, pull(given[-1])

    return {
        "value": jax.jit(lambda *given: both(*given)[0]),
        "gradient": jax.jit(lambda *given: both(*given)[1]),
        "both": jax.jit(both),
    }


PROGRAMS = {case.name: scaled(case) for case in SCALED}
CELLS = [
    pytest.param(case, regime, id=f"{case.name}-{regime}")
    for case in SCALED
    for regime in case.kind.regimes
]


@pytest.mark.parametrize(("case", "regime"), CELLS)
def test_product(case, regime):
    args, options = case.example(BATCH, COUNT, "float32", regime)
    arrays = {k: v for k, v in options.items() if isinstance(v, np.ndarray)}
    rounded = [a * SCALES if i in of_logits(case) else a for i, a in enumerate(args)]
    shape = np.shape(value(case, rounded, options))
    cotangent = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    given = [jnp.asarray(a) for a in args], arrays, SCALES, cotangent
    found = {k: f(*given) for k, f in PROGRAMS[case.name].items()}
    values, slopes = zip(
        (found["value"], found["gradient"]), found["both"], strict=True
    )
    within = functools.partial(
        tolerance.check_all,
        nearby=case.kind.nearby,
        args=rounded,
        options=options,
        dtype="float32",
        rounding=case.kind.noise,
    )
    within(values, functools.partial(value, case), ulps=case.ulps)
    for i, both in zip(of_logits(case), zip(*slopes, strict=True), strict=True):
        chex.assert_shape(both, args[i].shape)
        at = probes(case, args[i])
        # By the product, which rounds it once more.
        wide = [oracle.wide(g) / oracle.wide(SCALES) for g in both]
        got = [np.stack([g[index] for index in at]) for g in wide]
        f = functools.partial(gradient, case, i, cotangent, at)
        within(got, f, ulps=case.ulps + 1)


MADE = {  # what makes logits, and its slope
    "product": (lambda x, s: x * s, lambda x, s: s),
    # XLA makes a product of it, too.
    "quotient": (lambda x, s: x / s, lambda x, s: 1 / s),
    "softcap": (
        lambda x, s: 1e3 * s * jnp.tanh(x / 1e3),
        lambda x, s: s / np.cosh(oracle.wide(x) / 1000) ** 2,
    ),
}


@pytest.mark.parametrize("scale", SCALES.ravel().tolist())
@pytest.mark.parametrize("made", MADE)
def test_no_offset_harms_a_gradient(made, scale):
    """Of class ids: exact to 4 ULP, and to four roundings by the slope of what made it.

    The scale is a constant, which XLA folds into what it can.
    """
    make, slope = MADE[made]
    offsets, labels = np.array([[0.0], [30.0], [1e3]]), np.ones(3, int)
    x = (offsets + np.arange(5) / 4).astype(np.float32)

    @jax.jit
    @jax.grad
    def run(x):
        f = jaxent.softmax_cross_entropy_with_integer_labels
        return f(make(x, scale), jnp.asarray(labels)).sum()

    rounded = np.asarray(jax.jit(make, static_argnums=1)(x, scale))
    truth = oracle.label_gradient(rounded, labels) * slope(x, oracle.wide(scale))
    tolerance.check(run(x), truth, 8 * tolerance.ulp(truth, "float32"))
