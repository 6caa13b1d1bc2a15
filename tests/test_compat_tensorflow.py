# SPDX-License-Identifier: Apache-2.0
"""TensorFlow's numbers, as TensorFlow printed them."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import replay
from given import put

import jaxent
from jaxent.compat import tensorflow

pytestmark = pytest.mark.quickly_compiled


def shards(x, strategy, parts):
    """As TensorFlow cuts a table of 11 rows."""
    if strategy == "mod":
        return [x[i::parts] for i in range(parts)]
    return jnp.array_split(x, parts)


def function_of(name):
    if "/" not in name:
        return operator.attrgetter(name)(tensorflow)
    function, num_true, hits, strategy, parts = name.split("/")

    def of(weights, biases, labels, inputs, *drawn):
        if int(parts) > 1:
            weights, biases = (
                shards(x, strategy, int(parts)) for x in (weights, biases)
            )
        ids, true_counts, counts = drawn
        chosen = {} if strategy == "default" else {"partition_strategy": strategy}
        return getattr(tensorflow, function)(
            weights, biases, labels, inputs, 5, 11, int(num_true),
            sampled_values=(ids, true_counts, counts),
            remove_accidental_hits=hits == "True", **chosen,
        )  # fmt: skip

    return of


GOLDEN = replay.Golden("tensorflow", function_of)


@pytest.mark.parametrize("name", GOLDEN.cases, ids=str)
def test_the_number_tensorflow_prints(name):
    replay.check(GOLDEN, name)


def test_rank_sampled_softmax_is_the_sampled_one_of_the_hardest():
    rng = np.random.default_rng(0)
    weights, inputs = (put(rng.normal(size=n), jnp.float32) for n in [(11, 3), (4, 3)])
    biases, labels = jnp.zeros(11), jnp.array([[2], [3], [10], [1]])
    drawn, _ = jaxent.samplers.learned_unigram(
        jax.random.key(1), labels, num_sampled=6, num_classes=11
    )
    options = (11, 1, None, 0.5, True, "mod")
    got = tensorflow.rank_sampled_softmax_loss(
        weights, biases, labels, inputs, 6, 3, *options, key=jax.random.key(1)
    )
    # Its definition: the three that Σ exp(x·w/τ) ranks first.
    scores = np.log(np.exp(np.asarray(inputs @ weights[drawn.ids].T) / 0.5).sum(axis=0))
    best = np.sort(np.argsort(-scores)[:3])
    kept = (drawn.ids[best], drawn.true_count, drawn.sampled_count[best])
    expected = tensorflow.sampled_softmax_loss(
        weights, biases, labels, inputs, 3, 11, sampled_values=kept
    )
    np.testing.assert_allclose(got, expected, rtol=2e-6)


@pytest.mark.parametrize("function", ["sampled_softmax_loss", "nce_loss"])
def test_a_key_draws_log_uniformly(function):
    weights, labels, key = jnp.eye(8, 4), jnp.array([[0], [7]]), jax.random.key(0)
    drawn = jaxent.samplers.log_uniform(key, labels, num_sampled=5, num_classes=8)
    f = getattr(tensorflow, function)
    args = (weights, jnp.zeros(8), labels, jnp.ones((2, 4)), 5, 8)
    np.testing.assert_array_equal(f(*args, key=key), f(*args, sampled_values=drawn))
    with pytest.raises(ValueError, match="key") as error:
        f(*args)
    assert str(error.value) == (
        f"`jaxent.compat.tensorflow.{function}(key=...)` must be a JAX random key; got "
        "None. Pass a key such as `jax.random.key(0)`, or `sampled_values`."
    )
