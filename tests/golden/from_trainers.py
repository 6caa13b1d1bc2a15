# SPDX-License-Identifier: Apache-2.0
"""Record four trainers' losses: `python tests/golden/from_trainers.py FOLDER`.

FOLDER holds checkouts named t5x, maxtext, axlearn and EasyLM; jax and flax are
installed. Their functions are taken out of their files and run as they stand, on the
logits of a head; gradients are those of the loss alone, in the head's two factors.

Activations and classifier are small multiples of powers of 2, so that bfloat16 holds
them and float32 their logits: what is recorded errs by the trainer's own arithmetic.
"""

import __future__

import ast
import enum
import os
import sys
from pathlib import Path
from types import SimpleNamespace

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
from flax.training import common_utils
from recorder import Recorder, cotangent

FOLDER = Path(sys.argv[1])
BATCH, LENGTH, WIDTH, VOCAB = 3, 5, 6, 11
UNIT = 2.0**-24  # of float32
NAMES = {"jax": jax, "jnp": jnp, "np": np, "enum": enum, "common_utils": common_utils}


def functions(path, *names, **given):
    """Definitions out of a file, their custom rules too, without what it imports."""
    tree = ast.parse((FOLDER / path).read_text())

    def wanted(node):
        if isinstance(node, ast.Assign):
            return ast.unparse(node.targets[0]) in names
        if isinstance(node, ast.Expr):
            return ast.unparse(node).split(".defvjp")[0] in names
        return getattr(node, "name", None) in names

    tree.body = [node for node in tree.body if wanted(node)]
    # The types of their arguments are names that nothing here defines.
    lazily = __future__.annotations.compiler_flag
    scope = NAMES | given
    exec(compile(tree, path, "exec", flags=lazily), scope)
    return SimpleNamespace(**scope)


RULES = ("_cross_entropy_with_logits_fwd", "_cross_entropy_with_logits_bwd")
t5x = functions(
    "t5x/t5x/losses.py", "cross_entropy_with_logits", *RULES,
    "compute_weighted_cross_entropy", "SpecialLossNormalizingFactor",
    "convert_special_loss_normalizing_factor_to_enum", "_sum_weights_per_segment",
    "get_loss_normalizing_factor_and_weights",
)  # fmt: skip
easylm = functions("EasyLM/EasyLM/jax_utils.py", "cross_entropy_loss_and_accuracy")
axlearn = functions(
    "axlearn/axlearn/common/loss.py", "cross_entropy", "_one_hot_with_label_smoothing",
    "_stable_cross_entropy", "_stable_cross_entropy_fwd", "_stable_cross_entropy_bwd",
)  # fmt: skip
MAXTEXT = "maxtext/src/maxtext/"
maxtext = functions(
    MAXTEXT + "trainers/pre_train/train.py", "loss_fn",
    EPS=functions(MAXTEXT + "utils/globals.py", "EPS").EPS,
    max_utils=functions(
        MAXTEXT + "utils/max_utils.py", "cross_entropy_with_logits", *RULES
    ),
    nn=SimpleNamespace(Module=()),
    nnx=SimpleNamespace(
        Intermediate=None, pop=lambda *_: SimpleNamespace(to_pure_dict=dict)
    ),
    sharding=SimpleNamespace(maybe_shard_with_logical=lambda x, *_, **__: x),
)  # fmt: skip


def t5x_loss(logits, targets, weights, **options):
    return t5x.compute_weighted_cross_entropy(logits, targets, weights, **options)


def t5x_average_per_sequence(logits, targets, segments, positions, *, z_loss):
    packed = {"decoder_segment_ids": segments, "decoder_positions": positions}
    batch = {"decoder_target_tokens": targets, "decoder_loss_weights": segments != 0}
    factor, weights = t5x.get_loss_normalizing_factor_and_weights(
        "AVERAGE_PER_SEQUENCE",
        {k: jnp.asarray(v) for k, v in (batch | packed).items()},
    )
    loss, z, _ = t5x.compute_weighted_cross_entropy(
        logits, targets, weights, loss_normalizing_factor=factor, z_loss=z_loss
    )
    return loss, z


def maxtext_loss(logits, targets, segmentation, *, z_loss):
    """Its `loss_fn` of a model that gives these logits, nothing else turned on."""
    off = dict.fromkeys(
        ("use_multimodal", "mtp_num_layers", "mtp_eval_target_module", "use_indexer",
         "weight_sparsity_n", "enable_dropout", "shard_mode", "debug_sharding",
         "use_tunix_gradient_accumulation", "indexer_loss_scaling_factor",
         "routed_bias"), 0,
    )  # fmt: skip
    config = SimpleNamespace(
        **off, micro_batch_size_to_train_on=BATCH, num_vocab_tiling=1, num_experts=1,
        gradient_accumulation_steps=1, vocab_size=VOCAB, z_loss_multiplier=z_loss,
    )  # fmt: skip

    class Model:
        mesh = None

        def __call__(self, **_):
            return logits

    names = "inputs", "inputs_position", "inputs_segmentation"
    data = dict.fromkeys(names, targets)
    data |= {"targets": targets, "targets_segmentation": segmentation}
    loss, aux = maxtext.loss_fn(Model(), config, data, None, None)
    return loss, {k: aux[k] for k in ("xent_sum", "z_loss", "total_weights")}


def axlearn_cross_entropy(logits, targets, live_targets=None, **options):
    loss, more = axlearn.cross_entropy(
        logits, targets, live_targets=live_targets, **options
    )
    names = "cross_entropy_loss", "z_loss", "accuracy"
    return loss, {k: more[k] for k in names}


def easylm_loss_and_accuracy(logits, tokens, valid):
    return easylm.cross_entropy_loss_and_accuracy(logits, tokens, valid)


def inputs():
    """Arrays by name: three scales of a head, and what a batch has beside it."""
    rng = np.random.default_rng(0)
    hidden = np.round(8 * rng.normal(size=(BATCH, LENGTH, WIDTH))) / 8
    classifier = np.round(16 * rng.normal(size=(VOCAB, WIDTH))) / 16
    ids = rng.integers(0, VOCAB, (BATCH, LENGTH)).astype(np.int32)
    saturated = hidden.copy()
    saturated[0, :2] = 8 * classifier[ids[0, :2]]  # sure, and right
    saturated[1, 0] = 8 * classifier[(ids[1, 0] + 1) % VOCAB]  # sure, and wrong
    segments = np.array(
        [[1, 1, 1, 1, 1], [1, 1, 2, 2, 2], [1, 1, 2, 0, 0]], np.int32
    )  # fmt: skip
    positions = np.array([[0, 1, 2, 3, 4], [0, 1, 0, 1, 2], [0, 1, 0, 0, 0]], np.int32)
    whole = segments != 0
    empty = whole & np.array([[True], [False], [True]])
    weights = np.where(whole, rng.integers(1, 5, whole.shape) / 4, 0)
    return {
        "initial": hidden / 64, "trained": hidden, "saturated": saturated,
        "classifier": classifier, "ids": ids, "segments": segments,
        "positions": positions, "whole": whole, "empty": empty, "weights": weights,
        "padded": np.where(whole, ids, -1).astype(np.int32),
    }  # fmt: skip


INPUTS = inputs()
recorder = Recorder("t5x cc342d4, maxtext e591f30, axlearn 34aed43, EasyLM fe5b2c3")


def tolerance_of(hidden, dtype):
    """Of float32 as they use it.

    x − c is rounded by u times the distance D of a logit from the largest, which the
    loss and the exponentials inherit; exp, log, the sums over the classes, over the
    width and over the positions add some ten roundings. jaxent rounds as often: twice.
    With bfloat16, p − y is rounded before the products, and their results: 2⁻⁸ each.
    """
    logits = INPUTS[hidden] @ INPUTS["classifier"].T
    distance = np.max(np.max(logits, axis=-1, keepdims=True) - logits)
    single = 2 * (distance + 12) * UNIT
    return single if dtype == "float32" else single + 2 * 2.0**-8


def array(name, dtype):
    x = INPUTS[name]
    if x.dtype.kind in "ib":
        recorder.array(name, x, "int32" if x.dtype.kind == "i" else "bool")
        return name, jnp.asarray(x)
    if name == "weights":
        dtype = "float32"
    label = name if dtype == "float32" else f"{name} {dtype}"
    recorder.array(label, x, dtype)
    return label, jnp.asarray(x).astype(dtype)


def record(function, hidden, *rest, dtype="float32", **options):
    """A function of the logits, and what it is to be called by in the recipes."""
    names = (hidden, "classifier", *rest)
    labels, arrays = zip(*(array(name, dtype) for name in names), strict=True)

    def of(hidden, classifier):
        x, w = hidden.astype(jnp.float32), classifier.astype(jnp.float32)
        logits = jnp.einsum("bld,vd->blv", x, w, precision="highest")
        results = jax.tree.leaves(function(logits, *arrays[2:], **options))
        loss, *logged = (jnp.asarray(x, jnp.float32) for x in results)
        return jnp.stack([loss, *map(jax.lax.stop_gradient, logged)])

    value, pull = jax.vjp(of, *arrays[:2])
    gradients = pull(jnp.asarray(cotangent(value.shape), jnp.float32))
    details = ", ".join([*labels, *(f"{k}={v}" for k, v in options.items())])
    recorder.case(
        f"{function.__name__}({details})", function.__name__, list(labels), options,
        value, [np.asarray(g, np.float32) for g in gradients], "float32",
        wrt=[0, 1], tolerance=tolerance_of(hidden, dtype),
    )  # fmt: skip


for hidden, dtype in [
    ("initial", "float32"), ("trained", "float32"), ("saturated", "float32"),
    ("trained", "bfloat16"),
]:  # fmt: skip
    d = {"dtype": dtype}
    record(maxtext_loss, hidden, "ids", "segments", z_loss=0.01, **d)
    record(t5x_loss, hidden, "ids", "weights", label_smoothing=0.1, z_loss=0.01, **d)
    record(
        axlearn_cross_entropy, hidden, "ids", "weights", label_smoothing=0.1,
        z_loss_scale=0.01, **d,
    )  # fmt: skip
    record(easylm_loss_and_accuracy, hidden, "ids", "whole", **d)
record(t5x_average_per_sequence, "trained", "ids", "segments", "positions", z_loss=0.01)
record(
    axlearn_cross_entropy, "trained", "padded", label_smoothing=0.0, z_loss_scale=0.0
)
record(easylm_loss_and_accuracy, "trained", "ids", "empty")
recorder.save(Path(__file__).with_name("trainers.json"))
