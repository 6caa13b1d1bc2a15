# SPDX-License-Identifier: Apache-2.0
"""Every message, to the letter: the mistake, and what the person is told."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from given import of_jax, put

import jaxent

pytestmark = pytest.mark.quickly_compiled

X = np.zeros((8, 5))
Y = np.zeros(8, np.int32)
MAPS = np.zeros((2, 3, 4, 5))
KEEP = np.ones(8, bool)
IDS = "softmax_cross_entropy_with_integer_labels"
DENSE = "softmax_cross_entropy"
FUSED = "linear_softmax_cross_entropy"
BINARY = "sigmoid_binary_cross_entropy"
SAMPLED = "sampled_softmax_cross_entropy"
RANKED = "rank_sampled_softmax_cross_entropy"
MULTILABEL = "linear_sigmoid_binary_cross_entropy"
FIXED = "samplers.fixed_unigram"

TPU = {"implementation": "pallas_tpu"}
WIDE = np.zeros((8, 2**16), jnp.bfloat16)
GPU, HALF = {"implementation": "pallas_gpu"}, X.astype("bfloat16")
KEY = jax.random.key(0)
DRAW = {"num_sampled": 3, "num_classes": 5}
DRAWN = jaxent.Candidates(Y[:3], X[:, 0], X[:3, 0])

PER_LABEL = "have shape (8,) (the logits' without the class axis)"
HELD = "Cast `labels` to a type that holds it, or drop positions by `where`."
LAST = "-1 is the last axis."
PROBABILITIES = "For class probabilities use `jaxent.softmax_cross_entropy`."
WEIGHTS = "multipliers are `weights`."
RESHAPE = "Nothing is broadcast: reshape, or `jnp.broadcast_to` it yourself."
REPEAT = (
    "Nothing is broadcast. If meant: `jnp.broadcast_to(weights[..., None], (8, 5))`."
)
SCORED = "Add an axis, `labels[..., None]`, or drop that of `logits`."
SHARD_MAP = "Call it inside `jax.shard_map` over a mesh with this axis."
REDUCTIONS = "'none', 'sum', 'mean', 'weighted_mean', 'nonzero_mean', 'batch_mean', 'sequence_mean'"
TAKES = "It takes logits, labels; by name axis, where, weights, class_where, ignore_index, class_weights, label_smoothing, z_loss, temperature, reduction, vocab_axis_name."
THIRD = "Class ids are `labels`, after `hidden` and `classifier`."
POSITIVES = "be ids of the positive classes, filled up with −1"
OF_ROWS = (
    "Write `jnp.where(labels == 1, jnp.arange(8), -1)`, or "
    "`jaxent.sigmoid_binary_cross_entropy(hidden @ classifier.T, labels)`."
)
VALUES_FIRST = (
    "The floats are `ids`: swap the two; `jax.lax.top_k` returns values first."
)
EACH = "For one a position divide the logits, or a head's activations, by `temperature[..., None]`."
OF_LOGITS = "jaxent.softmax_cross_entropy(hidden @ classifier.T, labels)"
FIRST = "It comes first: `linear_softmax_loss(lambda s: s.nll, hidden, ...)`."
DRAW_THEM = (
    "Draw them: `candidates=jaxent.samplers.log_uniform(key, labels, num_sampled=n, "
    "num_classes=V)`."
)
SCALAR = "Pass a Python number, or a scalar such as a schedule's value."

# What is called, with what; the argument named, what it must be, what it got, and
# what to do. A TypeError is about a dtype or a Python type, a ValueError all else.
# fmt: off
MISTAKES = [
    # labels
    (IDS, (X, np.zeros(8)), {}, TypeError, "labels", "be integer class ids", "float32[8]", "Cast ids: `labels.astype(jnp.int32)`."),
    (IDS, (X, X), {}, TypeError, "labels", "be integer class ids", "float32[8, 5]", PROBABILITIES),
    (IDS, (X, X.astype(int)), {}, ValueError, "labels", PER_LABEL, "(8, 5)", PROBABILITIES),
    (IDS, (X, Y[:, None]), {}, ValueError, "labels", PER_LABEL, "(8, 1)", "Drop the last axis: `labels[..., 0]`."),
    (IDS, (X, Y[:5]), {}, ValueError, "labels", PER_LABEL, "(5,)", "Give one class id per position; if axis 0 has the classes, pass `axis=0`."),
    (IDS, (MAPS[0], MAPS[0, :, :, 0].T.astype(int)), {}, ValueError, "labels", "have shape (3, 4) (the logits' without the class axis)", "(4, 3)", "Transpose them: `labels.T`."),
    (IDS, (MAPS, MAPS[0, :, :, :2].astype(int)), {}, ValueError, "labels", "have shape (2, 3, 4) (the logits' without the class axis)", "(3, 4, 2)", "Transpose them: `jnp.transpose(labels, (2, 0, 1))`."),
    (IDS, (X, [0.0] * 8), {}, TypeError, "labels", "be integer class ids", "float32[8]", "Cast ids: `jnp.asarray(labels, jnp.int32)`."),
    (IDS, ([[0, 1]], Y[:1]), {}, TypeError, "logits", "be real floats", "int32[1, 2]", "Cast it: `jnp.asarray(logits, jnp.float32)`."),
    (IDS, (X, Y[:4]), {}, ValueError, "labels", PER_LABEL, "(4,)", "Give one class id per position."),
    (DENSE, (X, Y), {}, ValueError, "labels", "have shape (8, 5) (that of `logits`)", "(8,)", f"For class ids write `jaxent.{IDS}(logits, labels)`."),
    (DENSE, (X, Y[:, None]), {}, ValueError, "labels", "have shape (8, 5) (that of `logits`)", "(8, 1)", f"For class ids write `jaxent.{IDS}(logits, labels[..., 0])`."),
    ("poly_loss_cross_entropy", (X, Y), {}, ValueError, "labels", "have shape (8, 5) (that of `logits`)", "(8,)", "For class ids write `jax.nn.one_hot(labels, 5)`."),
    ("categorical_cross_entropy", (X, Y[:, None]), {}, ValueError, "labels", "have shape (8, 5) (that of `probs`)", "(8, 1)", "For class ids write `jax.nn.one_hot(labels[..., 0], 5)`."),
    ("kl_divergence", (MAPS, MAPS[:, 0].astype(int)), {}, ValueError, "targets", "have shape (2, 3, 4, 5) (that of `log_predictions`)", "(2, 4, 5)", "For class ids write `jax.nn.one_hot(targets, ...)`."),
    (MULTILABEL, (X, X, np.zeros((8, 8))), {}, TypeError, "labels", POSITIVES, "float32[8, 8]", OF_ROWS),
    (MULTILABEL, (X, X, np.eye(8) == 1), {}, TypeError, "labels", POSITIVES, "bool[8, 8]", OF_ROWS),
    (MULTILABEL, (X, X, np.eye(8, dtype=int)), {}, ValueError, "labels", POSITIVES, "zeros and ones, of shape (8, 8)", OF_ROWS),
    (MULTILABEL, (X, X, np.eye(8, dtype="int64")), {}, ValueError, "labels", POSITIVES, "zeros and ones, of shape (8, 8)", OF_ROWS),
    (MULTILABEL, (X, X, np.eye(8, dtype=int).tolist()), {}, ValueError, "labels", POSITIVES, "zeros and ones, of shape (8, 8)", OF_ROWS),
    (MULTILABEL, (X, X, np.zeros((8, 3))), {}, TypeError, "labels", "be integers", "float32[8, 3]", "Cast it: `labels.astype(jnp.int32)`."),
    (DENSE, (X, X[:, :4]), {}, ValueError, "labels", "have shape (8, 5) (that of `logits`)", "(8, 4)", RESHAPE),
    (DENSE, (X, X.T), {}, ValueError, "labels", "have shape (8, 5) (that of `logits`)", "(5, 8)", "If meant, transpose it: `labels.T`."),
    (DENSE, (X, X.astype(complex)), {}, TypeError, "labels", "be real numbers", "complex64[8, 5]", "Take `.real`, or `jnp.abs` of it."),
    (BINARY, (X, X[:, :1]), {}, ValueError, "labels", "have shape (8, 5) (that of `logits`)", "(8, 1)", "Nothing is broadcast. If meant: `jnp.broadcast_to(labels, (8, 5))`."),
    (BINARY, (X[:, :1], np.zeros(8)), {}, ValueError, "labels", "have shape (8, 1) (that of `logits`)", "(8,)", SCORED),
    ("negative_log_likelihood", (X, X), {}, TypeError, "labels", "be integer class ids", "float32[8, 5]", PROBABILITIES),
    (BINARY, (X[:, :1], Y), {}, ValueError, "labels", "have shape (8, 1) (that of `logits`)", "(8,)", SCORED),
    ("binary_cross_entropy", (X[:, 0], Y[:, None]), {}, ValueError, "labels", "have shape (8,) (that of `probs`)", "(8, 1)", "Drop its last axis: `labels[:, 0]`."),
    (IDS, (MAPS, MAPS[:, 0].astype(int)), {}, ValueError, "labels", "have shape (2, 3, 4) (the logits' without the class axis)", "(2, 4, 5)", "If axis 1 has the classes, pass `axis=1`."),
    (IDS, (Y, X), {}, TypeError, "logits", "be real floats", "int32[8]", "The floats are `labels`: swap the two."),
    (BINARY, (X == 0, X), {}, TypeError, "logits", "be real floats", "bool[8, 5]", "The floats are `labels`: swap the two."),
    ("negative_log_likelihood", (Y, X), {}, TypeError, "log_probs", "be real floats", "int32[8]", "The floats are `labels`: swap the two."),
    ("cross_entropy", (X.astype(int), X), {}, TypeError, "p", "be real floats", "int32[8, 5]", "The floats are `q`: swap the two."),
    ("kl_divergence_from_top_k", (X, X, Y[:, None]), {}, TypeError, "log_probs", "be real floats", "int32[8, 1]", VALUES_FIRST),
    ("linear_kl_divergence_from_top_k", (X, X, X, Y[:, None]), {}, TypeError, "log_probs", "be real floats", "int32[8, 1]", VALUES_FIRST),
    # logits
    (IDS, (X.astype(complex), Y), {}, TypeError, "logits", "be real floats", "complex64[8, 5]", "Take `.real`, or `jnp.abs` of it."),
    (IDS, (X.astype(int), Y), {}, TypeError, "logits", "be real floats", "int32[8, 5]", "Cast it: `logits.astype(jnp.float32)`."),
    (IDS, (X[:, :0], Y), {}, ValueError, "logits", "have at least one class along axis -1", "(8, 0)", "A distribution over nothing has no value."),
    (DENSE, ("logits", X), {}, TypeError, "logits", "be an array of numbers", "str", "Pass a JAX or NumPy array, or nested lists of numbers."),
    (DENSE, ([[1.0], [1.0, 2.0]], X), {}, TypeError, "logits", "be an array of numbers", "list", "Pass a JAX or NumPy array, or nested lists of numbers."),
    ("js_divergence_from_logits", (X, X.astype(int)), {}, TypeError, "q_logits", "be real floats", "int32[8, 5]", "Cast it: `q_logits.astype(jnp.float32)`."),
    ("kl_divergence", (X, X[:3]), {}, ValueError, "targets", "have shape (8, 5) (that of `log_predictions`)", "(3, 5)", RESHAPE),
    # masks
    (IDS, (X, Y), {"where": KEEP[:, None]}, ValueError, "where", "have shape (8,) (that of the result)", "(8, 1)", "Drop its last axis: `where[:, 0]`."),
    (BINARY, (X, X), {"where": KEEP}, ValueError, "where", "have shape (8, 5) (that of the result)", "(8,)", "Repeat it: `jnp.broadcast_to(where[..., None], (8, 5))`."),
    (BINARY, (X, X), {"where": KEEP[:, None]}, ValueError, "where", "have shape (8, 5) (that of the result)", "(8, 1)", "Repeat it: `jnp.broadcast_to(where, (8, 5))`."),
    (IDS, (X, Y), {"weights": X}, ValueError, "weights", "have shape (8,) (that of the result)", "(8, 5)", "Nothing is broadcast: reshape, or `jnp.broadcast_to` it yourself."),
    ("kl_divergence_from_logits", (X, X), {"weights": X[:, :1]}, ValueError, "weights", "have shape (8,) (that of the result)", "(8, 1)", "Drop its last axis: `weights[:, 0]`."),
    ("entropy", (X[0],), {"reduction": "sequence_mean"}, ValueError, "reduction", "be one that a value without axes has", "'sequence_mean'", 'Of a single value take "mean".'),
    (IDS, (X, Y), {"where": X == 0}, ValueError, "where", "have shape (8,) (that of the result)", "(8, 5)", "To choose classes, not positions, use `class_where`."),
    (IDS, (X, Y), {"where": KEEP[:3]}, ValueError, "where", "have shape (8,) (that of the result)", "(3,)", "It says which positions to keep, one boolean each."),
    (IDS, (X, Y), {"where": X[:, 0]}, TypeError, "where", "be booleans, True to keep", "float32[8]", "Write `where != 0`; " + WEIGHTS),
    (IDS, (X, Y), {"class_where": KEEP}, ValueError, "class_where", "broadcast to the logits' shape (8, 5)", "(8,)", "It says which classes are allowed; positions to keep are `where`."),
    (IDS, (X, Y), {"class_where": Y[:5]}, TypeError, "class_where", "be booleans, True to keep", "int32[5]", "Write `class_where != 0`; " + WEIGHTS),
    ("kl_divergence", (X, X), {"where": X == 0}, ValueError, "where", "have shape (8,) (that of the result)", "(8, 5)", "To leave classes out write `jnp.where(where, log_predictions, -jnp.inf)` and `jnp.where(where, targets, 0)`."),
    ("kl_divergence_with_log_targets", (X, X), {"where": X == 0}, ValueError, "where", "have shape (8,) (that of the result)", "(8, 5)", "To leave classes out write `jnp.where(where, log_predictions, -jnp.inf)` and `jnp.where(where, log_targets, -jnp.inf)`."),
    ("kl_divergence_from_logits", (X, X), {"where": X == 0}, ValueError, "where", "have shape (8,) (that of the result)", "(8, 5)", "To leave classes out write `jnp.where(where, p_logits, -jnp.inf)` and `jnp.where(where, q_logits, -jnp.inf)`."),
    ("kl_divergence_from_top_k", (X, Y[:, None], X[:, :1]), {"where": X == 0}, ValueError, "where", "have shape (8,) (that of the result)", "(8, 5)", "To leave classes out write `jnp.where(where, logits, -jnp.inf)`."),
    ("entropy", (X,), {"where": X == 0}, ValueError, "where", "have shape (8,) (that of the result)", "(8, 5)", "To leave classes out write `jnp.where(where, probs, 0)`."),
    ("js_divergence", (X, X), {"where": X == 0}, ValueError, "where", "have shape (8,) (that of the result)", "(8, 5)", "To leave classes out write `jnp.where(where, p, 0)` and `jnp.where(where, q, 0)`."),
    (IDS, (MAPS[0], MAPS[0, :, :, 0].astype(int)), {"where": MAPS[0, :, :, 0].T == 0}, ValueError, "where", "have shape (3, 4) (that of the result)", "(4, 3)", "Transpose it: `where.T`."),
    # axes
    (IDS, (X, Y), {"axis": 2}, ValueError, "axis", "name axes of `logits`, of shape (8, 5), each once", "2", LAST),
    (IDS, (X, Y), {"axis": (0, -2)}, ValueError, "axis", "name axes of `logits`, of shape (8, 5), each once", "(0, -2)", LAST),
    (IDS, (X, Y), {"axis": ()}, ValueError, "axis", "name axes of `logits`, of shape (8, 5), each once", "()", LAST),
    (IDS, (X[0, 0], Y[0]), {}, ValueError, "logits", "have an axis", "()", "It is a single number: add the axis of the classes."),
    (IDS, (X, Y), {"axis": 1.0}, TypeError, "axis", "be an int or a tuple of ints", "1.0", LAST),
    ("entropy", (X,), {"axis": 3}, ValueError, "axis", "name axes of `probs`, of shape (8, 5), each once", "3", LAST),
    ("reduce", (X,), {"axis": 2}, ValueError, "axis", "name axes of `values`, of shape (8, 5), each once", "2", LAST),
    # options
    (IDS, (X, Y), {"label_smoothing": 1.5}, ValueError, "label_smoothing", "be from 0 to 1", "1.5", "It is the share of the uniform distribution; 0 is off."),
    (IDS, (X, Y), {"label_smoothing": np.ones(8)}, TypeError, "label_smoothing", "be one real number", "float32[8]", SCALAR),
    (IDS, (X, Y), {"z_loss": -0.5}, ValueError, "z_loss", "be from 0 up", "-0.5", "It is the weight of a penalty; 0 is off."),
    (IDS, (X, Y), {"z_loss": float("nan")}, ValueError, "z_loss", "be from 0 up", "nan", "It is the weight of a penalty; 0 is off."),
    (IDS, (X, Y), {"z_loss": "1e-4"}, TypeError, "z_loss", "be one real number", "'1e-4'", SCALAR),
    (IDS, (X, Y), {"class_weights": np.ones(8)}, ValueError, "class_weights", "have shape (5,), one weight a class", "(8,)", "Weights of positions are `weights`."),
    (IDS, (X, Y), {"ignore_index": True}, TypeError, "ignore_index", "be one integer", "True", "Pass an int, such as -100; for several, `where` takes any mask."),
    (IDS, (X, Y.astype("uint8")), {"ignore_index": -1}, ValueError, "ignore_index", "be an id that uint8 labels can be", "-1", HELD),
    (FUSED, (X, X, Y), {"ignore_index": 2**40}, ValueError, "ignore_index", "be an id that int32 labels can be", str(2**40), HELD),
    (IDS, (X, Y), {"ignore_index": -100.0}, TypeError, "ignore_index", "be one integer", "-100.0", "Pass an int, such as -100; for several, `where` takes any mask."),
    (IDS, (X, Y), {"temperature": X[:, 0]}, TypeError, "temperature", "be one real number", "float32[8]", EACH),
    (FUSED, (X, X, Y), {"temperature": X[:, 0]}, TypeError, "temperature", "be one real number", "float32[8]", EACH),
    ("softmax_focal_loss", (X, Y), {"gamma": -1}, ValueError, "gamma", "be from 0 up", "-1", "It is an exponent of 1 − p: 0 is cross-entropy."),
    ("generalized_cross_entropy", (X, Y), {"q": 2}, ValueError, "q", "be from 0 to 1", "2", "It goes from cross-entropy, near 0, to the mean absolute error, 1."),
    ("poly_loss_cross_entropy", (X, X), {"epsilon": -2}, ValueError, "epsilon", "be from -1 up", "-2", "Below −1 the loss would fall as the probability does."),
    (BINARY, (X, X), {"pos_weight": np.ones(8)}, ValueError, "pos_weight", "broadcast to the logits' shape (8, 5)", "(8,)", "Give one number, one per last axis, or one per element."),
    ("sigmoid_focal_loss", (X, X), {"alpha": 2.0}, ValueError, "alpha", "be from 0 to 1", "2.0", "It is a share: of the positives, or of the uniform distribution."),
    ("binary_cross_entropy", (X, X), {"eps": 0.9}, ValueError, "eps", "be from 0 to 0.5", "0.9", "Probabilities are clipped to [eps, 1 − eps]."),
    ("entropy", (X,), {"base": 1}, ValueError, "base", "be a number above 1", "1", "2 gives bits, 10 hartleys; leave it out for nats."),
    ("entropy_from_logits", (X,), {"base": "2"}, ValueError, "base", "be a number above 1", "'2'", "2 gives bits, 10 hartleys; leave it out for nats."),
    (IDS, (X, Y), {"vocab_axis_name": "vocab"}, ValueError, "vocab_axis_name", "name an axis that is mapped where the call is", "'vocab'", SHARD_MAP),
    (DENSE, (X, X), {"vocab_axis_name": ("data", "vocab")}, ValueError, "vocab_axis_name", "name an axis that is mapped where the call is", "('data', 'vocab')", SHARD_MAP),
    ("softmax_statistics", (X, Y), {"vocab_axis_name": 1}, TypeError, "vocab_axis_name", "be the name of a mesh axis, or a tuple of names", "1", "None is off."),
    (FUSED, (X, X, Y), {"vocab_axis_name": ()}, TypeError, "vocab_axis_name", "be the name of a mesh axis, or a tuple of names", "()", "None is off."),
    (FUSED, (X, X, Y), {"vocab_axis_name": "vocab"}, ValueError, "vocab_axis_name", "name an axis that is mapped where the call is", "'vocab'", SHARD_MAP),
    (FUSED, (X, X, Y), {"token_axis_name": "data"}, ValueError, "token_axis_name", "name axes of a mesh", "'data' and no mesh", "Call it under `jax.set_mesh(mesh)`."),
    (FUSED, (X, X, Y), {"token_axis_name": 1}, TypeError, "token_axis_name", "be the name of a mesh axis, or a tuple of names", "1", "None is off."),
    # fused heads
    (FUSED, (X, X.T, Y), {}, ValueError, "classifier", "have shape (vocab, 5)", "(5, 8)", "Pass `.T` of a Flax Dense kernel."),
    (FUSED, (X, X[:, :4], Y), {}, ValueError, "classifier", "have shape (vocab, 5)", "(8, 4)", "The last axis of `hidden`, of shape (8, 5), is d."),
    (FUSED, (X, X, np.zeros((8, 8))), {}, TypeError, "labels", "be integer class ids", "float32[8, 8]", f"For class probabilities use `{OF_LOGITS}`."),
    (FUSED, (X, X, np.zeros((8, 8), int)), {}, ValueError, "labels", PER_LABEL, "(8, 8)", f"For class probabilities use `{OF_LOGITS}`."),
    (FUSED, (X, X, Y[:3]), {}, ValueError, "labels", PER_LABEL, "(3,)", "Give one class id per position."),
    (FUSED, (X, X, Y), {"bias": X[0]}, ValueError, "bias", "have shape (8,) (that of `classifier[:, 0]`)", "(5,)", RESHAPE),
    (FUSED, (X, X, Y), {"softcap": 0}, ValueError, "softcap", "be above 0", "0", "Logits are kept between −softcap and softcap; None is off."),
    (FUSED, (X, X, Y), {"softcap": -1.0}, ValueError, "softcap", "be above 0", "-1.0", "Logits are kept between −softcap and softcap; None is off."),
    (FUSED, (X, X, Y), {"memory": 63}, ValueError, "memory", "be at least 64 bytes, the logits of one position and their gradient", "63", "Raise it, or leave it out."),
    (FUSED, (X, X, Y), {"memory": "64 parsecs"}, TypeError, "memory", "be a number of bytes, or text with a unit", "'64 parsecs'", 'For example memory=2**28, or memory="256MB".'),
    (FUSED, (X, X, Y), {"memory": 1.5}, TypeError, "memory", "be a number of bytes, or text with a unit", "1.5", 'For example memory=2**28, or memory="256MB".'),
    (FUSED, (X, X, Y), {"weights": X}, ValueError, "weights", "have shape (8,) (that of `labels`)", "(8, 5)", RESHAPE),
    (FUSED, (X, X, Y), {"implementation": "cuda"}, ValueError, "implementation", "be one of 'xla', 'pallas_tpu', 'pallas_gpu'", "'cuda'", "There are no others."),
    (FUSED, (X, X, Y), TPU | {"class_weights": X[0]}, NotImplementedError, "class_weights", 'be left out with implementation="pallas_tpu"', "float32[5]", 'Only "xla", the default, has it.'),
    (FUSED, (X.astype("float16"), X.astype("float16"), Y), TPU, NotImplementedError, "hidden", 'be float32 or bfloat16 with implementation="pallas_tpu"', "float16", 'The matrix units take no other: cast it, or use "xla".'),
    (FUSED, (X, X, Y), TPU | {"memory": "65MiB"}, ValueError, "memory", "be from 917504 to 67108864 bytes of VMEM, for d = 5", "65MiB", 'With implementation="pallas_tpu" it is for the tiles of one core.'),
    (FUSED, (X, X, Y), TPU | {"memory": 2**19}, ValueError, "memory", "be from 917504 to 67108864 bytes of VMEM, for d = 5", "524288", 'With implementation="pallas_tpu" it is for the tiles of one core.'),
    (FUSED, (WIDE, WIDE, Y), TPU, ValueError, "hidden", "have rows that fit, 128 of each matrix, in 67108864 bytes of VMEM", "(8, 65536)", 'Use implementation="xla".'),
    (FUSED, (X, X, Y), {"class_weights": X[0]}, ValueError, "class_weights", "have shape (8,), one weight a class", "(5,)", "Weights of positions are `weights`."),
    ("linear_softmax_loss", (X, X, Y), {}, TypeError, "function", "be a function of `SoftmaxStatistics`", "float32[8, 5]", FIRST),
    ("linear_softmax_loss", (X, X, Y, Y), {}, TypeError, "function", "be a function of `SoftmaxStatistics`", "float32[8, 5]", FIRST),
    ("linear_softmax_loss", (lambda s: s.nll.sum(), X, X, Y), {}, ValueError, "function", "return one float for each position, here of shape (131,)", "float32[]", "Reductions are the business of `reduction`; more goes by `has_aux`."),
    ("linear_softmax_loss", (lambda s: (s.nll, s.nll.sum()), X, X, Y), {"has_aux": True}, ValueError, "function", "return aux of each position, here of shape (131, ...)", "()", "Reduce it outside, where all positions are."),
    ("linear_softmax_loss", (lambda s: s.nll, X, X, Y), {"has_aux": True}, ValueError, "function", "return (losses, aux) with has_aux=True", "one array", "Return both, or leave has_aux out."),
    ("linear_softmax_loss", (lambda s: s.nll - s.nll.mean(), X, X, Y), {}, ValueError, "function", "keep the positions apart: it is called on some of them at a time", "one that mixes them, by reduce_sum", "Use `linear_softmax_statistics`, and any function of all positions."),
    ("linear_softmax_loss", (lambda s, a: s.nll, X, X, Y, Y[:3]), {}, ValueError, "data", "have shape (8, ...): an entry for each position", "(3,)", "What all positions share, the function closes over."),
    (FUSED, (X, X, Y), TPU, NotImplementedError, "implementation", "be one of this device: it needs a TPU", "'pallas_tpu'", 'Use "xla".'),
    (FUSED, (HALF, HALF, Y), GPU, NotImplementedError, "implementation", "be one of this device: it needs a Hopper GPU", "'pallas_gpu'", 'Use "xla".'),
    (FUSED, (X, X, Y), GPU, NotImplementedError, "hidden", 'be bfloat16 or float16 with implementation="pallas_gpu"', "float32[8, 5]", 'Tensor cores round float32 to 10 bits (TF32): use "xla".'),
    (FUSED, (HALF, X, Y), GPU, NotImplementedError, "classifier", 'be bfloat16, as `hidden` is, with implementation="pallas_gpu"', "float32[8, 5]", "Tensor cores multiply like by like: cast one of them."),
    (FUSED, (HALF, HALF, Y), GPU | {"memory": 4095}, ValueError, "memory", 'be at least 4096 bytes with implementation="pallas_gpu"', "4095", "That is the gradient of 256 logits a position."),
    ("linear_kl_divergence", (X, X, X[:3], X), {}, ValueError, "teacher_hidden", "have shape (8, 5)", "(3, 5)", "Both heads take the same positions."),
    ("linear_kl_divergence", (X, X, X, X[:4]), {}, ValueError, "teacher_classifier", "have the student's 8 classes", "(4, 5)", "Both heads score the same vocabulary."),
    ("linear_kl_divergence", (X, X, X, X), {"temperature": 0.0}, ValueError, "temperature", "be above 0", "0.0", "Logits are divided by it; 1 is off."),
    # samplers
    *((f"samplers.{name}", (0, Y), DRAW | more, TypeError, "key", "be one JAX random key", "0", "Pass a key such as `jax.random.key(0)`.")
      for name, more in [("uniform", {}), ("log_uniform", {}), ("learned_unigram", {}), ("fixed_unigram", {"weights": Y[:5]})]),
    ("samplers.uniform", (KEY, X), DRAW, TypeError, "labels", "be integers", "float32[8, 5]", "Cast it: `labels.astype(jnp.int32)`."),
    ("samplers.uniform", (KEY, Y), DRAW | {"num_sampled": 6}, ValueError, "num_sampled", "be at most 5, the classes there are to draw", "6", "Draw fewer, or with unique=False."),
    ("samplers.log_uniform", (KEY, Y), DRAW | {"num_sampled": 0}, ValueError, "num_sampled", "be from 1 up", "0", "It is a size."),
    ("samplers.log_uniform", (KEY, Y), DRAW | {"num_classes": 5.0}, TypeError, "num_classes", "be one integer", "5.0", "It is a size, and fixed when the call is traced."),
    ("samplers.log_uniform", (KEY, Y), DRAW | {"unique": 1}, TypeError, "unique", "be True or False", "1", "It is fixed when the call is traced."),
    ("samplers.all_candidates", (KEY, Y), DRAW, ValueError, "num_sampled", "be num_classes=5, all there are", "3", "To draw fewer use another sampler."),
    ("samplers.learned_unigram", (KEY, Y), DRAW | {"counts": Y}, ValueError, "counts", "have shape (5,), one count a class", "(8,)", "Carry what the last call returned; None starts."),
    (FIXED, (KEY, Y), DRAW | {"weights": Y[:5], "num_reserved_ids": 3}, ValueError, "num_sampled", "be at most 2, the classes there are to draw", "3", "Draw fewer, or with unique=False."),
    (FIXED, (KEY, Y), DRAW | {"weights": Y}, ValueError, "weights", "list 5 classes, with the reserved ones and of this shard", "(8,)", "Class `num_reserved_ids` is the first in the list."),
    (FIXED, (KEY, Y), DRAW | {"weights": Y[:5], "distortion": -1}, ValueError, "distortion", "be from 0 up", "-1", "It is an exponent: 0 draws all alike, 1 by the weights."),
    (FIXED, (KEY, Y), DRAW | {"weights": Y[:5], "num_shards": 0}, ValueError, "num_shards", "be from 1 up", "0", "It is a size."),
    ("samplers.renumber", (Y, DRAWN), {"num_classes": 0}, ValueError, "num_classes", "be from 1 up", "0", "It is a size."),
    # sampled losses
    (SAMPLED, (X, X, Y[:3]), {"candidates": DRAWN}, ValueError, "labels", "have shape (8,), or that with the labels of a position last", "(3,)", "Give each position one class id, or the same number of them."),
    (SAMPLED, (X, X, Y[:, None, None]), {"candidates": DRAWN}, ValueError, "labels", "have shape (8,), or that with the labels of a position last", "(8, 1, 1)", "Give each position one class id, or the same number of them."),
    (SAMPLED, (X, X, Y[:, None][:, :0]), {"candidates": DRAWN}, ValueError, "labels", "have shape (8,), or that with the labels of a position last", "(8, 0)", "Give each position one class id, or the same number of them."),
    (SAMPLED, (X, X.T, Y), {"candidates": DRAWN}, ValueError, "classifier", "have shape (vocab, 5)", "(5, 8)", "Pass `.T` of a Flax Dense kernel."),
    (SAMPLED, (X, X, Y), {"candidates": Y}, TypeError, "candidates", "be jaxent.Candidates", type(put(Y)).__name__, "Draw them by `jaxent.samplers`, with the labels."),
    (SAMPLED, (X, X, Y), {"candidates": DRAWN, "subtract_log_q": "yes"}, TypeError, "subtract_log_q", "be True or False", "'yes'", "It is fixed when the call is traced."),
    ("nce_loss", (X, X, Y), {"candidates": DRAWN._replace(true_count=X)}, ValueError, "candidates.true_count", "have shape (8,) (that of `labels`)", "(8, 5)", RESHAPE),
    ("nce_loss", (X, X, Y), {"candidates": DRAWN._replace(sampled_count=X[0])}, ValueError, "candidates.sampled_count", "have shape (3,) (that of `candidates.ids`)", "(5,)", RESHAPE),
    ("nce_loss", (X, X, Y), {"candidates": DRAWN._replace(ids=Y[:, None])}, ValueError, "candidates.ids", "have shape (num_sampled,)", "(8, 1)", "All positions share one draw; for one each, use `jax.vmap`."),
    ("nce_loss", (X, X, Y), {"candidates": DRAWN, "where": KEEP[:3]}, ValueError, "where", "have shape (8,) (that of the result)", "(3,)", "It says which positions to keep, one boolean each."),
    (RANKED, (X, X, Y), {"candidates": DRAWN, "num_resampled": 3}, ValueError, "num_resampled", "be below 3, the number of candidates", "3", "To keep all use `sampled_softmax_cross_entropy`."),
    (RANKED, (X, X, Y), {"candidates": DRAWN, "num_resampled": 2, "temperature": 0}, ValueError, "temperature", "be above 0", "0", "Logits are divided by it; 1 is off."),
    # the habits of other frameworks
    (IDS, (X, Y, -1), {}, TypeError, "", "be called with 2 arguments by position", "3", f"Options go by name: write `(logits, labels, axis=-1)`. {TAKES}"),
    (IDS, (X, Y, -1, X == 0), {}, TypeError, "", "be called with 2 arguments by position", "4", f"Options go by name: write `(logits, labels, axis=-1, where=...)`. {TAKES}"),
    (IDS, (X, Y, "mean"), {}, TypeError, "", "be called with 2 arguments by position", "3", f'Options go by name: write `(logits, labels, reduction="mean")`. {TAKES}'),
    ("reduce", (X, "mean"), {}, TypeError, "", "be called with 1 argument by position", "2", 'Options go by name: write `(values, reduction="mean")`. It takes values; by name where, weights, reduction, axis, axis_name, segment_ids, num_segments.'),
    ("perplexity", (X, X), {}, TypeError, "", "be called with 1 argument by position", "2", "It takes mean_nll."),
    (IDS, (X, Y, X[0]), {}, TypeError, "", "be called with 2 arguments by position", "3", f"Options go by name, such as `axis=`. {TAKES}"),
    (IDS, (X, Y), {"weight": X[0]}, TypeError, "weight", "be an argument it has", "float32[5]", f"Did you mean `class_weights`? {TAKES}"),
    (IDS, (X, Y), {"sample_weight": X[:, 0]}, TypeError, "sample_weight", "be an argument it has", "float32[8]", f"Did you mean `weights`? {TAKES}"),
    (IDS, (X, Y), {"mask": KEEP}, TypeError, "mask", "be an argument it has", "bool[8]", f"Did you mean `where`? {TAKES}"),
    (IDS, (X, Y), {"ignore_class": -1}, TypeError, "ignore_class", "be an argument it has", "-1", f"Did you mean `ignore_index`? {TAKES}"),
    (IDS, (), {"input": X, "target": Y}, TypeError, "input", "be an argument it has", "float32[8, 5]", f"Did you mean `logits`? {TAKES}"),
    (IDS, (X,), {"y_true": Y}, TypeError, "y_true", "be an argument it has", "int32[8]", f"Did you mean `labels`? {TAKES}"),
    ("binary_cross_entropy", (X, X), {"from_logits": True}, TypeError, "from_logits", "be an argument it has", "True", "Losses of logits have names of their own, such as `sigmoid_binary_cross_entropy` and `softmax_cross_entropy`."),
    ("kl_divergence", (X, X), {"log_target": True}, TypeError, "log_target", "be an argument it has", "True", "Its name says it: `kl_divergence_with_log_targets`."),
    ("softmax_focal_loss", (X, Y), {"alpha": 0.25}, TypeError, "alpha", "be an argument it has", "0.25", "The paper's α is `class_weights`, one a class."),
    (DENSE, (X, X), {"ignore_index": -100}, TypeError, "ignore_index", "be an argument it has", "-100", "Drop positions by a mask: `where=ids != -100`."),
    (FUSED, (X, X, Y), {"chunk_size": 128}, TypeError, "chunk_size", "be an argument it has", "128", 'A chunk is what fits: write `memory="256MB"`.'),
    (SAMPLED, (X, X, Y), {"num_sampled": 3}, TypeError, "num_sampled", "be an argument it has", "3", DRAW_THEM),
    (SAMPLED, (X, X, Y), {}, TypeError, "candidates", "be given", "nothing", DRAW_THEM),
    ("next_token_labels", (Y,), {"pad_id": 0}, TypeError, "pad_id", "be an argument it has", "0", "Write `where=tokens != 0`."),
    ("next_token_labels", (Y,), {"ignore_index": -1}, TypeError, "ignore_index", "be an argument it has", "-1", "Write `where=tokens != -1`."),
    ("kl_divergence_from_logits", (X, X), {"T": 2.0}, TypeError, "T", "be an argument it has", "2.0", "Did you mean `temperature`? It takes p_logits, q_logits; by name axis, base, temperature, where, weights, reduction, vocab_axis_name."),
    ("perplexity", (), {"losses": X}, TypeError, "losses", "be an argument it has", "float32[8, 5]", "It is of their mean: `jnp.mean(losses)`."),
    ("smooth_labels", (X,), {"label_smoothing": 0.1}, TypeError, "label_smoothing", "be an argument it has", "0.1", "Write `smooth_labels(labels, 0.1)`."),
    ("entropy_from_logits", (X,), {"class_where": X == 0}, TypeError, "class_where", "be an argument it has", "bool[8, 5]", "To leave classes out write `jnp.where(class_where, logits, -jnp.inf)`."),
    ("js_divergence_from_logits", (X, X), {"class_where": X == 0}, TypeError, "class_where", "be an argument it has", "bool[8, 5]", "To leave classes out write `jnp.where(class_where, p_logits, -jnp.inf)` and `jnp.where(class_where, q_logits, -jnp.inf)`."),
    (FUSED, (X, X, Y), {"class_where": KEEP}, TypeError, "class_where", "be an argument it has", "bool[8]", "Write `bias=jnp.where(class_where, 0.0, -jnp.inf)`, one a class."),
    ("linear_js_divergence", (X, X, X, X), {"class_where": KEEP}, TypeError, "class_where", "be an argument it has", "bool[8]", "Write `student_bias=jnp.where(class_where, 0.0, -jnp.inf)`, and `teacher_bias` so too."),
    (IDS, (X, Y), {"reduction": "elementwise_mean"}, ValueError, "reduction", f"be one of {REDUCTIONS}", "'elementwise_mean'", "Did you mean 'mean'?"),
    ("kl_divergence", (X, X), {"reduction": "batchmean"}, ValueError, "reduction", f"be one of {REDUCTIONS}", "'batchmean'", "Did you mean 'batch_mean'?"),
    (IDS, (X, Y), {"reduction": None}, ValueError, "reduction", f"be one of {REDUCTIONS}", "None", "Did you mean 'none'?"),
    (DENSE, (X, X[:1]), {}, ValueError, "labels", "have shape (8, 5) (that of `logits`)", "(1, 5)", "Nothing is broadcast. If meant: `jnp.broadcast_to(labels, (8, 5))`."),
    (BINARY, (X, X), {"weights": X[:, 0]}, ValueError, "weights", "have shape (8, 5) (that of the result)", "(8,)", REPEAT),
    (FUSED, (Y, X, X), {}, TypeError, "hidden", "be real floats", "int32[8]", f"Cast it: `hidden.astype(jnp.float32)`. {THIRD}"),
    (FUSED, (X, Y, X), {}, TypeError, "classifier", "be real floats", "int32[8]", f"Cast it: `classifier.astype(jnp.float32)`. {THIRD}"),
    # reductions and helpers
    ("reduce", (X,), {"axis_name": "data"}, ValueError, "axis_name", "name an axis that is mapped where the call is", "'data'", SHARD_MAP),
    ("reduce", (X,), {"reduction": "average"}, ValueError, "reduction", "be one of 'none', 'sum', 'mean', 'weighted_mean', 'nonzero_mean', 'batch_mean', 'sequence_mean'", "'average'", "There are no others."),
    ("reduce", (X,), {"reduction": "batch_mean", "axis": 0}, ValueError, "axis", 'be None for reduction="batch_mean"', "0", "It takes all axes."),
    ("reduce", (X,), {"weights": np.ones(8)}, ValueError, "weights", "have shape (8, 5) (that of `values`)", "(8,)", REPEAT),
    ("reduce", (X,), {"where": KEEP}, ValueError, "where", "have shape (8, 5) (that of the result)", "(8,)", "Repeat it: `jnp.broadcast_to(where[..., None], (8, 5))`."),
    ("reduce", (X.astype(complex),), {}, TypeError, "values", "be real numbers", "complex64[8, 5]", "Take `.real`, or `jnp.abs` of it."),
    ("WeightedMean.from_values", (X,), {"weights": np.ones(8)}, ValueError, "weights", "have shape (8, 5) (that of `values`)", "(8,)", REPEAT),
    ("next_token_labels", (X,), {}, TypeError, "tokens", "be integers", "float32[8, 5]", "Cast it: `tokens.astype(jnp.int32)`."),
    ("next_token_labels", (Y[0],), {}, ValueError, "tokens", "have an axis", "()", "The last axis is the sequence."),
    ("next_token_labels", (Y,), {"segment_ids": Y[:3]}, ValueError, "segment_ids", "have shape (8,) (that of `tokens`)", "(3,)", RESHAPE),
    ("smooth_labels", (X, -0.1), {}, ValueError, "alpha", "be from 0 to 1", "-0.1", "It is a share: of the positives, or of the uniform distribution."),
    ("smooth_labels", (Y, 0.1), {}, TypeError, "labels", "be weights of the classes, no ids", "int32[8]", "For class ids write `jax.nn.one_hot(labels, V)`, or `label_smoothing=` of the loss."),
    ("perplexity", (2,), {}, TypeError, "mean_nll", "be real floats", "int32[]", "Cast it: `jnp.asarray(mean_nll, jnp.float32)`."),
    ("bits_per_byte", (np.ones(3), 7), {}, ValueError, "num_bytes", "have shape (3,) (that of `total_nll`)", "()", RESHAPE),
]
# fmt: on


def message(call, argument, must, got, remedy):
    named = f"{argument}=..." if argument else "..."
    return f"`jaxent.{call}({named})` must {must}; got {got}. {remedy}"


@pytest.mark.parametrize(
    ("call", "args", "options", "kind", "argument", "must", "got", "remedy"),
    MISTAKES,
    ids=[f"{m[0]}-{m[4]}-{i}" for i, m in enumerate(MISTAKES)],
)
def test_message(call, args, options, kind, argument, must, got, remedy):
    args, options = of_jax((args, options))
    with pytest.raises(kind) as error:
        operator.attrgetter(call)(jaxent)(*args, **options)
    assert str(error.value) == message(call, argument, must, got, remedy)


@pytest.mark.parametrize(
    ("transform", "labels", "got"),
    [
        (jax.jit, Y[:, None], "(8, 1)"),
        (jax.grad, Y[:, None], "(8, 1)"),
        (lambda f: lambda *args: jax.eval_shape(f, *args), Y[:, None], "(8, 1)"),
        # Under vmap the shapes are those of one example.
        (jax.vmap, Y[:, None], "(1,)"),
    ],
    ids=["jit", "grad", "eval_shape", "vmap"],
)
def test_mistakes_are_found_while_tracing(transform, labels, got):
    shape = "()" if transform is jax.vmap else "(8,)"
    must = f"have shape {shape} (the logits' without the class axis)"
    with pytest.raises(ValueError, match="labels") as error:
        transform(getattr(jaxent, IDS))(X, labels)
    remedy = "Drop the last axis: `labels[..., 0]`."
    assert str(error.value) == message(IDS, "labels", must, got, remedy)


@pytest.mark.parametrize(
    ("option", "x", "must", "got"),
    [
        ("axis", -1, "be an int or a tuple of ints", "int32[]"),
        ("ignore_index", -1, "be one integer", "int32[]"),
    ],
)
def test_what_jit_takes_for_an_array_is_static(option, x, must, got):
    with pytest.raises(TypeError, match=option) as error:
        jax.jit(getattr(jaxent, IDS))(X, Y, **{option: x})
    remedy = f'Under `jax.jit` it is static: `static_argnames="{option}"`.'
    assert str(error.value) == message(IDS, option, must, got, remedy)


@pytest.mark.parametrize(
    ("measure", "args", "fills"),
    [
        ("kl_divergence", (jnp.log, None), (-jnp.inf, 0)),
        ("kl_divergence_with_log_targets", (jnp.log, jnp.log), (-jnp.inf, -jnp.inf)),
        ("generalized_kl_divergence", (jnp.log, None), (-jnp.inf, 0)),
        ("kl_divergence_from_logits", (jnp.log, jnp.log), (-jnp.inf, -jnp.inf)),
        ("cross_entropy_from_logits", (jnp.log, jnp.log), (-jnp.inf, -jnp.inf)),
        ("js_divergence_from_logits", (jnp.log, jnp.log), (-jnp.inf, -jnp.inf)),
        ("cross_entropy", (None, None), (0, 0)),
        ("js_divergence", (None, None), (0, 0)),
        ("entropy", (None,), (0,)),
        ("entropy_from_logits", (jnp.log,), (-jnp.inf,)),
    ],
)
def test_classes_left_out_as_the_answer_says_leave_the_measure_of_the_others(
    measure, args, fills
):
    rows = (jnp.array([0.1, 0.2, 0.3, 0.4]), jnp.array([0.3, 0.3, 0.2, 0.2]))
    given = [x if f is None else f(x) for f, x in zip(args, rows, strict=False)]
    keep = jnp.array([True, False, True, True])
    filled = [jnp.where(keep, x, n) for x, n in zip(given, fills, strict=True)]
    loss = getattr(jaxent, measure)
    others = loss(*(x[keep] for x in given))
    np.testing.assert_allclose(loss(*filled), others, rtol=1e-6)


def test_a_kernel_takes_no_traced_softcap():
    fused = jax.jit(lambda cap: jaxent.linear_softmax_cross_entropy(
        X, X, Y, softcap=cap, implementation="pallas_tpu"
    ))  # fmt: skip
    with pytest.raises(NotImplementedError, match="softcap") as error:
        fused(30.0)
    must = 'be a Python number with implementation="pallas_tpu"'
    remedy = 'The kernels are compiled for it; a traced one needs "xla".'
    assert str(error.value) == message(FUSED, "softcap", must, "float32[]", remedy)
