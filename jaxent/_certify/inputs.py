# SPDX-License-Identifier: Apache-2.0
"""What `certify` computes losses of, ordinary and extreme, made on the host.

Each function takes a random generator and the largest margin, and gives arguments by
the kind of input, `ROWS` rows each.
"""

import numpy as np

CLASSES, ROWS, WIDTH, LISTED = 32, 8, 8, 5

# Logits are multiples of 1/512: differences are exact, and only arithmetic is seen.


def logits(rng, scale: float, offset: float = 0.0):
    x = scale * rng.standard_normal((ROWS, CLASSES)) + offset
    return np.round(512 * x) / 512


def ids(rng):
    return rng.integers(CLASSES, size=ROWS).astype(np.int32)


def ahead(x, y, margin: float):
    """The label put so far ahead of the largest logit; behind, if negative."""
    one = np.arange(CLASSES) == y[:, None]
    top = np.max(np.where(one, -np.inf, x), axis=-1, keepdims=True)
    return np.where(one, top + margin, x)


def classes(rng, margin: float) -> dict[str, tuple]:
    made = {
        "initial": (logits(rng, 0.02), ids(rng)),
        "unit": (logits(rng, 1), ids(rng)),
        "offset 1e4": (logits(rng, 1, 1e4), ids(rng)),
    }
    for size in (20, -20, margin, -margin):
        y = ids(rng)
        made[f"label {size:+g}"] = ahead(logits(rng, 1), y, size), y
    x, y = logits(rng, 1), ids(rng)
    forbidden = (rng.random(x.shape) < 0.4) & (np.arange(CLASSES) != y[:, None])
    return made | {"-inf logits": (np.where(forbidden, -np.inf, x), y)}


def integer(rng, margin: float) -> dict[str, tuple]:
    """And the edges, where infinities and NaNs are the answer."""
    x, y = logits(rng, 1), ids(rng)
    bad = logits(rng, 1)
    bad[::3], bad[1::3, 4], bad[2::3, 4] = -np.inf, np.inf, np.nan
    outside = np.resize(np.array([-1, CLASSES], np.int32), ROWS)
    return classes(rng, margin) | {
        "label forbidden": (np.where(np.arange(CLASSES) == y[:, None], -np.inf, x), y),
        "label outside": (logits(rng, 1), outside),
        "no distribution": (bad, ids(rng)),
    }


def one_hot(rng, margin: float) -> dict[str, tuple]:
    made = classes(rng, margin)
    return {k: (x, np.arange(CLASSES) == y[:, None]) for k, (x, y) in made.items()}


def soft(rng, margin: float) -> dict[str, tuple]:
    made = classes(rng, margin).items()
    return {k: (x, np.where(np.isinf(x), 0, shares(rng))) for k, (x, _) in made}


def binary(rng, margin: float) -> dict[str, tuple]:
    made = {"initial": (logits(rng, 0.02), decided(rng))}
    for size in (0, 20, -20, margin, -margin):
        y, x = decided(rng), logits(rng, 1)
        made[f"label {size:+g}"] = x + size * (2 * y - 1), y
    x = np.where(logits(rng, 1) > 0, np.inf, -np.inf)
    return made | {"infinite": (x, decided(rng))}


def decided(rng):
    return rng.integers(2, size=(ROWS, CLASSES)).astype(float)


def shares(rng, scale: float | None = None):
    """Rows of probabilities, softmax of N(0, scale) or anywhere, clear of 0."""
    e = rng.exponential(size=(ROWS, CLASSES))
    e = e if scale is None else np.exp(scale * rng.standard_normal(e.shape))
    return np.maximum(e / e.sum(-1, keepdims=True), 2.0**-13)


def two_shares(rng, margin: float) -> dict[str, tuple]:
    p = shares(rng, 1)
    near = p * (1 + 1e-3 * rng.standard_normal(p.shape))
    far = (shares(rng, scale) for scale in (0.02, 1, 4))
    return {
        "near": (near, p),
        **{f"unlike {i}": (q, shares(rng)) for i, q in enumerate(far)},
    }


def two_shares_with_zeros(rng, margin: float) -> dict[str, tuple]:
    """Zeros in both at once, which add nothing, and in the first or in its label."""
    p, q = shares(rng), shares(rng)
    p[:, ::4], q[:, :16] = 0, 0
    q = np.where(p == 0, 0, q)
    return two_shares(rng, margin) | {"zeros": (p, q)}


def swapped(inputs):
    return lambda *given: {k: v[::-1] for k, v in inputs(*given).items()}


def logs(inputs, *which: int):
    """Logarithms of some of the arguments."""

    def of(*given):
        made = inputs(*given).items()
        return {
            k: tuple(np.log(a) if i in which else a for i, a in enumerate(v))
            for k, v in made
        }

    return of


def decisions(rng, margin: float) -> dict[str, tuple]:
    made = {}
    for low in (0.4, 0.05, 2.0**-7):
        p = low * (1 / low - 1) ** rng.random((ROWS, CLASSES))
        made[f"from {low:g}"] = p, decided(rng)
    y = decided(rng)
    return made | {"certain": (y, y)}


def distribution(rng, margin: float) -> dict[str, tuple]:
    return {f"spread {s:g}": (shares(rng, s),) for s in (0.02, 1, 4)}


def log_probs(rng, margin: float) -> dict[str, tuple]:
    made = {k: (np.log(p), ids(rng)) for k, (p,) in distribution(rng, margin).items()}
    return made | {"label outside": (np.log(shares(rng)), np.full(ROWS, -1, np.int32))}


def one(rng, margin: float) -> dict[str, tuple]:
    return {k: v[:1] for k, v in classes(rng, margin).items()}


def two(rng, margin: float) -> dict[str, tuple]:
    made = {}
    for k, (x, y) in classes(rng, margin).items():
        other = logits(rng, 1, 1e4 if "offset" in k else 0)
        made[k] = x, ahead(other, y, 20 if "label -" in k else 3)
    for step in (1e-1, 1e-2, 1e-3):
        x = logits(rng, 1)
        made[f"near, {step:g}"] = x, x + step * rng.standard_normal(x.shape)
    return made


# Integers of 12 and of 6 bits, scaled: their products add up without any rounding,
# unless a product itself is rounded.


def hidden(rng, scale: float):
    sign = rng.choice([-1, 1], (ROWS, WIDTH))
    return sign * (2 * rng.integers(1024, 2048, (ROWS, WIDTH)) + 1) * scale * 2.0**-17


def classifier(rng):
    return rng.integers(-31, 32, (CLASSES, WIDTH)).astype(float)


def heads(rng, margin: float) -> dict[str, tuple]:
    w, made = classifier(rng), {}
    for k, scale in {"initial": 2**-6, "unit": 1, "right": 32, "wrong": 32}.items():
        h = hidden(rng, scale)
        x = h @ w.T
        y = {"right": x.argmax(-1), "wrong": x.argmin(-1)}.get(k, ids(rng))
        made[k] = h, w, y.astype(np.int32)
    return made


def pairs_of_heads(rng, margin: float) -> dict[str, tuple]:
    v, w = classifier(rng), classifier(rng)
    return {
        k: (hidden(rng, s), v, hidden(rng, s), w)
        for k, s in {"initial": 2**-6, "unit": 1, "sharp": 8}.items()
    }


# Several classes a position, each once, of which one may be no entry.


def several(rng, x, y):
    """The label, and others with a finite logit."""
    order = rng.random(x.shape) - np.isinf(x) + 2 * (np.arange(CLASSES) == y[:, None])
    found = np.argsort(-order)[:, :LISTED].astype(np.int32)
    found[::3, -1] = -1
    return found


def log_masses(rng):
    """Logarithms of shares, which leave a tenth or more of 1."""
    e = rng.exponential(size=(ROWS, LISTED))
    return np.log(np.maximum(0.9 * e / e.sum(-1, keepdims=True), 2.0**-13))


def teachers(rng, margin: float) -> dict[str, tuple]:
    made = {}
    for k, (x, y) in classes(rng, margin).items():
        made[k] = x, log_masses(rng), several(rng, x, y)
    for step in (1e-1, 1e-2, 1e-3):
        x = logits(rng, 1)
        found = several(rng, x, ids(rng))
        log_q = x - np.log(np.exp(x).sum(-1, keepdims=True))
        log_p = np.take_along_axis(log_q, found, axis=-1)
        log_p = log_p + step * rng.standard_normal(log_p.shape)
        made[f"near, {step:g}"] = x, log_p, found
    x, log_p = logits(rng, 1), log_masses(rng)
    log_p[:, 1] = -np.inf
    return made | {"zeros": (x, log_p, several(rng, x, ids(rng)))}


def heads_of_several(rng, margin: float) -> dict[str, tuple]:
    made = heads(rng, margin).items()
    return {k: (h, w, several(rng, h @ w.T, y)) for k, (h, w, y) in made}


def heads_of_students(rng, margin: float) -> dict[str, tuple]:
    made = heads_of_several(rng, margin).items()
    return {k: (h, w, log_masses(rng), ids) for k, (h, w, ids) in made}
