# SPDX-License-Identifier: Apache-2.0
"""`make bench` and `make bench-quick`: dense, fused and sampled losses, and a report.

python -m benchmarks [--quick] [--repeats 7] [--output docs/results]
"""

import argparse
import platform
import shlex
from pathlib import Path

import jax
import optax

from . import dense, fused_head, report, sampled


def wanted(name: str, only: list[str] | None) -> bool:
    return only is None or name in only


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="optax only, two minutes")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path("demo-output/benchmarks"))
    parser.add_argument("--only", nargs="+", help="dense workloads, fused, sampled")
    args = parser.parse_args(argv)
    passed = ["--repeats", str(args.repeats)] + ["--quick"] * args.quick
    only = ["--only", *args.only] if args.only else []
    found = dense.main(passed + only)
    fused = fused_head.main(passed) if wanted("fused", args.only) else {"rows": []}
    drawn = sampled.main(passed) if wanted("sampled", args.only) else None
    result = {
        "command": shlex.join(["python", "-m", "benchmarks", *passed, *only]),
        "commit": report.commit(),
        "jax": jax.__version__, "optax": optax.__version__,
        "device": jax.devices()[0].device_kind, "machine": platform.machine(),
        "dense": report.compact(found["rows"]),
        "scaling": report.compact(found.get("scaling", [])),
        "fused": report.compact(fused["rows"]),
        "sampled": drawn and drawn | {"rows": report.compact(drawn["rows"])},
    }  # fmt: skip
    report.save(result, args.output)
    print(f"Written to {args.output}.")


if __name__ == "__main__":
    main()
