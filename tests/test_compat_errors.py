# SPDX-License-Identifier: Apache-2.0
"""What a mistake in compat is answered with: in the words of its framework."""

import dataclasses
import inspect
import operator
import re
import traceback
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from given import of_jax

import jaxent
from jaxent import compat

pytestmark = pytest.mark.quickly_compiled

PACKAGE = str(Path(jaxent.__file__).parent)
KEY = jax.random.key(0)
X, Y = np.zeros((8, 5)), np.zeros(8, np.int32)
KEEP, COMPLEX = np.ones((8, 5), bool), X.astype(complex)
IDS, BIAS = Y[:, None], X[:, 0]
SIZES = {"num_sampled": 3, "num_classes": 8}
DRAW = SIZES | {"key": KEY}
DRAWN = (Y[:3], X[:, :1], X[:3, 0])
RANKED = SIZES | {
    "num_resampled": 2, "num_true": 1, "sampled_values": None, "key": KEY,
    "resampling_temperature": 1.0, "remove_accidental_hits": True,
    "partition_strategy": "mod",
}  # fmt: skip
ADAPTIVE = compat.torch.AdaptiveLogSoftmax(
    np.zeros((4, 5)), ((np.zeros((1, 5)), np.zeros((5, 1))),), np.zeros(4)
)
RAGGED, OBJECTS = [[1.0], [1.0, 2.0]], np.full((8, 5), None)
IMAGES, MAPS = np.zeros((2, 3, 4, 4)), np.zeros((2, 4, 3), np.int32)
PAIR = [0.2, 0.3]


class Traced(NamedTuple):
    """A value that is not known while the call is traced."""

    value: object


# What is called, with what; the error, the argument it names, what that must be, what
# it got, and what to do. Classes are made of those options that they have.
# fmt: off
MISTAKES = [
    ("torch.cross_entropy", (X, Y[:3]), {}, ValueError, "target", "have shape (8,) (that of `input[:, 0]`)", "(3,)", "Give one class id per position."),
    ("torch.cross_entropy", (X, Y[:, None]), {}, ValueError, "target", "have shape (8,) (that of `input[:, 0]`)", "(8, 1)", "Reshape it: `target.reshape((8,))`."),
    ("torch.cross_entropy", (X, X[:, 0]), {}, TypeError, "target", "be integers, to be class ids", "float32[8]", "Floats are probabilities, one a class; ids: `target.astype(jnp.int32)`."),
    ("torch.cross_entropy", (X, X[:3]), {}, ValueError, "target", "have shape (8, 5) (that of `input`), to be probabilities", "(3, 5)", "Class ids are integers, of shape (8,)."),
    ("torch.cross_entropy", (X, X.astype(int)), {}, ValueError, "target", "have shape (8,) (that of `input[:, 0]`)", "(8, 5)", "Probabilities are floats: `target.astype(jnp.float32)`."),
    ("torch.cross_entropy", (X, KEEP[:, 0]), {}, TypeError, "target", "be integer class ids", "bool[8]", "Cast ids: `target.astype(jnp.int32)`."),
    ("torch.cross_entropy", (IMAGES, MAPS), {}, ValueError, "target", "have shape (2, 4, 4) (that of `input[:, 0]`)", "(2, 4, 3)", "Give one class id per position."),
    ("torch.cross_entropy", (X[0, 0], Y[0]), {}, ValueError, "input", "have an axis", "()", "It is a single number: add the axis of the classes."),
    ("torch.cross_entropy", (X, Y), {"weight": np.ones(8)}, ValueError, "weight", "have shape (5,), one weight a class", "(8,)", 'For weights of positions multiply the losses of reduction="none".'),
    ("torch.cross_entropy", (X, Y.astype("uint8")), {"ignore_index": -1}, ValueError, "ignore_index", "be an id that uint8 labels can be", "-1", "Cast `target` to a type that holds it."),
    ("torch.cross_entropy", (X, Y), {"ignore_index": "a"}, TypeError, "ignore_index", "be one integer", "'a'", "Pass an int; to ignore several ids, set them to it in `target`."),
    ("torch.cross_entropy", (X, Y), {"ignore_index": Traced(1)}, TypeError, "ignore_index", "be one integer", "int32[]", 'Under `jax.jit` it is static: `static_argnames="ignore_index"`.'),
    ("torch.cross_entropy", (X, X), {"ignore_index": 0}, ValueError, "ignore_index", "be negative (off) where `target` holds probabilities", "0", "Zero the rows of `target` instead."),
    ("torch.cross_entropy", (X, Y), {"reduction": "average"}, ValueError, "reduction", "be one of 'none', 'mean', 'sum'", "'average'", "There are no others."),
    ("torch.cross_entropy", (X, Y), {"label_smoothing": "0.1"}, TypeError, "label_smoothing", "be one real number", "'0.1'", "Pass a Python number, or a scalar such as a schedule's value."),
    ("torch.cross_entropy", (X, Y), {"size_average": "x"}, TypeError, "size_average", "be True or False", "'x'", "It is fixed when the call is traced."),
    ("torch.cross_entropy", (X, Y), {"class_weights": X[0]}, TypeError, "class_weights", "be an argument it has", "float32[5]", "Did you mean `weight`? It takes input, target, weight, size_average, ignore_index, reduce, reduction, label_smoothing."),
    ("torch.nll_loss", (X, X), {}, TypeError, "target", "be integer class ids", "float32[8, 5]", "For probabilities use `jaxent.compat.torch.cross_entropy`, of logits."),
    ("torch.kl_div", (X, X), {"reduction": "average"}, ValueError, "reduction", "be one of 'none', 'mean', 'sum', 'batchmean'", "'average'", "There are no others."),
    ("torch.kl_div", (X, X[:3]), {}, ValueError, "target", "broadcast against `input`, of shape (8, 5)", "(3, 5)", "Their axes must be equal or 1, counted from the last."),
    ("torch.linear_cross_entropy", (X, X[:7, :3], Y), {}, ValueError, "linear_weight", "have shape (C, 5), or (C, d1, ..., 5)", "(7, 3)", "Its last axis is that of `input`, as in `torch.nn.Linear`."),
    ("torch.linear_cross_entropy", (X, X, Y[:3]), {}, ValueError, "target", "have shape (8,) (that of the logits without their classes)", "(3,)", "Give one class id per position."),
    ("torch.linear_cross_entropy", (X, X, X[:, 0]), {}, TypeError, "target", "be integers, to be class ids", "float32[8]", "Floats are probabilities, one a class; ids: `target.astype(jnp.int32)`."),
    ("torch.linear_cross_entropy", (X, X, X), {}, ValueError, "target", "have shape (8, 8) (that of the logits), to be probabilities", "(8, 5)", "Class ids are integers, of shape (8,)."),
    ("torch.linear_cross_entropy", (X, X, Y), {"linear_bias": X[0]}, ValueError, "linear_bias", "have shape (8,) (that of `linear_weight[..., 0]`)", "(5,)", "Nothing is broadcast: reshape, or `jnp.broadcast_to` it yourself."),
    ("torch.CrossEntropyLoss", (X, Y[:3]), {}, ValueError, "target", "have shape (8,) (that of `input[:, 0]`)", "(3,)", "Give one class id per position."),
    ("torch.CrossEntropyLoss", (X, Y), {"weight": np.ones(8)}, ValueError, "weight", "have shape (5,), one weight a class", "(8,)", 'For weights of positions multiply the losses of reduction="none".'),
    ("torch.CrossEntropyLoss", (), {"label_smoothing": 2}, ValueError, "label_smoothing", "be from 0 to 1", "2", "It is the share of the uniform distribution; 0 is off."),
    ("torch.CrossEntropyLoss", (), {"ignore_index": "a"}, TypeError, "ignore_index", "be one integer", "'a'", "Pass an int; to ignore several ids, set them to it in `target`."),
    ("torch.CrossEntropyLoss", (), {"class_weights": X[0]}, TypeError, "class_weights", "be an argument it has", "float32[5]", "Did you mean `weight`? It takes weight, size_average, ignore_index, reduce, reduction, label_smoothing."),
    ("torch.BCEWithLogitsLoss", (X, X), {"pos_weight": np.ones(3)}, ValueError, "pos_weight", "broadcast to `input`'s shape (8, 5)", "(3,)", "Give one number, one per last axis, or one per element."),
    ("torch.KLDivLoss", (), {"reduction": "average"}, ValueError, "reduction", "be one of 'none', 'mean', 'sum', 'batchmean'", "'average'", "There are no others."),
    ("torch.binary_cross_entropy", (X, X[:1]), {}, ValueError, "target", "have shape (8, 5) (that of `input`)", "(1, 5)", "Nothing is broadcast. If meant: `jnp.broadcast_to(target, (8, 5))`."),
    ("torch.binary_cross_entropy", (X, X), {"weight": np.ones(3)}, ValueError, "weight", "broadcast to `input`'s shape (8, 5)", "(3,)", "Give one number, one per last axis, or one per element."),
    ("torch.binary_cross_entropy_with_logits", (X, X), {"pos_weight": np.ones(3)}, ValueError, "pos_weight", "broadcast to `input`'s shape (8, 5)", "(3,)", "Give one number, one per last axis, or one per element."),
    ("torch.sigmoid_focal_loss", (X, X), {"alpha": None}, TypeError, "alpha", "be one Python number", "None", "A negative number is off; a traced one has no sign yet."),
    ("torch.adaptive_log_softmax", (KEY, 4, 8, (6, 3)), {}, ValueError, "cutoffs", "increase from 1 to at most n_classes − 1 = 7", "(6, 3)", "They are where the clusters begin."),
    ("torch.adaptive_log_softmax", (KEY, 4, 8, "3"), {}, TypeError, "cutoffs", "be a tuple of ints", "'3'", "They are where the clusters begin."),
    ("torch.adaptive_log_softmax", (0, 4, 8, (3,)), {}, TypeError, "key", "be one JAX random key", "0", "Pass a key such as `jax.random.key(0)`."),
    ("torch.adaptive_log_softmax_with_loss", (X[:, :4], Y, ADAPTIVE), {}, ValueError, "input", "have 5 features on its last axis, `in_features`", "(8, 4)", "Those of `parameters.head[0]`."),
    ("torch.adaptive_log_prob", (X, None), {}, TypeError, "parameters", "be an AdaptiveLogSoftmax", "NoneType", "Make them by `jaxent.compat.torch.adaptive_log_softmax`."),
    ("torch.adaptive_predict", (X, ADAPTIVE._replace(head_bias=X[0])), {}, ValueError, "parameters.head_bias", "have shape (4,) (that of `parameters.head[:, 0]`)", "(5,)", "Nothing is broadcast: reshape, or `jnp.broadcast_to` it yourself."),
    ("tensorflow.softmax_cross_entropy_with_logits", (X[:3], X), {}, ValueError, "labels", "have shape (8, 5) (that of `logits`), or broadcast to it", "(3, 5)", "One row stands for all positions, one number for all classes."),
    ("tensorflow.softmax_cross_entropy_with_logits", (Y[:5], X[:5]), {}, ValueError, "labels", "have shape (5, 5) (that of `logits`)", "(5,)", "For class ids write `jax.nn.one_hot(labels, 5)`."),
    ("tensorflow.softmax_cross_entropy_with_logits", (X, X), {"axis": "a"}, TypeError, "axis", "be an int or a tuple of ints", "'a'", "-1 is the last axis."),
    ("tensorflow.softmax_cross_entropy_with_logits_v2", (X, X), {"axis": 5}, ValueError, "axis", "name axes of `logits`, of shape (8, 5), each once", "5", "-1 is the last axis."),
    ("tensorflow.sparse_softmax_cross_entropy_with_logits", (X, X), {}, TypeError, "labels", "be integer class ids", "float32[8, 5]", "For class probabilities use `jaxent.compat.tensorflow.softmax_cross_entropy_with_logits`."),
    ("tensorflow.weighted_cross_entropy_with_logits", (X, X, np.ones(3)), {}, ValueError, "pos_weight", "broadcast to the logits' shape (8, 5)", "(3,)", "Give one number, one per last axis, or one per element."),
    ("tensorflow.sampled_softmax_loss", (X, BIAS, Y, X), DRAW, ValueError, "labels", "have shape (8, 1), `num_true` ids for each of `inputs`", "(8,)", "Add the axis: `labels[:, None]`."),
    ("tensorflow.sampled_softmax_loss", (X, BIAS, IDS, X), {**DRAW, "num_true": "x"}, TypeError, "num_true", "be one integer", "'x'", "It is a size, and fixed when the call is traced."),
    ("tensorflow.sampled_softmax_loss", (X, BIAS, IDS, X), SIZES, ValueError, "key", "be a JAX random key", "None", "Pass a key such as `jax.random.key(0)`, or `sampled_values`."),
    ("tensorflow.sampled_softmax_loss", (X, BIAS, IDS, X), DRAW | {"num_classes": 9}, ValueError, "weights", "have at least 9 rows, one a class", "(8, 5)", "There are `num_classes`, along the first axis."),
    ("tensorflow.sampled_softmax_loss", (X, BIAS, IDS, X), {**SIZES, "sampled_values": DRAWN[:2]}, TypeError, "sampled_values", "be three arrays: the ids, their labels' and their own expected counts", "(Array([0, 0, 0], dtype=int32), Array([[0.], [0.], [...]", "Pass what a sampler of `jaxent.samplers` returns, or a `key`."),
    ("tensorflow.nce_loss", ([X[:2], X[2:]], BIAS, IDS, X), DRAW | {"partition_strategy": "mod"}, ValueError, "weights[0]", "have at least 4 rows, one a class", "(2, 5)", "There are `num_classes`, along the first axis."),
    ("tensorflow.nce_loss", (X, BIAS, IDS, X), {**SIZES, "sampled_values": (IDS, *DRAWN[1:])}, ValueError, "sampled_values[0]", "have shape (num_sampled,)", "(8, 1)", "All positions share one draw."),
    ("tensorflow.rank_sampled_softmax_loss", (X, BIAS, IDS, X), RANKED | {"num_resampled": 3}, ValueError, "num_resampled", "be below 3, the number of candidates", "3", "To keep all use `jaxent.compat.tensorflow.sampled_softmax_loss`."),
    ("tensorflow.losses.compute_weighted_loss", (X, X[0]), {}, ValueError, "weights", "be a number or have rank 2, each axis of (8, 5) or 1", "(5,)", "Add axes of length 1."),
    ("tensorflow.losses.compute_weighted_loss", (X,), {"reduction": "mean"}, ValueError, "reduction", "be one of 'none', 'weighted_sum', 'weighted_sum_over_batch_size', 'weighted_mean', 'weighted_sum_by_nonzero_weights'", "'mean'", "There are no others."),
    ("tensorflow.losses.softmax_cross_entropy", (X, X), {"label_smoothing": 2}, ValueError, "label_smoothing", "be from 0 to 1", "2", "It is the share of the uniform distribution; 0 is off."),
    ("tensorflow.losses.sparse_softmax_cross_entropy", (X, X), {}, TypeError, "labels", "be integer class ids", "float32[8, 5]", "For class probabilities use `jaxent.compat.tensorflow.losses.softmax_cross_entropy`."),
    ("tensorflow.losses.sigmoid_cross_entropy", (X[:3], X), {}, ValueError, "multi_class_labels", "have shape (8, 5) (that of `logits`)", "(3, 5)", "Nothing is broadcast: reshape, or `jnp.broadcast_to` it yourself."),
    ("tensorflow.losses.log_loss", (X, X), {"epsilon": "a"}, TypeError, "epsilon", "be one real number", "'a'", "Pass a Python number, or a scalar such as a schedule's value."),
    ("keras.categorical_crossentropy", (X[:3], X), {}, ValueError, "y_true", "have shape (8, 5) (that of `y_pred`)", "(3, 5)", "Nothing is broadcast: reshape, or `jnp.broadcast_to` it yourself."),
    ("keras.categorical_crossentropy", (X, X), {"label_smoothing": 2}, ValueError, "label_smoothing", "be from 0 to 1", "2", "It is the share of the uniform distribution; 0 is off."),
    ("keras.binary_crossentropy", (X, X), {"axis": 5}, ValueError, "axis", "name axes of `y_pred`, of shape (8, 5), each once", "5", "-1 is the last axis."),
    ("keras.binary_crossentropy", (X, X), {"from_logits": Traced(True)}, TypeError, "from_logits", "be True or False", "bool[]", 'Under `jax.jit` it is static: `static_argnames="from_logits"`.'),
    ("keras.sparse_categorical_crossentropy", (Y, X), {"axis": 0}, ValueError, "axis", "be the last axis", "0", "Move the classes there: `jnp.moveaxis`."),
    ("keras.sparse_categorical_crossentropy", (X, X), {}, ValueError, "y_true", "have shape (8,) (`y_pred` without the class axis)", "(8, 5)", "For class probabilities use `jaxent.compat.keras.categorical_crossentropy`."),
    ("keras.sparse_categorical_crossentropy", (Y.astype("uint8"), X), {"ignore_class": -1}, ValueError, "ignore_class", "be an id that uint8 labels can be", "-1", "Cast `y_true` to a type that holds it."),
    ("keras.sparse_categorical_crossentropy", (Y, X), {"ignore_class": "a"}, TypeError, "ignore_class", "be one integer", "'a'", "Pass one class id, such as 255."),
    ("keras.categorical_focal_crossentropy", (X, X), {"alpha": np.ones(3)}, ValueError, "alpha", "broadcast to `y_pred`'s shape (8, 5)", "(3,)", "Give one number, one per last axis, or one per element."),
    ("keras.categorical_generalized_cross_entropy", (Y, X, 0), {}, ValueError, "q", "be above 0", "0", "It goes from cross-entropy, near 0, to the mean absolute error, 1."),
    ("keras.poisson", (X[0, 0], X[0, 0]), {}, ValueError, "y_pred", "have an axis", "()", "It is a single number: add the axis of the outputs."),
    ("keras.CategoricalCrossentropy", (), {"reduction": "average"}, ValueError, "reduction", "be one of 'sum_over_batch_size', 'sum', 'none', 'mean', 'mean_with_sample_weight'", "'average'", "There are no others."),
    ("keras.CategoricalCrossentropy", (), {"axes": 1}, TypeError, "axes", "be an argument it has", "1", "Did you mean `axis`? It takes from_logits, label_smoothing, axis, reduction, name, dtype."),
    ("keras.CategoricalCrossentropy", (X, X), {"sample_weight": np.ones(3)}, ValueError, "sample_weight", "broadcast against the losses, of shape (8,)", "(3,)", "Its axes must be equal or 1, counted from the last."),
    ("keras.CategoricalCrossentropy", (X, X), {"mask": X[:, 0]}, TypeError, "mask", "be booleans, True to keep", "float32[8]", "Write `mask != 0`; multipliers are `sample_weight`."),
    ("keras.SparseCategoricalCrossentropy", (X, X), {}, ValueError, "y_true", "have shape (8,) (`y_pred` without the class axis)", "(8, 5)", "For class probabilities use `jaxent.compat.keras.CategoricalCrossentropy`."),
    ("keras.metrics.CategoricalCrossentropy", (X, X), {"axis": 5}, ValueError, "axis", "name axes of `y_pred`, of shape (8, 5), each once", "5", "-1 is the last axis."),
    ("keras.metrics.SparseCategoricalCrossentropy", (Y, X), {"sample_weight": np.ones(3)}, ValueError, "sample_weight", "broadcast to the first axes of the losses, of shape (8,)", "(3,)", "Give one number a sample, or one a loss."),
    ("optax.softmax_cross_entropy", (X, X[:3]), {}, ValueError, "labels", "broadcast against `logits`, of shape (8, 5)", "(3, 5)", "Their axes must be equal or 1, counted from the last."),
    ("optax.softmax_cross_entropy", (X, Y), {}, ValueError, "labels", "broadcast against `logits`, of shape (8, 5)", "(8,)", "For class ids write `jax.nn.one_hot(labels, 5)`."),
    ("optax.softmax_cross_entropy", (X, X), {"where": KEEP[:3]}, ValueError, "where", "broadcast to the logits' shape (8, 5), or to its positions' (8,)", "(3, 5)", "Its axes must be equal or 1."),
    ("optax.softmax_cross_entropy", (X, X), {"where": X}, TypeError, "where", "be booleans, True to keep", "float32[8, 5]", "Write `where != 0`; multiply the losses by weights."),
    ("optax.softmax_cross_entropy_with_integer_labels", (X, X), {}, TypeError, "labels", "be integer class ids", "float32[8, 5]", "For class probabilities use `jaxent.compat.optax.softmax_cross_entropy`."),
    ("optax.softmax_cross_entropy_with_integer_labels", (X, Y[:3]), {}, ValueError, "labels", "broadcast against the positions, of shape (8,)", "(3,)", "Give one class id per position."),
    ("optax.kl_divergence", (X, X), {"where": KEEP[:, :3]}, ValueError, "where", "broadcast to the shape (8, 5) of `log_predictions`", "(8, 3)", "Its axes must be equal or 1."),
    ("optax.kl_divergence_with_log_targets", (X, X[:3]), {}, ValueError, "log_targets", "broadcast against `log_predictions`, of shape (8, 5)", "(3, 5)", "Their axes must be equal or 1, counted from the last."),
    ("optax.convex_kl_divergence", (X, X), {"axis": 5}, ValueError, "axis", "name axes of `log_predictions`, of shape (8, 5), each once", "5", "-1 is the last axis."),
    ("optax.smooth_labels", (Y, 0.1), {}, TypeError, "labels", "be weights of the classes, no ids", "int32[8]", "For class ids write `jax.nn.one_hot(labels, V)`."),
    ("keras.categorical_crossentropy", (IDS, X), {}, ValueError, "y_true", "have shape (8, 5) (that of `y_pred`)", "(8, 1)", "For class ids write `jax.nn.one_hot(y_true[..., 0], 5)`."),
    ("optax.smooth_labels", (X, "a"), {}, TypeError, "alpha", "be one real number", "'a'", "Pass a Python number, or a scalar such as a schedule's value."),
    ("sklearn.log_loss", ([0, "a"], PAIR), {}, TypeError, "y_true", "be labels of one kind", "[0, 'a']", "Make them all strings, or all numbers."),
    ("sklearn.log_loss", (IDS[:2], PAIR), {}, ValueError, "y_true", "have 2 classes, one for each column of `y_proba`", "[0]", "Give all classes, in sorted order, by `labels=`."),
    ("sklearn.log_loss", ([0, 1],), {}, TypeError, "y_proba", "be given", "nothing", "Pass the probabilities of the classes."),
    ("sklearn.log_loss", ([0, 1], PAIR), {"labels": Traced(Y[:2])}, TypeError, "labels", "be a sequence of labels", "int32[2]", "Pass a list or an array, known while tracing, of one label each."),
    # swapped
    ("torch.cross_entropy", (Y, X), {}, TypeError, "input", "be real floats", "int32[8]", "The floats are `target`: swap the two."),
    ("torch.nll_loss", (Y, X), {}, TypeError, "input", "be real floats", "int32[8]", "The floats are `target`: swap the two."),
    ("torch.CrossEntropyLoss", (Y, X), {}, TypeError, "input", "be real floats", "int32[8]", "The floats are `target`: swap the two."),
    ("keras.sparse_categorical_crossentropy", (X, Y), {}, TypeError, "y_pred", "be real floats", "int32[8]", "The floats are `y_true`: swap the two."),
    ("keras.SparseCategoricalCrossentropy", (X, Y), {}, TypeError, "y_pred", "be real floats", "int32[8]", "The floats are `y_true`: swap the two."),
    ("keras.categorical_generalized_cross_entropy", (X, Y, 0.5), {}, TypeError, "y_pred", "be real floats", "int32[8]", "The floats are `y_true`: swap the two."),
    ("tensorflow.sparse_softmax_cross_entropy_with_logits", (X, Y), {}, TypeError, "logits", "be real floats", "int32[8]", "The floats are `labels`: swap the two."),
    ("tensorflow.softmax_cross_entropy_with_logits", (X, KEEP), {}, TypeError, "logits", "be real floats", "bool[8, 5]", "The floats are `labels`: swap the two."),
    ("tensorflow.losses.sparse_softmax_cross_entropy", (X, Y), {}, TypeError, "logits", "be real floats", "int32[8]", "The floats are `labels`: swap the two."),
    ("optax.softmax_cross_entropy_with_integer_labels", (Y, X), {}, TypeError, "logits", "be real floats", "int32[8]", "The floats are `labels`: swap the two."),
    ("optax.sigmoid_binary_cross_entropy", (KEEP, X), {}, TypeError, "logits", "be real floats", "bool[8, 5]", "The floats are `labels`: swap the two."),
    ("tensorflow.sampled_softmax_loss", (X, BIAS, X, IDS), DRAW, TypeError, "inputs", "be real floats", "int32[8, 1]", "The floats are `labels`: swap the two."),
    # axes in another order
    ("torch.cross_entropy", (np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4), int)), {}, ValueError, "target", "have shape (2, 4, 3) (that of `input[:, 0]`)", "(2, 4, 4)", "Classes are axis 1: `jnp.moveaxis(input, -1, 1)`."),
    ("torch.nll_loss", (np.zeros((2, 7, 5)), np.zeros((5, 2), int)), {}, ValueError, "target", "have shape (2, 5) (that of `input[:, 0]`)", "(5, 2)", "Transpose it: `target.T`."),
    ("torch.cross_entropy", (X, [0.0] * 8), {}, TypeError, "target", "be integers, to be class ids", "float32[8]", "Floats are probabilities, one a class; ids: `jnp.asarray(target, jnp.int32)`."),
    ("torch.cross_entropy", (X, Y), {"reduction": "elementwise_mean"}, ValueError, "reduction", "be one of 'none', 'mean', 'sum'", "'elementwise_mean'", "Did you mean 'mean'?"),
]
# More of them, which keep the rules below.
MORE = [
    ("torch.cross_entropy", (Y, X), {}),
    ("torch.cross_entropy", (COMPLEX, Y), {}),
    ("torch.cross_entropy", (X, COMPLEX), {}),
    ("torch.cross_entropy", ("a", Y), {}),
    ("torch.cross_entropy", (X, None), {}),
    ("torch.cross_entropy", (RAGGED, Y), {}),
    ("torch.cross_entropy", (OBJECTS, Y), {}),
    ("torch.cross_entropy", (X[:, :0], Y), {}),
    ("torch.cross_entropy", (X, Y), {"reduction": np.array(["mean", "sum"])}),
    ("torch.cross_entropy", (X, Y), {"label_smoothing": 2}),
    ("torch.cross_entropy", (X, Y), {"reduce": Traced(True)}),
    ("torch.nll_loss", (X, X[:, 0]), {}),
    ("torch.nll_loss", (X, Y), {"ignore_index": "a"}),
    ("torch.nll_loss", (X, Y), {"weight": X}),
    ("torch.nll_loss", (X[0, 0], Y[0]), {}),
    ("torch.linear_cross_entropy", (X[0, 0], X, Y), {}),
    ("torch.linear_cross_entropy", (X, X[0, 0], Y), {}),
    ("torch.linear_cross_entropy", (X, np.zeros((8, 2, 4)), Y), {}),
    ("torch.linear_cross_entropy", (X, np.zeros((8, 2, 5)), Y), {}),
    ("torch.linear_cross_entropy", (X, X, np.zeros((8, 8), int)), {}),
    ("torch.linear_cross_entropy", (X, X, np.zeros((8, 8))), {"linear_bias": X[0]}),
    ("torch.linear_cross_entropy", (X, X, Y), {"weight": "a"}),
    ("torch.linear_cross_entropy", (X, X, Y), {"ignore_index": Traced(1)}),
    ("torch.binary_cross_entropy", (X, RAGGED), {}),
    ("torch.CrossEntropyLoss", (X, X), {"ignore_index": 0}),
    ("torch.CrossEntropyLoss", (X,), {}),
    ("torch.NLLLoss", (X, X), {}),
    ("torch.NLLLoss", (), {"reduction": "batchmean"}),
    ("torch.BCELoss", (X, X[:1]), {}),
    ("torch.BCELoss", (), {"size_average": "x"}),
    ("torch.BCEWithLogitsLoss", (X, COMPLEX), {}),
    ("torch.KLDivLoss", (X, X[:3]), {}),
    ("torch.KLDivLoss", (), {"log_target": "x"}),
    ("torch.binary_cross_entropy", (X, X), {"size_average": Traced(True)}),
    ("torch.binary_cross_entropy_with_logits", (X, X), {"pos_weight": "a"}),
    ("torch.multilabel_soft_margin_loss", (X[0, 0], X[0, 0]), {}),
    ("torch.multilabel_soft_margin_loss", (X, X), {"weight": np.ones(8)}),
    ("torch.sigmoid_focal_loss", (X, X), {"alpha": Traced(0.2)}),
    ("torch.sigmoid_focal_loss", (X, X), {"gamma": -1}),
    ("torch.sigmoid_focal_loss", (X, X[:1]), {}),
    ("torch.kl_div", (X, X), {"log_target": Traced(True)}),
    ("torch.gaussian_nll_loss", (X, X[:3], X), {}),
    ("torch.gaussian_nll_loss", (X, X, X[:3]), {}),
    ("torch.gaussian_nll_loss", (X, X, X), {"eps": "a"}),
    ("torch.gaussian_nll_loss", (X, X, X), {"full": "x"}),
    ("torch.adaptive_log_softmax", (KEY, 0, 8, (3,)), {}),
    ("torch.adaptive_log_softmax", (KEY, 4, 8.5, (3,)), {}),
    ("torch.adaptive_log_softmax", (KEY, 4, 8, 3), {}),
    ("torch.adaptive_log_softmax", (KEY, 4, 8, (3,)), {"div_value": 0}),
    ("torch.adaptive_log_softmax", (KEY, 4, 8, (3,)), {"div_value": Traced(2.0)}),
    ("torch.adaptive_log_softmax", (KEY, 4, 8, (3,)), {"head_bias": "x"}),
    ("torch.adaptive_log_softmax_with_loss", (X, X, ADAPTIVE), {}),
    ("torch.adaptive_log_softmax_with_loss", (X, Y, ADAPTIVE._replace(head=X[0])), {}),
    ("torch.adaptive_log_softmax_with_loss", (X, Y, ADAPTIVE._replace(tail=None)), {}),
    ("torch.adaptive_log_prob", (X[0, 0], ADAPTIVE), {}),
    ("tensorflow.sigmoid_cross_entropy_with_logits", (X[:3], X), {}),
    ("tensorflow.sigmoid_cross_entropy_with_logits", (X, COMPLEX), {}),
    ("tensorflow.weighted_cross_entropy_with_logits", (X, X, "a"), {}),
    ("tensorflow.softmax_cross_entropy_with_logits", (X, X), {"axis": Traced(1)}),
    ("tensorflow.softmax_cross_entropy_with_logits", (IMAGES[:1], IMAGES), {"axis": 1}),
    ("tensorflow.softmax_cross_entropy_with_logits", (IMAGES[0, :, 0], IMAGES), {"axis": 1}),
    ("tensorflow.softmax_cross_entropy_with_logits", (X[0, 0], X[0, 0]), {}),
    ("tensorflow.sparse_softmax_cross_entropy_with_logits", (Y[0], X[0, 0]), {}),
    ("tensorflow.sparse_softmax_cross_entropy_with_logits", (Y[:3], X), {}),
    ("tensorflow.sampled_softmax_loss", (X, None, IDS, X), DRAW),
    ("tensorflow.sampled_softmax_loss", ("a", BIAS, IDS, X), DRAW),
    ("tensorflow.sampled_softmax_loss", (X, BIAS, IDS, X[:3]), DRAW),
    ("tensorflow.sampled_softmax_loss", (X, BIAS, IDS, "a"), DRAW),
    ("tensorflow.sampled_softmax_loss", ([], BIAS, IDS, X), DRAW),
    ("tensorflow.sampled_softmax_loss", ([X[:4], X[4:, :3]], BIAS, IDS, X), DRAW),
    ("tensorflow.sampled_softmax_loss", (X, BIAS, IDS, X), {**SIZES, "key": 0}),
    ("tensorflow.sampled_softmax_loss", (X, BIAS, IDS, X), DRAW | {"num_sampled": 9}),
    ("tensorflow.nce_loss", (X, BIAS, IDS, X), DRAW | {"num_classes": Traced(8)}),
    ("tensorflow.nce_loss", (X, BIAS, IDS, X), {**SIZES, "sampled_values": "abc"}),
    ("tensorflow.nce_loss", (X, BIAS, IDS, X), {**DRAW, "partition_strategy": "x"}),
    ("tensorflow.nce_loss", (X, BIAS, IDS, X), {**DRAW, "remove_accidental_hits": "yes"}),
    ("tensorflow.rank_sampled_softmax_loss", (X, BIAS, IDS, X), RANKED | {"resampling_temperature": 0}),
    ("tensorflow.rank_sampled_softmax_loss", (X, BIAS, IDS, X), {**RANKED, "counts": Y[:3]}),
    ("tensorflow.losses.sigmoid_cross_entropy", (X, X, np.ones(3)), {}),
    ("tensorflow.losses.sparse_softmax_cross_entropy", (Y[0], X[0, 0]), {}),
    ("tensorflow.losses.log_loss", (X, X), {"epsilon": np.ones(3)}),
    ("keras.binary_crossentropy", (X, X), {"label_smoothing": "a"}),
    ("keras.binary_crossentropy", (X[0, 0], X[0, 0]), {}),
    ("keras.categorical_crossentropy", (X, X), {"axis": Traced(1)}),
    ("keras.categorical_crossentropy", (Y, X), {}),
    ("keras.binary_focal_crossentropy", (X, X), {"gamma": "a"}),
    ("keras.binary_focal_crossentropy", (X, X), {"alpha": None}),
    ("keras.binary_focal_crossentropy", (X, X), {"apply_class_balancing": "x"}),
    ("keras.categorical_focal_crossentropy", (X, X), {"gamma": np.ones(3)}),
    ("keras.sparse_categorical_crossentropy", (Y, X), {"from_logits": "x"}),
    ("keras.sparse_categorical_crossentropy", (Y[0], X[0, 0]), {}),
    ("keras.categorical_generalized_cross_entropy", (Y[0], X[0, 0], 0.5), {}),
    ("keras.kl_divergence", (X[0, 0], X[0, 0]), {}),
    ("keras.BinaryCrossentropy", (X, X), {"axis": "a"}),
    ("keras.BinaryCrossentropy", (X, X), {"mask": KEEP[:3, 0]}),
    ("keras.BinaryCrossentropy", (X, X), {"mask": KEEP[:, :3], "sample_weight": BIAS}),
    ("keras.BinaryFocalCrossentropy", (), {"gamma": "a"}),
    ("keras.CategoricalFocalCrossentropy", (), {"label_smoothing": "a"}),
    ("keras.SparseCategoricalCrossentropy", (Y, X), {"ignore_class": 0, "mask": KEEP[:3, 0]}),
    ("keras.CategoricalGeneralizedCrossEntropy", (), {"q": 2}),
    ("keras.KLDivergence", (X, X), {"sample_weight": "a"}),
    ("keras.metrics.BinaryCrossentropy", (X, X), {"sample_weight": np.ones((8, 3))}),
    ("keras.metrics.BinaryCrossentropy", (), {"from_logits": "x"}),
    ("keras.metrics.SparseCategoricalCrossentropy", (X, Y), {}),
    ("keras.metrics.CategoricalCrossentropy", (X, X), {"mask": X[:, 0]}),
    ("keras.metrics.SparseCategoricalCrossentropy", (X, X), {}),
    ("keras.metrics.Poisson", (X, X), {"mask": KEEP[:3, 0]}),
    ("optax.sigmoid_binary_cross_entropy", (X, OBJECTS), {}),
    ("optax.sigmoid_focal_loss", (X, X), {"gamma": "a"}),
    ("optax.softmax_cross_entropy", (X, X), {"axis": Traced(1)}),
    ("optax.softmax_cross_entropy", (X[0, 0], X[0, 0]), {}),
    ("optax.softmax_cross_entropy", (X, X), {"where": KEEP[:, :, None]}),
    ("optax.softmax_cross_entropy_with_integer_labels", (X, X[:, 0]), {}),
    ("optax.poly_loss_cross_entropy", (X, X), {"epsilon": np.ones(3)}),
    ("optax.poly_loss_cross_entropy", (X, X, 2.0), {}),
    ("optax.generalized_kl_divergence", (X, X), {"where": KEEP[:3]}),
    ("optax.smooth_labels", (X, np.ones(3)), {}),
    ("optax.smooth_labels", (X, 0.1), {"where": KEEP[:3]}),
    ("sklearn.log_loss", (None, PAIR), {}),
    ("sklearn.log_loss", ("ab", PAIR), {}),
    ("sklearn.log_loss", ([{}, {}], PAIR), {}),
    ("sklearn.log_loss", ([[0, "no"], [1, 0]], [[0.2, 0.8], [0.5, 0.5]]), {}),
    ("sklearn.log_loss", (Traced(BIAS[0]), PAIR), {}),
    ("sklearn.log_loss", (Traced(Y[:2]), PAIR), {"labels": ["no", "yes"]}),
    ("sklearn.log_loss", ([0, 1], PAIR), {"eps": "a"}),
    ("sklearn.log_loss", ([0, 1], PAIR), {"normalize": Traced(True)}),
    ("sklearn.log_loss", ([0, 1], PAIR), {"y_pred": PAIR}),
]
# fmt: on

ROWS = [(call, args, options) for call, args, options, *_ in MISTAKES] + MORE
NAMES = [f"{row[0]}-{i}" for i, row in enumerate(ROWS)]


def found(call):
    return operator.attrgetter(call)(compat)


def used(call, args, options):
    """A function called; or an object made and, if there are arguments, called."""
    function = found(call)
    if not inspect.isclass(function):
        return function(*args, **options)
    late = {
        name: options[name] for name in ("sample_weight", "mask") if name in options
    }
    made = function(**{n: x for n, x in options.items() if n not in late})
    return args and getattr(made, "update", made)(*args, **late)


def answer(call, args, options):
    """What the mistake is answered with; what is `Traced` is, the rest is known."""
    given = of_jax((args, options))
    leaves, tree = jax.tree.flatten(given, is_leaf=is_traced)

    def run(*values):
        rest = iter(values)
        filled = [next(rest) if is_traced(leaf) else leaf for leaf in leaves]
        return used(call, *jax.tree.unflatten(tree, filled))

    values = [leaf.value for leaf in leaves if is_traced(leaf)]
    with pytest.raises((TypeError, ValueError)) as error:
        (jax.jit(run) if values else run)(*values)
    return error.value


def is_traced(x):
    return isinstance(x, Traced)


def arguments(call):
    """All that the user can write: of a class, to make it and to call it."""
    function = found(call)
    if not inspect.isclass(function):
        return {*inspect.signature(function).parameters}
    late = inspect.signature(getattr(function, "update", function.__call__))
    fields = {field.name for field in dataclasses.fields(function)}
    return fields | {*late.parameters}


@pytest.mark.parametrize(
    ("call", "args", "then"),
    [
        ("torch.CrossEntropyLoss", (X, Y), "(input, target)"),
        ("torch.NLLLoss", (X, Y), "(input, target)"),
        ("torch.BCELoss", (X, X), "(input, target)"),
        ("torch.KLDivLoss", (X, X), "(input, target)"),
        ("keras.CategoricalCrossentropy", (X, X), "(y_true, y_pred)"),
        ("keras.metrics.BinaryCrossentropy", (X, X), ".update(y_true, y_pred)"),
    ],
)
def test_an_object_is_made_of_options_and_not_of_arrays(call, args, then):
    with pytest.raises(TypeError) as error:
        found(call)(*args)
    remedy = f"Build it, then call it: `{call.split('.')[-1]}(){then}`."
    must = "must be made of options; got arrays by position."
    assert str(error.value) == f"`jaxent.compat.{call}(...)` {must} {remedy}"


def inner_arguments():
    """Those of jaxent's own functions."""
    doors = (
        f
        for f in vars(jaxent).values()
        if inspect.isfunction(f) and f.__name__[0] != "_"
    )
    return {name for f in doors for name in inspect.signature(f).parameters}


@pytest.mark.parametrize(
    ("call", "args", "options", "kind", "argument", "must", "got", "remedy"),
    MISTAKES,
    ids=NAMES[: len(MISTAKES)],
)
def test_message(call, args, options, kind, argument, must, got, remedy):
    error = answer(call, args, options)
    assert type(error) is kind
    late = hasattr(found(call), "update") and argument in ("y_true", "sample_weight")
    beginning = f"`jaxent.compat.{call}{'.update' * late}({argument}=...)`"
    assert str(error) == f"{beginning} must {must}; got {got}. {remedy}"


@pytest.mark.parametrize(("call", "args", "options"), ROWS, ids=NAMES)
def test_every_mistake_is_answered_in_the_users_words(call, args, options):
    error = answer(call, args, options)
    assert type(error) in (TypeError, ValueError)
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if frame.filename.startswith(PACKAGE)]
    assert [Path(frame.filename).name for frame in inside] == ["_errors.py"]

    quoted = rf"`jaxent\.compat\.{re.escape(call)}(\.update)?\((\w*)\S*\)` must "
    beginning = re.match(quoted, str(error))
    assert beginning, error
    rest, known = str(error)[beginning.end() :], arguments(call)
    unknown = "be an argument it has" in rest or "by position" in rest
    assert unknown or beginning[2] in known

    framework = f"jaxent.compat.{call.partition('.')[0]}."
    for name in re.findall(r"jaxent\.[\w.]+", rest):
        assert name.startswith((framework, "jaxent.samplers")), error
    foreign = inner_arguments() - known
    for span in re.findall(r"`([^`]*)`", rest):
        assert foreign.isdisjoint(re.findall(r"(?<![\w.])[a-z]\w*", span)), error
