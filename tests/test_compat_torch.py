# SPDX-License-Identifier: Apache-2.0
"""torch's numbers, as torch printed them."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import replay
from given import put

from jaxent.compat import torch

pytestmark = pytest.mark.quickly_compiled


def adaptive(*arrays, which):
    hidden, head, bias, *rest, target = arrays
    pairs = tuple(zip(rest[::2], rest[1::2], strict=True))
    parameters = torch.AdaptiveLogSoftmax(head, pairs, bias)
    if which == "log_prob":
        return torch.adaptive_log_prob(hidden, parameters)
    return torch.adaptive_log_softmax_with_loss(hidden, target, parameters)[
        which == "loss"
    ]


MODULES = {
    module._function.__name__: module
    for module in vars(torch).values()
    if hasattr(module, "_function")
}


def function_of(name):
    """A function; by way of its module, where it has one."""
    if name.startswith("adaptive"):
        return lambda *arrays: adaptive(*arrays, which=name.split()[1])
    if name in MODULES:
        return lambda *arrays, **options: MODULES[name](**options)(*arrays)
    return getattr(torch, name)


GOLDEN = replay.Golden("torch", function_of)


@pytest.mark.parametrize("name", GOLDEN.cases, ids=str)
def test_the_number_torch_prints(name):
    replay.check(GOLDEN, name)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_takes_what_its_function_takes(name):
    """In its order, by its defaults, as torch's do."""
    module = MODULES[name]
    parameters = inspect.signature(getattr(torch, name)).parameters.values()
    expected = [(p.name, p.default) for p in parameters][2:]
    made = inspect.signature(module).parameters.values()
    assert [(p.name, p.default) for p in made] == expected
    loss = module(reduction="sum")
    assert loss == module(reduction="sum") != module()
    assert hash(loss) == hash(module(reduction="sum"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        loss.reduction = "mean"


HEADS = {
    "probabilities": lambda h, w, ids, q: torch.linear_cross_entropy(
        h, w, q, linear_bias=w[:, 0]
    ),
    "ids of two axes": lambda h, w, ids, q: torch.linear_cross_entropy(
        h, w.reshape(3, 2, 64), jnp.stack([ids % 3] * 2, 1), linear_bias=w[:, :2][:3]
    ),
    "clusters": lambda h, w, ids, q: torch.adaptive_log_softmax_with_loss(
        h, ids, torch.AdaptiveLogSoftmax(w[:3], ((w, w[:4, :6]),))
    )[1],
}


def test_there_are_five_modules():
    assert len(MODULES) == 5


def test_a_head_rounds_no_logit_to_half():
    """The loss of halves is that of the same numbers in float32; so is its gradient."""
    rng = np.random.default_rng(0)
    h, w = (put(rng.normal(size=(n, 64)), jnp.bfloat16) for n in (4, 6))
    q = jax.nn.softmax(put(rng.normal(size=(4, 6)), jnp.float32))

    def every(h, w):
        run = {k: jax.value_and_grad(f, (0, 1)) for k, f in HEADS.items()}
        return {k: f(h, w, jnp.array([2, 0, 5, 1]), q) for k, f in run.items()}

    run = jax.jit(every, compiler_options={"xla_backend_optimization_level": 0})
    got, expected = run(h, w), run(h.astype(jnp.float32), w.astype(jnp.float32))
    for head, (value, gradients) in got.items():
        # 64 products, exact in float32, are summed in another order: 64 roundings at
        # most, of 2⁻²⁴ of a sum of the products' sizes, which is below 100.
        np.testing.assert_allclose(value, expected[head][0], atol=64 * 100 * 2**-24)
        for g, right in zip(gradients, expected[head][1], strict=True):
            assert g.dtype == jnp.bfloat16
            replay.close(g, right, 2**-8)  # one rounding
