# SPDX-License-Identifier: Apache-2.0
"""The tour of jaxent, in four minutes: `make demo`, or `python -m examples.demo`.

Trains a classifier of handwritten digits, shows where other losses round to zero,
trains a language model without its logits, and draws pictures in `demo-output/`.
"""

import argparse
import sys
from pathlib import Path
from time import perf_counter

import jax

import jaxent

if __package__:
    from . import digits, exactness, language_model
else:
    import digits
    import exactness
    import language_model


def heading(text: str) -> None:
    rule = "─" * max(0, 76 - len(text))
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n── {bold}{text}{plain} {rule}\n", flush=True)


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--language-steps", type=int, default=40, help="0: skip")
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    args = parser.parse_args(argv)

    started = perf_counter()
    print(jaxent.__doc__)
    print(f"JAX {jax.__version__} on {jax.devices()[0].device_kind}")
    output = ["--output", str(args.output)]

    heading("1  Handwritten digits: Flax NNX, Optax and jaxent's loss")
    print("1293 real images to train on; the last batch is padded, and masked.\n")
    history = digits.main(["--epochs", str(args.epochs), *output])

    heading("2  Exactness, in float32")
    print("A 0 is exactly zero: no loss, and nothing left to learn from.\n")
    tables = exactness.main(output)

    if args.language_steps:
        heading("3  A language model of 32768 classes, with and without its logits")
        steps = ["--steps", str(args.language_steps), "--batch-size", "8"]
        language_model.main([*steps, *output])

    seconds = perf_counter() - started
    heading(f"Done in {seconds:.0f} s: the pictures are in {args.output}/")
    return {"digits": history, "exactness": tables}


if __name__ == "__main__":
    main()
