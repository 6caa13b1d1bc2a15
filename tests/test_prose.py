# SPDX-License-Identifier: Apache-2.0
"""The numbers in the pages' sentences come out today, as those of their tables do.

Most are of NumPy alone: what a page says of rounding is so with or without jaxent.
"""

import functools
import inspect
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_doors import MODULES, PUBLIC

import jaxent
from jaxent._certify.rows import TABLE

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"


def sentences(path: Path) -> str:
    """A page in one line, to look for sentences in."""
    return " ".join(path.read_text("utf-8").split())


def numbers(page: str, *pattern: str) -> list[float]:
    """What a sentence says, of which there is one on a page."""
    path = README if page == "README" else DOCS / f"{page}.md"
    (found,) = re.finditer("".join(pattern), sentences(path))
    return [float(x) for x in found.groups()]


def bounds(names: set[str]) -> set[float]:
    rows = [row for row in TABLE if row.loss.__name__ in names and not row.part]
    assert {row.loss.__name__ for row in rows} == names
    return {row.bound.number for row in rows}


def test_the_readme_promises_what_certify_checks():
    decided, low, high, relative, random = numbers(
        "README", "Of logits whose differences are exact.*?",
        r"to (\d+) units in the last place for class ids and yes-or-no labels, ",
        r"(\d+) to (\d+) for poly, generalised and focal losses, ",
        r"and a relative (\S+) for soft labels and divergences.*some (\d+) units off",
    )  # fmt: skip
    ids = {"softmax_cross_entropy_with_integer_labels", "sigmoid_binary_cross_entropy"}
    assert bounds(ids) == {decided}
    pairs = {"poly_loss_cross_entropy", "generalized_cross_entropy"}
    rounded = bounds(pairs | {"softmax_focal_loss", "sigmoid_focal_loss"})
    assert (min(rounded), max(rounded)) == (low, high)
    divergences = {row.loss.__name__ for row in TABLE if "divergence" in row.name}
    assert bounds(divergences | {"softmax_cross_entropy"}) == {relative}
    worst = numbers("numerics", r"off by (\d+) to (\d+) at s = 5")
    assert [random] == worst[1:] == numbers("coming-from", r"to some (\d+) ULP")


@pytest.mark.parametrize(("scale", "seed", "margin"), [(1, 1, 7), (5, 194, 14)])
def test_random_logits_are_as_far_off_as_numerics_says(scale, seed, margin):
    """96 rows of those described there, the worst of some draws among them."""
    exact, least, most = numbers(
        "numerics", r"rows of 1000 classes from N\(0, s²\), .*? ",
        r"within (\d+) ULP at s = 1, and off by (\d+) to (\d+) at s = 5",
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    x = (scale * rng.normal(size=(96, 1000))).astype(np.float32)
    y, rows = rng.integers(1000, size=96), np.arange(96)
    x[rows, y] = -np.inf
    x[rows, y] = x.max(-1) + np.float32(margin)
    differences = x.astype(np.longdouble) - x[rows, y].astype(np.longdouble)[:, None]
    differences[rows, y] = -np.inf
    truth = np.log1p(np.exp(differences).sum(-1))
    got = np.asarray(jaxent.softmax_cross_entropy_with_integer_labels(x, y))
    ulp = np.spacing(truth.astype(np.float32))
    off = np.max(np.abs(got.astype(np.longdouble) - truth) / ulp)
    assert (off <= exact) if scale == 1 else (least <= off <= most)


def test_where_float32_underflows():
    text = sentences(DOCS / "numerics.md")
    (margin,) = {int(m) for m in re.findall(r"margins? beyond (\d+)", text)}
    for classes in (2, 1000):
        x = jnp.zeros((2, classes)).at[:, 0].set(jnp.array([margin, margin + 1.0]))
        losses = jaxent.softmax_cross_entropy_with_integer_labels(x, jnp.zeros(2, int))
        assert (losses > 0).tolist() == [True, False]
    after, decay, eps, larger = numbers(
        "numerics", r"is 0 in float32 from m = (\d+) on \(β₂ = ([\d.]+)\), ",
        r"and its `eps` of (\S+) is the larger from m = (\d+) on",
    )  # fmt: skip
    squares = [(1 - decay) * np.exp(-2 * m) for m in (after - 1, after)]
    assert squares[0] > np.finfo(np.float32).tiny > squares[1]
    assert np.exp(1 - larger) > eps > np.exp(-larger)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_divided_logits_lose_what_distillation_says():
    percent, bound = numbers(
        "distillation", r"At T = 3, of a thousand logits from N\(0, 3²\) that ",
        r"are 1e-4 apart, the gradient is then off by ([\d.]+) %; ",
        r"by `temperature=` it is within (\S+)\.",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    teacher = (3 * rng.normal(size=(16, 1000))).astype(np.float32)
    student = (teacher + 1e-4 * rng.normal(size=teacher.shape)).astype(np.float32)
    pair = student, teacher

    def by_logits(thirds):
        p, q = (softmax(x.astype(float)) for x in thirds)
        return (p - q) / 3

    truth = by_logits([x.astype(float) / 3 for x in pair])

    def off(gradient):
        apart = np.linalg.norm(gradient - truth, axis=-1)
        return apart / np.linalg.norm(truth, axis=-1)

    by_hand = by_logits([x / np.float32(3) for x in pair])
    assert 100 * np.median(off(by_hand)) == pytest.approx(percent, rel=0.1)
    divergence = functools.partial(
        jaxent.kl_divergence_from_logits, temperature=3.0, reduction="sum"
    )
    assert np.max(off(np.asarray(jax.grad(divergence, 1)(teacher, student)))) < bound


def test_what_is_left_of_one_is_as_far_off_as_distillation_says():
    percent, mass = numbers(
        "distillation", r"in float32 is up to (\d+) % off where the K have ([\d.]+),"
    )
    worst = 0.0
    for seed in range(200):
        q = np.random.default_rng(seed).random(32)
        q = (q / q.sum() * mass).astype(np.float32)
        truth = 1 - q.sum(dtype=float)
        left = float(1 - q.sum(dtype=np.float32))
        worst = max(worst, abs(left / truth - 1))
    assert 100 * worst == pytest.approx(percent, abs=0.5)


def carried(x, lanes):
    """Sums of exponentials, each lane's at its largest so far, merged by halves."""

    def merge(a, b):
        top = np.maximum(a[0], b[0])
        return top, sum(s * exp(c - top) for c, s in (a, b))

    x = x.reshape(len(x), -1, lanes)
    sums = x[:, 0], np.ones_like(x[:, 0])
    for i in range(1, x.shape[1]):
        sums = merge(sums, (x[:, i], np.ones_like(x[:, i])))
    while (half := sums[1].shape[1] // 2) > 0:
        sums = merge([s[:, :half] for s in sums], [s[:, half:] for s in sums])
    return sums[1][:, 0]


def exp(x):
    """Rounded once."""
    return np.exp(x.astype(np.longdouble)).astype(np.float32)


def test_sums_in_lanes_are_as_far_off_as_accelerators_says():
    said = numbers(
        "accelerators", "of 4096 normal logits in 128 lanes or more ",
        r"the total is then within ([\d.]+) ULP, ",
        r"where summing at a known largest is within ([\d.]+); ",
        r"of logits that only rise along the row, in 128 lanes, within ([\d.]+) \(",
    )  # fmt: skip
    rng = np.random.default_rng(1)
    normal = rng.normal(size=(512, 4096)).astype(np.float32)[140:204]
    known = exp(normal - normal.max(-1, keepdims=True))
    while known.shape[1] > 1:
        known = known[:, : known.shape[1] // 2] + known[:, known.shape[1] // 2 :]
    steep = np.linspace(0.1, 1, 200)[:, None]
    rising = (np.linspace(0, 1, 4096) * steep).astype(np.float32)

    def off(got, x):
        truth = np.exp(x.astype(np.longdouble) - x.max(-1, keepdims=True)).sum(-1)
        return np.max(np.abs(got - truth) / np.spacing(truth.astype(np.float32)))

    totals = [carried(normal, 256), known[:, 0], carried(rising, 128)]
    for most, got, x in zip(said, totals, (normal, normal, rising), strict=True):
        assert most / 2 < off(got, x) <= most


def test_what_halves_can_hold_is_as_mixed_precision_says():
    page = "mixed-precision"
    near, parts = numbers(page, r"near (\d+), numbers in bfloat16 are 1/(\d+) apart")
    x = jnp.asarray(near, jnp.bfloat16)
    assert jnp.nextafter(x, jnp.full_like(x, jnp.inf)) - x == 1 / parts
    (least,) = numbers(page, r"Float16 ends at (\S+), its smallest number")
    assert float(np.finfo(np.float16).smallest_subnormal) == pytest.approx(least, 0.01)


def test_what_a_formula_skips_is_as_sampling_says():
    skipped, of = numbers("sampling", r"near class ten million skips (\d+) of (\d+)\.")
    last = np.log(10**7 + 1) * np.arange(2**23 - 10_000, 2**23) / 2**23
    reached = np.unique(np.floor(np.exp(last)))
    assert round(np.ptp(reached) / reached.size) == of == skipped + 1


def test_what_a_mesh_sends_and_waits_is_as_scaling_out_says():
    (sent,) = numbers("scaling-out", r"and three numbers, (\d+) bytes")
    assert sent == 2 * 3 * np.float32().itemsize  # on a ring all goes round twice
    (seconds,) = numbers(
        "scaling-out", r"`heartbeat_timeout_seconds` \((\d+) by default"
    )
    options = inspect.signature(jax.distributed.initialize).parameters
    assert options["heartbeat_timeout_seconds"].default == seconds


def test_a_page_says_what_needs_a_checkout():
    """The wheel has neither the Makefile nor benchmarks and examples."""
    of_it = r"^ *make [\w-]+$|`make |python -m (?:benchmarks|examples)|python examples/"
    pages = [*DOCS.glob("*.md"), *DOCS.glob("api/*.md"), README]
    texts = {path.name: path.read_text("utf-8") for path in pages}
    needing = {name for name, text in texts.items() if re.search(of_it, text, re.M)}
    assert {"README.md", "accelerators.md", "scaling-out.md"} <= needing
    assert {name for name in needing if "checkout" not in texts[name]} == set()


def test_certify_takes_as_long_on_every_page():
    for path in (README, DOCS / "certify.md"):
        assert sentences(path).count("a minute or two") == 1


def test_docstrings_name_pages_as_the_site_links_them():
    """By their titles: a wheel has no docs, and the reference no files."""
    pages = [path.read_text("utf-8").partition("\n")[0] for path in DOCS.glob("*.md")]
    documented = [*PUBLIC, *MODULES, jaxent, jaxent.compat]
    text = "\n".join(inspect.getdoc(x) for x in documented)
    assert "docs/" not in text
    named = set(re.findall(r'page\s+"(.*?)( …|)"', text, re.S))
    assert {("Scaling out", ""), ("Coming from", " …")} <= named
    for title, more in named:
        begun = [page for page in pages if page.startswith(f"# {title}")]
        assert len(begun) == 1
        assert more or begun == [f"# {title}"]
