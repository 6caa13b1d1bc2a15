# SPDX-License-Identifier: Apache-2.0
"""Sampled losses against the fused exact loss, a step of training each.

    python -m benchmarks.sampled [--repeats 5] [--quick] [--json FILE]

A step is value and gradients, drawing included. Time is a ratio to the fused head's in
the same run, medians of interleaved repeats; memory is the compiled program's
temporaries, and the gradient, which is its result.
"""

import argparse
import functools
import json
import platform
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxent
from jaxent import samplers

from .measure import interleaved, ratio

# positions, width, classes, candidates
SHAPE, QUICK = (1024, 256, 1_000_000, 4096), (256, 64, 20_000, 512)


def sampled_mean(loss, count, key, hidden, classifier, labels):
    drawn = samplers.log_uniform(
        key, labels, num_sampled=count, num_classes=classifier.shape[0]
    )
    return jnp.mean(loss(hidden, classifier, labels, candidates=drawn))


def rows_alone(count, key, hidden, classifier, labels):
    """The gradient as rows and values: nothing of the classifier's size."""
    size = classifier.shape[0]
    drawn = samplers.log_uniform(key, labels, num_sampled=count, num_classes=size)
    rows, own, drawn = samplers.renumber(labels, drawn, num_classes=size)
    read = classifier.at[rows].get(mode="fill", fill_value=jnp.nan)

    def mean(hidden, read):
        f = jaxent.sampled_softmax_cross_entropy
        return jnp.mean(f(hidden, read, own, candidates=drawn))

    return jax.value_and_grad(mean, argnums=(0, 1))(hidden, read), rows


def exact(key, hidden, classifier, labels):
    del key
    return jaxent.linear_softmax_cross_entropy(hidden, classifier, labels)


def run(n, d, v, count, repeats) -> dict:
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.normal(size=(n, d)) / d**0.5, jnp.float32)
    classifier = jax.random.normal(jax.random.key(1), (v, d))
    labels = jnp.asarray(rng.integers(0, v, n), jnp.int32)
    gradient = functools.partial(jax.value_and_grad, argnums=(1, 2))
    softmax, nce = (
        functools.partial(sampled_mean, f, count)
        for f in (jaxent.sampled_softmax_cross_entropy, jaxent.nce_loss)
    )
    programs = {
        "exact, fused": gradient(exact),
        "sampled softmax": gradient(softmax),
        "NCE": gradient(nce),
        "sampled softmax, rows": functools.partial(rows_alone, count),
    }
    args = dict.fromkeys(programs, (jax.random.key(0), hidden, classifier, labels))
    m = interleaved(programs, args, repeats)
    rows = [
        {
            "what": name,
            "seconds": measured.median(),
            "times_as_fast": ratio(m["exact, fused"], measured),
            "temporaries_mib": measured.temporaries / 2**20,
        }
        for name, measured in m.items()
    ]
    return {"shape": (n, d, v, count), "gradient_mib": v * d / 2**18, "rows": rows}


def table(result: dict) -> str:
    n, d, v, count = result["shape"]
    lines = [
        f"N={n}, d={d}, V={v}, {count} candidates; the classifier's gradient is "
        f"{result['gradient_mib']:.0f} MiB.\n",
        "| a step of | ms | times as fast (quartiles) | temporaries MiB |",
        "| --- | ---: | ---: | ---: |",
    ]
    for r in result["rows"]:
        first, median, third = r["times_as_fast"]
        lines.append(
            f"| {r['what']} | {1e3 * r['seconds']:.0f} "
            f"| {median:.1f} ({first:.1f} to {third:.1f}) "
            f"| {r['temporaries_mib']:.0f} |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small shapes, seconds")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    result = {
        "command": f"python -m benchmarks.sampled --repeats {args.repeats}",
        "jax": jax.__version__, "device": jax.devices()[0].device_kind,
        "machine": platform.machine(),
        **run(*(QUICK if args.quick else SHAPE), args.repeats),
    }  # fmt: skip
    print(table(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return result


if __name__ == "__main__":
    main()
