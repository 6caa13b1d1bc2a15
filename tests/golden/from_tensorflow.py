# SPDX-License-Identifier: Apache-2.0
"""Record TensorFlow: `python tests/golden/from_tensorflow.py`, with 2.21.0 there."""

import os
import warnings
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from recorder import DOUBLE, HALF, SINGLE, Recorder, cotangent, inputs
from recorder import true_cross_entropy as true

warnings.simplefilter("ignore")
tf.get_logger().setLevel("ERROR")
INPUTS = inputs()
recorder = Recorder(f"tensorflow {tf.__version__}")
losses = tf.compat.v1.losses
REDUCTIONS = list(dict.fromkeys(losses.Reduction.all()))


def tensor(name, dtype):
    x = INPUTS[name]
    if x.dtype.kind == "i":
        recorder.array(name, x, "int32")
        return name, tf.constant(x)
    x = tf.cast(tf.constant(x), dtype)
    label = name if dtype == "float32" else f"{name} {dtype}"
    recorder.array(label, tf.cast(x, tf.float64).numpy(), dtype)
    return label, x


def record(function, args, wrt=(1,), dtype="float32", tolerance=None, truth=None,
           note="", **options):  # fmt: skip
    scope = losses if function.startswith("losses.") else tf.nn
    f = getattr(scope, function.removeprefix("losses."))
    labels, tensors = zip(*(tensor(a, dtype) for a in args), strict=True)
    named = {
        k: tensor(v[1:], dtype) if str(v).startswith("@") else (None, v)
        for k, v in options.items()
    }
    sources = [tensors[i] for i in wrt]
    with tf.GradientTape() as tape:
        for x in sources:
            tape.watch(x)
        value = f(*tensors, **{k: v for k, (_, v) in named.items()})
    weight = tf.cast(cotangent(tuple(value.shape)), value.dtype)
    grads = tape.gradient(value, sources, weight)
    grads = [
        tf.zeros_like(x) if g is None else g
        for x, g in zip(sources, grads, strict=True)
    ]
    if tolerance is None:
        tolerance = {"float32": SINGLE, "float64": DOUBLE}.get(dtype) or HALF[dtype]
    stated = {k: f"@{label}" if label else v for k, (label, v) in named.items()}
    details = ", ".join([*labels, *(f"{k}={v}" for k, v in stated.items())])
    recorder.case(
        f"{function}({details})", function, list(labels), stated,
        tf.cast(value, tf.float64).numpy(),
        [tf.cast(g, tf.float64).numpy() for g in grads], value.dtype.name,
        wrt=list(wrt), tolerance=tolerance, why=note or None, **(truth or {}),
    )  # fmt: skip


# tf.nn
SIGMOID, SOFTMAX = (f"{x}_cross_entropy_with_logits" for x in ("sigmoid", "softmax"))
SPARSE, WEIGHTED = "sparse_" + SOFTMAX, "weighted_cross_entropy_with_logits"
for dtype in ("float32", "float64", "float16", "bfloat16"):
    d = {"dtype": dtype}
    record(SIGMOID, ["fractions", "logits"], (0, 1), **d)
    record(WEIGHTED, ["fractions", "logits"], (0, 1), pos_weight="@class_weights", **d)
    record(SOFTMAX, ["soft", "logits"], (0, 1), **d)
    record(SPARSE, ["ids", "logits"], **d)
record(SIGMOID, ["binary", "logits"])
record(WEIGHTED, ["binary", "logits"], pos_weight=3.0)
record(SOFTMAX, ["volume_soft", "volume"], (0, 1), axis=1)
record(SOFTMAX, ["one_hot", "logits"])
# Labels broadcast; their gradient fails in TensorFlow, which does not add it up.
INPUTS |= {
    "fifths": np.full((4, 1), 0.2), "row_of_one": INPUTS["soft"][:1],
    "column_of_volume": np.array([[[0.1], [0.2], [0.3], [0.15], [0.25]]]),
}  # fmt: skip
for labels in ("row_soft", "row_of_one", "fifths"):
    record(SOFTMAX, [labels, "logits"], note="broadcasts")
record(SOFTMAX, ["column_of_volume", "volume"], axis=1, note="broadcasts")
record(SOFTMAX, ["empty", "empty"])
record(SPARSE, ["no_ids", "empty"])
record(SPARSE, ["row_id", "row"])

sure = true(INPUTS["sure"], INPUTS["ids"])
sure_gradient = sure[1] * cotangent(4)[:, None]
record(SPARSE, ["ids", "sure"], note="wrong: rounded to 0 at margin 40",
       truth={"truth": sure[0], "true_gradients": [sure_gradient]})  # fmt: skip
# The truth by its definition, in extended precision.
x, q = (INPUTS[k].astype(np.longdouble) for k in ("logits", "unnormalized"))
q = np.float32(q).astype(np.longdouble)
x = np.float32(x).astype(np.longdouble)
p = np.exp(x - x.max(axis=1, keepdims=True))
p /= p.sum(axis=1, keepdims=True)
true_gradient = (q.sum(axis=1, keepdims=True) * p - q) * cotangent(4)[:, None]
record(SOFTMAX, ["unnormalized", "logits"],
       note="wrong gradient: takes labels to sum to one",
       truth={"truth": -(q * np.log(p)).sum(axis=1),
              "true_gradients": [true_gradient]})  # fmt: skip
x = INPUTS["forbidden"].astype(np.float32).astype(np.longdouble)
q = np.where(np.isinf(x), 0, 0.25).astype(np.longdouble)
INPUTS["allowed"] = np.float64(q)
p = np.exp(x - x.max(axis=1, keepdims=True))
p /= p.sum(axis=1, keepdims=True)
terms = -q * np.log(np.where(p == 0, 1, p))
gradient = (q.sum(axis=1, keepdims=True) * p - q) * cotangent(4)[:, None]
record(SOFTMAX, ["allowed", "forbidden"],
       note="wrong: NaN for a logit of -inf whose label is 0",
       truth={"truth": terms.sum(axis=1), "true_gradients": [gradient]})  # fmt: skip

# tf.compat.v1.losses
for reduction in REDUCTIONS:
    r = {"reduction": reduction}
    for weights in ({}, {"weights": 0.75}, {"weights": "@position_weights"},
                    {"weights": "@zero_weights"}):  # fmt: skip
        record("losses.sparse_softmax_cross_entropy", ["ids", "logits"], **weights, **r)
    record("losses.sparse_softmax_cross_entropy", ["ids", "logits"],
           weights="@column_weights", **r)  # fmt: skip
    record("losses.sparse_softmax_cross_entropy", ["no_ids", "empty"], **r)
    for smoothing in (0.0, 0.3):
        s = {"label_smoothing": smoothing}
        record("losses.softmax_cross_entropy", ["soft", "logits"],
               weights="@position_weights", **s, **r)  # fmt: skip
        record("losses.sigmoid_cross_entropy", ["binary", "logits"], (0, 1), **s, **r)
        record("losses.sigmoid_cross_entropy", ["binary", "logits"], (0, 1),
               weights="@element_weights", **s, **r)  # fmt: skip
    record("losses.sigmoid_cross_entropy", ["binary", "logits"],
           weights="@column_weights", **r)  # fmt: skip
    record("losses.sigmoid_cross_entropy", ["empty", "empty"], **r)
    record("losses.log_loss", ["fractions", "unit"], (0, 1), **r)
    record("losses.log_loss", ["binary", "unit"], weights="@element_weights", **r)
    record("losses.log_loss", ["one_hot", "edges"], note="clipped", **r)
    record("losses.log_loss", ["flipped", "edges"], note="clipped", **r)
    record("losses.log_loss", ["binary", "unit"], epsilon=1e-3, **r)
    record("losses.compute_weighted_loss", ["unit", "element_weights"], (0, 1), **r)
    record("losses.compute_weighted_loss", ["unit", "column_weights"], (0, 1), **r)
record("losses.softmax_cross_entropy", ["soft", "logits"], (0, 1))
for function, args in {
    "sigmoid_cross_entropy": ["binary", "logits"],
    "softmax_cross_entropy": ["soft", "logits"],
    "sparse_softmax_cross_entropy": ["ids", "logits"],
}.items():
    record(f"losses.{function}", args, dtype="float16")
    record(f"losses.{function}", args, dtype="float64", tolerance=SINGLE,
           note="TensorFlow casts the losses to float32")  # fmt: skip

# Sampled losses of given candidates, the weights whole or in shards.
rng = np.random.default_rng(3)
SAMPLED = {
    "sampled weights": rng.normal(size=(11, 3)), "sampled biases": rng.normal(size=11),
    "hidden": INPUTS["hidden"],
    "drawn": np.array([0, 3, 7, 1, 10], np.int32),
    "drawn_counts": rng.random(5) + 0.1,
    "true1": np.array([[2], [3], [10], [1]], np.int32),
    "true2": np.array([[2, 3], [3, 7], [10, 4], [1, 0]], np.int32),
    "counts1": rng.random((4, 1)) + 0.1, "counts2": rng.random((4, 2)) + 0.1,
}  # fmt: skip


def shards(x, strategy, parts):
    return [x[i::parts] for i in range(parts)] if strategy == "mod" else np.split(
        x, np.cumsum([len(p) for p in np.array_split(np.arange(11), parts)])[:-1]
    )  # fmt: skip


for name, x in SAMPLED.items():
    SAMPLED[name] = x = x if x.dtype.kind == "i" else x.astype(np.float32)
    recorder.array(name, x, "int32" if x.dtype.kind == "i" else "float32")
for function in ("sampled_softmax_loss", "nce_loss"):
    for num_true, hits, strategy, parts in [
        (1, True, "mod", 1), (1, False, "mod", 3), (2, True, "div", 3),
        (2, False, "div", 1), (2, True, "mod", 4), (1, True, "div", 4),
        (1, True, "default", 4),
    ]:  # fmt: skip
        args = ["sampled weights", "sampled biases", f"true{num_true}", "hidden",
                "drawn", f"counts{num_true}", "drawn_counts"]  # fmt: skip
        w, b, t, x, ids, true_counts, counts = (tf.constant(SAMPLED[a]) for a in args)
        with tf.GradientTape() as tape:
            tape.watch([w, b, x])
            given = [
                whole if parts == 1 else [
                    tf.gather(whole, rows)
                    for rows in shards(np.arange(11), strategy, parts)
                ]
                for whole in (w, b)
            ]  # fmt: skip
            # TensorFlow 2 has no strategy, TensorFlow 1 another default.
            scope, chosen = tf.compat.v1.nn, {"partition_strategy": strategy}
            if strategy == "default":
                scope, chosen = tf.nn, {}
            value = getattr(scope, function)(
                *given, tf.cast(t, tf.int64), x, 5, 11, num_true,
                sampled_values=(tf.cast(ids, tf.int64), true_counts, counts),
                remove_accidental_hits=hits, **chosen,
            )  # fmt: skip
        weight = tf.constant(cotangent(4), tf.float32)
        grads = tape.gradient(value, [w, b, x], weight)
        grads = [tf.convert_to_tensor(g).numpy() for g in grads]
        label = f"{function}/{num_true}/{hits}/{strategy}/{parts}"
        recorder.case(label, label, args, {}, value.numpy(), grads, "float32",
                      wrt=[0, 1, 3], tolerance=SINGLE)  # fmt: skip
recorder.save(Path(__file__).with_name("tensorflow.json"))
