# SPDX-License-Identifier: Apache-2.0
"""Record Optax: `python tests/golden/from_optax.py`, where optax 0.2.8 is installed."""

import os
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
import optax
from recorder import DOUBLE, HALF, SINGLE, Recorder, cotangent, inputs
from recorder import true_cross_entropy as true

jax.config.update("jax_enable_x64", True)
INPUTS = inputs()
rng = np.random.default_rng(2)
INPUTS |= {
    "classes": rng.random((4, 5)) < 0.7,
    "some": np.array([True, False, True, True]),
    "volume_classes": rng.random((2, 5, 3)) < 0.7,
    "volume_some": rng.random((2, 3)) < 0.7,
    "flat_ids": np.array([3, 14], np.int32),
    "column": INPUTS["fractions"][:, :1],
    "last_ids": np.array([-1, -5, -3, 1], np.int32),
    "one_id": np.array([2], np.int32),
    "outside": np.array([2, 2, 4, 1], np.int32),
    "outside_classes": np.array([[True, True, False, True, True]] * 4),
    "no_classes": np.zeros((4, 5), bool),
}
INPUTS["classes"][:, 0] = True
recorder = Recorder(f"optax {optax.__version__}")


def array(name, dtype):
    x = INPUTS[name]
    if x.dtype.kind in "ib":
        recorder.array(name, x, "int32" if x.dtype.kind == "i" else "bool")
        return name, jnp.array(x)
    x = jnp.array(x).astype(dtype)
    label = name if dtype == "float32" else f"{name} {dtype}"
    recorder.array(label, np.asarray(x, np.float64), dtype)
    return label, x


def record(function, args, wrt=(0,), dtype="float32", truth=None, note="",
           tolerance=None, **options):  # fmt: skip
    labels, arrays = zip(*(array(a, dtype) for a in args), strict=True)
    named = {
        k: array(v[1:], dtype) if str(v).startswith("@") else (None, v)
        for k, v in options.items()
    }

    def of(*moving):
        xs = list(arrays)
        for i, x in zip(wrt, moving, strict=True):
            xs[i] = x
        given = {k: v for k, (_, v) in named.items()}
        return getattr(optax.losses, function)(*xs, **given)

    value, pull = jax.vjp(of, *(arrays[i] for i in wrt))
    grads = pull(jnp.array(cotangent(value.shape), value.dtype))
    if tolerance is None:
        tolerance = {"float32": SINGLE, "float64": DOUBLE}.get(dtype) or HALF[dtype]
    stated = {k: f"@{label}" if label else v for k, (label, v) in named.items()}
    details = ", ".join([*labels, *(f"{k}={v}" for k, v in stated.items())])
    recorder.case(
        f"{function}({details})", function, list(labels), stated,
        np.asarray(value, np.float64), [np.asarray(g, np.float64) for g in grads],
        value.dtype.name, wrt=list(wrt), tolerance=tolerance, why=note or None,
        **(truth or {}),
    )  # fmt: skip


SOFT, IDS = "softmax_cross_entropy", "softmax_cross_entropy_with_integer_labels"
POLY, SAFE = "poly_loss_cross_entropy", "safe_softmax_cross_entropy"
BINARY, FOCAL = "sigmoid_binary_cross_entropy", "sigmoid_focal_loss"
KL, LOGS = "kl_divergence", "kl_divergence_with_log_targets"
MEASURES, SMOOTH = "generalized_kl_divergence", "smooth_labels"
for dtype in ("float32", "float64", "bfloat16", "float16"):
    d = {"dtype": dtype}
    record(BINARY, ["logits", "fractions"], (0, 1), **d)
    record(FOCAL, ["logits", "fractions"], alpha=0.7, gamma=1.5, **d)
    record(SOFT, ["logits", "soft"], (0, 1), **d)
    record(SAFE, ["logits", "soft"], **d)
    record(IDS, ["logits", "ids"], **d)
    record(POLY, ["logits", "soft"], epsilon=1.0, **d)
    record(KL, ["log_probs", "soft"], (0, 1), **d)
    record(LOGS, ["log_probs", "log_soft"], (0, 1), **d)
    if dtype in ("float32", "float64"):
        record(MEASURES, ["log_probs", "unit"], (0, 1), **d)
        record(SMOOTH, ["one_hot"], alpha=0.3, **d)
for f, args, wrt in [
    (SOFT, ["logits", "soft"], (0, 1)), (IDS, ["logits", "ids"], (0,)),
    (POLY, ["logits", "soft"], (0,)), (KL, ["log_probs", "soft"], (0, 1)),
    (LOGS, ["log_probs", "log_soft"], (0, 1)), (MEASURES, ["log_probs", "unit"], (0,)),
]:  # fmt: skip
    if f != IDS:
        record(f, args, wrt, axis=None)
    if f == SOFT:
        wrt = (0,)  # with `where`, the gradients of labels are NaN in Optax
    if f != IDS:
        record(f, args, wrt, where="@classes")
        record(f, args, wrt, where="@no_classes")
    if f in (SOFT, IDS):
        record(f, args, wrt, where="@some")
record(IDS, ["logits", "outside"], where="@classes")
record(IDS, ["logits", "outside"], where="@outside_classes",
       note="a label left out keeps its logit")  # fmt: skip
record(SMOOTH, ["one_hot"], alpha=0.3, where="@classes",
       note="classes left out get mass")  # fmt: skip
record(IDS, ["volume", "volume_ids"], axis=1)
record(IDS, ["volume", "volume_ids"], axis=1, where="@volume_some")
record(IDS, ["volume", "flat_ids"], axis=(1, 2))
record(IDS, ["volume", "flat_ids"], axis=(2, 1), note="another order of flat ids")
record(IDS, ["logits", "last_ids"], note="negative labels count from the end")
MASKS = ("some", "classes", "no_classes")
for ids in ("out_of_range", "some_ignored"):
    for given in ({}, *({"where": f"@{mask}"} for mask in MASKS)):
        record(IDS, ["logits", ids], note="NaN, not its gradient", **given)
record(IDS, ["logits", "one_id"], note="broadcasts")
record(IDS, ["empty", "no_ids"])
for f in (SOFT, POLY):
    record(f, ["volume", "volume_soft"], axis=1, where="@volume_classes")
    if f == SOFT:
        record(f, ["volume", "volume_soft"], axis=1, where="@volume_some")
    record(f, ["volume", "volume_soft"], axis=(0, 1))
record(SOFT, ["logits", "row_soft"], (0, 1), note="broadcasts")
record(SOFT, ["row", "soft"], (0, 1), note="broadcasts")
record(BINARY, ["row", "column"], (0, 1), note="broadcasts")
record(FOCAL, ["logits", "binary"])
record(FOCAL, ["row", "column"], (0, 1), gamma=1.0)
record(KL, ["log_probs", "row_soft"], (0, 1), note="broadcasts")
record(KL, ["log_probs", "one_hot"])
record(SOFT, ["empty", "empty"])

sure = true(INPUTS["sure"], INPUTS["ids"])
gradient = sure[1] * cotangent(4)[:, None]
truth = {"truth": sure[0], "true_gradients": [gradient]}
for f, labels in ((IDS, "ids"), (SOFT, "one_hot")):
    record(f, ["sure", labels], truth=truth, note="wrong: rounded to 0 at margin 40")
x = INPUTS["forbidden"].astype(np.float32).astype(np.longdouble)
q = np.where(np.isinf(x), 0, 0.25)
INPUTS["allowed"] = q
p = np.exp(x - x.max(axis=1, keepdims=True))
p /= p.sum(axis=1, keepdims=True)
loss = (-q * np.log(np.where(p == 0, 1, p))).sum(axis=1)
gradient = (q.sum(axis=1, keepdims=True) * p - q) * cotangent(4)[:, None]
record(SOFT, ["forbidden", "allowed"], note="wrong: NaN where a label is 0",
       truth={"truth": loss, "true_gradients": [gradient]})  # fmt: skip
x = INPUTS["log_probs"].astype(np.float32).astype(np.longdouble)
hit = INPUTS["one_hot"]
gradient = (np.where(hit == 1, 1 - x, -x)) * cotangent(4)[:, None]
record(KL, ["log_probs", "one_hot"], (1,), axis=-1,
       note="wrong gradient: NaN where a target is 0",
       truth={"truth": -(hit * x).sum(axis=1),
              "true_gradients": [gradient]})  # fmt: skip
recorder.save(Path(__file__).with_name("optax.json"))
