# SPDX-License-Identifier: Apache-2.0
"""Record torch: `python tests/golden/from_torch.py`, where torch 2.13.0 is installed.

torchvision does not install beside that release here, so `sigmoid_focal_loss` is its
published formula run with torch's operations.
"""

import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from recorder import DOUBLE, HALF, SINGLE, Recorder, cotangent, inputs
from recorder import true_cross_entropy as true

warnings.simplefilter("ignore")
torch.set_num_threads(1)
DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
INPUTS = inputs() | {
    "weightless": np.full(4, 3, np.int32),  # a class that weighs nothing
    "no_hidden": np.zeros((0, 3)),
}
recorder = Recorder(f"torch {torch.__version__.split('+')[0]}")


def focal(inputs, targets, alpha=0.25, gamma=2, reduction="none"):
    """torchvision.ops.sigmoid_focal_loss, after its documentation and the paper."""
    p = torch.sigmoid(inputs)
    ce = F.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    p_t = p * targets + (1 - p) * (1 - targets)
    loss = ce * (1 - p_t) ** gamma
    if alpha >= 0:
        loss = (alpha * targets + (1 - alpha) * (1 - targets)) * loss
    return {"none": lambda: loss, "mean": loss.mean, "sum": loss.sum}[reduction]()


def tensor(name, dtype):
    x = INPUTS[name]
    if x.dtype.kind == "i":
        recorder.array(name, x, "int32")
        return name, torch.tensor(x, dtype=torch.int64)
    x = torch.tensor(x).to(DTYPES[dtype])
    label = name if dtype == "float32" else f"{name} {dtype}"
    recorder.array(label, x.double().numpy(), dtype)
    return label, x


def record(function, args, wrt=(0,), dtype="float32", tolerance=None, call=None,
           note="", **options):  # fmt: skip
    labels, tensors = zip(*(tensor(a, dtype) for a in args), strict=True)
    named = {
        k: tensor(v[1:], dtype) if str(v).startswith("@") else (None, v)
        for k, v in options.items()
    }
    given = {k: v for k, (_, v) in named.items()}
    moving = [given[i] if isinstance(i, str) else tensors[i] for i in wrt]
    for x in moving:
        x.requires_grad_()
    value = (call or getattr(F, function))(*tensors, **given)
    weight = torch.tensor(cotangent(tuple(value.shape))).to(value.dtype)
    grads = torch.autograd.grad(value, moving, weight)
    if tolerance is None:
        tolerance = {"float32": SINGLE, "float64": DOUBLE}.get(dtype) or HALF[dtype]
    truth = {}
    if note.startswith("wrong"):
        assert function == "cross_entropy"
        if options.get("reduction") == "none":
            loss, gradient = true(INPUTS[args[0]], INPUTS["ids"])
            gradient = gradient * cotangent(loss.shape)[:, None]
            truth = {"truth": loss, "true_gradients": [gradient]}
    stated = {k: f"@{label}" if label else v for k, (label, v) in named.items()}
    details = ", ".join([*labels, *(f"{k}={v}" for k, v in stated.items())])
    recorder.case(
        f"{function}({details})", function, list(labels), stated,
        value.detach().double().numpy(), [g.double().numpy() for g in grads],
        str(value.dtype).removeprefix("torch."),
        wrt=list(wrt), tolerance=tolerance, why=note or None, **truth,
    )  # fmt: skip


EVERY = ("none", "sum", "mean")
for reduction in EVERY:
    r = {"reduction": reduction}
    for weight in ({}, {"weight": "@class_weights"}):
        record("cross_entropy", ["logits", "ids"], **r, **weight)
        record("cross_entropy", ["logits", "some_ignored"], **r, **weight)
        record("cross_entropy", ["logits", "all_ignored"], **r, **weight)
        record(
            "cross_entropy", ["logits", "some_ignored"], label_smoothing=0.3,
            **r, **weight,
        )  # fmt: skip
        record("cross_entropy", ["logits", "soft"], (0, 1), **r, **weight)
        record(
            "cross_entropy", ["logits", "soft"], (0, 1), label_smoothing=0.3,
            **r, **weight,
        )  # fmt: skip
        record("cross_entropy", ["volume", "volume_ids"], **r, **weight)
        record("nll_loss", ["log_probs", "some_ignored"], **r, **weight)
        record("linear_cross_entropy", ["hidden", "kernel", "some_ignored"],
               (0, 1, "linear_bias"), linear_bias="@bias", **r, **weight)  # fmt: skip
    record("cross_entropy", ["logits", "inside_ignored"], ignore_index=3, **r)
    record("cross_entropy", ["empty", "no_ids"], **r)
    record("cross_entropy", ["row", "row_id"], **r)
    record("nll_loss", ["log_probs", "all_ignored"], **r)
    record("nll_loss", ["volume_log_probs", "volume_ids"], **r)
    record("linear_cross_entropy", ["hidden", "kernel", "soft"], (0, 1), **r)
    record("linear_cross_entropy", ["hidden", "kernel", "ids"], (0, 1),
           label_smoothing=0.3, weight="@class_weights", **r)  # fmt: skip
    record("binary_cross_entropy", ["unit", "fractions"], (0, 1), **r)
    record("binary_cross_entropy", ["unit", "binary"], weight="@element_weights", **r)
    record("binary_cross_entropy", ["edges", "one_hot"], note="clipped", **r)
    record("binary_cross_entropy", ["edges", "flipped"], note="clipped", **r)
    record("binary_cross_entropy", ["empty", "empty"], **r)
    name = "binary_cross_entropy_with_logits"
    record(name, ["logits", "fractions"], (0, 1), **r)
    record(name, ["logits", "binary"], weight="@element_weights",
           pos_weight="@class_weights", **r)  # fmt: skip
    record("multilabel_soft_margin_loss", ["logits", "fractions"], (0, 1), **r)
    record("multilabel_soft_margin_loss", ["logits", "binary"],
           weight="@class_weights", **r)  # fmt: skip
    record("sigmoid_focal_loss", ["logits", "binary"], call=focal, **r)
    record("sigmoid_focal_loss", ["logits", "fractions"], call=focal, alpha=-1,
           gamma=1.5, **r)  # fmt: skip
    record("gaussian_nll_loss", ["logits", "other", "variances"], (0, 1, 2), **r)
    record("gaussian_nll_loss", ["logits", "other", "position_weights"], (0, 1, 2),
           full=True, eps=0.25, note="clipped", **r)  # fmt: skip
for reduction in (*EVERY, "batchmean"):
    r = {"reduction": reduction}
    record("kl_div", ["log_probs", "soft"], (0, 1), **r)
    record("kl_div", ["log_probs", "log_soft"], (0, 1), log_target=True, **r)
    record("kl_div", ["log_probs", "one_hot"], (0,), **r)

# Means over nothing: of what is ignored, of what weighs nothing, of what is not there.
record("linear_cross_entropy", ["hidden", "kernel", "all_ignored"],
       (0, 1, "linear_bias"), linear_bias="@bias")  # fmt: skip
for function, args in {
    "cross_entropy": ["logits"], "nll_loss": ["log_probs"],
    "linear_cross_entropy": ["hidden", "kernel"],
}.items():  # fmt: skip
    wrt, weighed = range(len(args)), {"weight": "@class_weights"}
    record(function, [*args, "weightless"], wrt, **weighed)
    if function == "nll_loss":
        record(function, [*args, "all_ignored"], wrt, **weighed)
    else:
        record(function, [*args, "all_ignored"], wrt, label_smoothing=0.3)
        record(function, [*args, "all_ignored"], wrt, label_smoothing=0.3, **weighed)
record("cross_entropy", ["empty", "empty"])
record("nll_loss", ["empty", "no_ids"])
record("linear_cross_entropy", ["no_hidden", "kernel", "no_ids"], (0, 1))
record("linear_cross_entropy", ["no_hidden", "kernel", "empty"], (0, 1))
for function in ("binary_cross_entropy_with_logits", "multilabel_soft_margin_loss"):
    record(function, ["empty", "empty"], (0, 1))
record("sigmoid_focal_loss", ["empty", "empty"], call=focal, reduction="mean")
record("gaussian_nll_loss", ["empty"] * 3, (0, 1, 2))
for reduction in ("mean", "batchmean"):
    record("kl_div", ["empty", "empty"], (0, 1), reduction=reduction)

record("cross_entropy", ["logits", "ids"], size_average=False)
record("cross_entropy", ["logits", "ids"], reduce=False)
record("cross_entropy", ["sure", "ids"], reduction="none",
       note="wrong: rounded to 0 at margin 40")  # fmt: skip

for dtype in ("float64", "bfloat16", "float16"):
    d = {"dtype": dtype}
    record("cross_entropy", ["logits", "some_ignored"], weight="@class_weights",
           label_smoothing=0.3, **d)  # fmt: skip
    record("cross_entropy", ["logits", "soft"], reduction="none", **d)
    record("binary_cross_entropy_with_logits", ["logits", "binary"],
           weight="@element_weights", **d)  # fmt: skip
    record("kl_div", ["log_probs", "soft"], reduction="batchmean", **d)
for function, args in {
    "nll_loss": ["log_probs", "ids"],
    "binary_cross_entropy": ["unit", "fractions"],
    "multilabel_soft_margin_loss": ["logits", "fractions"],
    "linear_cross_entropy": ["hidden", "kernel", "ids"],
    "gaussian_nll_loss": ["logits", "other", "variances"],
}.items():
    record(function, args, dtype="float64")
record("sigmoid_focal_loss", ["logits", "fractions"], call=focal, dtype="float64")

# The adaptive softmax: its parameters are arguments, in the order of the module's.
torch.manual_seed(0)
module = torch.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10], 2.0, head_bias=True)
hidden = torch.tensor(np.random.default_rng(1).normal(size=(6, 8)), dtype=torch.float32)
target = torch.tensor([0, 3, 4, 9, 10, 19])
names = []
for name, x in [("adaptive hidden", hidden), *module.named_parameters()]:
    names.append(recorder.array(name, x.detach().numpy(), "float32"))
recorder.array("adaptive target", target.numpy(), "int32")
hidden.requires_grad_()
wrt = [hidden, *module.parameters()]
result = module(hidden, target)
for function, value in {
    "adaptive output": result.output,
    "adaptive loss": result.loss,
    "adaptive log_prob": module.log_prob(hidden),
}.items():
    weight = torch.tensor(cotangent(tuple(value.shape)), dtype=torch.float32)
    grads = torch.autograd.grad(value, wrt, weight, retain_graph=True)
    recorder.case(
        function, function, [*names, "adaptive target"], {}, value.detach().numpy(),
        [g.numpy() for g in grads], "float32", wrt=list(range(len(names))),
        tolerance=SINGLE,
    )  # fmt: skip
recorder.array("adaptive predict", module.predict(hidden).numpy(), "int32")
recorder.save(Path(__file__).with_name("torch.json"))
