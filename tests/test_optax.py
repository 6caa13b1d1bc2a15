# SPDX-License-Identifier: Apache-2.0
"""Where optax is right we agree with it; where it is not, we agree with the truth.

optax is run in float64 on the very inputs, so that its rounding is out of the picture
and the budgets are ours alone.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import pytest
from given import put

import jaxent

mpmath.mp.dps = 50
UNIT = {jnp.float32: 2.0**-23, jnp.float64: 2.0**-52, jnp.bfloat16: 2.0**-7}
# Units in the last place of the largest term: 2–5 for the functions, log V for the sum.
BUDGET = 16
GRID = [((4, 7), -1), ((2, 5, 3), 1), ((2, 3, 5), (0, 2))]
dtypes = pytest.mark.parametrize("dtype", UNIT, ids=lambda d: d.__name__)
# Which axes are the classes' is settled before any cast.
grid = pytest.mark.parametrize(
    ("shape", "axis", "dtype"),
    [(*at, d) for d in UNIT for at in (GRID if d == jnp.float32 else GRID[1:2])],
    ids=lambda x: getattr(x, "__name__", str(x)),
)
# What is compared here is which function it is; ULP of optimised code, in test_values.
pytestmark = pytest.mark.quickly_compiled


def draw(shape, axis, dtype, seed=0):
    """Logits, log-probabilities, two distributions, class ids and a mask."""
    rng = np.random.default_rng(seed)
    axes = axis if isinstance(axis, tuple) else (axis,)
    batch = tuple(n for i, n in enumerate(shape) if i - len(shape) not in axes
                  and i not in axes)  # fmt: skip
    classes = int(np.prod([shape[a] for a in axes]))
    logits = rng.normal(size=shape) * 2
    p = np.exp(rng.normal(size=(2, *shape)))
    p /= p.sum(axis=tuple(a - len(shape) if a >= 0 else a for a in axes), keepdims=True)
    floats = [put(x, dtype) for x in (logits, np.log(p[0]), p[0], p[1])]
    labels = put(rng.integers(0, classes, batch), np.int32)
    return *floats, labels, put(rng.random(batch) < 0.7)


def wide(x):
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    return put(x, np.float64) if floating else x


def value_and_pulled(f, cotangent, *args):
    value, pull = jax.vjp(f, *args)
    return value, pull(cotangent.astype(value.dtype))


def agree(ours, theirs, *args):
    """Values, dtypes, shapes and gradients under a random cotangent.

    One program has both: optax in double precision, under its own promotion.
    """

    @jax.jit
    def both(cotangent, args, wider):
        got = value_and_pulled(ours, cotangent, *args)
        with (
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
        ):
            return got, value_and_pulled(theirs, cotangent, *wider)

    with jax.enable_x64(True):
        dtype = args[0].dtype
        computed = jnp.float64 if dtype == jnp.float64 else jnp.float32
        wider = [wide(x) for x in args]
        shape = jax.eval_shape(ours, *args).shape
        cotangent = np.random.default_rng(1).normal(size=shape)
        # The same for both.
        cotangent = wide(put(cotangent, computed))
        (value, grads), (expected, truths) = both(cotangent, args, wider)
        chex.assert_shape(value, expected.shape)
        chex.assert_type(value, computed)
        bound = BUDGET * UNIT[computed]
        np.testing.assert_allclose(value, expected, rtol=bound, atol=bound)
        for x, grad, truth in zip(args, grads, truths, strict=True):
            chex.assert_equal_shape([x, grad])
            chex.assert_type(grad, x.dtype)
            rounding = UNIT[jnp.bfloat16] / 2 if dtype == jnp.bfloat16 else 0.0
            scale = np.abs(truth).max(initial=1)
            np.testing.assert_allclose(
                np.float64(grad), truth, rtol=bound + rounding, atol=bound * scale
            )


@grid
@pytest.mark.parametrize("masked", [False, True])
def test_class_ids(shape, axis, dtype, masked):
    with jax.enable_x64(True):
        logits, _, _, _, labels, where = draw(shape, axis, dtype)
    where = where if masked else None
    name = "softmax_cross_entropy_with_integer_labels"
    ours, theirs = (
        functools.partial(getattr(lib, name), labels=labels, axis=axis, where=where)
        for lib in (jaxent, optax)
    )
    agree(ours, theirs, logits)


SOFT = ("softmax_cross_entropy", "poly_loss_cross_entropy")


@grid
@pytest.mark.parametrize("name", SOFT)
@pytest.mark.parametrize("masked", [False, True])
def test_label_distributions(shape, axis, dtype, name, masked):
    with jax.enable_x64(True):
        logits, _, _, labels, _, where = draw(shape, axis, dtype)
    if not masked:
        where = jnp.ones_like(where)
    theirs = getattr(optax.losses, name)
    agree(
        lambda x, q: getattr(jaxent, name)(x, q, axis=axis, where=where),
        # A `where` of its own would make the gradients of a dropped position NaN.
        lambda x, q: jnp.where(where, theirs(x, q, axis=axis), 0.0),
        logits,
        labels,
    )


@dtypes
@pytest.mark.parametrize("shape", [(5,), (4, 7)])
def test_safe_label_distributions(shape, dtype):
    with jax.enable_x64(True):
        logits, _, _, labels, _, _ = draw(shape, -1, dtype)
    agree(
        jaxent.softmax_cross_entropy, optax.safe_softmax_cross_entropy, logits, labels
    )


@pytest.mark.parametrize("shape", [(5,), (4, 7)])
def test_a_class_mask_is_class_where(shape):
    logits, _, _, labels, ids, _ = draw(shape, -1, jnp.float32)
    allowed = jnp.arange(shape[-1]) != 1
    ids = jnp.where(ids == 1, 0, ids)
    agree(
        lambda x: jaxent.softmax_cross_entropy_with_integer_labels(
            x, ids, class_where=allowed
        ),
        lambda x: optax.softmax_cross_entropy_with_integer_labels(
            x, ids, where=jnp.broadcast_to(allowed, shape)
        ),
        logits,
    )
    labels = jnp.where(allowed, labels, 0)
    agree(
        lambda x: jaxent.softmax_cross_entropy(x, labels, class_where=allowed),
        lambda x: optax.softmax_cross_entropy(
            x, jnp.asarray(np.float64(labels)), where=jnp.broadcast_to(allowed, shape)
        ),
        logits,
    )


@dtypes
@pytest.mark.parametrize("shape", [(5,), (2, 3, 5)])
@pytest.mark.parametrize(
    ("name", "options"),
    [("sigmoid_binary_cross_entropy", {}), ("sigmoid_focal_loss", {}),
     ("sigmoid_focal_loss", {"alpha": 0.25, "gamma": 1.5})],
)  # fmt: skip
def test_binary_labels(shape, dtype, name, options):
    with jax.enable_x64(True):
        logits, _, labels, _, _, _ = draw(shape, -1, dtype)
    ours, theirs = (
        functools.partial(getattr(lib, name), **options)
        for lib in (jaxent, optax.losses)
    )
    agree(ours, theirs, logits, labels)


DIVERGENCES = (
    "kl_divergence", "kl_divergence_with_log_targets", "generalized_kl_divergence",
)  # fmt: skip


@grid
@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize("masked", [False, True])
def test_divergences(shape, axis, dtype, name, masked):
    with jax.enable_x64(True):
        logits, log_q, _, p, _, where = draw(shape, axis, dtype)
    axes = axis if isinstance(axis, tuple) else (axis,)
    classes = jnp.expand_dims(where, axes) if masked else None
    theirs = getattr(optax.losses, name, None) or optax.losses.convex_kl_divergence
    targets = logits if name.endswith("log_targets") else p
    agree(
        lambda x, t: getattr(jaxent, name)(
            x, t, axis=axis, where=where if masked else None
        ),
        lambda x, t: theirs(x, t, axis=axis, where=classes),
        log_q, targets,
    )  # fmt: skip


@dtypes
def test_smooth_labels(dtype):
    with jax.enable_x64(True):
        _, _, labels, _, _, _ = draw((4, 7), -1, dtype)
    agree(
        lambda y: jaxent.smooth_labels(y, 0.1),
        lambda y: optax.smooth_labels(y, 0.1),
        labels,
    )


# Known faults of optax, measured on 0.2.8. What ours gives is held against the truth.


def margin_row(margin, classes=10):
    """Logits with label 0 ahead by the margin; true loss, 1 − p and p·(1 − p)."""
    rest = (classes - 1) * mpmath.exp(-margin)
    logits = jnp.zeros(classes).at[0].set(margin)
    return logits, *map(
        float, (mpmath.log1p(rest), rest / (1 + rest), rest / (1 + rest) ** 2)
    )


@pytest.mark.parametrize("margin", [20.0, 40.0])
@pytest.mark.parametrize("dense", [False, True])
def test_a_confident_position_keeps_loss_gradient_and_curvature(margin, dense):
    logits, loss, wrong, curvature = margin_row(margin)
    label = jax.nn.one_hot(0, 10) if dense else jnp.array(0)
    name = "softmax_cross_entropy" + "_with_integer_labels" * (not dense)

    def ours(x):
        return getattr(jaxent, name)(x, label)

    np.testing.assert_allclose(ours(logits), loss, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(ours)(logits)[0], -wrong, rtol=1e-6)
    np.testing.assert_allclose(jax.hessian(ours)(logits)[0, 0], curvature, rtol=1e-6)
    theirs = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.array(0))
    assert theirs == 0


def test_a_label_outside_the_class_mask_is_infinite_not_negative():
    logits = jnp.array([1.0, 2.0, 9.0])
    allowed, label = jnp.array([True, True, False]), jnp.array(2)
    f = jaxent.softmax_cross_entropy_with_integer_labels
    assert f(logits, label, class_where=allowed) == np.inf
    assert (
        optax.softmax_cross_entropy_with_integer_labels(logits, label, where=allowed)
        < 0
    )


@pytest.mark.parametrize("label", [-1, -100, 3])
def test_a_label_out_of_range_neither_wraps_nor_trains(label):
    logits, labels = jnp.array([[1.0, 2.0, 3.0]]), jnp.array([label])

    def ours(x):
        return jaxent.softmax_cross_entropy_with_integer_labels(x, labels).sum()

    assert np.isnan(ours(logits))
    assert np.isnan(jax.grad(ours)(logits)).all()


def test_half_precision_logits_have_a_loss_in_float32():
    x = jnp.array([12.0, 0.0625, -3.0], jnp.bfloat16)
    truth = mpmath.log(sum(mpmath.exp(float(v)) for v in x)) - mpmath.mpf(0.0625)
    loss = jaxent.softmax_cross_entropy_with_integer_labels(x, jnp.array(1))
    chex.assert_type(loss, jnp.float32)
    np.testing.assert_allclose(loss, float(truth), rtol=2**-22)
    assert float(jnp.asarray(float(truth), jnp.bfloat16)) != float(loss)


def test_a_forbidden_class_with_label_zero_is_no_nan_in_any_mode():
    logits, labels = jnp.array([0.0, 1.0, -np.inf]), jnp.array([0.0, 1.0, 0.0])
    f = jaxent.softmax_cross_entropy
    truth = mpmath.log1p(mpmath.exp(-1))
    wrong = float(1 / (1 + mpmath.e))
    np.testing.assert_allclose(f(logits, labels), float(truth), rtol=2**-22)
    for gradient in (jax.grad, jax.jacfwd):
        np.testing.assert_allclose(
            gradient(f)(logits, labels), [wrong, -wrong, 0], rtol=2**-21
        )


def test_divergence_is_differentiable_at_a_zero_target():
    log_q, targets = jnp.log(jnp.array([0.25, 0.75])), jnp.array([0.0, 1.0])
    grad = jax.grad(jaxent.kl_divergence, 1)(log_q, targets)
    # −log q at 0, where t·log t is settled; log t + 1 − log q at t = 1.
    truth = [float(mpmath.log(4)), float(1 - mpmath.log(mpmath.mpf(3) / 4))]
    np.testing.assert_allclose(grad, truth, rtol=2**-21)


def test_infinite_binary_logits_that_match_cost_nothing():
    logits, labels = jnp.array([np.inf, -np.inf]), jnp.array([1.0, 0.0])
    loss = jaxent.sigmoid_binary_cross_entropy(logits, labels)
    np.testing.assert_array_equal(loss, [0, 0])


@pytest.mark.parametrize("shape", [(1,), (4, 1), (1, 4)])
def test_labels_are_not_broadcast(shape):
    with pytest.raises(ValueError, match="must have shape"):
        jaxent.softmax_cross_entropy_with_integer_labels(
            jnp.zeros((4, 3)), jnp.zeros(shape, jnp.int32)
        )


def test_smoothing_gives_no_mass_to_masked_classes():
    logits, allowed = jnp.array([1.0, 2.0, 5.0]), jnp.array([True, True, False])
    loss = jaxent.softmax_cross_entropy_with_integer_labels(
        logits, jnp.array(0), class_where=allowed, label_smoothing=0.5
    )
    normalizer = mpmath.log(mpmath.e + mpmath.exp(2))
    truth = 0.75 * (normalizer - 1) + 0.25 * (normalizer - 2)
    np.testing.assert_allclose(loss, float(truth), rtol=2**-22)
