# SPDX-License-Identifier: Apache-2.0
"""What the head costs a device of a pod: as it is recorded, and as compiled anew.

To compile needs libtpu, in an environment of its own: `.venv-tpu`, that `make pods`
makes, or the one whose interpreter JAXENT_TPU_PYTHON names.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = os.getenv("JAXENT_TPU_PYTHON", str(ROOT / ".venv-tpu" / "bin" / "python"))
PODS = {"v5e:8x8": (8, 8), "v5e:16x16": (16, 16), "v5p:8x8x8": (32, 16)}
BUDGET, BLOCK = 144e6, 16 * 2**20  # the fused head's `memory`, and a block beside it


def recorded(folder):
    del folder
    return json.loads((ROOT / "docs" / "results" / "pods.json").read_text())


def compiled(folder):
    if not Path(PYTHON).exists():
        pytest.skip("libtpu's environment is absent: `make pods` makes it")
    path = os.pathsep.join(filter(None, [str(ROOT), os.getenv("PYTHONPATH")]))
    subprocess.run(
        [PYTHON, "-m", "benchmarks.pods", "--output", str(folder)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, check=True,
    )  # fmt: skip
    return json.loads((folder / "pods.json").read_text())


@pytest.fixture(scope="module", params=[recorded, compiled], ids=lambda f: f.__name__)
def result(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("pods"))


@pytest.mark.parametrize("pod", PODS)
def test_a_device_of_a_pod(result, pod):
    rows, width, classes = (
        result[name] for name in ("rows_a_data_shard", "width", "classes")
    )
    data, vocab = PODS[pod]
    found = {row["loss"]: row for row in result["rows"] if row["pod"] == pod}
    dense, fused, typed = (
        found[loss] for loss in ("dense", "fused", "fused, explicit axes")
    )
    logits, hidden, classifier = rows * classes // vocab, rows * width, classes // vocab
    classifier *= width
    assert classes == 262_144

    # The logits in bfloat16, and a fifth as much; or the budget, the classifier's
    # gradient in float32, and three arrays like the activations'.
    assert dense["temporaries"] <= 1.2 * 2 * logits
    assert fused["temporaries"] <= 1.05 * (
        BUDGET + BLOCK + 4 * classifier + 3 * 4 * hidden
    )
    assert fused["temporaries"] <= 0.7 * dense["temporaries"]
    assert typed["temporaries"] <= fused["temporaries"]

    # Of the logits or the classifier nothing is gathered; dense, by one number of each
    # row and slice at most.
    assert dense["largest_gather"] <= rows * vocab
    assert fused["largest_gather"] == typed["largest_gather"] == 0
    assert dense["collectives"] <= 6

    # Two messages a chunk, of three numbers a token; the gradients, and the loss, once.
    for row in (fused, typed):
        assert [each["kind"] for each in row["each"]] == ["all-reduce"] * 5
        assert sorted(each["times"] for each in row["each"])[:3] == [1, 1, 1]
    over_vocab, over_data = ((n - 1) / n for n in (vocab, data))
    sent = 2 * over_vocab * (12 * rows + 2 * hidden) + 2 * over_data * 2 * classifier
    for row in (dense, fused, typed):
        assert row["sent"] == pytest.approx(sent, rel=0.02)
