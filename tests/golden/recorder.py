# SPDX-License-Identifier: Apache-2.0
"""What the golden scripts share: the inputs, and the file they write.

A file holds arrays by name, and cases: a function, its arguments and options (an
option "@name" is an array), what the framework gave, and its gradients for the
arguments `wrt` under a cotangent that is not 1. `tolerance` is relative to the
largest element; `truth` stands beside a value that the framework gets wrong.
"""

import json
from pathlib import Path

import numpy as np

SINGLE, DOUBLE = 2e-6, 1e-12
HALF = {"bfloat16": 2e-2, "float16": 3e-3}


def inputs():
    """Arrays by name, float64 or integer; scripts cast the floats to their dtypes."""
    rng = np.random.default_rng(0)

    def distributions(*shape):
        p = np.exp(rng.normal(size=shape))
        return p / p.sum(axis=1, keepdims=True)

    logits = 2 * rng.normal(size=(4, 5))
    forbidden = logits.copy()
    forbidden[0, 1] = forbidden[2, 0] = -np.inf
    sure = np.zeros((4, 5))
    sure[range(4), [2, 0, 4, 1]] = 40.0
    edges = distributions(4, 5)
    edges[0] = [0, 0, 1, 0, 0]
    edges[1] = [1, 0, 0, 0, 0]
    edges[2, :2] = 0
    arrays = {
        "logits": logits,
        "other": 2 * rng.normal(size=(4, 5)),
        "forbidden": forbidden,
        "sure": sure,
        "probs": distributions(4, 5),
        "unnormalized": distributions(4, 5) * [[0.5], [0.9], [1.0], [0.7]],
        "edges": edges,
        "soft": distributions(4, 5),
        "one_hot": np.eye(5)[[2, 0, 4, 1]],
        "flipped": 1 - np.eye(5)[[2, 0, 4, 1]],
        "binary": (rng.random((4, 5)) < 0.5) * 1.0,
        "fractions": rng.random((4, 5)),
        "unit": rng.random((4, 5)),
        "volume": 2 * rng.normal(size=(2, 5, 3)),
        "volume_soft": distributions(2, 5, 3),
        "row": 2 * rng.normal(size=5),
        "row_soft": distributions(1, 5)[0],
        "empty": np.zeros((0, 5)),
        "class_weights": np.array([0.5, 2.0, 1.25, 0.0, 3.0]),
        "position_weights": np.array([0.5, 0.0, 2.0, 1.25]),
        "zero_weights": np.zeros(4),
        "column_weights": np.array([[0.5], [0.0], [2.0], [1.25]]),
        "element_weights": np.round(rng.random((4, 5)), 2) * (rng.random((4, 5)) < 0.8),
        "variances": rng.random((4, 5)) + 0.5,
        "hidden": rng.normal(size=(4, 3)),
        "kernel": rng.normal(size=(5, 3)),
        "bias": rng.normal(size=5),
    }
    arrays["log_probs"] = np.log(arrays["probs"])
    arrays["log_soft"] = np.log(arrays["soft"])
    arrays["volume_log_probs"] = np.log(distributions(2, 5, 3))
    ids = {
        "ids": [2, 0, 4, 1],
        "some_ignored": [2, -100, 4, -100],
        "all_ignored": [-100] * 4,
        "inside_ignored": [2, 3, 4, 3],
        "out_of_range": [2, 5, 4, -1],
        "column_ids": [[2], [0], [4], [1]],
        "volume_ids": [[2, 0, 4], [1, 3, 3]],
        "row_id": 3,
        "no_ids": np.zeros(0),
    }
    masks = {"mask": [True, False, True, True], "no_mask": [False] * 4}
    return (
        arrays
        | {name: np.array(a, np.int32) for name, a in ids.items()}
        | {name: np.array(a) for name, a in masks.items()}
    )


def cotangent(shape):
    """Numbers that no half dtype rounds; never 1 for a scalar."""
    return (0.5 + np.arange(np.prod(shape, dtype=int)) * 3 % 5 / 4).reshape(shape)


def true_cross_entropy(logits, ids):
    """−log p of the ids without cancellation, in extended precision, and gradient."""
    x = np.asarray(logits, np.longdouble)
    d = np.exp(x - np.take_along_axis(x, np.asarray(ids)[:, None], axis=1))
    np.put_along_axis(d, np.asarray(ids)[:, None], 0, axis=1)
    rest = d.sum(axis=1)
    gradient = d / (1 + rest)[:, None]
    own = -(rest / (1 + rest))[:, None]
    np.put_along_axis(gradient, np.asarray(ids)[:, None], own, axis=1)
    return np.log1p(rest), gradient


def packed(x, dtype):
    """An array as JSON; a float32 by its shortest decimal."""
    x = np.asarray(x)
    if dtype == "float32":
        data = [float(str(v)) for v in x.astype(np.float32).ravel()]
    else:
        kind = {"f": np.float64, "b": bool}.get(x.dtype.kind, int)
        data = x.astype(kind).ravel().tolist()
    return {"dtype": dtype, "shape": list(x.shape), "data": data}


class Recorder:
    """The cases of one framework, in order, and the arrays that they name."""

    def __init__(self, framework):
        self.file = {"framework": framework, "arrays": {}, "cases": []}

    def array(self, name, x, dtype):
        self.file["arrays"].setdefault(name, packed(x, dtype))
        return name

    def case(self, name, function, args, options, value, gradients, dtype,
             *, wrt, tolerance, truth=None, true_gradients=None, why=None):  # fmt: skip
        known = {case["name"] for case in self.file["cases"]}
        assert name not in known, name
        shape = np.shape(value)
        self.array(f"cotangent{list(shape)}", cotangent(shape), "float32")
        case = {
            "name": name, "function": function, "args": args, "options": options,
            "wrt": wrt, "tolerance": tolerance, "value": packed(value, dtype),
            "gradients": [packed(g, dtype) for g in gradients],
        }  # fmt: skip
        if why is not None:
            case["why"] = why
        if truth is not None:
            case["truth"] = packed(truth, "float64")
            case["true_gradients"] = [packed(g, "float64") for g in true_gradients]
        self.file["cases"].append(case)

    def save(self, path):
        def listed(items):
            return ",\n".join(json.dumps(item) for item in items)

        arrays = listed([{"array": k, **v} for k, v in self.file["arrays"].items()])
        cases = listed(self.file["cases"])
        Path(path).write_text(
            f'{{"framework": "{self.file["framework"]}",\n'
            f'"arrays": [\n{arrays}],\n"cases": [\n{cases}]}}\n'
        )
        print(len(self.file["cases"]), "cases of", self.file["framework"])
