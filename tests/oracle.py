# SPDX-License-Identifier: Apache-2.0
"""The definitions, in NumPy's widest float: what every other test is held against.

Names and options are the library's; nothing of it is imported. Inputs are taken
exactly as given (half types too) and every function keeps relative accuracy, since
the largest term never enters a sum that is near it (`test_oracle.py` holds all of
them to 50 digits).

Every function is analytic code, and takes complex arrays: then the imaginary part
is the derivative along that of the input. `gradient` and `hessian` rest on this, as
a step of 1e-40 has neither truncation nor cancellation.
"""

import functools

import numpy as np

STEP = np.longdouble("1e-40")


def quiet(f):
    """Infinities and NaNs are results here, not accidents."""

    @functools.wraps(f)
    def quieted(*args, **options):
        with np.errstate(all="ignore"):
            return f(*args, **options)

    return quieted


def wide(x):
    x = np.asarray(x)
    return x.astype(np.clongdouble if np.iscomplexobj(x) else np.longdouble)


def lifted(f, slope):
    """f for real arrays; along a complex one's imaginary part, its derivative."""

    def g(z):
        z = wide(z)
        if not np.iscomplexobj(z):
            return f(z)
        out = np.zeros_like(z)
        out.real = f(z.real)
        out.imag = np.where(z.imag == 0, 0, slope(z.real) * z.imag)
        return out

    return g


exp = lifted(np.exp, np.exp)
expm1 = lifted(np.expm1, np.exp)
log = lifted(np.log, lambda x: 1 / x)
log1p = lifted(np.log1p, lambda x: 1 / (1 + x))
tanh = lifted(np.tanh, lambda x: 1 / np.cosh(x) ** 2)


def power(base, exponent):
    if np.iscomplexobj(exponent):
        return exp(exponent * log(base))
    return lifted(
        lambda b: b**exponent,
        lambda b: exponent * b ** (exponent - 1) if exponent else 0 * b,
    )(base)


def times(weight, value):
    """weight·value; a zero weight takes nothing from infinity, nor its derivative."""
    weight, value = wide(weight), wide(value)
    return weight * np.where((weight.real == 0) & np.isinf(value), 0, value)


def phi(d):
    """e^d − 1 − d, by its series where that cancels."""
    small = np.abs(d.real) < 0.5
    near, series = np.where(small, d, 0), np.ones_like(d)
    for n in range(24, 2, -1):
        series = 1 + near / n * series
    return np.where(small, near * near / 2 * series, expm1(d) - d)


def classes_last(x, axis):
    axes = tuple(a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,)))
    batch = tuple(a for a in range(x.ndim) if a not in axes)
    return x.transpose(batch + axes).reshape(*(x.shape[a] for a in batch), -1)


def dropped(value, keep):
    return value if keep is None else np.where(keep, value, 0)


def pairs(x):
    """−log p, 1 − p, p of every class, and log Σ exp x; −inf logits are left out."""
    forbidden = x.real == -np.inf
    top = np.argmax(x.real, axis=-1)[..., None]
    c = np.take_along_axis(x, top, axis=-1)
    distance = np.where(forbidden & np.isfinite(c), 0, x) - c
    at_top = np.arange(x.shape[-1]) == top
    e = np.where(forbidden, 0, exp(distance))
    rest = np.sum(np.where(at_top, 0, e), axis=-1, keepdims=True)
    p = e / (1 + rest) + 0 * c
    nll = np.where(forbidden & ~np.isnan(p), np.inf, log1p(rest) - distance)
    one_minus_p = np.where(at_top, rest / (1 + rest), 1 - p) + 0 * c
    return nll, one_minus_p, p, (c + log1p(rest) + 0 * c)[..., 0]


@quiet
def softmax(logits, axis=-1):
    return pairs(classes_last(wide(logits), axis))[2]


def one_hot(labels, count):
    return np.asarray(labels)[..., None] == np.arange(count)


# Softmax losses.


@quiet
def softmax_cross_entropy(
    logits, labels, *, axis=-1, where=None, class_where=None, class_weights=None,
    label_smoothing=0.0, z_loss=0.0, loss=lambda nll, one_minus_p: nll,
):  # fmt: skip
    """Σ_j w_j·((1−α)·q_j + α/V)·ℓ_j + z·lse², with ℓ_j = `loss` of class j."""
    x, q = wide(logits), classes_last(wide(labels), axis)
    if class_where is not None:
        x = np.where(class_where, x, -np.inf)
    x = classes_last(x, axis)
    x, q = (a if where is None else dropped(a, where[..., None]) for a in (x, q))
    allowed = x.real > -np.inf
    share = allowed / wide(np.sum(allowed, axis=-1, keepdims=True))
    q = (1 - wide(label_smoothing)) * q + times(wide(label_smoothing), share)
    if class_weights is not None:
        q = q * wide(class_weights)
    nll, one_minus_p, _, lse = pairs(x)
    # Complex infinities have no sum: a forbidden class has the real limit.
    of_class = loss(np.where(allowed, nll, 1), one_minus_p)
    of_class = np.where(allowed, of_class, loss(wide(np.inf), wide(1)))
    value = np.sum(times(q, of_class), axis=-1)
    return dropped(value + wide(z_loss) * lse**2, where)


@quiet
def softmax_cross_entropy_with_integer_labels(
    logits, labels, *, axis=-1, where=None, ignore_index=None, **options
):
    labels = np.asarray(labels).astype(np.int64)
    x = classes_last(wide(logits), axis)
    if (class_where := options.pop("class_where", None)) is not None:
        full = np.broadcast_to(class_where, np.shape(logits))
        options["class_where"] = classes_last(full, axis)
    if ignore_index is not None:
        heeded = labels != ignore_index
        where = heeded if where is None else where & heeded
    one = one_hot(labels, x.shape[-1])
    value = softmax_cross_entropy(x, one, where=where, **options)
    bad = ~one.any(axis=-1) & (True if where is None else np.asarray(where))
    return np.where(bad, np.nan, value)


def softmax_focal_loss(logits, labels, *, gamma=2.0, **options):
    def loss(nll, one_minus_p):
        return nll * power(one_minus_p, wide(gamma))

    return softmax_cross_entropy_with_integer_labels(
        logits, labels, loss=loss, **options
    )


def generalized_cross_entropy(logits, labels, *, q=0.7, **options):
    def loss(nll, one_minus_p):
        return nll if q == 0 else -expm1(-wide(q) * nll) / wide(q)

    return softmax_cross_entropy_with_integer_labels(
        logits, labels, loss=loss, **options
    )


def poly_loss_cross_entropy(logits, labels, *, epsilon=2.0, **options):
    def loss(nll, one_minus_p):
        return nll + wide(epsilon) * one_minus_p

    return softmax_cross_entropy(logits, labels, loss=loss, **options)


@quiet
def softmax_statistics(logits, labels, *, axis=-1, class_where=None):
    """−log p_y, 1 − p_y, lse, x_y, whether y is the top class, entropy, top class."""
    x = wide(logits)
    if class_where is not None:
        x = np.where(class_where, x, -np.inf)
    x = classes_last(x, axis)
    hit = one_hot(labels, x.shape[-1])
    good = hit.any(axis=-1)
    nll, one_minus_p, _, lse = pairs(x)
    entropy, top = entropy_from_logits(x), np.argmax(x.real, axis=-1)
    picked = (np.sum(np.where(hit, a, 0), axis=-1) for a in (nll, one_minus_p, x))
    nll, one_minus_p, x_y = (np.where(good, a, np.nan) for a in picked)
    correct = (top == labels) & ~np.isnan(x_y.real)
    return nll, one_minus_p, lse, x_y, correct, entropy, top


# Binary losses, and losses of probabilities.


def softplus(x):
    """log(1 + exp x) = −log σ(−x)."""
    return np.where(x.real > 0, x, 0) + log1p(exp(np.where(x.real > 0, -x, x)))


def sigmoid(x):
    e = exp(np.where(x.real > 0, -x, x))
    return np.where(x.real > 0, 1, e) / (1 + e)


@quiet
def sigmoid_binary_cross_entropy(
    logits, labels, *, where=None, pos_weight=1.0, label_smoothing=0.0
):
    x, y = dropped(wide(logits), where), dropped(wide(labels), where)
    y = (1 - wide(label_smoothing)) * y + wide(label_smoothing) / 2
    value = times(wide(pos_weight) * y, softplus(-x)) + times(1 - y, softplus(x))
    return dropped(value, where)


@quiet
def sigmoid_focal_loss(logits, labels, *, alpha=None, gamma=2.0, where=None):
    x, y = dropped(wide(logits), where), dropped(wide(labels), where)
    wrong = y * sigmoid(-x) + (1 - y) * sigmoid(x)
    value = times(power(wrong, wide(gamma)), sigmoid_binary_cross_entropy(x, y))
    balance = 1 if alpha is None else wide(alpha) * y + (1 - wide(alpha)) * (1 - y)
    return dropped(times(balance, value), where)


@quiet
def binary_cross_entropy(probs, labels, *, eps=None, where=None):
    p, y = dropped(wide(probs), where), dropped(wide(labels), where)
    if eps is None:
        return dropped(-times(y, log(p)) - times(1 - y, log1p(-p)), where)
    value = -times(y, log(clipped(p, eps))) - times(1 - y, log(clipped(1 - p, eps)))
    return dropped(value, where)


@quiet
def categorical_cross_entropy(probs, labels, *, axis=-1, eps=None, where=None):
    p = wide(probs) if eps is None else clipped(wide(probs), eps)
    terms = classes_last(-times(labels, log(p)), axis)
    return dropped(np.sum(terms, axis=-1), where)


def clipped(p, eps):
    low, high = wide(eps), 1 - wide(eps)
    return np.where(p.real < low, low, np.where(p.real > high, high, p))


@quiet
def negative_log_likelihood(
    log_probs, labels, *, axis=-1, where=None, ignore_index=None, class_weights=1.0
):
    log_p = classes_last(wide(log_probs), axis)
    hit = one_hot(labels, log_p.shape[-1])
    value = np.sum(np.where(hit, -times(class_weights, log_p), 0), axis=-1)
    value = np.where(hit.any(axis=-1), value, np.nan)
    value = dropped(value, where)
    return value if ignore_index is None else dropped(value, labels != ignore_index)


# Information measures.


def summed(terms, axis, base=None):
    total = np.sum(classes_last(terms, axis), axis=-1)
    return total if base is None else total / np.log(wide(base))


@quiet
def entropy(probs, *, axis=-1, base=None):
    return summed(-times(probs, log(probs)), axis, base)


@quiet
def cross_entropy(p, q, *, axis=-1, base=None):
    return summed(-times(p, log(q)), axis, base)


@quiet
def entropy_from_logits(logits, *, axis=-1, base=None):
    """log(1 + Σ_{i≠k} exp(x_i − x_k)) + Σ p_j·(x_k − x_j), for the largest, k."""
    x = classes_last(wide(logits), axis)
    nll, _, p, _ = pairs(x)
    likeliest = np.argmax(x.real, axis=-1)[..., None]
    top, log_z = (np.take_along_axis(a, likeliest, axis=-1) for a in (x, nll))
    return summed(times(p, top - x), -1, base) + summed(log_z, -1, base)


@quiet
def cross_entropy_from_logits(p_logits, q_logits, *, axis=-1, base=None):
    p = pairs(classes_last(wide(p_logits), axis))[2]
    nll = pairs(classes_last(wide(q_logits), axis))[0]
    return summed(times(p, nll), -1, base)


@quiet
def kl_divergence(log_predictions, targets, *, axis=-1, where=None):
    log_q, t = wide(log_predictions), wide(targets)
    return dropped(summed(times(t, log(t) - log_q), axis), where)


@quiet
def kl_divergence_with_log_targets(
    log_predictions, log_targets, *, axis=-1, where=None
):
    log_q, log_t = wide(log_predictions), wide(log_targets)
    return dropped(summed(times(exp(log_t), log_t - log_q), axis), where)


@quiet
def generalized_kl_divergence(log_predictions, targets, *, axis=-1, where=None):
    log_q, t = wide(log_predictions), wide(targets)
    d = log_q - log(np.where(t == 0, 1, t))
    plain = exp(log_q) - t - times(t, d)
    terms = np.where((t != 0) & (np.abs(d.real) < 0.5), t * phi(d), plain)
    return dropped(summed(terms, axis), where)


def divided(x, temperature):
    """x/T; −inf stays so, complex or not."""
    x = wide(x)
    return np.where(np.isfinite(x.real), x / wide(temperature), x)


def kl_and_ratio(a, b, temperature=1):
    """KL(p‖q) ≥ 0 and log(q/p), for logits a of p and b of q, classes last.

    With d = b − a less its p-mean, KL = log(1 + Σ p·(e^d − 1 − d)). Both are taken
    from p's largest class, which at saturation the mean consists of.
    """
    impossible = np.any((a.real > -np.inf) & (b.real == -np.inf), axis=-1)
    top = np.argmax(a.real, axis=-1)[..., None]
    a, b = (x - np.take_along_axis(x, top, axis=-1) for x in (a, b))
    # Their difference is divided, for it is rounded far less than both.
    difference = divided(b - a, temperature)
    a, b = divided(a, temperature), divided(b, temperature)
    (_, _, p, log_z), log_z_b = pairs(a), pairs(b)[3]
    raw = np.where(p == 0, 0, difference)
    mean = np.sum(times(p, raw), axis=-1, keepdims=True)
    alone = exp(b - log_z[..., None] - mean)  # p·e^d where p is 0
    terms = np.where(p == 0, alone, p * phi(raw - mean))
    kl = log1p(np.sum(terms, axis=-1))
    # Far apart, e^d is so large that the derivatives would be differences of it.
    kl = np.where(kl.real < 1, kl, log_z_b - log_z - mean[..., 0])
    return np.where(impossible, np.inf, kl), raw - mean - kl[..., None]


@quiet
def kl_divergence_from_logits(p_logits, q_logits, *, axis=-1, base=None, temperature=1):
    a, b = (classes_last(wide(x), axis) for x in (p_logits, q_logits))
    return summed(kl_and_ratio(a, b, temperature)[0][..., None], -1, base)


@quiet
def kl_divergence_from_top_k(
    logits, ids, log_probs, *, tail="category", tail_log_prob=None, temperature=1.0,
    where=None,
):  # fmt: skip
    """Σ p·(log p − log q) over the classes listed and, as one category, all others."""
    x, ids, log_p = divided(logits, temperature), np.asarray(ids), wide(log_probs)
    entry = ids >= 0
    log_p = np.where(entry, log_p, -np.inf)
    own = np.take_along_axis(x, np.where(entry, ids, 0), axis=-1)
    own = np.where(entry, own, -np.inf)
    hit = (ids[..., None, :] == np.arange(x.shape[-1])[:, None]).any(axis=-1)
    top = np.max(x.real, axis=-1, keepdims=True)
    others = log(np.sum(np.where(hit, 0, exp(x - top)), axis=-1, keepdims=True))
    parts = own if tail == "renormalize" else np.concatenate([own - top, others], -1)
    log_q = -pairs(parts)[0]
    p = np.where(log_p.real == -np.inf, 0, exp(log_p))
    if tail == "renormalize":
        log_p = log_p - log(np.sum(p, axis=-1, keepdims=True))
    if tail == "category":
        left = 1 - np.sum(p, axis=-1, keepdims=True)
        rest = log(np.where(left.real > 0, left, 0))
        rest = rest if tail_log_prob is None else wide(tail_log_prob)[..., None]
        rest = np.where(hit.all(axis=-1, keepdims=True), -np.inf, rest)
        log_p = np.concatenate([log_p, rest], axis=-1)
    p = np.where(log_p.real == -np.inf, 0, exp(log_p))
    log_p, log_q = (a[..., : p.shape[-1]] for a in (log_p, log_q))
    terms = np.where(p == 0, 0, p * (np.where(p == 0, 0, log_p) - log_q))
    some = entry.any(axis=-1) & (True if where is None else np.asarray(where))
    value = np.where(some, np.sum(terms, axis=-1), 0)
    bad = (ids < -1) | (ids >= x.shape[-1])
    return np.where((where is None or where) & bad.any(axis=-1), np.nan, value)


def js_terms(p, q, ratio, weight):
    """w·p·log(p/m) + (1−w)·q·log(q/m), as w·p·φ(log(m/p)) + (1−w)·q·φ(log(m/q)).

    With `ratio` = log(q/p) where it is small, of which both logarithms are made there.
    """
    m, value = weight * p + (1 - weight) * q, 0
    near = np.abs(ratio.real) < 0.5
    for prob, share, r in ((p, weight, ratio), (q, 1 - weight, -ratio)):
        d = np.where(near, log1p((1 - share) * expm1(np.where(near, r, 0))), 0)
        void = (prob == 0) | (m == 0)
        safe = np.where(void, 1, prob) / np.where(void, 1, m)
        plain = np.where(prob == 0, 0, times(share * prob, log(safe)))
        # Alone, either of these is more than the sum: by m − p and by m − q.
        plain += share * (m - prob)
        value = value + np.where(near & (prob != 0), share * prob * phi(d), plain)
    return value


@quiet
def js_divergence(p, q, *, axis=-1, base=None, weight=0.5):
    p, q = wide(p), wide(q)
    either = (p == 0) | (q == 0)
    ratio = np.where(either, np.inf, log1p((q - p) / np.where(either, 1, p)))
    return summed(js_terms(p, q, ratio, wide(weight)), axis, base)


@quiet
def js_divergence_from_logits(
    p_logits, q_logits, *, axis=-1, base=None, temperature=1, weight=0.5
):
    a, b = (classes_last(wide(x), axis) for x in (p_logits, q_logits))
    p, q = (pairs(divided(x, temperature))[2] for x in (a, b))
    either = (p == 0) | (q == 0)
    ratio = np.where(either, np.inf, kl_and_ratio(a, b, temperature)[1])
    return summed(js_terms(p, q, ratio, wide(weight)), -1, base)


# Reductions and labels.


@quiet
def reduce(
    values,
    *,
    where=None,
    weights=None,
    reduction="mean",
    axis=None,
    segment_ids=None,
    num_segments=None,
):
    v = wide(values)
    keep = np.ones(v.shape, bool) if where is None else np.asarray(where)
    w = np.where(keep, 1 if weights is None else wide(weights), wide(0))
    terms = times(w, v)
    if reduction == "none":
        return terms
    if reduction == "sequence_mean":
        ids = np.ones(v.shape, int) if segment_ids is None else np.asarray(segment_ids)
        last = v.shape[-1] + 1 if num_segments is None else num_segments
        means = []
        for row, weight, segments in zip(
            *(a.reshape(-1, v.shape[-1]) for a in (terms, w, ids)), strict=True
        ):
            for s in range(1, last):
                if np.sum(weight[segments == s]) != 0:
                    total = np.sum(row[segments == s])
                    means.append(total / np.sum(weight[segments == s]))
        return np.sum(means) / wide(len(means)) if means else wide(0)
    count = {
        "sum": 1,
        "mean": np.sum(keep, axis=axis),
        "weighted_mean": np.sum(w, axis=axis),
        "nonzero_mean": np.sum(w != 0, axis=axis),
        "batch_mean": v.shape[0] if v.ndim else 1,
    }[reduction]
    return np.where(count == 0, 0, np.sum(terms, axis=axis) / wide(count))


@quiet
def segment_means(values, segment_ids, *, num_segments, where=None, weights=None):
    """(Σ w·v, Σ w) of each segment from 1 on; column 0 is empty."""
    v, ids = wide(values), np.asarray(segment_ids)
    keep = np.ones(v.shape, bool) if where is None else np.asarray(where)
    w = np.where(keep, 1 if weights is None else wide(weights), wide(0))
    hit = (ids[..., None, :] == np.arange(num_segments)[:, None]) & (ids > 0)[
        ..., None, :
    ]
    return tuple(
        np.sum(np.where(hit, x[..., None, :], 0), -1) for x in (times(w, v), w)
    )


def perplexity(mean_nll):
    return exp(mean_nll)


def bits_per_byte(total_nll, num_bytes):
    return wide(total_nll) / (wide(num_bytes) * np.log(wide(2)))


def smooth_labels(labels, alpha, *, axis=-1, class_where=True):
    y, alpha = wide(labels), wide(alpha)
    allowed = np.broadcast_to(class_where, y.shape)
    share = alpha / np.sum(allowed, axis=axis, keepdims=True)
    return np.where(allowed, (1 - alpha) * y + share, 0)


def next_token_labels(tokens, *, shift=1, where=None, segment_ids=None):
    tokens = np.asarray(tokens)
    labels, keep = np.zeros_like(tokens), np.zeros(tokens.shape, bool)
    n = max(tokens.shape[-1] - shift, 0)
    labels[..., :n] = tokens[..., shift:]
    keep[..., :n] = True if where is None else np.asarray(where)[..., shift:]
    if segment_ids is not None:
        s = np.asarray(segment_ids)
        keep[..., :n] &= (s[..., shift:] == s[..., :n]) & (s[..., shift:] != 0)
    return labels, keep


# Derivatives.


@quiet
def label_gradient(logits, labels):
    """∂(−log p_y)/∂x = p − onehot(y), in closed form, classes last."""
    _, one_minus_p, p, _ = pairs(wide(logits))
    return np.where(one_hot(labels, p.shape[-1]), -one_minus_p, p)


@quiet
def binary_gradient(logits, labels):
    """∂ of the binary loss: (1−y)·σ(x) − y·σ(−x)."""
    x, y = wide(logits), wide(labels)
    return (1 - y) * sigmoid(x) - y * sigmoid(-x)


@quiet
def derivative(f, x, direction):
    """Of f along a direction; f is written with this module's functions.

    Error: that of f's own arithmetic, some 1e-18.
    """
    return f(wide(x) + 1j * STEP * wide(direction)).imag / STEP


def gradient(f, x):
    """∂f/∂x for f one number."""
    out = np.zeros_like(wide(x))
    for at in np.ndindex(*out.shape):
        e = np.zeros(out.shape)
        e[at] = 1
        out[at] = derivative(f, x, e)
    return out


@quiet
def hessian(f, x, *, step=2.0**-17):
    """∂²f/∂x² for f one number: central differences, of fourth order, of `gradient`.

    Error: truncation (step/s)⁴ of the truth where the problem's scale is s, so 1e-20
    for logits, and for a probability p too if the step is a multiple of p; rounding
    1e-19/step = 1e-14 of the gradient, which is as small as the truth only where that
    does not cancel.
    """
    x = wide(x)
    step = np.broadcast_to(wide(step), x.shape)
    out = np.zeros(x.shape + x.shape, np.longdouble)
    for at in np.ndindex(*x.shape):
        e = np.zeros_like(x)
        e[at] = step[at]
        near, far = (gradient(f, x + n * e) - gradient(f, x - n * e) for n in (1, 2))
        out[at] = (8 * near - far) / (12 * step[at])
    return out
