# SPDX-License-Identifier: Apache-2.0
"""Record Keras: `python tests/golden/from_keras.py`, with Keras 3.15.1 and JAX there.

The backend is JAX: its sparse loss divides probabilities by their sum before it clips
them, where the TensorFlow backend clips them, and then divides.
"""

import functools
import os
import warnings
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import keras
import numpy as np
from keras.src.backend import set_keras_mask
from recorder import DOUBLE, HALF, SINGLE, Recorder, cotangent, inputs
from recorder import true_cross_entropy as true

warnings.simplefilter("ignore")
jax.config.update("jax_enable_x64", True)
INPUTS = inputs()
recorder = Recorder(f"keras {keras.__version__}, JAX backend")


AVERAGED = ("binary_crossentropy", "binary_focal_crossentropy", "poisson")


def array(name, dtype):
    x = INPUTS[name]
    if x.dtype.kind in "ib":
        recorder.array(name, x, "int32" if x.dtype.kind == "i" else "bool")
        return name, jnp.array(x)
    x = jnp.array(x).astype(dtype)
    label = name if dtype == "float32" else f"{name} {dtype}"
    recorder.array(label, np.asarray(x, np.float64), dtype)
    return label, x


def record(function, args, wrt=(1,), dtype="float32", call=(), truth=None, note="",
           tolerance=None, **options):  # fmt: skip
    """A function, or an object: `call` holds what it is called with besides `args`."""
    call = dict(call)
    labels, arrays = zip(*(array(a, dtype) for a in args), strict=True)
    named = {k: array(v, dtype) for k, v in call.items()}
    given = {k: x for k, (_, x) in named.items()}
    mask = given.pop("mask", None)

    def of(*moving):
        xs = list(arrays)
        for i, x in zip(wrt, moving, strict=True):
            xs[i] = x
        if mask is not None:
            set_keras_mask(xs[1], mask)
        if function.startswith("metrics."):
            metric = getattr(keras.metrics, function[8:])(**options)
            for pair in zip(xs[::2], xs[1::2], strict=True):
                metric.update_state(*pair, **given)
            return metric.result()
        f = getattr(keras.losses, function)
        if isinstance(f, type):
            return f(**options)(*xs, **given)
        return f(*xs, **options)

    value, pull = jax.vjp(of, *(arrays[i] for i in wrt)) if wrt else (of(), None)
    weight = jnp.array(cotangent(value.shape), value.dtype)
    grads = pull(weight) if wrt else ()
    if dtype == "float64" and function in AVERAGED:
        tolerance, note = SINGLE, "Keras takes the mean in float32"
    if tolerance is None:
        tolerance = {"float32": SINGLE, "float64": DOUBLE}.get(dtype) or HALF[dtype]
    stated = options | {k: f"@{label}" for k, (label, _) in named.items()}
    details = ", ".join([*labels, *(f"{k}={v}" for k, v in stated.items())])
    recorder.case(
        f"{function}({details})", function, list(labels), stated,
        np.asarray(value, np.float64), [np.asarray(g, np.float64) for g in grads],
        value.dtype.name, wrt=list(wrt), tolerance=tolerance, why=note or None,
        **(truth or {}),
    )  # fmt: skip


# The functions, in each dtype; then their edges.
BINARY, CATEGORICAL, SPARSE = (
    f"{kind}_crossentropy" for kind in ("binary", "categorical", "sparse_categorical")
)
BINARY_FOCAL, FOCAL = "binary_focal_crossentropy", "categorical_focal_crossentropy"
GENERALIZED = "categorical_generalized_cross_entropy"
for dtype in ("float32", "float64"):
    d = {"dtype": dtype}
    for logits, p, u in ((False, "probs", "unit"), (True, "logits", "logits")):
        f = {"from_logits": logits, **d}
        record(BINARY, ["fractions", u], (0, 1), **f)
        record(BINARY, ["fractions", u], label_smoothing=0.3, **f)
        record(CATEGORICAL, ["soft", p], (0, 1), **f)
        record(CATEGORICAL, ["soft", p], label_smoothing=0.3, **f)
        record(SPARSE, ["ids", p], **f)
        record(SPARSE, ["inside_ignored", p], ignore_class=3, **f)
        record(BINARY_FOCAL, ["fractions", u], (0, 1), **f)
        record(BINARY_FOCAL, ["binary", u], apply_class_balancing=True, alpha=0.7,
               gamma=1.5, label_smoothing=0.3, **f)  # fmt: skip
        record(FOCAL, ["soft", p], (0, 1), **f)
        record(FOCAL, ["one_hot", p], alpha=0.7, gamma=1.5, label_smoothing=0.3, **f)
    record(GENERALIZED, ["ids", "probs"], q=0.5, **d)
    record("kl_divergence", ["soft", "probs"], (0, 1), **d)
    record("poisson", ["soft", "probs"], (0, 1), **d)
for dtype in HALF:
    record(CATEGORICAL, ["soft", "logits"], from_logits=True, dtype=dtype)
    record(BINARY, ["fractions", "logits"], from_logits=True, dtype=dtype)
record(CATEGORICAL, ["volume_soft", "volume"], from_logits=True, axis=1)
# Keras 3.15 smooths by the length of the last axis. Its master, since keras#23437, by
# that of `axis`: what 3.15 prints of labels that are smoothed by hand.
volume = jnp.array(INPUTS["volume"], "float32")
smooth = 0.7 * jnp.array(INPUTS["volume_soft"], "float32") + 0.3 / 5
for function in (CATEGORICAL, FOCAL):
    f = functools.partial(getattr(keras.losses, function), from_logits=True, axis=1)
    value, pull = jax.vjp(functools.partial(f, smooth), volume)
    gradients = pull(jnp.array(cotangent(value.shape), "float32"))
    record(function, ["volume_soft", "volume"], from_logits=True, axis=1,
           label_smoothing=0.3, note="wrong: smoothed by the length of the last axis",
           truth={"truth": value, "true_gradients": gradients})  # fmt: skip
record(FOCAL, ["volume_soft", "volume"], from_logits=True, axis=1)
record(BINARY, ["volume_soft", "volume"], from_logits=True, axis=1)
record(CATEGORICAL, ["soft", "unnormalized"], (0, 1))
record(FOCAL, ["soft", "unnormalized"], (0, 1))
record(GENERALIZED, ["ids", "unnormalized"], q=0.7)
record("kl_divergence", ["soft", "unnormalized"], (0, 1))
for labels in ("one_hot", "flipped"):
    for function in (BINARY, CATEGORICAL, BINARY_FOCAL, FOCAL, "kl_divergence"):
        record(function, [labels, "edges"], note="clipped")
    record("poisson", [labels, "edges"], note="clipped")
record(SPARSE, ["column_ids", "probs"])
record(SPARSE, ["out_of_range", "logits"], from_logits=True, note="0 and counted")
p = INPUTS["probs"].astype(np.float32).astype(np.longdouble)
rows, ids = np.array([0, 2]), np.array([2, 4])
loss, gradient = np.full(4, 2.0, np.longdouble), np.zeros((4, 5), np.longdouble)
loss[rows] = 2 * (1 - np.sqrt(p[rows, ids]))
gradient[rows, ids] = -1 / np.sqrt(p[rows, ids]) * cotangent(4)[rows]
record(GENERALIZED, ["out_of_range", "probs"], q=0.5,
       note="wrong gradient: NaN of a constant loss",
       truth={"truth": loss, "true_gradients": [gradient]})  # fmt: skip
sure = true(INPUTS["sure"], INPUTS["ids"])
gradient = sure[1] * cotangent(4)[:, None]
record(SPARSE, ["ids", "sure"], from_logits=True,
       note="wrong: rounded to 0 at margin 40",
       truth={"truth": sure[0], "true_gradients": [gradient]})  # fmt: skip
record(CATEGORICAL, ["one_hot", "sure"], from_logits=True,
       note="wrong: rounded to 0 at margin 40",
       truth={"truth": sure[0], "true_gradients": [gradient]})  # fmt: skip

# The objects: every reduction, weighted, masked and ignoring.
REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none")
WEIGHTS = ("position_weights", "zero_weights", "column_weights")
for reduction in REDUCTIONS:
    r = {"reduction": reduction}
    for call in ({}, {"mask": "mask"}, {"mask": "no_mask"},
                 *({"sample_weight": w} for w in WEIGHTS),
                 {"sample_weight": "position_weights", "mask": "mask"}):  # fmt: skip
        record("CategoricalCrossentropy", ["soft", "probs"], call=call, **r)
    record("BinaryCrossentropy", ["binary", "unit"],
           call={"sample_weight": "position_weights"}, **r)  # fmt: skip
    for ids in ("ids", "inside_ignored", "out_of_range", "column_ids"):
        record("SparseCategoricalCrossentropy", [ids, "logits"], from_logits=True,
               ignore_class=3, **r)  # fmt: skip
    record("SparseCategoricalCrossentropy", ["inside_ignored", "probs"], ignore_class=3,
           call={"sample_weight": "position_weights"}, **r)  # fmt: skip
    record("SparseCategoricalCrossentropy", ["inside_ignored", "probs"], ignore_class=3,
           call={"mask": "mask"}, **r)  # fmt: skip
    record("CategoricalCrossentropy", ["empty", "empty"], from_logits=True, **r)
for name, args in {
    "BinaryFocalCrossentropy": ["binary", "unit"],
    "CategoricalFocalCrossentropy": ["soft", "probs"],
    "CategoricalGeneralizedCrossEntropy": ["ids", "probs"],
    "KLDivergence": ["soft", "probs"],
    "Poisson": ["soft", "probs"],
}.items():
    record(name, args)
    record(name, args, reduction="sum", call={"sample_weight": "position_weights"})

# The metrics: two updates each.
for name, args in {
    "BinaryCrossentropy": ["binary", "unit", "fractions", "probs"],
    "CategoricalCrossentropy": ["soft", "probs", "one_hot", "edges"],
    "SparseCategoricalCrossentropy": ["ids", "probs", "inside_ignored", "edges"],
    "KLDivergence": ["soft", "probs", "one_hot", "unit"],
    "Poisson": ["soft", "probs", "one_hot", "unit"],
}.items():
    for call in ({}, *({"sample_weight": w} for w in WEIGHTS)):
        record(f"metrics.{name}", args, (), call=call)
volumes = ["volume_soft", "volume"] * 2
for call in ({}, {"sample_weight": "pair_weights"}, {"sample_weight": "grid_weights"}):
    INPUTS |= {"pair_weights": np.array([0.5, 2.0]),
               "grid_weights": np.arange(6.0).reshape(2, 3)}  # fmt: skip
    record("metrics.CategoricalCrossentropy", volumes, (), call=call, axis=1,
           from_logits=True)  # fmt: skip
for call in ({}, {"sample_weight": "position_weights"}):
    record("metrics.SparseCategoricalCrossentropy", ["inside_ignored", "logits"], (),
           call=call, from_logits=True, ignore_class=3)  # fmt: skip
recorder.save(Path(__file__).with_name("keras.json"))
