# SPDX-License-Identifier: Apache-2.0
"""Losses that put a few sampled classes in the place of all."""

from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from . import _options
from ._errors import door, fail
from ._sampling.candidates import Candidates
from ._sampling.logits import given_columns, nce, sampled_softmax, settings_of
from ._types import Number, Reduction


@door
def sampled_softmax_cross_entropy(
    hidden: Float[ArrayLike, "*batch d"],
    classifier: Float[ArrayLike, "vocab d"],
    labels: Int[ArrayLike, "*batch_and_true"],
    *,
    candidates: Candidates,
    bias: Float[ArrayLike, " vocab"] | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    remove_accidental_hits: bool = True,
    subtract_log_q: bool = True,
    reduction: Reduction = "none",
) -> Float[Array, "..."]:
    """Softmax cross-entropy among each position's labels and the sampled classes.

    `ℓ = log Σ_{c ∈ T ∪ S} exp(x_c) − 1/|T|·Σ_{c ∈ T} x_c`, where
    `x = hidden @ classifier.T + bias − log Q`, T are the labels of the position, S the
    candidates and Q the expected counts. A training loss: with all classes sampled it
    is the exact one, and with n its gradient is off by a term in 1/n. Evaluate by
    `linear_softmax_cross_entropy`.

    Only the rows of T and S are read, and only these have a gradient. That is still an
    array of the classifier's size; `samplers.renumber` shows how to do without.

    Args:
      hidden: last activations, any real float dtype; halves are computed in float32.
      classifier: one row a class, as in `linear_softmax_cross_entropy`.
      labels: class ids in [0, vocab): one a position, or along a last axis several.
      candidates: what a sampler of `jaxent.samplers` drew for these labels.
      bias: added to the logits, one number a class.
      where: positions to keep (True). Dropped: loss 0, gradient 0, nothing read.
      weights: multipliers of the losses. Where 0, not read, but counted by "mean".
      remove_accidental_hits: leave out the candidates among a position's own labels.
      subtract_log_q: correct for how often the classes are drawn.
      reduction: as in `jaxent.reduce`, over the kept positions.
    Returns:
      Loss in nats, shape `batch`, float32 (float64 for float64). A label out of range,
      or one that the sampler never draws (Q = 0): NaN, with a NaN gradient, for that
      position alone.
    Raises:
      TypeError: activations that are not floats, labels that are not integers.
      ValueError: shapes that do not meet.
    Example:
      >>> hidden, embedding, labels = jnp.ones((2, 4)), jnp.eye(8, 4), jnp.array([0, 7])
      >>> drawn = jaxent.samplers.log_uniform(
      ...     jax.random.key(0), labels, num_sampled=5, num_classes=8)
      >>> jaxent.sampled_softmax_cross_entropy(
      ...     hidden, embedding, labels, candidates=drawn).shape
      (2,)

    Source: Jean et al. (2015), On Using Very Large Target Vocabulary for NMT, §3;
      accidental hits as in TensorFlow's `tf.nn.sampled_softmax_loss`.
    """
    given, average = given_columns(
        hidden, classifier, labels, bias, candidates, where, weights, reduction
    )
    settings = settings_of(remove_accidental_hits, subtract_log_q)
    return average(sampled_softmax(given, settings=settings))


@door
def nce_loss(
    hidden: Float[ArrayLike, "*batch d"],
    classifier: Float[ArrayLike, "vocab d"],
    labels: Int[ArrayLike, "*batch_and_true"],
    *,
    candidates: Candidates,
    bias: Float[ArrayLike, " vocab"] | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    remove_accidental_hits: bool = False,
    subtract_log_q: bool = True,
    reduction: Reduction = "none",
) -> Float[Array, "..."]:
    """Noise-contrastive estimation: is a class a label, or was it drawn?

    `ℓ = Σ_{c ∈ T} BCE(x_c, 1/|T|) + Σ_{c ∈ S} BCE(x_c, 0)`, with the logits x, labels T
    and candidates S of `sampled_softmax_cross_entropy`, and BCE the loss of
    `sigmoid_binary_cross_entropy`. Without `subtract_log_q` it is negative sampling.

    Args:
      hidden: last activations, any real float dtype; halves are computed in float32.
      classifier: one row a class.
      labels: class ids in [0, vocab): one a position, or along a last axis several.
      candidates: what a sampler of `jaxent.samplers` drew for these labels.
      bias: added to the logits, one number a class.
      where: positions to keep (True). Dropped: loss 0, gradient 0, nothing read.
      weights: multipliers of the losses. Where 0, not read, but counted by "mean".
      remove_accidental_hits: leave out the candidates among a position's own labels.
      subtract_log_q: correct for how often the classes are drawn.
      reduction: as in `jaxent.reduce`, over the kept positions.
    Returns:
      Loss in nats, shape `batch`, float32 (float64 for float64); NaN as in
      `sampled_softmax_cross_entropy`.
    Raises:
      TypeError: activations that are not floats, labels that are not integers.
      ValueError: shapes that do not meet.
    Example:
      >>> hidden, embedding, labels = jnp.ones((2, 4)), jnp.eye(8, 4), jnp.array([0, 7])
      >>> drawn = jaxent.samplers.log_uniform(
      ...     jax.random.key(0), labels, num_sampled=5, num_classes=8)
      >>> jaxent.nce_loss(hidden, embedding, labels, candidates=drawn).shape
      (2,)

    Source: Gutmann & Hyvärinen (2010), Noise-contrastive estimation; negative
      sampling: Mikolov et al. (2013); as in TensorFlow's `tf.nn.nce_loss`.
    """
    given, average = given_columns(
        hidden, classifier, labels, bias, candidates, where, weights, reduction
    )
    settings = settings_of(remove_accidental_hits, subtract_log_q)
    return average(nce(given, settings=settings))


@door
def rank_sampled_softmax_cross_entropy(
    hidden: Float[ArrayLike, "*batch d"],
    classifier: Float[ArrayLike, "vocab d"],
    labels: Int[ArrayLike, "*batch_and_true"],
    *,
    candidates: Candidates,
    num_resampled: int,
    temperature: Number = 1.0,
    bias: Float[ArrayLike, " vocab"] | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    weights: Float[ArrayLike, "*batch"] | None = None,
    remove_accidental_hits: bool = True,
    subtract_log_q: bool = True,
    reduction: Reduction = "none",
) -> Float[Array, "..."]:
    """Sampled softmax among the candidates that the batch finds hardest.

    Of the candidates, those `num_resampled` are kept whose score
    `log Σᵢ exp((hiddenᵢ·classifier_c + bias_c)/τ)`, over the positions i, is largest.
    Then `sampled_softmax_cross_entropy`, with the counts as they are. The choice itself
    has no gradient.

    Args:
      hidden: last activations, any real float dtype; halves are computed in float32.
      classifier: one row a class.
      labels: class ids in [0, vocab): one a position, or along a last axis several.
      candidates: what a sampler of `jaxent.samplers` drew for these labels.
      num_resampled: how many candidates to keep, fewer than there are.
      temperature: τ > 0; small ones go by each class's best position alone.
      bias: added to the logits, one number a class.
      where: positions to keep (True). Dropped: loss 0, gradient 0, no part in scores.
      weights: multipliers of the losses. Where 0, not read, but counted by "mean".
      remove_accidental_hits: leave out the candidates among a position's own labels.
      subtract_log_q: correct for how often the classes are drawn.
      reduction: as in `jaxent.reduce`, over the kept positions.
    Returns:
      Loss in nats, shape `batch`, float32 (float64 for float64); NaN as in
      `sampled_softmax_cross_entropy`.
    Raises:
      TypeError: activations that are not floats, labels that are not integers.
      ValueError: shapes that do not meet, or `num_resampled` not below their number.
    Example:
      >>> hidden, embedding, labels = jnp.ones((2, 4)), jnp.eye(8, 4), jnp.array([0, 7])
      >>> drawn, _ = jaxent.samplers.learned_unigram(
      ...     jax.random.key(0), labels, num_sampled=5, num_classes=8)
      >>> jaxent.rank_sampled_softmax_cross_entropy(
      ...     hidden, embedding, labels, candidates=drawn, num_resampled=3).shape
      (2,)

    Source: TensorFlow 1's `tf.contrib.nn.rank_sampled_softmax_loss`.
    """
    given, average = given_columns(
        hidden, classifier, labels, bias, candidates, where, weights, reduction
    )
    settings = settings_of(remove_accidental_hits, subtract_log_q)
    count = _options.count("num_resampled", num_resampled, 1)
    if count >= given.candidates.ids.size:
        must = f"be below {given.candidates.ids.size}, the number of candidates"
        remedy = "To keep all use `sampled_softmax_cross_entropy`."
        fail(ValueError, "num_resampled", must, count, remedy)
    temperature = _options.positive("temperature", temperature)
    settings = settings._replace(num_resampled=count)
    return average(sampled_softmax(given, temperature, settings=settings))
