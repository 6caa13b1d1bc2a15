# SPDX-License-Identifier: Apache-2.0
"""Every message of compat, to the letter; scikit-learn's are with its tests."""

import operator

import jax
import jax.numpy as jnp
import pytest

from jaxent import compat

X, Y = jnp.zeros((8, 5)), jnp.zeros(8, jnp.int32)
RESHAPE = "Nothing is broadcast: reshape, or `jnp.broadcast_to` it yourself."
LIKE_INPUT = "have shape (8, 5) (that of `input`)"
DEFINED = "The docstring defines them."
LOSSES = "tensorflow.losses.compute_weighted_loss"
# fmt: off
MISTAKES = [
    ("torch.cross_entropy", (X, Y[:3]), {}, "target", "have shape (8,) (that of `input[:, 0]`)", "(3,)", RESHAPE),
    ("torch.cross_entropy", (X, X[:3]), {}, "target", LIKE_INPUT, "(3, 5)", RESHAPE),
    ("torch.cross_entropy", (X, X), {"ignore_index": 0}, "ignore_index", "be negative (off) where `target` holds probabilities", "0", "Zero the rows of `target` instead."),
    ("torch.cross_entropy", (X, Y), {"reduction": "average"}, "reduction", "be one of 'none', 'mean', 'sum'", "'average'", DEFINED),
    ("torch.kl_div", (X, X), {"reduction": "average"}, "reduction", "be one of 'none', 'mean', 'sum', 'batchmean'", "'average'", DEFINED),
    ("torch.binary_cross_entropy", (X, X[:1]), {}, "target", LIKE_INPUT, "(1, 5)", RESHAPE),
    ("torch.adaptive_log_softmax", (jax.random.key(0), 4, 8, (6, 3)), {}, "cutoffs", "increase from 1 to at most n_classes − 1 = 7", "(6, 3)", "They are where the clusters begin."),
    (LOSSES, (X, X[0]), {}, "weights", "be a number or have rank 2, each axis of (8, 5) or 1", "(5,)", "Add axes of length 1."),
    (LOSSES, (X,), {"reduction": "mean"}, "reduction", "be one of 'none', 'weighted_sum', 'weighted_sum_over_batch_size', 'weighted_mean', 'weighted_sum_by_nonzero_weights'", "'mean'", DEFINED),
    ("tensorflow.sampled_softmax_loss", (X, X[:, 0], Y, X, 3, 8), {}, "labels", "have shape (batch, 1), `num_true` ids a position", "(8,)", "Add the axis: `labels[:, None]`."),
    ("keras.CategoricalCrossentropy", (), {"reduction": "average"}, "reduction", "be one of 'sum_over_batch_size', 'sum', 'none', 'mean', 'mean_with_sample_weight'", "'average'", DEFINED),
    ("keras.categorical_crossentropy", (X[:3], X), {}, "y_true", "have shape (8, 5) (that of `y_pred`)", "(3, 5)", RESHAPE),
    ("keras.sparse_categorical_crossentropy", (Y, X), {"axis": 0}, "axis", "be the last axis", "0", "Move the classes there: `jnp.moveaxis`."),
    ("optax.softmax_cross_entropy", (X, X[:3]), {}, "labels", "broadcast against `logits`, of shape (8, 5)", "(3, 5)", "Their axes must be equal or 1, counted from the last."),
]
# fmt: on


@pytest.mark.parametrize(
    ("call", "args", "options", "argument", "must", "got", "remedy"),
    MISTAKES,
    ids=[f"{m[0]}-{m[3]}-{i}" for i, m in enumerate(MISTAKES)],
)
def test_message(call, args, options, argument, must, got, remedy):
    with pytest.raises(ValueError, match=argument) as error:
        operator.attrgetter(call)(compat)(*args, **options)
    beginning = f"`jaxent.compat.{call}({argument}=...)`"
    assert str(error.value) == f"{beginning} must {must}; got {got}. {remedy}"
