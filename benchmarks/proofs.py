# SPDX-License-Identifier: Apache-2.0
"""Three proofs that a minute repeats: what divergences and policies lose in float32.

    python -m benchmarks.proofs --output docs/results

Nothing is timed. Errors are against NumPy's longest float, of the same rounded logits.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxent

CLASSES, ROWS = 32768, 64
RNG = np.random.default_rng(0)


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.longdouble)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def optax_kl(student: jax.Array, teacher: jax.Array) -> jax.Array:
    log_q, p = jax.nn.log_softmax(student), jax.nn.softmax(teacher)
    return jnp.sum(optax.losses.kl_divergence(log_q, p))


def jaxent_kl(student: jax.Array, teacher: jax.Array) -> jax.Array:
    return jaxent.kl_divergence_from_logits(teacher, student, reduction="sum")


def gradients_of_kl(rows: int = 16) -> Iterator[list[str]]:
    """Error of the gradient by the student's logits, as teacher and student meet."""
    yield ["overlap Σ min(p, q)", "Optax, bfloat16", "jaxent, bfloat16"]
    yield [*"---"]
    teacher = 2 * RNG.normal(size=(rows, CLASSES))
    noise = RNG.normal(size=teacher.shape)
    for apart in (0.3, 0.125, 0.05, 0.025, 0.005):
        given = [
            jnp.asarray(x, jnp.bfloat16) for x in (teacher + apart * noise, teacher)
        ]
        q, p = (np.exp(log_softmax(np.asarray(x, np.float32))) for x in given)
        errors = []
        for f in (optax_kl, jaxent_kl):
            slope = np.asarray(jax.jit(jax.grad(f))(*given), np.longdouble)
            errors.append(np.linalg.norm(slope - (q - p)) / np.linalg.norm(q - p))
        overlap = float(np.minimum(p, q).sum(-1).mean())
        yield [f"{overlap:.3f}", *(f"{100 * float(e):.2f} %" for e in errors)]


def truncated(k: int = 32) -> Iterator[list[str]]:
    """A teacher's K likeliest classes: rows with a divergence below 0, and 1 − Σ q."""
    yield ["σ of the logits", '`"drop"` < 0', '`"category"` < 0', "error of 1 − Σ q"]
    yield [*"----"]
    for sigma in (1, 2, 4, 8):
        teacher = np.asarray(sigma * RNG.normal(size=(ROWS, CLASSES)), np.float32)
        noise = RNG.normal(size=teacher.shape)
        student = np.asarray(teacher + 0.1 * noise, np.float32)
        log_probs, ids = jax.lax.top_k(jax.nn.log_softmax(jnp.asarray(teacher)), k)
        below = (
            np.sum(
                np.asarray(
                    jaxent.kl_divergence_from_top_k(student, ids, log_probs, tail=t)
                )
                < 0
            )
            for t in ("drop", "category")
        )
        q = np.exp(log_softmax(student))
        listed = np.zeros(q.shape, bool)
        np.put_along_axis(listed, np.asarray(ids), True, -1)
        rest = np.where(listed, 0, q).sum(-1)
        float32 = jnp.take_along_axis(jax.nn.softmax(jnp.asarray(student)), ids, -1)
        naive = 1 - np.asarray(jnp.sum(float32, -1), np.longdouble)
        error = float(np.max(np.abs(naive / rest - 1)))
        counts = [f"{n} of {ROWS}" for n in below]
        yield [str(sigma), *counts, f"{error:.1e}"]


def confident() -> Iterator[list[str]]:
    """Policies that are sure of their token: log-probabilities of 0, no entropy."""
    yield [
        "token ahead by", "log p = 0", "entropy ≤ 0", "jaxent: log p = 0",
        "jaxent: entropy ≤ 0",
    ]  # fmt: skip
    yield [*"-----"]
    for margin in (10, 15, 20, 30):
        x = np.asarray(8 * RNG.normal(size=(ROWS, CLASSES)), np.float32)
        x[:, 0] = x.max(-1) + margin
        tokens = jnp.zeros(ROWS, jnp.int32)
        log_p = jax.nn.log_softmax(jnp.asarray(x))
        log_z = jax.nn.logsumexp(jnp.asarray(x), axis=-1)
        entropy = log_z - jnp.sum(jnp.exp(log_p) * x, axis=-1)
        s = jaxent.softmax_statistics(jnp.asarray(x), tokens)
        counts = log_p[:, 0] == 0, entropy <= 0, s.nll == 0, s.entropy <= 0
        yield [str(margin), *(f"{int(jnp.sum(n))} of {ROWS}" for n in counts)]


def page() -> str:
    parts = ["# Proofs\n"]
    about = (
        f"`python -m benchmarks.proofs`, JAX {jax.__version__}, Optax "
        f"{optax.__version__}: random logits of {CLASSES} classes, a row for "
        "each kind of them. The first column says the kind, the others what went wrong."
    )
    parts.append(about + "\n")
    for table in (gradients_of_kl, truncated, confident):
        parts.append(f"## {table.__doc__}\n")
        rows = ("| " + " | ".join(row) + " |" for row in table())
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def main(argv: list[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    args = parser.parse_args(argv)
    text = page()
    print(text)
    if args.output:
        (args.output / "proofs.md").write_text(text, encoding="utf-8")
    return text


if __name__ == "__main__":
    main()
