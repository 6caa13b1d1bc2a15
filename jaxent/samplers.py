# SPDX-License-Identifier: Apache-2.0
"""Samplers: classes to stand for all of them, and how often each is to be expected.

Laws and expected counts are TensorFlow's candidate samplers'. A draw is a function of
its key. Closed-form laws need no array of num_classes elements, at any num_classes.
"""

import math

from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from . import _checks, _options
from ._errors import door, fail
from ._sampling.candidates import (
    Candidates,
    Listed,
    all_of,
    draw,
    draw_learned,
    draw_listed,
    log_uniform_law,
    renumbered,
    sizes_of,
    uniform_law,
)
from ._types import Number


@door
def uniform(
    key: Array,
    labels: Int[ArrayLike, "..."],
    *,
    num_sampled: int,
    num_classes: int,
    unique: bool = True,
) -> Candidates:
    """Classes drawn uniformly: `P(c) = 1/R`, R = `num_classes`.

    The expected count of a class is `n·P(c)` for n independent draws. Drawn until n
    differ, after m tries, it is `1 − (1 − P(c))^m` (and `n·P(c)` if m = n).

    Args:
      key: of `jax.random`; the same key draws the same classes.
      labels: class ids of any shape. They are drawn like any other class.
      num_sampled: n, how many classes to draw for all labels together.
      num_classes: R; classes are 0 to R − 1.
      unique: draw until n classes differ; n is then at most R.
    Returns:
      `Candidates`: ids int32 [n], counts float32. A label out of range has the
      expected count NaN.
    Raises:
      TypeError: labels that are not integers, or sizes that are not.
      ValueError: sizes below 1, or more unique classes than there are.
    Example:
      >>> key, labels = jax.random.key(0), jnp.array([3, 1])
      >>> c = jaxent.samplers.uniform(key, labels, num_sampled=4, num_classes=10)
      >>> len(set(c.ids.tolist())), c.true_count.shape
      (4, (2,))

    Source: Jean et al. (2015), On Using Very Large Target Vocabulary for NMT, §3.
    """
    ids = _checks.integers("labels", labels)
    sizes = sizes_of(num_sampled, num_classes, unique)
    return draw(_options.key("key", key), ids, law=uniform_law, sizes=sizes)


@door
def log_uniform(
    key: Array,
    labels: Int[ArrayLike, "..."],
    *,
    num_sampled: int,
    num_classes: int,
    unique: bool = True,
) -> Candidates:
    """Classes by Zipf's law: `P(c) = log((c + 2)/(c + 1)) / log(R + 1)`.

    For classes in the order of their frequency, the most frequent first, such as the
    words of a vocabulary. Every class up to the last is drawn as often as it should.

    Args:
      key: of `jax.random`; the same key draws the same classes.
      labels: class ids of any shape.
      num_sampled: n, how many classes to draw for all labels together.
      num_classes: R; classes are 0 to R − 1.
      unique: draw until n classes differ; n is then at most R.
    Returns:
      `Candidates`, with expected counts as in `uniform`.
    Raises:
      TypeError: labels that are not integers, or sizes that are not.
      ValueError: sizes below 1, or more unique classes than there are.
    Example:
      >>> key, labels = jax.random.key(0), jnp.array([0, 9_999_999])
      >>> jaxent.samplers.log_uniform(
      ...     key, labels, num_sampled=16, num_classes=10**7, unique=False).true_count
      Array([6.8806e-01, 9.9267e-08], dtype=float32)

    Source: TensorFlow, `tf.random.log_uniform_candidate_sampler`.
    """
    ids = _checks.integers("labels", labels)
    sizes = sizes_of(num_sampled, num_classes, unique)
    return draw(_options.key("key", key), ids, law=log_uniform_law, sizes=sizes)


@door
def fixed_unigram(
    key: Array,
    labels: Int[ArrayLike, "..."],
    *,
    weights: Float[ArrayLike, " listed"],
    num_sampled: int,
    num_classes: int,
    num_reserved_ids: int = 0,
    distortion: Number = 1.0,
    num_shards: int = 1,
    shard: int = 0,
    unique: bool = True,
) -> Candidates:
    """Classes by given weights or counts w: `P(c) = w_c^α / Σ w^α`.

    The weights are listed from class `num_reserved_ids` on. Reserved classes are never
    drawn, and a label among them has the expected count 0.

    Args:
      key: of `jax.random`; the same key draws the same classes.
      labels: class ids of any shape.
      weights: w ≥ 0, one for each class that is not reserved; any real dtype.
      num_sampled: n, how many classes to draw for all labels together.
      num_classes: R; classes are 0 to R − 1.
      num_reserved_ids: how many of the first classes are never drawn.
      distortion: α ≥ 0; 0.75 is word2vec's, 0 makes all weights 1.
      num_shards: of the classes as listed, take every so many; R counts these alone.
      shard: the first one taken, from 0.
      unique: draw until n classes differ; n is then at most the classes not reserved.
    Returns:
      `Candidates`, with expected counts as in `uniform`. Where fewer than n classes
      have a weight, the missing ids are −1, and the losses of such a draw NaN.
    Raises:
      TypeError: labels that are not integers, or sizes that are not.
      ValueError: sizes that do not fit each other.
    Example:
      >>> key, labels = jax.random.key(0), jnp.array([0, 1, 3])
      >>> jaxent.samplers.fixed_unigram(
      ...     key, labels, weights=jnp.array([2, 1, 5]), num_reserved_ids=1,
      ...     num_sampled=4, num_classes=4, unique=False).true_count
      Array([0. , 1. , 2.5], dtype=float32)

    Source: TensorFlow, `tf.random.fixed_unigram_candidate_sampler`; the distortion of
      0.75: Mikolov et al. (2013), Distributed Representations of Words, §2.2.
    """
    ids = _checks.integers("labels", labels)
    w = _checks.weights("weights", weights)
    reserved = _options.count("num_reserved_ids", num_reserved_ids, 0)
    shards = _options.count("num_shards", num_shards, 1)
    first = _options.count("shard", shard, 0)
    alpha = _options.number("distortion", distortion, (0.0, math.inf))
    alpha = None if isinstance(alpha, float) and alpha == 1 else alpha
    listed = Listed(reserved, first, shards)
    sizes = sizes_of(num_sampled, num_classes, unique, listed.of(reserved))
    if w.ndim != 1 or listed.of(reserved + w.size) != sizes.num_classes:
        must = f"list {num_classes} classes, with the reserved ones and of this shard"
        remedy = "Class `num_reserved_ids` is the first in the list."
        fail(ValueError, "weights", must, w.shape, remedy)
    return draw_listed(
        _options.key("key", key), ids, w, alpha, listed=listed, sizes=sizes
    )


@door
def learned_unigram(
    key: Array,
    labels: Int[ArrayLike, "..."],
    *,
    num_sampled: int,
    num_classes: int,
    counts: Int[ArrayLike, " classes"] | None = None,
    unique: bool = True,
) -> tuple[Candidates, Int[Array, " classes"]]:
    """Classes by how often they have been labels so far: `P(c) = n_c / Σ n`.

    The counts are an argument and a result, to be carried along as an optimizer's
    state is. This call draws by those it is given, and returns them with 1 added for
    each label.

    Args:
      key: of `jax.random`; the same key draws the same classes.
      labels: class ids of any shape.
      num_sampled: n, how many classes to draw for all labels together.
      num_classes: R; classes are 0 to R − 1.
      counts: n_c, one a class, of any real dtype; None is 1 for each class.
      unique: draw until n classes differ; n is then at most R.
    Returns:
      `Candidates`, with expected counts as in `uniform`; and the counts to draw by
      next, which are int32 to begin with. Labels out of range are not counted.
    Raises:
      TypeError: labels that are not integers, or sizes that are not.
      ValueError: sizes that do not fit each other.
    Example:
      >>> draw, counts = jax.random.key(0), None
      >>> c, counts = jaxent.samplers.learned_unigram(
      ...     draw, jnp.array([2, 2]), num_sampled=2, num_classes=4, counts=counts)
      >>> counts
      Array([1, 1, 3, 1], dtype=int32)

    Source: TensorFlow, `tf.random.learned_unigram_candidate_sampler`.
    """
    ids = _checks.integers("labels", labels)
    sizes = sizes_of(num_sampled, num_classes, unique)
    if counts is not None:
        counts = _checks.weights("counts", counts)
        must = f"have shape {(sizes.num_classes,)}, one count a class"
        if counts.shape != (sizes.num_classes,):
            remedy = "Carry what the last call returned; None starts."
            fail(ValueError, "counts", must, counts.shape, remedy)
    return draw_learned(_options.key("key", key), ids, counts, sizes=sizes)


@door
def all_candidates(
    key: Array,
    labels: Int[ArrayLike, "..."],
    *,
    num_sampled: int,
    num_classes: int,
) -> Candidates:
    """Every class once, in order: what the other samplers stand for.

    With it, sampled softmax with its accidental hits removed is the full softmax.

    Args:
      key: not used; here for one sampler to stand in another's place.
      labels: class ids of any shape.
      num_sampled: equal to `num_classes`.
      num_classes: R; classes are 0 to R − 1.
    Returns:
      `Candidates`: ids 0 to R − 1, all expected counts 1 (NaN for a label out of
      range).
    Raises:
      TypeError: labels that are not integers, or sizes that are not.
      ValueError: `num_sampled` other than `num_classes`.
    Example:
      >>> key, labels = jax.random.key(0), jnp.array([2, 0])
      >>> jaxent.samplers.all_candidates(key, labels, num_sampled=3, num_classes=3).ids
      Array([0, 1, 2], dtype=int32)

    Source: TensorFlow, `tf.random.all_candidate_sampler`.
    """
    del key
    ids = _checks.integers("labels", labels)
    sizes = sizes_of(num_sampled, num_classes, True)
    if sizes.num_sampled != sizes.num_classes:
        must = f"be num_classes={num_classes}, all there are"
        remedy = "To draw fewer use another sampler."
        fail(ValueError, "num_sampled", must, num_sampled, remedy)
    return all_of(ids, sizes=sizes)


@door
def renumber(
    labels: Int[ArrayLike, "..."], candidates: Candidates, *, num_classes: int
) -> tuple[Int[Array, " rows"], Int[Array, "..."], Candidates]:
    """The classes that a sampled loss reads, and its arguments in terms of these.

    The loss of `classifier[rows]`, with the labels and candidates returned here, is
    that of the whole classifier; and its gradient is the rows of the whole gradient
    that are not 0. A step of an optimizer on these rows alone never makes an array of
    the classifier's size.

    Args:
      labels: class ids of any shape, as given to the sampler.
      candidates: what it drew.
      num_classes: rows of the whole classifier.
    Returns:
      `(rows, labels, candidates)`. Rows are ascending and each there once, as many as
      there are labels and candidates; what is left over at the end, and every id out
      of range, is `num_classes`. So read by `classifier.at[rows].get(mode="fill",
      fill_value=jnp.nan)`, and write by `classifier.at[rows].add(..., mode="drop")`.
    Raises:
      TypeError: labels that are not integers, or a size that is not.
      ValueError: a size below 1.
    Example:
      >>> c = jaxent.Candidates(jnp.array([7, 2]), jnp.ones(2), jnp.ones(2))
      >>> rows, labels, c = jaxent.samplers.renumber(
      ...     jnp.array([5, 7]), c, num_classes=10)
      >>> rows, labels, c.ids
      (Array([ 2,  5,  7, 10], dtype=int32), Array([1, 2], dtype=int32),
       Array([2, 0], dtype=int32))

    Source: the rows and values of TensorFlow's `tf.IndexedSlices`, without repeats.
    """
    ids = _checks.integers("labels", labels)
    count = _options.count("num_classes", num_classes, 1)
    return renumbered(ids, candidates, num_classes=count)
