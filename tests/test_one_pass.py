# SPDX-License-Identifier: Apache-2.0
"""The dense losses as TPUs and GPUs get them, run on CPU and held to their bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxent._certify import command

DENSE = {
    "softmax_cross_entropy_with_integer_labels",
    "softmax_cross_entropy: one-hot",
    "softmax_cross_entropy",
    "softmax_statistics: one_minus_prob",
}
ROWS = [row for row in command.TABLE if row.name in DENSE]


@pytest.fixture
def as_on_a_tpu(monkeypatch):
    """What is chosen by the platform, and the order of sums: halves, not a sequence."""
    chosen = []

    def platform_dependent(*args, default, tpu=None, **others):
        chosen.append(others)
        return (tpu or default)(*args)

    monkeypatch.setattr(jax.lax, "platform_dependent", platform_dependent)
    monkeypatch.setattr(jax.lax, "reduce", by_halves)
    return chosen


def by_halves(arrays, start, merge, axes):
    (axis,) = axes
    size = 1 << (arrays[0].shape[axis] - 1).bit_length()
    assert axis == arrays[0].ndim - 1
    missing = size - arrays[0].shape[axis]
    arrays = [
        jnp.pad(a, [(0, 0)] * axis + [(0, missing)], constant_values=v)
        for a, v in zip(arrays, start, strict=True)
    ]
    while size > 1:
        size //= 2
        arrays = merge(
            tuple(a[..., :size] for a in arrays), tuple(a[..., size:] for a in arrays)
        )
    return [a[..., 0] for a in arrays]


def longer(inputs, times):
    """With a position of each kind some times more: a shape that nothing else has."""

    def made(*args):
        return {
            kind: tuple(np.concatenate([a, *[a[:1]] * times]) for a in arrays)
            for kind, arrays in inputs(*args).items()
        }

    return made


@pytest.mark.parametrize(
    ("times", "row"), [*enumerate(ROWS, start=1)], ids=[row.name for row in ROWS]
)
def test_the_bounds_are_kept_in_one_pass(as_on_a_tpu, times, row):
    assert len(ROWS) == len(DENSE)
    with np.errstate(all="ignore"):
        line = command.measured(
            row._replace(inputs=longer(row.inputs, times)), "float32"
        )
    assert any("cpu" in others for others in as_on_a_tpu)
    assert line.broken == ""
    assert line.nans == 0
