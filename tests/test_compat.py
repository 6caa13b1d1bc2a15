# SPDX-License-Identifier: Apache-2.0
"""What all of compat promises: documents, messages, transformations, a light import."""

import inspect
import operator
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from given import put

import jaxent
from jaxent import compat

MODULES = {
    "keras": compat.keras,
    "keras.metrics": compat.keras.metrics,
    "optax": compat.optax,
    "sklearn": compat.sklearn,
    "tensorflow": compat.tensorflow,
    "tensorflow.losses": compat.tensorflow.losses,
    "torch": compat.torch,
}
FUNCTIONS = [
    f"{module}.{name}"
    for module, namespace in MODULES.items()
    for name, f in vars(namespace).items()
    if inspect.isfunction(f)
    and not name.startswith("_")
    and f.__module__.startswith(f"jaxent.compat.{module}")
]
function = pytest.mark.parametrize("name", sorted(set(FUNCTIONS)))


def test_there_are_as_many_as_the_frameworks_have():
    assert len(FUNCTIONS) >= 45


@function
def test_a_function_is_documented(name):
    doc = inspect.getdoc(operator.attrgetter(name)(compat))
    sections = [
        doc.find(f"\n{s}") for s in ("Returns:\n", "Raises:\n", "Example:\n", "Source:")
    ]
    assert -1 not in sections
    assert sections == sorted(sections)


@function
def test_every_argument_is_documented_here_or_once_for_its_module(name):
    f = operator.attrgetter(name)(compat)
    places = [inspect.getdoc(f), sys.modules[f.__module__].__doc__]
    places += [MODULES[name.rpartition(".")[0]].__doc__]
    texts = "\n".join(places)
    for parameter in inspect.signature(f).parameters:
        assert f"  {parameter}: " in texts or f"`{parameter}`" in texts, parameter


def test_importing_all_of_it_loads_no_framework():
    script = (
        "import sys, jaxent\n"
        "heavy = {'torch', 'tensorflow', 'keras', 'sklearn', 'optax'}\n"
        "print(heavy & {m.split('.')[0] for m in sys.modules})"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert run.stdout == "set()\n"


def test_metrics_are_pytrees_that_merge():
    metric = compat.keras.metrics.BinaryCrossentropy(from_logits=True)
    rng = np.random.default_rng(0)
    y = put(rng.random((6, 4, 5)), jnp.float32)
    x = put(rng.normal(size=(6, 4, 5)), jnp.float32)

    @jax.jit
    def scanned(metric):
        update = jax.lax.scan(lambda m, yx: (m.update(*yx), None), metric, (y, x))
        return update[0]

    whole = scanned(metric)
    assert whole.from_logits
    parts = metric.update(y[0], x[0]).merge(
        metric.update(y[1:].reshape(20, 5), x[1:].reshape(20, 5))
    )
    expected = jaxent.reduce(jaxent.sigmoid_binary_cross_entropy(x, y))
    for result in (whole.result(), parts.result()):
        np.testing.assert_allclose(result, expected, rtol=1e-6)
    assert metric.result() == 0


@pytest.mark.quickly_compiled
def test_the_adaptive_softmax_is_a_distribution():
    torch = compat.torch

    @jax.jit
    def made(key):
        parameters = torch.adaptive_log_softmax(key, 16, 100, (10, 40), head_bias=True)
        hidden = jax.random.normal(key, (3, 16))
        best = torch.adaptive_predict(hidden, parameters)
        outside = jnp.array([0, 100, -1])
        return (
            parameters,
            torch.adaptive_log_prob(hidden, parameters),
            best,
            torch.adaptive_log_softmax_with_loss(hidden, best, parameters)[0],
            torch.adaptive_log_softmax_with_loss(hidden, outside, parameters),
        )

    parameters, logs, best, output, (unknown, loss) = made(jax.random.key(0))
    shapes = [(4, 16), (30, 4), (1, 16), (60, 1)]
    assert [w.shape for pair in parameters.tail for w in pair] == shapes
    np.testing.assert_allclose(np.exp(logs).sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(best, np.argmax(logs, axis=-1))
    np.testing.assert_allclose(output, logs.max(axis=-1), rtol=1e-6)
    np.testing.assert_array_equal(np.isnan(unknown), [False, True, True])
    assert np.isnan(loss)
