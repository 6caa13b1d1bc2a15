# SPDX-License-Identifier: Apache-2.0
"""The proofs of `benchmarks.proofs`, smaller: what they say of us, and of others."""

import pytest

from benchmarks import proofs

pytestmark = pytest.mark.quickly_compiled


@pytest.fixture(autouse=True)
def _smaller(monkeypatch):
    monkeypatch.setattr(proofs, "CLASSES", 2048)
    monkeypatch.setattr(proofs, "ROWS", 32)


def rows(table):
    _, _, *found = table
    return [[cell.split()[0] for cell in row] for row in found]


def test_gradients_of_near_distributions():
    overlaps, others, ours = zip(*rows(proofs.gradients_of_kl(4)), strict=True)
    assert [*overlaps] == sorted(overlaps)
    assert all(float(x) < 0.3 for x in ours)
    assert float(others[-1]) > 20


def test_truncated_divergences():
    _, dropped, category, _ = zip(*rows(proofs.truncated()), strict=True)
    assert any(int(x) for x in dropped)
    assert not any(int(x) for x in category)


def test_confident_policies():
    _, zeros, _, *ours = zip(*rows(proofs.confident()), strict=True)
    assert int(zeros[-1]) == 32
    assert not any(int(x) for column in ours for x in column)


def test_the_record_is_of_this_script():
    record = (
        proofs.Path(proofs.__file__).parents[1] / "docs/results/proofs.md"
    ).read_text()
    for table in (proofs.gradients_of_kl, proofs.truncated, proofs.confident):
        assert f"## {table.__doc__}\n" in record
