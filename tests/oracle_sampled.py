# SPDX-License-Identifier: Apache-2.0
"""The definitions of the samplers and sampled losses, a position at a time.

As in `oracle.py`, whose losses they end in: NumPy's widest float, nothing of jaxent's,
and derivatives by complex arguments.
"""

import numpy as np
import oracle
from oracle import wide

# Samplers.


def uniform(num_classes):
    return np.full(num_classes, 1 / wide(num_classes))


def log_uniform(num_classes):
    c = wide(np.arange(num_classes))
    return np.log1p(1 / (c + 1)) / np.log1p(wide(num_classes))


def unigram(weights, distortion=1.0, num_reserved_ids=0, num_shards=1, shard=0):
    w = np.concatenate([np.zeros(num_reserved_ids), weights]).astype(np.longdouble)
    w = np.where(w > 0, w ** wide(distortion), 0)[shard::num_shards]
    return w / w.sum()


def expected_count(p, count, tries):
    """Of classes of probability p, if `count` were drawn in so many tries."""
    if tries == count:
        return count * wide(p)
    return -np.expm1(tries * np.log1p(-wide(p)))


def rejection(rng, p, count):
    """Draws one by one, without repeats, until there are enough; and the tries."""
    drawn, tries = [], 0
    while len(drawn) < count:
        for c in rng.choice(len(p), size=count, p=p):
            if len(drawn) < count:
                tries += 1
                drawn += [c] * (c not in drawn)
    return drawn, tries


# Losses.


def columns(
    hidden, classifier, labels, *, ids, true_count, sampled_count, bias=None,
    subtract_log_q=True,
):  # fmt: skip
    """Logits of each position's labels, [N, T], and of the candidates, [N, n]."""
    x, w = wide(hidden), wide(classifier)
    b = np.zeros(len(w)) if bias is None else wide(bias)
    labels = np.asarray(labels).reshape(len(x), -1)
    true = np.stack([[x[i] @ w[c] + b[c] for c in own] for i, own in enumerate(labels)])
    sampled = x @ w[ids].T + b[ids]
    if subtract_log_q:
        true = true - np.log(wide(true_count).reshape(labels.shape))
        sampled = sampled - np.log(wide(sampled_count))
    return true, sampled, labels


def per_position(loss, where, hits, true, sampled, labels, ids):
    """`loss` of each position's logits, and how likely each is a label."""
    values = []
    for i, own in enumerate(labels):
        keep = ~np.isin(ids, own) if hits else np.ones(len(ids), bool)
        x = np.concatenate([true[i], sampled[i][keep]])
        y = np.where(np.arange(len(x)) < len(own), 1 / wide(len(own)), 0)
        values.append(loss(x, y))
    return oracle.dropped(np.stack(values), where)


def softmax(x, y):
    return oracle.softmax_cross_entropy(x, y)


def nce(x, y):
    return np.sum(oracle.sigmoid_binary_cross_entropy(x, y))


def sampled_softmax_cross_entropy(
    hidden, classifier, labels, *, ids, where=None, remove_accidental_hits=True,
    **given,
):  # fmt: skip
    made = columns(hidden, classifier, labels, ids=ids, **given)
    return per_position(softmax, where, remove_accidental_hits, *made, ids)


def nce_loss(
    hidden, classifier, labels, *, ids, where=None, remove_accidental_hits=False,
    **given,
):  # fmt: skip
    made = columns(hidden, classifier, labels, ids=ids, **given)
    return per_position(nce, where, remove_accidental_hits, *made, ids)


def rank_sampled_softmax_cross_entropy(
    hidden, classifier, labels, *, ids, sampled_count, num_resampled,
    temperature=1.0, where=None, remove_accidental_hits=True, **given,
):  # fmt: skip
    raw = given | {"subtract_log_q": False}
    _, scores, _ = columns(
        hidden, classifier, labels, ids=ids, sampled_count=sampled_count, **raw
    )
    scores = scores.real / wide(temperature)
    kept = scores if where is None else scores[np.asarray(where)]
    ranks = np.log(np.sum(np.exp(kept), axis=0))
    chosen = np.sort(np.argsort(-ranks)[:num_resampled])
    return sampled_softmax_cross_entropy(
        hidden, classifier, labels, ids=ids[chosen], where=where,
        sampled_count=sampled_count[chosen],
        remove_accidental_hits=remove_accidental_hits, **given,
    )  # fmt: skip
