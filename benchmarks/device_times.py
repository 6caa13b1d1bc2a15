# SPDX-License-Identifier: Apache-2.0
"""Times on a device: fused heads beside its own products, their budgets, dense losses.

Operations of a head are those of the three products it cannot do without, 6·N·d·V,
whatever it does: so TFLOP/s compare heads with one another and with the products.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from . import dense, fused_head, peers
from .measure import Eager, Measured, interleaved, ratio

SAMPLE = 8
"""Positions, and classes, whose gradients are computed on the host."""
ROUNDED = 2 * 2.0**-8
"""bfloat16, twice: logits' gradients are rounded for the products, and results."""
CHUNK = 256


class Given(NamedTuple):
    hidden: jax.Array
    classifier: jax.Array
    labels: jax.Array


@functools.lru_cache(maxsize=1)
def given(n: int, d: int, v: int, dtype: str) -> Given:
    """Drawn where they are used: the host would take minutes."""

    @jax.jit
    def draw(key):
        keys = jax.random.split(key, 3)
        hidden = jax.random.normal(keys[0], (n, d), dtype) / d**0.5
        classifier = jax.random.normal(keys[1], (v, d), dtype)
        labels = jax.random.randint(keys[2], (n,), 0, v)
        return Given(hidden.astype(dtype), classifier, labels)

    return jax.block_until_ready(draw(jax.random.key(0)))


def optax_float32(hidden, classifier, labels):
    """As trainers write it, who cast what is to be exact."""
    logits = (hidden @ classifier.T).astype(jnp.float32)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def heads() -> dict[str, Callable]:
    """All that there are here, ours first."""
    found = fused_head.implementations()
    found |= {"optax": fused_head.optax_mean, "optax, cast": optax_float32}
    return found | fused_head.other_heads()


def products() -> dict[str, Callable]:
    return {
        "hidden @ classifier.T": lambda h, w, g: h @ w.T,
        "slopes @ classifier": lambda h, w, g: g @ w,
        "slopes.T @ hidden": lambda h, w, g: g.T @ h,
    }


def compiled(f: Callable, args: tuple) -> tuple[Eager, float]:
    """A program that blocks, and MiB of its temporaries."""
    program = jax.jit(f).lower(*args).compile()
    mib = program.memory_analysis().temp_size_in_bytes / 2**20
    return Eager(lambda: jax.block_until_ready(program(*args))), mib


@functools.lru_cache(maxsize=1)
def compiled_products(n: int, d: int, v: int, dtype: str) -> dict[str, Eager]:
    hidden, classifier, _ = given(n, d, v, dtype)
    slopes = jax.jit(products()["hidden @ classifier.T"])(hidden, classifier, None)
    args = hidden, classifier, slopes
    return {name: compiled(f, args)[0] for name, f in products().items()}


def size_of(n: int, d: int, v: int, dtype: str) -> dict[str, Any]:
    return {"positions": n, "width": d, "classes": v, "dtype": dtype}


def speed(seconds: float, operations: int) -> dict[str, float]:
    return {"milliseconds": 1e3 * seconds, "tflops": operations / seconds / 1e12}


def of_products(n: int, d: int, v: int, dtype: str, repeats: int) -> Iterator[dict]:
    programs = compiled_products(n, d, v, dtype)
    m = interleaved(programs, dict.fromkeys(programs, ()), repeats)
    for name, found in m.items():
        base = size_of(n, d, v, dtype) | {"product": name}
        yield base | speed(found.median(), 2 * n * d * v)


def of_head(name: str, n: int, d: int, v: int, dtype: str, repeats: int):
    """Value and gradient, in turn with the three products; and of some the error."""
    args = given(n, d, v, dtype)
    f = jax.value_and_grad(heads()[name], argnums=(0, 1))
    program, mib = compiled(f, args)
    base = size_of(n, d, v, dtype) | {"head": name, "temporaries_mib": mib}
    errors = sampled_errors(program.run(), (n, d, v, dtype))
    programs = {"head": program} | compiled_products(n, d, v, dtype)
    m = interleaved(programs, dict.fromkeys(programs, ()), repeats)
    seconds = (m[k].seconds for k in products())
    floor = Measured([sum(each) for each in zip(*seconds, strict=True)], 0.0, -1)
    yield base | speed(m["head"].median(), 6 * n * d * v) | {
        "products_tflops": 6 * n * d * v / floor.median() / 1e12,
        "to_products": ratio(m["head"], floor),
    } | errors | bounds(name, errors)  # fmt: skip


def bounds(name: str, errors: dict[str, float]) -> dict:
    """Of ours alone: others round logits, or promise nothing."""
    if not name.startswith("jaxent"):
        return {}
    kept = errors["error"] <= ROUNDED and errors["loss_error"] <= 1e-5
    return {"bound": ROUNDED, "ok": bool(kept)}


def sampled_errors(got: Any, sizes: tuple) -> dict[str, float]:
    """Relative errors: of the loss, and in norm of some rows of both gradients."""
    loss, gradients = got
    truth, places = sampled_truth(*sizes)
    found = (g[place] for g, place in zip(gradients, places, strict=True))
    errors = (
        np.linalg.norm(np.asarray(x).astype(np.float64) - true) / np.linalg.norm(true)
        for x, true in zip(found, truth[1:], strict=True)
    )
    return {
        "loss_error": float(abs(float(loss) - truth[0]) / truth[0]),
        "error": float(max(errors)),
    }


@functools.lru_cache(maxsize=1)
def sampled_truth(n: int, d: int, v: int, dtype: str) -> tuple[tuple, tuple]:
    """The mean loss, and gradients of some positions and classes, in float64.

    But for each position's normaliser, which the device sums up in float32.
    """
    args = given(n, d, v, dtype)

    @jax.jit
    def normalisers(hidden, classifier, labels):
        def of_one(position):
            h, y = position
            x = jnp.matmul(classifier, h, preferred_element_type=jnp.float32)
            return jax.nn.logsumexp(x), x[y]

        return lax.map(of_one, (hidden, labels), batch_size=CHUNK)

    total, own = (np.asarray(x).astype(np.float64) for x in normalisers(*args))
    labels = np.asarray(args.labels)
    rows = np.linspace(0, n - 1, min(SAMPLE, n)).astype(int)
    # Half of them labels of some position, where the slope is −1 as well.
    classes = np.union1d(
        labels[rows[::2]], np.linspace(0, v - 1, SAMPLE // 2, dtype=int)
    )
    logits = np.empty((len(rows), v))
    h = np.asarray(args.hidden).astype(np.float64)
    blocks = [slice(i, i + 2**14) for i in range(0, v, 2**14)]

    def block(part: slice) -> np.ndarray:
        return np.asarray(args.classifier[part].astype(jnp.float32)).astype(np.float64)

    for part in blocks:
        logits[:, part] = h[rows] @ block(part).T
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    slopes = shifted / shifted.sum(axis=-1, keepdims=True)
    slopes[np.arange(len(rows)), labels[rows]] -= 1
    d_hidden = sum(slopes[:, part] @ block(part) for part in blocks) / n
    w = np.asarray(args.classifier[classes]).astype(np.float64)
    slopes = np.exp(h @ w.T - total[:, None]) - (labels[:, None] == classes)
    return (np.mean(total - own), d_hidden, slopes.T @ h / n), (rows, classes)


def of_memory(name: str, memory: int, n: int, d: int, v: int, dtype: str, repeats: int):
    """One budget: value and gradient."""
    f = functools.partial(fused_head.implementations()[name], memory=memory)
    args = given(n, d, v, dtype)
    program, mib = compiled(jax.value_and_grad(f, argnums=(0, 1)), args)
    m = interleaved({name: program}, {name: ()}, repeats)[name]
    base = size_of(n, d, v, dtype) | {"head": name, "memory": memory}
    yield base | {"temporaries_mib": mib} | speed(m.median(), 6 * n * d * v)


def dense_given(family: str, n: int, v: int, dtype: str) -> tuple[jax.Array, jax.Array]:
    @jax.jit
    def draw(key):
        keys = jax.random.split(key)
        x = jax.random.normal(keys[0], (n, v), dtype)
        if family == "integer":
            return x, jax.random.randint(keys[1], (n,), 0, v)
        return x, jax.nn.softmax(jax.random.normal(keys[1], (n, v), dtype))

    return jax.block_until_ready(draw(jax.random.key(0)))


def of_dense(family: str, what: str, n: int, v: int, dtype: str, repeats: int):
    """Ours and its peers, in turn with a pass over the logits that any method makes."""
    args = dense_given(family, n, v, dtype)
    losses = peers.LOSSES[family]
    programs = {peer: dense.mean_of(loss, what) for peer, loss in losses.items()}
    programs["floor"] = functools.partial(dense.floor, what)
    failed: dict[str, str] = {}
    m = interleaved(programs, dict.fromkeys(programs, args), repeats, failed)
    base = {"family": family, "positions": n, "classes": v, "dtype": dtype,
            "pass": what}  # fmt: skip
    for peer, found in m.items():
        line = base | {"peer": peer, "milliseconds": 1e3 * found.median(),
                       "temporaries_mib": found.temporaries / 2**20}  # fmt: skip
        for other in {"optax", "floor"} & m.keys():
            line[f"to_{other}"] = ratio(found, m[other])
        if peer in losses and what == "forward":
            # Of no more classes than the host is quick with.
            few = min(v, 2**14)
            line["error"] = dense.error(losses[peer], family, few, jnp.dtype(dtype))
        yield line
    for peer, why in failed.items():
        yield base | {"peer": peer, "fails": why}
