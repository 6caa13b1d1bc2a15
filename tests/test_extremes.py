# SPDX-License-Identifier: Apache-2.0
"""What "exact" promises, claim by claim: `pytest tests/test_extremes.py -s` prints it.

One line a claim: what, where, the largest and the median error, what they are in, and
the bound. Truth is `oracle.py` (long double, no cancellation) on the inputs as rounded,
with 60-digit spot checks beside it. An ULP is one unit in the last place of the truth.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracle
import pytest
from cases import each, losses
from oracle import wide
from tolerance import ulp

import jaxent

ULPS = 4
OFFSETS = [0, 1e4, 1e6, -1e6]

integer_loss = jaxent.softmax_cross_entropy_with_integer_labels


@pytest.fixture(scope="module", autouse=True)
def _heading():
    print(f"\n{'claim':<36}{'where':<44}{'max':>9}{'median':>9}  {'bound':<12}")


def report(claim, where, error, bound, unit="ULP"):
    """Print the line and hold every error to the bound. NaN is never within it."""
    error = np.asarray(error, np.float64).ravel()
    largest, middle = np.max(error), np.median(error)
    print(
        f"{claim:<36}{where:<44}{largest:>9.2g}{middle:>9.2g}  {bound:.3g} {unit}",
        flush=True,
    )
    assert largest <= bound, f"{claim}, {where}: {largest:.3g} {unit} > {bound:g}"


def in_ulps(got, truth, extra=0.0):
    """Errors in ULP of the truth, after `extra`, an allowance relative to it."""
    got = np.asarray(got)
    with np.errstate(invalid="ignore"):
        error = np.abs(wide(got) - truth) - extra * np.abs(truth)
    error = np.where(wide(got) == truth, 0, error)
    return np.maximum(error / ulp(truth, got.dtype), 0)


def relative(got, truth):
    return np.abs(wide(got) - truth) / np.abs(truth)


def of_rows(got, truth, scale=None):
    """The error of each row's vector, relative to its length."""
    scale = truth if scale is None else scale
    error = np.sqrt(np.sum((wide(got) - truth) ** 2, axis=-1))
    return error / np.sqrt(np.sum(wide(scale) ** 2, axis=-1))


def rows(classes, count, margins, offset=0.0, dtype=np.float32, seed=0):
    """`count` rows for each margin of the label's logit over the runner-up's."""
    rng = np.random.default_rng([seed, classes])
    margins = np.repeat(margins, count)
    x = rng.standard_normal((margins.size, classes))
    y = rng.integers(0, classes, margins.size, dtype=np.int32)
    at = np.arange(margins.size), y
    x[at] = -np.inf
    x[at] = x.max(axis=-1) + margins
    return (x + offset).astype(dtype), y


def of_label(x, y):
    return np.take_along_axis(x, y[:, None], axis=-1)[:, 0]


def rounding_of_margin(x, y):
    """Half an ULP of each c − x_j, weighted as the classes j ≠ y are in the loss."""
    distance = np.max(x, axis=-1, keepdims=True) - x
    p = np.where(oracle.one_hot(y, x.shape[-1]), 0, oracle.softmax(x))
    return np.sum(p * np.spacing(distance) / 2, axis=-1) / np.sum(p, axis=-1)


@functools.cache
def value_and_gradient(loss, argnums=0):
    """The loss of every row, and the gradients."""

    def both(*args):
        value, back = jax.vjp(lambda *a: loss(*a, *args[count:]), *args[:count])
        return value, back(jnp.ones_like(value))

    count = argnums + 1
    return jax.jit(both)


integer = value_and_gradient(integer_loss)


def check_integer_labels(classes, count, margins, offset, dtype, f=integer):
    x, y = rows(classes, count, margins, offset, dtype)
    value, (gradient,) = f(x, y)
    nll, one_minus_p, p, _ = oracle.pairs(wide(x))
    where = f"{np.dtype(dtype).name} V={classes} +{offset:g} margins to {margins[-1]:g}"
    where = where.replace("+-", "-")
    assert np.all(np.asarray(value) >= 0)
    value_error = in_ulps(value, of_label(nll, y))
    label_error = in_ulps(of_label(gradient, y), -of_label(one_minus_p, y))
    report("integer labels: loss", where, value_error, ULPS)
    report("integer labels: label gradient", where, label_error, ULPS)
    # The others, as a row: what rounding does to the far ones has no weight.
    rest = ~oracle.one_hot(y, classes)
    error = of_rows(np.where(rest, gradient, 0), np.where(rest, p, 0))
    error -= rounding_of_margin(x, y)
    tolerance = ULPS * np.finfo(dtype).eps
    report("integer labels: rest of gradient", where, error, tolerance, "rel")


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize(
    ("classes", "count"), [(2, 500), (3, 500), (10, 300), (1000, 24), (32768, 1)]
)
def test_integer_labels(classes, count, offset):
    margins = np.arange(0, 61, 1 if classes < 32768 else 5)
    check_integer_labels(classes, count, margins, offset, np.float32)


@pytest.mark.quickly_compiled
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize(("classes", "count"), [(2, 60), (10, 40), (1000, 4)])
@pytest.mark.usefixtures("x64")
def test_integer_labels_in_double_precision(classes, count, offset):
    margins = np.arange(0, 601, 10)
    check_integer_labels(classes, count, margins, offset, np.float64)


@pytest.mark.parametrize("offset", OFFSETS)
def test_integer_labels_of_wrong_predictions(offset):
    x, y = rows(1000, 20, -np.arange(1, 100, 4), offset)
    value, (gradient,) = integer(x, y)
    nll, one_minus_p, _, _ = oracle.pairs(wide(x))
    where = f"float32 V=1000 {offset:+g} margins to -97"
    report("wrong: loss", where, in_ulps(value, of_label(nll, y)), ULPS)
    error = in_ulps(of_label(gradient, y), -of_label(one_minus_p, y))
    report("wrong: label gradient", where, error, ULPS)


@pytest.mark.parametrize("offset", OFFSETS)
def test_integer_labels_where_far_terms_are_flushed(offset):
    x, y = rows(1000, 20, np.arange(60, 80.5, 2), offset)
    value, (gradient,) = integer(x, y)
    nll, one_minus_p, _, _ = oracle.pairs(wide(x))
    where = f"float32 V=1000 {offset:+g} margins 60 to 80"
    report("flushed: loss", where, relative(value, of_label(nll, y)), 5e-4, "rel")
    error = relative(of_label(gradient, y), -of_label(one_minus_p, y))
    report("flushed: label gradient", where, error, 5e-4, "rel")


@pytest.mark.parametrize("offset", OFFSETS)
def test_integer_labels_against_sixty_digits(offset):
    mpmath.mp.dps = 60
    x, y = rows(1000, 1, np.arange(0, 61, 10), offset)
    value, (gradient,) = integer(x, y)
    for row, label, got, slope in zip(x, y, value, gradient, strict=True):
        logits = [mpmath.mpf(float(v)) for v in row]
        e = [mpmath.exp(v - logits[label]) for v in logits]
        rest = mpmath.fsum(e[:label] + e[label + 1 :])
        nll, one_minus_p = mpmath.log1p(rest), rest / (1 + rest)
        for mine, truth in ((got, nll), (slope[label], -one_minus_p)):
            unit = mpmath.mpf(float(ulp(np.float64(truth), np.float32)))
            assert abs(mpmath.mpf(float(mine)) - truth) <= ULPS * unit


@pytest.mark.quickly_compiled
def test_the_compiler_keeps_the_order_of_the_arithmetic():
    """Op by op, nothing can be rewritten; the same bounds hold as compiled."""
    with jax.disable_jit():
        margins = np.arange(0, 61, 10)
        check_integer_labels(10, 20, margins, 0, np.float32, f=integer.__wrapped__)
        a, b = two_rows(10, 1e-4, (1e3, 0.0))
        report(
            "op by op: KL of near logits",
            "float32 V=10 |Δ|=1e-4 offsets 1e3, 0",
            relative(jaxent.kl_divergence_from_logits(a, b), kl_truth(a, b)[0]),
            1e-6,
            "rel",
        )


@pytest.mark.quickly_compiled
@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_half_types(name):
    x, y = rows(1000, 30, np.array([0, 2, 5, 8, 10, 16, 40]))
    half = jnp.asarray(x).astype(name)
    value, (gradient,) = integer(half, y)
    assert value.dtype == jnp.float32
    assert gradient.dtype == half.dtype
    exact = np.asarray(half.astype(jnp.float32))
    nll = oracle.pairs(wide(exact))[0]
    truth = oracle.label_gradient(exact, y)
    where = f"{name} V=1000 margins to 40"
    report("half types: loss", where, in_ulps(value, of_label(nll, y)), ULPS)
    error = np.abs(wide(gradient.astype(jnp.float32)) - truth) / ulp(truth, name)
    report("half types: gradient, every entry", where, error, 0.51, "ULP of it")


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_one_hot_labels(classes):
    x, y = rows(classes, 20, np.arange(-60, 61, 5))
    one_hot = oracle.one_hot(y, classes).astype(np.float32)
    value, (gradient,) = integer(x, y)
    dense_value, (dense_gradient,) = value_and_gradient(jaxent.softmax_cross_entropy)(
        x, one_hot
    )
    where = f"float32 V={classes} margins -60 to 60"
    error = in_ulps(dense_value, wide(value))
    report("one-hot as integer: loss", where, error, ULPS)
    gradient = np.asarray(gradient)
    error = in_ulps(of_label(dense_gradient, y), wide(of_label(gradient, y)))
    report("one-hot as integer: label gradient", where, error, ULPS)
    error = of_rows(dense_gradient, wide(gradient))
    report("one-hot as integer: gradient", where, error, 1e-6, "rel")


def soft(x, y, kind):
    """Label distributions: any, or one class and a trace of all others."""
    if kind == "any":
        rng = np.random.default_rng(1)
        return rng.dirichlet(np.ones(x.shape[-1]), x.shape[0]).astype(np.float32)
    return np.where(oracle.one_hot(y, x.shape[-1]), 1, 1e-7).astype(np.float32)


def distribution_gradient(x, q):
    """(Σq)·p − q, as sums of terms that don't cancel at the largest logit."""
    _, one_minus_p, p, _ = oracle.pairs(wide(x))
    return p * (np.sum(q, axis=-1, keepdims=True) - q) - q * one_minus_p


@pytest.mark.parametrize("kind", ["any", "near one-hot"])
@pytest.mark.parametrize("offset", [0, 1e4])
@pytest.mark.parametrize("classes", [3, 1000])
def test_soft_labels(classes, offset, kind):
    x, y = rows(classes, 50, np.array([0, 5, 20, 40]), offset)
    q = soft(x, y, kind)
    value, (gradient, label_gradient) = value_and_gradient(
        jaxent.softmax_cross_entropy, argnums=1
    )(x, q)
    nll = oracle.pairs(wide(x))[0]
    where = f"float32 V={classes} +{offset:g} {kind}"
    truth = oracle.softmax_cross_entropy(x, q)
    report("soft labels: loss", where, relative(value, truth), 1e-6, "rel")
    terms = oracle.softmax(x) * np.sum(wide(q), axis=-1, keepdims=True) + wide(q)
    error = of_rows(gradient, distribution_gradient(x, wide(q)), terms)
    report("soft labels: gradient", where, error, 1e-6, "of terms")
    error = relative(label_gradient, nll)
    report("soft labels: gradient of labels", where, error, 1e-6, "rel")


@pytest.mark.parametrize("offset", [0, 1e4])
@pytest.mark.parametrize("classes", [3, 1000])
def test_label_smoothing(classes, offset):
    alpha = np.float32(0.1)
    x, y = rows(classes, 50, np.array([0, 5, 20, 40]), offset)
    value, (gradient,) = value_and_gradient(
        lambda x, y: integer_loss(x, y, label_smoothing=float(alpha))
    )(x, y)
    q = (1 - wide(alpha)) * oracle.one_hot(y, classes) + wide(alpha) / classes
    where = f"float32 V={classes} +{offset:g} α=0.1"
    error = relative(value, oracle.softmax_cross_entropy(x, q))
    report("smoothing: loss", where, error, 1e-6, "rel")
    error = of_rows(gradient, distribution_gradient(x, q), oracle.softmax(x) + q)
    report("smoothing: gradient", where, error, 1e-6, "of terms")


binary = value_and_gradient(jaxent.sigmoid_binary_cross_entropy)
NORMAL = 2 * np.finfo(np.float32).smallest_normal


def logits_between(limit, count=100_001):
    return np.linspace(-limit, limit, count).astype(np.float32)


@pytest.mark.parametrize("label", [0, 1])
def test_binary_hard_labels(label):
    x = logits_between(100)
    y = np.full_like(x, label)
    value, (gradient,) = binary(x, y)
    where = f"float32 y={label} -100 to 100"
    for what, got, truth in (
        ("loss", value, oracle.sigmoid_binary_cross_entropy(x, y)),
        ("gradient", gradient, oracle.binary_gradient(x, y)),
    ):
        error = np.where(np.abs(truth) > NORMAL, in_ulps(got, truth), 0)
        report(f"binary: {what}", where, error, ULPS)


@pytest.mark.parametrize("label", [1e-6, 0.1, 0.5, 0.9])
def test_binary_soft_labels(label):
    x = logits_between(100)
    y = np.full_like(x, label)
    value, (gradient,) = binary(x, y)
    where = f"float32 y={label:g} -100 to 100"
    truth = oracle.sigmoid_binary_cross_entropy(x, y)
    report("binary soft: loss", where, relative(value, truth), 1e-6, "rel")
    error = np.abs(wide(gradient) - oracle.binary_gradient(x, y))
    error /= np.maximum(oracle.sigmoid(wide(x)), wide(y))
    report("binary soft: gradient", where, error, 1e-6, "of terms")


GAMMAS = [0.5, 2.0, 5.0]


def focal_ulps(gamma):
    """The errors of 1 − p count γ times, and power and product add theirs."""
    return ULPS * (1 + gamma)


def focal_truth(nll, one_minus_p, p, gamma):
    """The loss and its derivative with respect to the label's own logit."""
    weight = wide(one_minus_p) ** gamma
    return nll * weight, -weight * (one_minus_p + gamma * p * nll)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("label", [0, 1])
def test_sigmoid_focal(gamma, label):
    x = logits_between(200)
    y = np.full_like(x, label)
    value, (gradient,) = value_and_gradient(
        lambda x, y: jaxent.sigmoid_focal_loss(x, y, gamma=gamma)
    )(x, y)
    m = wide(x if label else -x)
    s, u = oracle.sigmoid(m), oracle.sigmoid(-m)
    truth, slope = focal_truth(oracle.softplus(-m), u, s, wide(gamma))
    where = f"float32 γ={gamma:g} y={label} -200 to 200"
    bound = focal_ulps(gamma)
    for what, got, t in (
        ("loss", value, truth),
        ("gradient", gradient, slope if label else -slope),
    ):
        # Products of three small numbers are flushed a little before they must be.
        error = np.where(np.abs(t) > 16 * NORMAL, in_ulps(got, t), 0 * wide(got))
        report(f"sigmoid focal: {what}", where, error, bound)


@pytest.mark.quickly_compiled
@pytest.mark.parametrize("argument", ["logits", "labels", "gamma"])
def test_sigmoid_focal_has_no_nan(argument):
    grid = np.meshgrid(logits_between(200, 2001), [0, 0.3, 1], [0, *GAMMAS])
    args = tuple(jnp.asarray(a.ravel(), jnp.float32) for a in grid)

    def loss(x, y, gamma):
        return jaxent.sigmoid_focal_loss(x, y, gamma=gamma)

    i = ["logits", "labels", "gamma"].index(argument)
    slope = jax.grad(loss, i)
    kinds = {"reverse": slope, "forward": jax.jacfwd(loss, i)}
    if argument != "labels":  # its second derivative overflows for γ < 2, in truth
        kinds["reverse of reverse"] = jax.grad(slope, i)
        kinds["forward of reverse"] = jax.jacfwd(slope, i)
    for kind, f in kinds.items():
        nan = np.isnan(jax.jit(jax.vmap(f))(*args))
        where = f"{kind} in the {argument}, -200 to 200"
        report("sigmoid focal: NaN", where, nan, 0, "of them")


@pytest.mark.parametrize("gamma", GAMMAS)
def test_softmax_focal(gamma):
    margins = np.array([-200, -100, -60, -20, -5, 0, 1, 5, 10, 20, 40, 60, 100, 200])
    x, y = rows(1000, 8, margins)

    def loss(x, y):
        return jaxent.softmax_focal_loss(x, y, gamma=gamma)

    value, (gradient,) = value_and_gradient(loss)(x, y)
    nll, one_minus_p, p, _ = (
        of_label(t, y) if t.ndim == 2 else t for t in oracle.pairs(wide(x))
    )
    truth, slope = focal_truth(nll, one_minus_p, p, wide(gamma))
    where = f"float32 V=1000 γ={gamma:g} margins -200 to 200"
    for what, got, t in (
        ("loss", value, truth),
        ("label gradient", of_label(gradient, y), slope),
    ):
        seen = (np.abs(t) > 16 * NORMAL) & (one_minus_p > 16 * NORMAL)
        error = np.where(seen, in_ulps(got, t), 0 * wide(got))
        report(f"softmax focal: {what}", where, error, focal_ulps(gamma))
    nan = np.isnan(gradient)
    report("softmax focal: NaN in the gradient", where, nan, 0, "of them")
    x, y = rows(5, 3, margins)
    for f in (jax.hessian(loss), jax.jacrev(jax.jacrev(loss))):
        nan = np.isnan(jax.jit(jax.vmap(f))(x, y))
        report("softmax focal: NaN in the Hessian", where, nan, 0, "of them")


@pytest.mark.parametrize("q", [0.1, 0.7, 1.0])
def test_generalized_cross_entropy(q):
    # Both −log p and q·(−log p) are rounded, at half an ULP each, before exp.
    x, y = rows(1000, 10, np.arange(-60, 61, 5))
    value, (gradient,) = value_and_gradient(
        lambda x, y: jaxent.generalized_cross_entropy(x, y, q=q)
    )(x, y)
    nll, one_minus_p = (of_label(t, y) for t in oracle.pairs(wide(x))[:2])
    exponent = wide(np.float32(q))
    where = f"float32 V=1000 q={q:g} margins -60 to 60"
    error = in_ulps(value, -np.expm1(-exponent * nll) / exponent)
    report("generalized CE: loss", where, error, 2 * ULPS)
    truth = -np.exp(-exponent * nll) * one_minus_p
    extra = exponent * np.spacing(nll.astype(np.float32))
    error = in_ulps(of_label(gradient, y), truth, extra)
    report("generalized CE: label gradient", where, error, 2 * ULPS)


def test_poly_loss():
    x, y = rows(1000, 10, np.arange(-60, 61, 5))
    one_hot = oracle.one_hot(y, 1000).astype(np.float32)
    value, (gradient,) = value_and_gradient(jaxent.poly_loss_cross_entropy)(x, one_hot)
    nll, one_minus_p, p = (of_label(t, y) for t in oracle.pairs(wide(x))[:3])
    where = "float32 V=1000 ε=2 margins -60 to 60"
    report("poly: loss", where, in_ulps(value, nll + 2 * one_minus_p), ULPS + 1)
    error = in_ulps(of_label(gradient, y), -one_minus_p * (1 + 2 * p))
    report("poly: label gradient", where, error, ULPS + 1)


MILLION = 1_000_000


@functools.cache
def million_rows():
    """Arguments by name: logits of every size, and others as near as can be or far."""
    rng = np.random.default_rng(0)
    size = 10 ** rng.uniform(-1, 2, (MILLION, 1)).astype(np.float32)
    step = 10 ** rng.uniform(-8, 0, (MILLION, 1)).astype(np.float32)
    x = size * rng.standard_normal((MILLION, 4), np.float32)
    z = x + step * rng.standard_normal(x.shape, np.float32)
    p, q = (np.asarray(jax.nn.softmax(jnp.asarray(a))) for a in (x, z))
    y = rng.integers(0, 4, MILLION, dtype=np.int32)
    log_q = np.log(np.maximum(q, 1e-30))
    return {
        "logits": x, "p_logits": x, "q_logits": z, "probs": p, "p": p, "q": q,
        "ids": y, "labels": q, "targets": p, "log_probs": log_q,
        "log_predictions": log_q,
    }  # fmt: skip


@each(losses(lambda x: not x.signed))
def test_never_negative(loss):
    given = million_rows()
    names = [loss.arrays[0], "ids"] if loss.kind.ids else loss.arrays
    values = loss.call(*(given[name] for name in names))
    where = "a million rows of 4, logits of size .1 to 100"
    below = ~(np.asarray(values) >= 0)
    report(f"≥ 0: {loss.function[:31]}", where, below, 0, "of them")


@pytest.mark.parametrize("offset", [0, 1e4, 1e6])
def test_entropy(offset):
    x, _ = rows(1000, 10, np.arange(0, 61, 4), offset)
    value, (gradient,) = value_and_gradient(jaxent.entropy_from_logits)(x)
    truth = oracle.entropy_from_logits(x)
    distance = np.max(x, axis=-1, keepdims=True) - wide(x)
    p = oracle.softmax(x)
    slope = p * (distance - np.sum(p * distance, axis=-1, keepdims=True))
    where = f"float32 V=1000 +{offset:g} margins to 60"
    report("entropy of logits", where, relative(value, truth), 1e-6, "rel")
    report("entropy of logits: gradient", where, of_rows(gradient, slope), 1e-6, "rel")


def two_rows(classes, step, offsets=(0.0, 0.0), scale=1.0, count=50):
    rng = np.random.default_rng(2)
    a = scale * rng.standard_normal((count, classes))
    b = a + step * rng.standard_normal(a.shape)
    return tuple(
        (x + c).astype(np.float32) for x, c in zip((a, b), offsets, strict=True)
    )


@oracle.quiet
def kl_truth(a, b):
    """KL and its gradients, p·(q/p − 1) in b and −p·(log(q/p) + KL) in a."""
    kl, ratio = oracle.kl_and_ratio(wide(a), wide(b))
    p = oracle.softmax(a)
    return kl, -p * (ratio + kl[:, None]), p * np.expm1(ratio)


kl = value_and_gradient(jaxent.kl_divergence_from_logits, argnums=1)
PAIRS_OF_OFFSETS = [(0.0, 0.0), (1e4, 1e4), (0.0, 10.0), (0.0, 1e3), (-1e3, 1e3)]


@pytest.mark.parametrize("offsets", PAIRS_OF_OFFSETS)
@pytest.mark.parametrize("step", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("classes", [10, 1000])
def test_kl_of_near_logits(classes, step, offsets):
    a, b = two_rows(classes, step, offsets)
    truth = kl_truth(a, b)
    seen = truth[0] > 0  # an offset may round the two to the same
    value, gradients = kl(a, b)
    where = f"float32 V={classes} |Δ|={step:g} offsets {offsets[0]:g}, {offsets[1]:g}"
    assert seen.sum() > 10
    error = relative(np.asarray(value)[seen], truth[0][seen])
    report("KL of near logits", where, error, 1e-6, "rel")
    for name, got, t in zip("pq", gradients, truth[1:], strict=True):
        error = of_rows(np.asarray(got)[seen], t[seen])
        report(f"KL of near logits: gradient of {name}", where, error, 1e-6, "rel")


@pytest.mark.parametrize("scale", [1.0, 5.0])
@pytest.mark.parametrize("offsets", [(0.0, 0.0), (0.0, 1e3)])
def test_kl_of_far_logits(scale, offsets):
    a, _ = two_rows(1000, 0.0, (offsets[0],) * 2, scale)
    _, b = two_rows(1000, 1.0, (offsets[1],) * 2, scale)
    truth = kl_truth(a, b)
    value, gradients = kl(a, b)
    where = f"float32 V=1000 N(0,{scale:g}) offsets {offsets[0]:g}, {offsets[1]:g}"
    report("KL of far logits", where, relative(value, truth[0]), 1e-6, "rel")
    for name, got, t in zip("pq", gradients, truth[1:], strict=True):
        error = of_rows(got, t)
        report(f"KL of far logits: gradient of {name}", where, error, 2e-6, "rel")


def test_kl_against_sixty_digits():
    mpmath.mp.dps = 60
    for step, offsets in itertools.product([1e-2, 1e-4], [(0.0, 0.0), (0.0, 1e3)]):
        a, b = two_rows(10, step, offsets, count=4)
        got = jaxent.kl_divergence_from_logits(a, b)
        for x, z, value in zip(a, b, got, strict=True):
            x, z = ([mpmath.mpf(float(v)) for v in row] for row in (x, z))
            log_x, log_z = (mpmath.log(mpmath.fsum(map(mpmath.exp, r))) for r in (x, z))
            truth = mpmath.fsum(
                mpmath.exp(i - log_x) * ((i - log_x) - (j - log_z))
                for i, j in zip(x, z, strict=True)
            )
            assert abs(mpmath.mpf(float(value)) - truth) <= 1e-6 * truth


@pytest.mark.parametrize("offsets", [(0.0, 0.0), (0.0, 1e3)])
@pytest.mark.parametrize("step", [1.0, 1e-2, 1e-4])
def test_js_of_logits(step, offsets):
    a, b = two_rows(1000, step, offsets)
    value, (of_a, _) = value_and_gradient(jaxent.js_divergence_from_logits, argnums=1)(
        a, b
    )
    where = f"float32 V=1000 |Δ|={step:g} offsets {offsets[0]:g}, {offsets[1]:g}"
    error = relative(value, oracle.js_divergence_from_logits(a, b))
    report("JS of logits", where, error, 1e-6, "rel")
    _, ratio = oracle.kl_and_ratio(wide(a), wide(b))
    p = oracle.softmax(a)
    slope = np.log1p(-np.tanh(ratio / 2)) / 2
    truth = p * (slope - np.sum(p * slope, axis=-1, keepdims=True))
    report("JS of logits: gradient", where, of_rows(of_a, truth), 1e-6, "rel")


def softmax_hessian(x):
    """diag(p) − p·pᵀ, its diagonal p·(1 − p)."""
    _, one_minus_p, p, _ = oracle.pairs(wide(x))
    eye = np.eye(x.shape[-1], dtype=bool)
    return np.where(eye, (p * one_minus_p)[..., None], -p[..., None] * p[..., None, :])


@pytest.mark.parametrize("label", ["right", "wrong"])
@pytest.mark.parametrize("order", ["forward of reverse", "reverse of reverse"])
def test_hessian_of_integer_labels(order, label):
    # Multiples of 1/8, so that x − c is exact and only the arithmetic is seen.
    x, y = rows(10, 20, np.array([0, 5, 20, 40]))
    x = np.round(x * 8) / 8
    if label == "wrong":
        y = (y + 1) % 10
    outer = jax.jacfwd if order == "forward of reverse" else jax.jacrev
    h = jax.jit(jax.vmap(outer(jax.jacrev(integer_loss))))(x, y)
    truth = softmax_hessian(x)
    error = np.where(np.abs(truth) > 16 * NORMAL, relative(h, truth), 0)
    where = f"float32 V=10 label {label}, {order}"
    report("Hessian, every entry", where, error, 1e-6, "rel")


MEASURES = {
    "entropy": lambda m, x, z: m.entropy_from_logits(x),
    "KL in p": lambda m, x, z: m.kl_divergence_from_logits(x, z),
    "KL in q": lambda m, x, z: m.kl_divergence_from_logits(z, x),
    "JS": lambda m, x, z: m.js_divergence_from_logits(x, z),
}


@pytest.mark.parametrize("name", MEASURES)
def test_hessian_of_measures(name):
    """Of distributions near each other and not, up to classes whose p² underflows."""
    x, _ = rows(4, 1, np.resize([0, 5, 20, 40, 60, 80], 12))
    x = np.round(x * 8) / 8
    step = np.repeat(np.float32([0.125, 4]), 6)[:, None]
    z = x + step * np.array([1, -2, 0, 3], np.float32)
    f = MEASURES[name]
    pairs = zip(x, z, strict=True)
    if name == "KL in q":  # of a gradient q − p, whose differences would lose a small q
        truth = softmax_hessian(x)
    else:
        truth = [oracle.hessian(lambda x, z=b: f(oracle, x, z), a) for a, b in pairs]
    scale = np.max(np.abs(truth), axis=(1, 2))[:, None, None]
    for kind, h in {
        "forward of reverse": jax.hessian(lambda x, z: f(jaxent, x, z)),
        "reverse of reverse": jax.jacrev(jax.jacrev(lambda x, z: f(jaxent, x, z))),
    }.items():
        error = np.abs(wide(jax.jit(jax.vmap(h))(x, z)) - truth) / scale
        where = f"float32 V=4 margins 0 to 80, {kind}"
        report(f"Hessian of {name}", where, error, 2e-6, "of largest")


@pytest.mark.parametrize("weight", [0.5, 0.1])
def test_hessian_of_js(weight):
    """Each entry, of p and q of any size beside each other."""
    sizes = np.float32([1e-36, 1e-30, 1e-25, 1e-19, 1e-12, 1e-4, 0.01, 0.3, 1])
    p, q = (x.ravel() for x in np.meshgrid(sizes, np.float32(1.1) * sizes))

    def js(p, q):
        return jaxent.js_divergence(p[None], q[None], weight=weight)

    h = jax.jit(jax.vmap(jax.hessian(js, argnums=(0, 1))))(p, q)
    w, p, q = wide(np.float32(weight)), wide(p), wide(q)
    m = w * p + (1 - w) * q
    of_p, of_q, mixed = q / p, p / q, -np.ones_like(m)
    for i, j, slope in (0, 0, of_p), (0, 1, mixed), (1, 0, mixed), (1, 1, of_q):
        # Half an ULP each of w, of m, and of some five operations: 4 ULP.
        error = in_ulps(h[i][j], w * (1 - w) * slope / m)
        report(f"JS: ∂²/∂{'pq'[i]}∂{'pq'[j]}", f"float32 w={weight}", error, ULPS)
