# SPDX-License-Identifier: Apache-2.0
"""Every function under every transform, in float64, against the truth's derivatives.

Each position of a row is of another regime (ordinary, a class forbidden, saturated or
nearly equal), so that a mode that is only right for ordinary numbers shows.
"""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from by_hand import SOFTMAX
from cases import CASES, DISTRIBUTION, PROBS
from jax import lax

import jaxent

REGIMES = ("forbidden", "near", "unit", "right", "wrong", "sharp", "initial")
SHARED = ("class_weights", "pos_weight")
CLASSES = 4
# Largest error, relative to the largest true number of the position. Rounding: 1e-16
# times 20, the largest distance between logits, and a few ULP. Second derivatives:
# also what `oracle.hessian` says of itself, relative to the gradient.
FIRST, SECOND, OF_GRADIENT = 1e-13, 1e-11, 1e-13


class Row(NamedTuple):
    values: object
    """x, others -> one value per position; also for one position."""
    x: np.ndarray
    others: dict
    """Everything else that has a position axis."""
    cotangent: np.ndarray
    tangent: np.ndarray
    truth: object
    """x -> values, in the oracle's arithmetic."""
    scale: object
    """Of the problem, at x: that of a probability is its own size."""

    def total(self, x, others=None, cotangent=None):
        others = self.others if others is None else others
        cotangent = self.cotangent if cotangent is None else cotangent
        return jnp.sum(cotangent * self.values(x, others))

    def true_total(self, x):
        return np.sum(self.cotangent * self.truth(x))


@functools.cache
def row(name, argument):
    case = next(c for c in CASES if c.name == name)
    regimes = [r for r in REGIMES if r in case.kind.regimes]
    if case.kind is DISTRIBUTION and argument == 1:
        # A label of a forbidden class cannot move: the loss would be infinite.
        regimes.remove("forbidden")
    regimes = regimes[:3]
    made = [case.example((1,), CLASSES, "float64", r) for r in regimes]
    args = [np.concatenate(a) for a in zip(*(a for a, _ in made), strict=True)]
    options = dict(made[0][1])
    arrays = [k for k, v in options.items() if isinstance(v, np.ndarray)]
    for k in set(arrays) - set(SHARED):
        options[k] = np.concatenate([o[k] for _, o in made])
    x = args[argument]
    others = {str(i): a for i, a in enumerate(args) if i != argument}
    others |= {k: options.pop(k) for k in set(arrays) - set(SHARED)}

    def apply(f, x, others):
        full = [x if i == argument else others[str(i)] for i in range(len(args))]
        masks = {k: v for k, v in others.items() if not k.isdigit()}
        return f(*full, **masks, **options)

    rng = np.random.default_rng(0)
    shape = np.shape(case.truth(*args, **options))
    return Row(
        functools.partial(apply, case.call),
        x,
        others,
        rng.normal(size=shape),
        rng.normal(size=x.shape),
        functools.partial(apply, case.truth, others=others),
        x if case.kind.regimes is PROBS and np.all(x > 0) else 1.0,
    )


# Truths.


@functools.cache
def jacobian(name, argument):
    """[*values, *x]."""
    r = row(name, argument)
    columns = []
    for at in np.ndindex(*r.x.shape):
        e = np.zeros(r.x.shape)
        e[at] = 1
        columns.append(oracle.derivative(r.truth, r.x, e))
    return np.stack(columns, -1).reshape(*columns[0].shape, *r.x.shape)


def values(name, argument):
    r = row(name, argument)
    return r.truth(r.x)


def directional(name, argument):
    r = row(name, argument)
    return oracle.derivative(r.truth, r.x, r.tangent)


def gradient(name, argument):
    r = row(name, argument)
    return np.tensordot(r.cotangent, jacobian(name, argument), r.cotangent.ndim)


@functools.cache
def hessian(name, argument):
    r = row(name, argument)
    return oracle.hessian(r.true_total, r.x, step=2.0**-17 * r.scale)


def blocks(name, argument):
    """The Hessian of each position by itself."""
    full = hessian(name, argument)
    return np.stack([full[i, :, i] for i in range(len(full))])


# Transforms: of a row, and what they must give.


def scanned(f, *xs):
    return lax.scan(lambda carry, x: (carry, f(*x)), None, xs)[1]


def of_values(f):
    """Of the values as a function of x alone."""
    return lambda r: f(lambda x: r.values(x, r.others))(r.x)


def of_total(f):
    return lambda r: f(r.total)(r.x)


def per_position(f):
    return lambda r: jax.vmap(f(r))(r.x, r.others, r.cotangent)


def along(f):
    return lambda r: f(lambda x: r.values(x, r.others), r.x, r.tangent)


# Each at the prompt, where nothing but a function's own jit compiles.
EAGER = {
    "eager": (lambda r: r.values(r.x, r.others), values),
    "jvp": (along(lambda f, x, t: jax.jvp(f, (x,), (t,))[1]), directional),
    "value_and_grad": (lambda r: jax.value_and_grad(r.total)(r.x)[1], gradient),
}
# Jitted, those of an order in one program.
FIRST_ORDER = {
    "jit": (of_values(lambda f: f), values),
    "vmap": (per_position(lambda r: lambda x, o, ct: r.values(x, o)), values),
    "scan": (lambda r: scanned(r.values, r.x, r.others), values),
    "linearize": (along(lambda f, x, t: jax.linearize(f, x)[1](t)), directional),
    "vmap_of_jvp": (
        lambda r: jax.vmap(
            lambda x, o, t: jax.jvp(lambda z: r.values(z, o), (x,), (t,))[1]
        )(r.x, r.others, r.tangent),
        directional,
    ),
    "grad": (of_total(jax.grad), gradient),
    "checkpoint": (of_total(lambda f: jax.grad(jax.checkpoint(f))), gradient),
    "vmap_of_grad": (per_position(lambda r: jax.grad(r.total)), gradient),
    "scan_of_grad": (
        lambda r: scanned(jax.grad(r.total), r.x, r.others, r.cotangent), gradient,
    ),
    "jacfwd": (of_values(jax.jacfwd), jacobian),
    "jacrev": (of_values(jax.jacrev), jacobian),
}  # fmt: skip
SECOND_ORDER = {
    "hessian": (of_total(jax.hessian), hessian),
    "jacrev_of_jacfwd": (of_total(lambda f: jax.jacrev(jax.jacfwd(f))), hessian),
    "jacrev_of_jacrev": (of_total(lambda f: jax.jacrev(jax.jacrev(f))), hessian),
    "jacfwd_of_jacfwd": (of_total(lambda f: jax.jacfwd(jax.jacfwd(f))), hessian),
    "checkpoint": (of_total(lambda f: jax.hessian(jax.checkpoint(f))), hessian),
    "vmap_of_hessian": (per_position(lambda r: jax.hessian(r.total)), blocks),
}
TRANSFORMS = {"eager": EAGER, "first_order": FIRST_ORDER, "second_order": SECOND_ORDER}


# Every function, by its logits or probabilities; options that change the program; and
# the second argument, but where its rule is that of another row.
TAGS = ("", "together", "gamma0.5", "pos_weight")
LIKE_ANOTHER = {
    "softmax_cross_entropy-together": "linear in the labels, as without options",
    "poly_loss_cross_entropy": "linear in the labels, as the cross-entropy",
    "poly_loss_cross_entropy-together": "linear in the labels, as the cross-entropy",
    "binary_cross_entropy": "the logarithm of the divergence",
    "categorical_cross_entropy": "the logarithm of the divergence",
    "cross_entropy": "the logarithm of the divergence",
    "kl_divergence_with_log_targets": "no rule of its own",
    "js_divergence": "symmetric",
    "js_divergence_from_logits": "symmetric",
}
ROWS = [
    # An option's derivatives are those of the rule without it, but for a product.
    pytest.param(
        case.name,
        i,
        id=f"{case.name}-{i}",
        marks=[pytest.mark.thorough] * bool(case.tag)
        # Of entropy the last digits need products fused with sums.
        + [pytest.mark.quickly_compiled] * (case.name != "entropy_from_logits"),
    )
    for case in CASES
    if case.axis == -1 and case.tag in TAGS
    for i in case.kind.differentiable
    if i == 0 or case.name not in LIKE_ANOTHER
]


def largest(x):
    """Of each position, that is the first axis."""
    return np.max(np.abs(x), axis=tuple(range(1, x.ndim)))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("transforms", TRANSFORMS)
@pytest.mark.parametrize(("name", "argument"), ROWS)
def test_transforms(name, argument, transforms):
    r, chosen = row(name, argument), TRANSFORMS[transforms]

    def run(x):
        return {k: function(r._replace(x=x)) for k, (function, _) in chosen.items()}

    made = (run if chosen is EAGER else jax.jit(run))(r.x)
    for transform, got in made.items():
        _, expected = chosen[transform]
        truth = expected(name, argument)
        assert got.dtype == jnp.float64
        chex.assert_shape(got, truth.shape)
        allowed = FIRST * largest(truth)
        if chosen is SECOND_ORDER:
            allowed = SECOND * largest(truth)
            of_gradient = gradient(name, argument) / r.scale
            allowed += OF_GRADIENT * largest(of_gradient)
        error = largest(oracle.wide(got) - truth)
        assert np.all(error <= allowed), f"{transform}: {error}, allowed {allowed}"


TRACED = [
    pytest.param(case, k, id=f"{case.name}-{k}")
    for case in CASES
    for k, v in case.fixed.items()
    if isinstance(v, float) and k != "eps"
]


@pytest.mark.quickly_compiled
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("case", "name"), TRACED)
def test_traced_option(case, name):
    """A schedule's value: traced, and differentiable as any number."""
    args, options = case.example((3,), CLASSES, "float64", "unit")
    value = options.pop(name)
    got, slope = jax.jit(
        lambda v: jax.jvp(
            lambda z: case.call(*args, **{name: z}, **options), (v,), (1.0,)
        )
    )(value)

    def truth(z):
        return case.truth(*args, **{name: z}, **options)

    np.testing.assert_allclose(got, truth(value).astype(float), rtol=1e-13)
    true_slope = oracle.derivative(truth, value, 1).astype(float)
    np.testing.assert_allclose(slope, true_slope, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "make",
    [int, np.int8, np.float16, np.array, jnp.int32, jnp.bfloat16, jnp.array],
    ids=lambda make: make.__name__,
)
@pytest.mark.parametrize("traced", [False, True])
def test_an_option_is_any_real_scalar(make, traced):
    """Concrete ones are held to their range, whatever they are."""
    x, y = np.array([[3.0, 1.0, 0.0]], np.float32), np.array([1])
    truth = oracle.softmax_focal_loss(x, y, gamma=2).astype(float)

    def loss(gamma):
        return jaxent.softmax_focal_loss(x, y, gamma=gamma)

    got = (jax.jit(loss) if traced else loss)(make(2))
    np.testing.assert_allclose(got, truth, rtol=1e-6)
    if not traced:
        with pytest.raises(ValueError, match=r"gamma=.* must be from 0 up"):
            loss(make(-2))


@pytest.mark.quickly_compiled
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["hessian", "jacrev_of_jacrev", "jacfwd_of_jacfwd"])
def test_hessian_of_a_saturated_position(order, dtype):
    """H_yy = p_y·(1 − p_y) is 8e-9 here; differences of p give 0."""
    x = np.array([20.0, 0.0, 0.5, -1.0], dtype)
    outer, inner = {
        "hessian": (jax.jacfwd, jax.jacrev),
        "jacrev_of_jacrev": (jax.jacrev, jax.jacrev),
        "jacfwd_of_jacfwd": (jax.jacfwd, jax.jacfwd),
    }[order]
    with jax.enable_x64(dtype == "float64"):
        for loss in SOFTMAX:
            label = 0 if loss.kind.ids else np.array([1, 0, 0, 0], dtype)
            f = functools.partial(loss.call, labels=jnp.asarray(label))
            got = jax.jit(outer(inner(f)))(jnp.asarray(x))
            definition = getattr(oracle, loss.function)
            truth = oracle.hessian(functools.partial(definition, labels=label), x)
            np.testing.assert_allclose(got[0, 0], float(truth[0, 0]), rtol=1e-6)
            np.testing.assert_allclose(
                np.diag(got), np.diag(truth).astype(float), rtol=1e-6
            )
    f = functools.partial(jaxent.sigmoid_binary_cross_entropy, labels=1.0)
    got = outer(inner(f))(jnp.float32(20.0))
    truth = oracle.sigmoid(oracle.wide(20)) * oracle.sigmoid(oracle.wide(-20))
    np.testing.assert_allclose(got, float(truth), rtol=1e-6)
