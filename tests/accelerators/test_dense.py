# SPDX-License-Identifier: Apache-2.0
"""The dense engine in one pass on TPUs and GPUs, as compiled for them."""

import re

import jax
import jax.numpy as jnp
import pytest

import jaxent
from benchmarks import compiled, traffic

CHIPS = [
    pytest.param(chip, marks=pytest.mark.skipif(bool(why), reason=str(why)))
    for chip in ("v5e", "v5p", "v6e", "H100")
    for why in [compiled.absent(chip)]
]
chip = pytest.mark.parametrize("chip", CHIPS)
dtypes = pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
READS_AND_WRITES = {
    ("integer", "forward"): 1,
    ("integer", "gradient"): 3,
    # And the labels, once each time.
    ("distribution", "forward"): 2,
    ("distribution", "gradient"): 5,
}
MIB = 25
"""Of temporaries: an H100 keeps 256 partial sums of each position."""


@chip
def test_a_pass_is_a_pass(chip):
    """The measure itself: x + 1 reads an array and writes one."""
    n, v = 512, 1024
    program = compiled.program_of(lambda x: x + 1, chip, ((n, v), jnp.float32))
    assert traffic.passes(program, n * v, 4) == pytest.approx(2, abs=0.01)


@chip
@dtypes
@pytest.mark.parametrize(("labels", "what"), READS_AND_WRITES)
def test_one_pass(chip, dtype, labels, what, record_property):
    row = compiled.measured(chip, "jaxent", labels, dtype, what)
    record_property("row", row)
    assert row["passes"] == pytest.approx(READS_AND_WRITES[labels, what], abs=0.01)
    assert row["temporaries_mib"] < MIB


@chip
@pytest.mark.parametrize(
    ("peer", "dtype", "least"),
    [("optax", "float32", 4), ("optax", "bfloat16", 4), ("optax, cast", "bfloat16", 6)],
)
def test_what_it_is_compared_with(chip, peer, dtype, least, record_property):
    row = compiled.measured(chip, peer, "integer", dtype, "gradient")
    record_property("row", row)
    assert row["passes"] > least - 0.01


@pytest.mark.parametrize("chip", CHIPS[:3])
def test_no_function_of_a_tpu_is_left_at_its_default(chip):
    """Each exponential and logarithm of the compiled program asks for the best."""

    def both(x, y, q):
        soft = jaxent.softmax_cross_entropy(x, q, z_loss=1e-4)
        return soft + jaxent.softmax_cross_entropy_with_integer_labels(x, y)

    def gradients(*args):
        return jax.grad(lambda *a: jnp.sum(both(*a)))(*args)

    shape = (8, 256)
    arrays = (shape, jnp.float32), (shape[:1], jnp.int32), (shape, jnp.float32)
    text = compiled.program_of(gradients, chip, *arrays).as_text()
    calls = re.findall(r" (?:exponential|log|log-plus-one)\(.*", text)
    assert len(calls) > 4
    assert all("result_accuracy={mode=highest}" in call for call in calls)
