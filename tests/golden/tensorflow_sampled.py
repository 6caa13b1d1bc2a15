# SPDX-License-Identifier: Apache-2.0
"""What TensorFlow's samplers and sampled losses return: makes `tensorflow_sampled.npz`.

    pip install tensorflow==2.21.0
    python tests/golden/tensorflow_sampled.py

Keys are `loss/<loss>/<num_true>/<hits>/<array>` and `sampler/<name>/<draw>/<array>`.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf

POSITIONS, WIDTH, CLASSES, SAMPLED = 8, 6, 50, 12
LOSSES = {"softmax": tf.nn.sampled_softmax_loss, "nce": tf.nn.nce_loss}
random = tf.raw_ops


def draw(op, true, **attributes):
    """Candidates, of a kernel made anew: it has seen no labels and has its own seed."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        made = op(
            true_classes=tf.constant(true, tf.int64), num_true=true.shape[1],
            **attributes,
        )  # fmt: skip
        return session.run(list(made))


def losses(rng):
    """Every loss, with gradients by a cotangent of each position's own."""
    inputs = rng.normal(size=(POSITIONS, WIDTH)).astype(np.float32)
    weights = rng.normal(size=(CLASSES, WIDTH)).astype(np.float32)
    biases = rng.normal(size=CLASSES).astype(np.float32)
    cotangent = np.linspace(-1, 2, POSITIONS, dtype=np.float32)
    yield from {
        "loss/inputs": inputs, "loss/weights": weights, "loss/biases": biases,
        "loss/cotangent": cotangent,
    }.items()  # fmt: skip
    for num_true in (1, 3):
        # Frequent classes, so that some of them are among the candidates too.
        labels = rng.integers(0, 12, size=(POSITIONS, num_true))
        sampled = draw(
            random.LogUniformCandidateSampler, labels, num_sampled=SAMPLED,
            unique=True, range_max=CLASSES, seed=1, seed2=num_true,
        )  # fmt: skip
        names = "ids", "true_count", "sampled_count"
        for name, x in zip(names, sampled, strict=True):
            yield f"loss/candidates/{num_true}/{name}", x
        yield f"loss/labels/{num_true}", labels
        for loss, f in LOSSES.items():
            for hits in (True, False):
                parts = tf.Variable(weights), tf.Variable(biases), tf.Variable(inputs)
                with tf.GradientTape() as tape:
                    value = f(
                        parts[0], parts[1], labels=tf.constant(labels, tf.int64),
                        inputs=parts[2], num_sampled=SAMPLED, num_classes=CLASSES,
                        num_true=num_true, remove_accidental_hits=hits,
                        sampled_values=tuple(map(tf.constant, sampled)),
                    )  # fmt: skip
                    total = tf.reduce_sum(cotangent * value)
                slopes = tape.gradient(total, parts)
                assert isinstance(slopes[0], tf.IndexedSlices)
                key = f"loss/{loss}/{num_true}/{hits}"
                yield f"{key}/value", value
                yield f"{key}/d_rows", slopes[0].indices
                for name, slope in zip(
                    ("weights", "biases", "inputs"), slopes, strict=True
                ):
                    yield f"{key}/d_{name}", tf.convert_to_tensor(slope)


def samplers(rng):
    """Draws by every law, with and without repeats; two shards, and reserved ids."""
    true = rng.integers(0, CLASSES, size=(5, 3))
    unigrams = rng.integers(1, 30, size=CLASSES).astype(np.float32)
    yield "sampler/true", true
    yield "sampler/unigrams", unigrams
    kept = {"unigrams": [float(w) for w in unigrams], "range_max": CLASSES}
    laws = {
        "uniform": (random.UniformCandidateSampler, {"range_max": CLASSES}),
        "log_uniform": (random.LogUniformCandidateSampler, {"range_max": CLASSES}),
        "log_uniform_million": (
            random.LogUniformCandidateSampler, {"range_max": 10**6}
        ),
        "fixed_unigram": (random.FixedUnigramCandidateSampler, kept),
        "distorted": (
            random.FixedUnigramCandidateSampler, kept | {"distortion": 0.75}
        ),
        "reserved": (
            random.FixedUnigramCandidateSampler,
            {"unigrams": kept["unigrams"][2:], "range_max": CLASSES,
             "num_reserved_ids": 2},
        ),
        "sharded": (
            random.FixedUnigramCandidateSampler,
            {"unigrams": kept["unigrams"] * 3, "range_max": CLASSES,
             "num_shards": 3, "shard": 1},
        ),
        "learned_unigram": (
            random.LearnedUnigramCandidateSampler, {"range_max": CLASSES}
        ),
    }  # fmt: skip
    for name, (op, attributes) in laws.items():
        for seed in range(3):
            for unique, count in ((True, 20), (False, 60)):
                made = draw(
                    op, true, num_sampled=count, unique=unique, seed=2, seed2=seed + 1,
                    **attributes,
                )  # fmt: skip
                names = "ids", "true_count", "sampled_count"
                for array, x in zip(names, made, strict=True):
                    yield f"sampler/{name}/{unique}{seed}/{array}", x
    # The counts that a second draw goes by are those the first has left.
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        made = random.LearnedUnigramCandidateSampler(
            true_classes=tf.constant(true, tf.int64), num_true=3, num_sampled=60,
            unique=False, range_max=CLASSES, seed=3, seed2=4,
        )  # fmt: skip
        session.run(list(made))
        for array, x in zip(names, session.run(made), strict=True):
            yield f"sampler/learned_again/False0/{array}", x
    made = tf.random.all_candidate_sampler(true, 3, CLASSES, unique=True)
    for array, x in zip(("ids", "true_count", "sampled_count"), made, strict=True):
        yield f"sampler/all/True0/{array}", x


def main():
    rng = np.random.default_rng(0)
    arrays = {k: np.asarray(v) for f in (losses, samplers) for k, v in f(rng)}
    path = Path(__file__).with_suffix(".npz")
    np.savez_compressed(path, tensorflow=tf.__version__, **arrays)
    print(f"{path.name}: {len(arrays)} arrays, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
