# SPDX-License-Identifier: Apache-2.0
"""Runs what the frameworks were recorded doing: all cases of a file in one program."""

import json
import re
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
from everyday import EVERYDAY
from given import put

GOLDEN = Path(__file__).with_name("golden")


def unpacked(x):
    if x is None:
        return None
    dtype = np.dtype(getattr(ml_dtypes, x["dtype"], x["dtype"]))
    return np.array(x["data"], np.float64).astype(dtype).reshape(x["shape"])


class Golden:
    """A recorded file, and jaxent's results for its cases.

    They are run in a program; with `only`, words of the names of some, eagerly.
    """

    def __init__(self, name, function_of, *, only=None):
        file = json.loads((GOLDEN / f"{name}.json").read_text())
        self.function_of, self.eager = function_of, only is not None
        self.arrays = {a["array"]: unpacked(a) for a in file["arrays"]}
        self.cases = {case["name"]: case for case in file["cases"]}
        if only is not None:
            self.cases = {
                k: c for k, c in self.cases.items() if any(o in k for o in only)
            }
        test = f"test_compat_{name}::test_the_number_{name}_prints"
        self.everyday = re.compile(EVERYDAY.get(test, ""))
        self._results = {}

    def double(self, case):
        names = [*case["args"], *(v[1:] for v in case["options"].values() if named(v))]
        return any(self.arrays[n].dtype == np.float64 for n in names)

    def kind(self, name):
        """Whether a case is in float64, and whether it is one of every day."""
        return self.double(self.cases[name]), bool(self.everyday.search(name))

    def run(self, case, arrays):
        """The value, and the pull-back of the recorded cotangent."""
        args = [arrays[name] for name in case["args"]]
        options = {
            k: arrays[v[1:]] if named(v) else v for k, v in case["options"].items()
        }
        if isinstance(options.get("axis"), list):
            options["axis"] = tuple(options["axis"])
        f = self.function_of(case["function"])
        if not case["wrt"]:
            return f(*args, **options), ()

        def of(*moving):
            xs, named = list(args), dict(options)
            for i, x in zip(case["wrt"], moving, strict=True):
                (named if isinstance(i, str) else xs)[i] = x
            return f(*xs, **named)

        moved = (options[i] if isinstance(i, str) else args[i] for i in case["wrt"])
        value, pull = jax.vjp(of, *moved)
        cotangent = arrays[f"cotangent{list(value.shape)}"]
        return value, pull(cotangent.astype(value.dtype))

    def result(self, name):
        """One program for the cases in float64, one for all others; of every day."""
        alike = double, _ = self.kind(name)
        if alike not in self._results:
            chosen = {k: c for k, c in self.cases.items() if self.kind(k) == alike}

            def every(arrays):
                return {k: self.run(case, arrays) for k, case in chosen.items()}

            with jax.enable_x64(double):
                arrays = {
                    k: put(a)
                    for k, a in self.arrays.items()
                    if double or a.dtype != np.float64
                }
                # Compiling is the cost of these tests, and LLVM a third of it.
                quick = {"xla_backend_optimization_level": 0}
                program = jax.jit(every, compiler_options=quick)
                self._results[alike] = (every if self.eager else program)(arrays)
        return self._results[alike][name]


def named(option):
    return isinstance(option, str) and option.startswith("@")


def close(got, expected, tolerance):
    """Within the tolerance of the largest element; infinities and NaNs in place."""
    got, expected = (np.asarray(x, np.float64) for x in (got, expected))
    assert got.shape == expected.shape
    scale = np.max(np.abs(expected), initial=0, where=np.isfinite(expected))
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * scale)


def check(golden, name):
    """jaxent against the framework, or against the truth where the two differ."""
    case = golden.cases[name]
    value, gradients = golden.result(name)
    theirs = [unpacked(x) for x in (case["value"], *case["gradients"])]
    expected = theirs
    if "truth" in case:
        expected = [unpacked(x) for x in (case["truth"], *case["true_gradients"])]
        pairs = zip(theirs, expected, strict=True)
        assert not all(np.allclose(*pair, rtol=1e-3, atol=0) for pair in pairs)
    for got, right in zip((value, *gradients), expected, strict=True):
        close(got, right, case["tolerance"])
