# SPDX-License-Identifier: Apache-2.0
"""How far a result may be from the truth, and why.

|error| ≤ n·ulp(truth) + 4·u·spread + flushed, where

- n·ulp covers the functions themselves: exp (1 ULP), log1p (2.4), a sum and a
  quotient (0.5 each), measured on XLA's CPU backend in float32;
- u = ε/2 is one rounding, and the spread is the standard deviation of the truth, per
  unit, when each quantity that no implementation can help rounding is moved by a
  random relative amount of size 1: the distance of a logit from the largest one
  (`x − c`) and its exp, a label, a probability, an option. It exceeds the truth only
  where terms of both signs cancel, as p − q does for soft labels. It never contains a
  common offset of the logits; nor, for two sets of logits, their sizes, only their
  difference `b − a`, which is exact where they are near. Three of it, and a third more
  because eight draws find a standard deviation to ± 25 %;
- flushed: XLA replaces subnormal numbers by 0.
"""

import ml_dtypes
import numpy as np
import oracle

ULPS = 4
# Σ p·(−log p) over like classes: every term is rounded alike, so no error averages out.
ULPS_OF_SUMS = 6
# 1 − p is a sum, an exp and a quotient, 2 ULP, and enters γ times.
ULPS_OF_FACTOR = 2
DRAWS = 8
MOVE = np.longdouble(1e-7)


def moves(rng, x):
    return MOVE * oracle.wide(rng.normal(size=np.shape(x)))


def relative(rng, x, size=1):
    """x with each element moved by its own size, or a multiple of it."""
    x = oracle.wide(x)
    return x * (1 + size * moves(rng, x))


@oracle.quiet
def distances(rng, x, axis=None, temperature=1):
    """By how much to move logits for c − x to move, and its exp by an ULP.

    Each moves by itself; and all alike, since like numbers are rounded alike and Z,
    two roundings, is common to all.
    """
    distance = np.max(x, axis=axis, keepdims=True) - x
    size = np.where(np.isfinite(distance), distance + (distance != 0) * temperature, 0)
    return size * (moves(rng, x) + 2 * moves(rng, 0.0))


def of_logits(rng, args, **softmax):
    x, *labels = args
    x = oracle.wide(x)
    return x + distances(rng, x, **softmax), *(
        y if y.dtype.kind == "i" else relative(rng, y) for y in labels
    )


@oracle.quiet
def of_two_logits(rng, args, axis=None, temperature=1):
    """Both moved together, as p and q; and apart, by their largest difference."""
    a, b = (oracle.wide(x) for x in args)
    together = distances(rng, np.where(np.isfinite(a), a, b), axis, temperature)
    difference = np.where(np.isfinite(b - a), np.abs(b - a), 0)
    apart = np.max(difference, axis=axis, keepdims=True) * moves(rng, a)
    return a + together, b + together + np.where(difference != 0, apart, 0)


def of_labels(rng, args, **_):
    """Binary logits enter exp as they are, and it errs by an ULP."""
    x, y = args
    return oracle.wide(x) + moves(rng, x), relative(rng, y)


def of_probabilities(rng, args, **_):
    return tuple(a if a.dtype.kind == "i" else relative(rng, a) for a in args)


def of_predictions(rng, args, **_):
    """log t is rounded as a number: t is moved by |log t| of its size, if above 1."""
    log_q, t = args
    size = np.maximum(1, np.abs(np.log(oracle.wide(t))))
    return oracle.wide(log_q), relative(rng, t, size)


def moved_options(rng, options):
    """Shares and weights are rounded where they meet; γ·log(1 − p), (x − c)/T are."""
    names = [
        "label_smoothing",
        "z_loss",
        "class_weights",
        "pos_weight",
        "alpha",
        "gamma",
        "temperature",
    ]
    moved = {k: relative(rng, options[k]) for k in names if k in options}
    return options | moved


def spread(f, nearby, args, options, draws=DRAWS):
    """Standard deviation of `f(args, options)` when what must be rounded moves by 1."""
    rng = np.random.default_rng(0)
    here, square = f(args, options), 0
    softmax = {k: options[k] for k in ("axis", "temperature") if k in options}
    for _ in range(draws):
        moved = nearby(rng, args, **softmax)
        change = f(moved, moved_options(rng, options)) - here
        square = square + np.where(np.isfinite(change), change / MOVE, 0) ** 2
    return np.sqrt(square / draws)


def ulp(truth, dtype):
    """The spacing of the dtype at the truth, that of its subnormals included."""
    info = ml_dtypes.finfo(dtype)
    size = np.maximum(np.abs(truth), np.longdouble(float(info.smallest_normal)))
    exponent = np.frexp(np.where(np.isfinite(size), size, 1))[1] - 1
    return np.ldexp(np.longdouble(1), exponent - info.nmant)


def budget(truth, spread, dtype, ulps=ULPS):
    """Of a result computed in the dtype."""
    info = np.finfo(dtype)
    flushed = 4 * np.longdouble(info.smallest_normal)
    return ulps * ulp(truth, dtype) + 2 * info.eps * spread + flushed


def excess_of(got, truth, allowed):
    """Of each element, its error in budgets."""
    got = oracle.wide(got)
    assert got.shape == truth.shape
    with np.errstate(invalid="ignore"):
        same = (got == truth) | (np.isnan(got) & np.isnan(truth))
        return np.where(same, 0, np.abs(got - truth) / allowed)


def check_all(results, f, nearby, args, options, dtype, ulps=ULPS, rounding=0):
    """Every result within the budget of f(args, options), and `rounding` beside it.

    Most are within it without what `spread` adds, so that is asked first. Now and then
    eight draws find half a standard deviation, and one of ten thousand numbers is over:
    the budget is then made of 128, and without the third for few.
    """
    truth = f(args, options)
    for draws, share in ((0, 0), (DRAWS, 1), (16 * DRAWS, 0.75)):
        around = share * spread(f, nearby, args, options, draws) if draws else 0
        allowed = budget(truth, around, dtype, ulps) + rounding
        if all(np.all(excess_of(got, truth, allowed) <= 1) for got in results):
            return
    for got in results:
        check(got, truth, allowed)


def check(got, truth, allowed):
    """Every element within its budget; infinities and NaNs where they belong."""
    excess = excess_of(got, truth, allowed)
    worst = np.unravel_index(np.argmax(excess), excess.shape)
    assert np.all(excess <= 1), (
        f"at {worst}: got {oracle.wide(got)[worst]}, truth {truth[worst]}, error of "
        f"{excess[worst]:.3g} budgets of {np.broadcast_to(allowed, got.shape)[worst]}"
    )
