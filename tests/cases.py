# SPDX-License-Identifier: Apache-2.0
"""The one table: every public loss and measure, with what it is tested on.

`LOSSES` says what a function is, once. A case names it (the library's and, under the
same name, the oracle's), its options and its kind: how to make its arguments for a
batch shape, a number of classes, a dtype and a regime, and which of them are
differentiated. All tests of losses run these two, so a new loss is a row of each.
"""

import functools
import inspect
import math
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import oracle
import pytest
import tolerance

import jaxent

# Batch shape and number of classes: ragged, and the degenerate counts too.
SHAPES = (((3,), 1), ((), 2), ((2, 3), 7), ((2,), 257))
DTYPES = ("float32", "float64", "bfloat16", "float16")
HALF = ("bfloat16", "float16")

LOGITS = ("initial", "unit", "right", "wrong", "offset", "forbidden")
PAIRS = (*LOGITS, "near")
PROBS = ("initial", "unit", "sharp")


class Kind(NamedTuple):
    make: Callable
    """(rng, batch, count, regime) -> float arrays and labels, classes last."""
    regimes: tuple[str, ...]
    nearby: Callable
    """What rounding makes of the arguments, from `tolerance`."""
    differentiable: tuple[int, ...] = (0,)
    classes: bool = True
    """Whether the last axis is summed over; else the function is elementwise."""
    ulps: float = tolerance.ULPS
    noise: float = 0.0
    """Error of the oracle's own gradient, where it is 0 as a sum of both signs."""

    @property
    def ids(self):
        """Whether the labels are class ids."""
        *_, last = self.make(np.random.default_rng(0), (), 2, self.regimes[0])
        return last.dtype.kind == "i"


@functools.cache
def takes_temperature(function):
    return "temperature" in inspect.signature(function).parameters


class Case(NamedTuple):
    function: str
    kind: Kind
    options: dict | Callable = {}  # noqa: RUF012
    """Options, or a function of (rng, *arguments) that makes them."""
    tag: str = ""
    axis: int | tuple[int, ...] = -1
    gamma: float = 0.0
    """Focusing exponent: how often 1 − p, and its error, enters as a factor."""

    @property
    def name(self):
        return self.function + (f"-{self.tag}" if self.tag else "")

    @property
    def call(self):
        return getattr(jaxent, self.function)

    @property
    def truth(self):
        """The oracle's; of logits at a temperature, divided in its precision."""
        truth, names = getattr(oracle, self.function), LOSSES[self.function].arrays
        if takes_temperature(truth):
            return truth

        def at(*args, temperature=1, **options):
            divided = (
                oracle.divided(a, temperature) if n.endswith("logits") else a
                for a, n in zip(args, names, strict=True)
            )
            return truth(*divided, **options)

        return at

    @property
    def fixed(self):
        """The options that are not arrays."""
        options = self.example((2,), 5, "float32", "unit")[1]
        return {k: v for k, v in options.items() if not isinstance(v, np.ndarray)}

    def shapes(self, dtype):
        """Few classes and many in float32; other dtypes are the same but for casts.

        An option is written once for any number of classes: many, whose last group is
        ragged, and few in the other dtypes.
        """
        if dtype != "float32":
            return SHAPES[2:3]
        return SHAPES[3:] if self.tag else SHAPES[2:]

    @property
    def smallest(self):
        """Of one class, and one position of two: without options, and all together."""
        return SHAPES[:2] if self.kind.classes and self.tag in ("", "together") else ()

    @property
    def ulps(self):
        """Of the budget."""
        return self.kind.ulps + tolerance.ULPS_OF_FACTOR * self.gamma

    def example(self, batch, count, dtype, regime, seed=0):
        """Arguments, in this dtype and on this axis, and options."""
        key = f"{self.name} {batch} {count} {regime} {seed}"
        rng = np.random.default_rng(zlib.crc32(key.encode()))
        if isinstance(self.axis, tuple):
            count *= 2
        made = self.kind.make(rng, batch, count, regime)
        options = self.options
        options = options(rng, *made) if callable(options) else dict(options)
        args = []
        for a in made:
            if a.dtype.kind == "f":
                a = a.astype(dtype)
                a = self.arranged(a) if self.kind.classes else a
            args.append(a)
        if "class_where" in options:
            options["class_where"] = self.arranged(options["class_where"])
        if self.kind.classes:
            options["axis"] = self.axis
        return args, options

    def arranged(self, x):
        """The class axis, last until here, moved (and split in two) to `axis`."""
        if not isinstance(self.axis, tuple):
            return np.moveaxis(x, -1, self.axis)
        x = x.reshape(*x.shape[:-1], 2, -1)
        return np.moveaxis(x, (-2, -1), self.axis)


# Arguments.


def logits_of(rng, batch, count, regime, labels):
    """Logits in a regime; `labels` are the classes that are ahead, or behind."""
    sigma = 0.02 if regime == "initial" else 1
    x = sigma * rng.normal(size=(*batch, count))
    hit = labels[..., None] == np.arange(count)
    if regime == "right":
        x += np.where(hit, 20, 0)
    if regime == "wrong":
        x += np.where(np.roll(hit, 1, axis=-1), 20, 0)
    if regime == "offset":
        x += 1e4
    if regime == "forbidden":
        x = np.where(~hit & (rng.random(x.shape) < 0.4), -np.inf, x)
    return x


def ids(rng, batch, count):
    return np.asarray(rng.integers(count, size=batch), np.int32)


def integer(rng, batch, count, regime):
    labels = ids(rng, batch, count)
    return logits_of(rng, batch, count, regime, labels), labels


def distribution(rng, batch, count, regime):
    labels = ids(rng, batch, count)
    x = logits_of(rng, batch, count, regime, labels)
    soft = rng.dirichlet(np.ones(count), size=batch)
    return x, np.where(np.isfinite(x), soft, 0)


def one_hot(rng, batch, count, regime):
    x, labels = integer(rng, batch, count, regime)
    return x, oracle.one_hot(labels, count).astype(np.float64)


def binary(rng, batch, count, regime):
    """Logits of both signs against hard labels (or, anywhere, soft ones)."""
    shape = (*batch, count)
    y = rng.integers(2, size=shape).astype(np.float64)
    sign = {"right": 2 * y - 1, "wrong": 1 - 2 * y}.get(regime, 0)
    sigma = 0.02 if regime == "initial" else 1
    return sigma * rng.normal(size=shape) + 20 * sign, y


def binary_soft(rng, batch, count, regime):
    x, y = binary(rng, batch, count, regime)
    return x, np.where(y == 0, 0.125, 0.75)


def probs_of(rng, batch, count, regime):
    scale = {"initial": 0.02, "unit": 1.0, "sharp": 4.0}[regime]
    p = np.exp(scale * rng.normal(size=(*batch, count)))
    # Clear of the zeros (policies, not numbers) and half subnormals.
    return np.maximum(p / p.sum(axis=-1, keepdims=True), 2.0**-13)


def probs(rng, batch, count, regime):
    return (probs_of(rng, batch, count, regime),)


def two_probs(rng, batch, count, regime):
    p = probs_of(rng, batch, count, regime)
    if regime == "initial":
        return p, np.minimum(p * (1 + 1e-3 * rng.normal(size=p.shape)), 1)
    return p, probs_of(rng, batch, count, regime)


def probs_and_labels(rng, batch, count, regime):
    return probs_of(rng, batch, count, regime), rng.dirichlet(np.ones(count), batch)


def binary_probs(rng, batch, count, regime):
    low = {"initial": 0.4, "unit": 0.05, "sharp": 2.0**-7}[regime]
    p = low * (1 / low - 1) ** rng.random((*batch, count))
    return p, rng.random(p.shape)


def log_probs(rng, batch, count, regime):
    return np.log(probs_of(rng, batch, count, regime)), ids(rng, batch, count)


def predictions(rng, batch, count, regime):
    p, q = two_probs(rng, batch, count, regime)
    return np.log(q), p


def log_predictions(rng, batch, count, regime):
    p, q = two_probs(rng, batch, count, regime)
    return np.log(q), np.log(p)


def logits(rng, batch, count, regime):
    return integer(rng, batch, count, regime)[:1]


def two_logits(rng, batch, count, regime):
    a, labels = integer(rng, batch, count, regime)
    if regime == "near":
        # From clearly apart to where a difference of logarithms keeps no digit.
        size = 10 ** -rng.uniform(1, 5, size=(*batch, 1))
        return a, a + size * rng.normal(size=a.shape)
    other = {"wrong": "right", "forbidden": "unit"}.get(regime, regime)
    b = logits_of(rng, batch, count, other, labels)
    # What p forbids q may or may not; what p allows q must, or the truth is infinite.
    return a, np.where(np.isfinite(a), b, rng.choice([-np.inf, 0.5], size=b.shape))


INTEGER = Kind(integer, LOGITS, tolerance.of_logits)
DISTRIBUTION = Kind(distribution, LOGITS, tolerance.of_logits, (0, 1))
ONE_HOT = Kind(one_hot, LOGITS, tolerance.of_logits)
BINARY = Kind(binary, LOGITS[:4], tolerance.of_labels, (0,), False)
BINARY_SOFT = Kind(binary_soft, LOGITS[:4], tolerance.of_labels, (0, 1), False)
PROBABILITIES = Kind(probs_and_labels, PROBS, tolerance.of_probabilities, (0, 1))
BINARY_PROBS = Kind(binary_probs, PROBS, tolerance.of_probabilities, (0, 1), False)
LOG_PROBS = Kind(log_probs, PROBS, tolerance.of_probabilities)
ENTROPY = Kind(probs, PROBS, tolerance.of_probabilities)
TWO_PROBS = Kind(two_probs, PROBS, tolerance.of_probabilities, (0, 1))
PREDICTIONS = Kind(predictions, PROBS, tolerance.of_predictions, (0, 1))
LOG_PREDICTIONS = Kind(log_predictions, PROBS, tolerance.of_probabilities, (0, 1))
# ∂H = Σ p'·(−log p) is rounded to 1e-19, also for like classes, where it is 0.
NOISE = 1e-18
SUMS = tolerance.ULPS_OF_SUMS
ENTROPY_LOGITS = Kind(logits, LOGITS, tolerance.of_logits, ulps=SUMS, noise=NOISE)
TWO_LOGITS = Kind(two_logits, PAIRS, tolerance.of_two_logits, (0, 1), ulps=SUMS)
CROSS_LOGITS = TWO_LOGITS._replace(noise=NOISE)


# Options. Shares and weights are exact in every dtype, so that truth and library are
# given the same ones.


def positions(rng, x, *_):
    return {"where": np.asarray(rng.random(x.shape[:-1]) < 0.6)}


def elements(rng, x, *_):
    return {"where": rng.random(x.shape) < 0.6}


def weights(rng, x, *_):
    return rng.integers(1, 9, x.shape[-1]) / 4


def together(rng, x, labels):
    """Every option of a softmax loss at once; the label itself is allowed."""
    options = {
        **positions(rng, x),
        "class_weights": weights(rng, x),
        "label_smoothing": 0.125,
        "z_loss": 0.0625,
    }
    if labels.dtype.kind == "i":
        hit = oracle.one_hot(labels, x.shape[-1])
        options |= {"class_where": hit | (rng.random(x.shape) < 0.7), "ignore_index": 0}
    return options


def pos_weight(rng, x, *_):
    return {"pos_weight": 2 * weights(rng, x), "label_smoothing": 0.125}


def weighted_labels(rng, x, *_):
    return positions(rng, x) | {"class_weights": weights(rng, x), "ignore_index": 0}


CROSS_ENTROPY = "softmax_cross_entropy_with_integer_labels"
SMOOTH = {"label_smoothing": 0.125}
# Neither is a power of two, and both are exact in every dtype.
COLD, WARM = {"temperature": 0.6875}, {"temperature": 3.0}


def together_cold(rng, x, labels):
    return together(rng, x, labels) | COLD


CASES = (
    Case(CROSS_ENTROPY, INTEGER),
    Case(CROSS_ENTROPY, INTEGER, SMOOTH, "smoothing"),
    Case(CROSS_ENTROPY, INTEGER, {"z_loss": 0.0625}, "z_loss"),
    Case(CROSS_ENTROPY, INTEGER, together, "together"),
    Case(CROSS_ENTROPY, INTEGER, COLD, "cold"),
    Case(CROSS_ENTROPY, INTEGER, together_cold, "together_cold"),
    Case(CROSS_ENTROPY, INTEGER, tag="axis0", axis=0),
    Case(CROSS_ENTROPY, INTEGER, together, "axes", (0, -1)),
    Case("softmax_cross_entropy", DISTRIBUTION),
    Case("softmax_cross_entropy", ONE_HOT, tag="one_hot"),
    Case("softmax_cross_entropy", DISTRIBUTION, WARM, "warm"),
    Case("softmax_cross_entropy", DISTRIBUTION, together, "together"),
    Case("softmax_cross_entropy", ONE_HOT, together_cold, "together_cold"),
    Case("softmax_cross_entropy", DISTRIBUTION, SMOOTH, "axes", (0, -1)),
    Case("softmax_focal_loss", INTEGER, gamma=2),
    Case("softmax_focal_loss", INTEGER, {"gamma": 0.5}, "gamma0.5", gamma=0.5),
    Case("softmax_focal_loss", INTEGER, {"gamma": 5.0}, "gamma5", gamma=5),
    Case("softmax_focal_loss", INTEGER, together, "together", gamma=2),
    Case("softmax_focal_loss", INTEGER, together_cold, "together_cold", gamma=2),
    Case("generalized_cross_entropy", INTEGER, {"q": 0.75}),
    Case("generalized_cross_entropy", INTEGER, together, "together"),
    Case("poly_loss_cross_entropy", DISTRIBUTION),
    Case("poly_loss_cross_entropy", ONE_HOT, {"epsilon": -0.5}, "one_hot"),
    Case("poly_loss_cross_entropy", DISTRIBUTION, together, "together"),
    Case("poly_loss_cross_entropy", DISTRIBUTION, together_cold, "together_cold"),
    Case("sigmoid_binary_cross_entropy", BINARY),
    Case("sigmoid_binary_cross_entropy", BINARY_SOFT, elements, "soft"),
    Case("sigmoid_binary_cross_entropy", BINARY_SOFT, pos_weight, "pos_weight"),
    Case("sigmoid_focal_loss", BINARY, gamma=2),
    Case(
        "sigmoid_focal_loss",
        BINARY,
        {"gamma": 0.5, "alpha": 0.25},
        "gamma0.5",
        gamma=0.5,
    ),
    Case("sigmoid_focal_loss", BINARY, {"gamma": 5.0}, "gamma5", gamma=5),
    Case("sigmoid_focal_loss", BINARY_SOFT, {"alpha": 0.25}, "soft", gamma=2),
    Case("binary_cross_entropy", BINARY_PROBS),
    Case("binary_cross_entropy", BINARY_PROBS, {"eps": 2.0**-4}, "eps"),
    Case("categorical_cross_entropy", PROBABILITIES),
    Case("categorical_cross_entropy", PROBABILITIES, {"eps": 2.0**-4}, "eps"),
    Case("categorical_cross_entropy", PROBABILITIES, positions, "axis0", 0),
    Case("negative_log_likelihood", LOG_PROBS),
    Case("negative_log_likelihood", LOG_PROBS, weighted_labels, "together"),
    Case("entropy", ENTROPY),
    Case("entropy", ENTROPY, {"base": 2}, "base2", 0),
    Case("entropy_from_logits", ENTROPY_LOGITS),
    Case("entropy_from_logits", ENTROPY_LOGITS, {"base": 2}, "axes", (0, -1)),
    Case("entropy_from_logits", ENTROPY_LOGITS, COLD, "cold"),
    Case("cross_entropy", TWO_PROBS),
    Case("cross_entropy", TWO_PROBS, {"base": 2}, "base2", 0),
    Case("cross_entropy_from_logits", CROSS_LOGITS),
    Case("cross_entropy_from_logits", CROSS_LOGITS, WARM, "warm"),
    Case("cross_entropy_from_logits", CROSS_LOGITS, {"base": 2}, "base2", 0),
    Case("kl_divergence", PREDICTIONS),
    Case("kl_divergence", PREDICTIONS, positions, "axis0", 0),
    Case("kl_divergence_with_log_targets", LOG_PREDICTIONS),
    Case("generalized_kl_divergence", PREDICTIONS),
    Case("kl_divergence_from_logits", TWO_LOGITS),
    Case("kl_divergence_from_logits", TWO_LOGITS, {"base": 2}, "axes", (0, -1)),
    Case("kl_divergence_from_logits", TWO_LOGITS, COLD, "cold"),
    Case("kl_divergence_from_logits", TWO_LOGITS, WARM, "warm"),
    Case("js_divergence", TWO_PROBS),
    Case("js_divergence", TWO_PROBS, {"weight": 0.125}, "weight"),
    Case("js_divergence", TWO_PROBS, {"base": 2}, "base2", 0),
    Case("js_divergence_from_logits", TWO_LOGITS),
    Case("js_divergence_from_logits", TWO_LOGITS, {"weight": 0.875}, "weight"),
    Case("js_divergence_from_logits", TWO_LOGITS, {"base": 2}, "axis0", 0),
    Case("js_divergence_from_logits", TWO_LOGITS, WARM, "warm"),
)


class Loss(NamedTuple):
    """What a function is, whatever its options; all else follows from its signature."""

    function: str
    value: Callable[[float], float] | None = None
    """f(p) of its class's probability, if it is a loss of that alone."""
    slope: Callable[[float], float] | None = None
    """p·f'(p)."""
    limit: float = math.inf
    """f(0)."""
    slope_at_zero: float = -1.0
    """Where p is 0."""
    signed: bool = False
    """Whether rounding can make it negative."""

    @property
    def call(self):
        return getattr(jaxent, self.function)

    @property
    def kind(self):
        return next(c.kind for c in CASES if c.function == self.function)

    @property
    def parameters(self):
        return inspect.signature(self.call).parameters

    @property
    def arrays(self):
        """The names of what is positional."""
        return [k for k, p in self.parameters.items() if p.default is p.empty]

    @property
    def of_logits(self):
        """Whether it normalises."""
        return self.arrays[0].endswith("logits")

    @property
    def of_two_floats(self):
        return len(self.arrays) == 2 and not self.kind.ids


def minus_log(p):
    return -math.log(p)


def minus_one(p):
    return -1.0


LOSSES = {
    loss.function: loss
    for loss in (
        Loss(CROSS_ENTROPY, minus_log, minus_one),
        Loss("softmax_cross_entropy", minus_log, minus_one),
        Loss(
            "softmax_focal_loss",
            lambda p: -((1 - p) ** 2) * math.log(p),
            lambda p: 2 * p * (1 - p) * math.log(p) - (1 - p) ** 2,
        ),
        Loss(
            "generalized_cross_entropy",
            lambda p: (1 - p**0.7) / 0.7,
            lambda p: -(p**0.7),
            limit=1 / 0.7,
            slope_at_zero=0.0,
        ),
        Loss(
            "poly_loss_cross_entropy",
            lambda p: -math.log(p) + 2 * (1 - p),
            lambda p: -1 - 2 * p,
        ),
        Loss("negative_log_likelihood", minus_log, minus_one),
        Loss("sigmoid_binary_cross_entropy"),
        Loss("sigmoid_focal_loss"),
        Loss("binary_cross_entropy"),
        Loss("categorical_cross_entropy"),
        Loss("entropy"),
        Loss("entropy_from_logits"),
        Loss("cross_entropy"),
        Loss("cross_entropy_from_logits"),
        Loss("kl_divergence", signed=True),
        Loss("kl_divergence_with_log_targets", signed=True),
        Loss("generalized_kl_divergence"),
        Loss("kl_divergence_from_logits"),
        Loss("js_divergence"),
        Loss("js_divergence_from_logits"),
    )
}


def losses(holds):
    return [x for x in LOSSES.values() if holds(x)]


def each(chosen):
    """A test of each of these losses."""
    return pytest.mark.parametrize("loss", chosen, ids=[x.function for x in chosen])


# What is compared.


def value(case, args, options):
    return case.truth(*args, **options)


def probes(case, x):
    """Indices of the classes to differentiate by, in all positions at once.

    Elementwise functions need one, everything. Of many classes these are the largest
    of each position, so the label where it is ahead, and some of the others.
    """
    if not case.kind.classes:
        return [...]
    flat = oracle.classes_last(oracle.wide(x), case.axis)
    count = flat.shape[-1]
    chosen = {*range(0, count, max(1, count // 8)), *np.argmax(flat, axis=-1).flat}
    axes = case.axis if isinstance(case.axis, tuple) else (case.axis,)
    indices = []
    for j in sorted(chosen):
        at = [slice(None)] * x.ndim
        where = np.unravel_index(j, [x.shape[a] for a in axes])
        for a, i in zip(axes, where, strict=True):
            at[a] = i
        indices.append(tuple(at))
    return indices


def gradient(case, i, cotangent, at, args, options):
    """The true gradient by argument i at the indices."""
    directions = np.zeros((len(at), *np.shape(args[i])))
    for direction, index in zip(directions, at, strict=True):
        direction[index] = 1

    def along(directions, args):
        def f(z):
            return case.truth(*args[:i], z, *args[i + 1 :], **options)

        return oracle.wide(cotangent) * oracle.derivative(f, args[i], directions)

    if case.axis == -1:
        # All at once, as positions of their own: the classes stay last.
        args = [np.broadcast_to(a, (len(at), *a.shape)) for a in args]
        return along(directions, args)
    return np.stack([along(direction, args) for direction in directions])


def working(dtype):
    """What the library computes in, and gives its values in."""
    return "float64" if dtype == "float64" else "float32"


def cells(cases):
    """Case × dtype × regime, each with its id.

    Float16 is bfloat16 but for the cast, and that comes before any option; what an
    option does is written once for all floats. So a thorough run alone has float16, and
    the options in other floats than float32.
    """
    return [
        pytest.param(
            case,
            dtype,
            regime,
            id=f"{case.name}-{dtype}-{regime}",
            marks=[pytest.mark.quickly_compiled] * (dtype != "float32")
            + [pytest.mark.thorough]
            * (dtype == "float16" or bool(case.tag and dtype != "float32")),
        )
        for case in cases
        for dtype in DTYPES
        for regime in case.kind.regimes
        if dtype != "float16"
        or (not case.tag and regime in ("unit", "offset", "forbidden"))
    ]
