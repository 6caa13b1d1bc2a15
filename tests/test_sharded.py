# SPDX-License-Identifier: Apache-2.0
"""Dense losses on eight devices, two of tokens by four of classes, against the truth.

By `vocab_axis_name` inside `shard_map`, where nine classes are padded to four slices of
three; and by JAX itself, from arrays that are sharded, in both kinds of mesh.
"""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import tolerance
from cases import CASES, HALF, LOSSES, gradient, probes, value, working
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxent

pytestmark = pytest.mark.quickly_compiled

NAMES = "data", "vocab"
MESH = jax.make_mesh((2, 4), NAMES, axis_types=(AxisType.Auto,) * 2)
COUNT, SIZE = 9, 3  # classes, and those of a slice: the last has padding alone
DENSE = [
    c
    for c in CASES
    if c.axis == -1 and "vocab_axis_name" in LOSSES[c.function].parameters
]
LOGITS = P("data", "vocab")
SPECS = {"where": P("data"), "class_weights": P("vocab"), "class_where": LOGITS}


def example(case, count, dtype):
    """Rows of every regime, and some whose largest logits are equal across slices."""
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    made = [case.kind.make(rng, (4,), count, r) for r in case.kind.regimes]
    x, *y = map(np.concatenate, zip(*made, strict=True))
    ids = np.array([0, count - 1, 1, 4])
    ties = rng.normal(size=(4, count))
    ties[0] = 0
    ties[1, [1, 4]] = 7
    ties[2:, :SIZE] = -np.inf  # the first slice has none to choose
    ties[[2, 3], ids[2:]] = 30
    hard = oracle.one_hot(ids, count).astype(float)
    args = [np.concatenate([x, ties])]
    for a in y:
        more = hard if a.ndim == 2 else ids
        args.append(np.concatenate([a, more]).astype(a.dtype))
    options = case.options
    options = options(rng, *args) if callable(options) else dict(options)
    args = [a.astype(dtype) if a.dtype.kind == "f" else a for a in args]
    return args, options


def spec(x):
    return LOGITS if x.ndim == 2 else P("data")


def padded(x, value=0.0):
    """With columns to come after the last class, or as it is if it has no classes."""
    if x.shape[-1] != COUNT:
        return x
    columns = [(0, 0)] * (x.ndim - 1) + [(0, 4 * SIZE - COUNT)]
    return np.pad(x, columns, constant_values=value)


def pulled(loss, differentiable):
    """(arguments, arrays of options, cotangent) -> value and gradients, compiled."""

    @jax.jit
    def run(args, arrays, cotangent):
        def f(*chosen):
            full = list(args)
            for i, x in zip(differentiable, chosen, strict=True):
                full[i] = x
            return loss(full, arrays)

        result, pull = jax.vjp(f, *(args[i] for i in differentiable))
        return result, pull(cotangent)

    return run


def check(case, args, options, dtype, run):
    """`run` of (arguments, arrays of options, cotangent) against the truth."""
    truth = value(case, args, options)
    cotangent = np.random.default_rng(1).normal(size=truth.shape).astype(working(dtype))
    arrays = {k: v for k, v in options.items() if isinstance(v, np.ndarray)}
    with jax.enable_x64(dtype == "float64"):
        got, slopes = run(args, arrays, cotangent)
    f = lambda a, o: value(case, a, o)  # noqa: E731
    spread = tolerance.spread(f, case.kind.nearby, args, options | {"axis": -1})
    allowed = tolerance.budget(truth, spread, working(dtype), case.ulps)
    tolerance.check(got, truth, allowed)
    for i, g in zip(case.kind.differentiable, slopes, strict=True):
        assert g.dtype == args[i].dtype
        at = probes(case, args[i])
        f = functools.partial(gradient, case, i, cotangent, at)
        truth = f(args, options)
        spread = tolerance.spread(f, case.kind.nearby, args, options | {"axis": -1})
        allowed = tolerance.budget(truth, spread, working(dtype), case.ulps)
        allowed += case.kind.noise
        if dtype in HALF:
            allowed += 0.5 * tolerance.ulp(truth, dtype)
        g = oracle.wide(g)
        tolerance.check(np.stack([g[index] for index in at]), truth, allowed)
        if i == 0:
            np.testing.assert_array_equal(g[..., COUNT:], 0)


def fixed(options):
    return {k: v for k, v in options.items() if not isinstance(v, np.ndarray)}


HARDEST = [c for c in DENSE if c.tag == "together" and "cross_entropy_w" in c.function]
CELLS = [(c, "float32") for c in DENSE] + [
    (c, dtype) for c in HARDEST for dtype in ("bfloat16", "float64")
]


@pytest.mark.parametrize(
    ("case", "dtype"), CELLS, ids=[f"{c.name}-{dtype}" for c, dtype in CELLS]
)
def test_slices_of_the_classes(case, dtype):
    args, options = example(case, COUNT, dtype)
    call = functools.partial(case.call, vocab_axis_name="vocab", **fixed(options))
    loss = lambda args, arrays: call(*args, **arrays)  # noqa: E731

    def run(args, arrays, cotangent):
        if "class_where" in LOSSES[case.function].parameters:
            args = list(map(padded, args))
            allowed = arrays.get("class_where", np.ones((len(args[0]), COUNT), bool))
            arrays = {k: padded(v) for k, v in arrays.items()}
            arrays["class_where"] = padded(allowed)
        else:
            args = [padded(a, -np.inf) for a in args]
        specs = list(map(spec, args)), {k: SPECS[k] for k in arrays}
        across = jax.shard_map(loss, mesh=MESH, in_specs=specs, out_specs=P("data"))
        return pulled(across, case.kind.differentiable)(args, arrays, cotangent)

    check(case, args, options, dtype, run)


MAIN = [c for c in DENSE if not c.tag or c in HARDEST]


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
@pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in MAIN])
def test_sharded_arrays(case, kind):
    """Nothing is said of the mesh but where the arrays are."""
    mesh = jax.make_mesh((2, 4), NAMES, axis_types=(kind,) * 2)
    args, options = example(case, 8, "float32")
    call = functools.partial(case.call, **fixed(options))

    def run(args, arrays, cotangent):
        put = lambda x, spec: jax.device_put(x, NamedSharding(mesh, spec))  # noqa: E731
        args = [put(x, spec(x)) for x in args]
        arrays = {k: put(x, SPECS[k]) for k, x in arrays.items()}
        loss = lambda args, arrays: call(*args, **arrays)  # noqa: E731
        with jax.set_mesh(mesh):
            cotangent = put(cotangent, P("data"))
            return pulled(loss, case.kind.differentiable)(args, arrays, cotangent)

    check(case, args, options, "float32", run)


@pytest.mark.parametrize("check_vma", [True, False])
def test_mistakes_are_found_while_tracing(check_vma):
    loss = functools.partial(
        jaxent.softmax_cross_entropy_with_integer_labels, vocab_axis_name="vocab"
    )
    specs = LOGITS, P("data")
    across = jax.shard_map(
        loss, mesh=MESH, in_specs=specs, out_specs=P("data"), check_vma=check_vma
    )
    labels = jnp.zeros(2, jnp.float32 if check_vma else jnp.int32)
    with pytest.raises(TypeError if check_vma else ValueError) as error:
        jax.eval_shape(across, jnp.zeros((2, 4)), labels)
    said = {
        True: "(labels=...)` must be integer class ids; got float32[1]. Cast ids: "
        "`labels.astype(jnp.int32)`.",
        False: "(vocab_axis_name=...)` must name an axis of a `jax.shard_map` that "
        "checks which values vary; got 'vocab'. Leave `check_vma=True`: without it "
        "gradients are summed twice.",
    }
    call = "`jaxent.softmax_cross_entropy_with_integer_labels"
    assert str(error.value) == call + said[check_vma]


def test_what_is_wrong_stays_where_it_is():
    """A NaN, or an infinity, in any slice, and ids that no slice has: NaN, there alone.

    Collectives of maxima may miss a NaN; what is made of it is summed too.
    """
    x, labels = np.ones((8, 12), np.float32), np.zeros(8, np.int32)
    x[0, 0] = x[1, 4] = x[2, 11] = np.nan
    x[3, 5] = np.inf
    x[4] = -np.inf
    labels[[1, 5, 6]] = 4, -1, 12

    def both(x, labels):
        s = jaxent.softmax_statistics(x, labels, vocab_axis_name="vocab")
        soft = jaxent.softmax_cross_entropy(
            x, jnp.full_like(x, 1 / 12), vocab_axis_name="vocab"
        )
        return s, soft

    specs = LOGITS, P("data")
    across = jax.shard_map(both, mesh=MESH, in_specs=specs, out_specs=P("data"))
    (s, soft), pull = jax.vjp(jax.jit(lambda x: across(x, labels)), x)
    bad = np.arange(8) < 7
    for a in (s.nll, s.one_minus_prob):
        np.testing.assert_array_equal(np.isnan(a), bad)
    for a in (s.log_normalizer, s.entropy):
        np.testing.assert_array_equal(np.isnan(a), np.arange(8) < 5)
    np.testing.assert_array_equal(np.isnan(s.label_logit), [1, 1, 0, 0, 0, 1, 1, 0])
    # Where all are forbidden all are equal, as on one device.
    np.testing.assert_array_equal(s.correct, [0, 0, 0, 0, 1, 0, 0, 1])
    np.testing.assert_array_equal(np.isnan(soft), np.arange(8) < 5)
    zero = np.zeros(8, jax.dtypes.float0)
    ones = jaxent.SoftmaxStatistics(*[jnp.ones(8)] * 7)
    ones = ones._replace(correct=zero, top_id=zero)
    (slope,) = pull((ones, jnp.ones(8)))
    np.testing.assert_array_equal(np.isnan(slope).any(axis=-1), bad)
    np.testing.assert_allclose(s.nll[7], np.log(12), rtol=1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["vocab", NAMES, ("vocab", "data")], ids=str)
def test_axes_of_the_slices(name):
    """Eight slices over two axes, in the order in which they are named."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(6, 16)), rng.integers(0, 16, 6)
    loss = functools.partial(
        jaxent.softmax_cross_entropy_with_integer_labels, vocab_axis_name=name
    )
    across = jax.shard_map(
        loss, mesh=MESH, in_specs=(P(None, name), P()), out_specs=P()
    )

    def f(x):
        return jnp.sum(across(x, labels) * jnp.arange(1.0, 7.0))

    got, slope = jax.jit(jax.value_and_grad(f))(x)
    truth = oracle.softmax_cross_entropy_with_integer_labels(x, labels)
    np.testing.assert_allclose(got, float(truth @ np.arange(1, 7)), rtol=1e-14)
    right = oracle.label_gradient(x, labels) * np.arange(1, 7)[:, None]
    np.testing.assert_allclose(slope, right.astype(float), rtol=1e-13)
