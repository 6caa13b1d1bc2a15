# SPDX-License-Identifier: Apache-2.0
"""For whoever has a TPU or GPU: is jaxent exact on it, and how fast?

    python -m benchmarks.accelerator [--quick] [--output FOLDER]

holds the fused heads and their kernels against float64 on the device, times them at two
language models' shapes beside the device's own products, Optax and tokamax, sweeps
their budgets, certifies every loss, times the dense ones, and writes accelerator.json,
a page and a picture. It takes 8 minutes at most, or one with --quick. What is not
reached then is a row that says so; so is all that fails, hangs, or ends the process it
runs in, which is not this one.
"""

import argparse
import collections
import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from . import device_page

OVER = "the time was over"


class Limits(NamedTuple):
    """In seconds."""

    all: float
    """Of all that runs."""
    silence: float
    """Without a row, after which an item is taken to hang."""


DYING = 20.0
"""Seconds that a driver may take to let go of a process that hangs in it."""
FULL, QUICK = Limits(460, 90), Limits(52, 40)
PATIENCE = 3
"""Processes that a head may end before no more is asked of it. It may hang once."""


def measured(folder: Path, limits: Limits, quick: bool) -> list[dict]:
    """The rows of all items, in as many processes as it takes."""
    end, first, found = time.monotonic() + limits.all, 0, []
    ended = collections.Counter[str]()
    while True:
        options = ["--first", str(first), *["--quick"] * quick]
        for head, times in ended.items():
            options += ["--without", head] if times >= PATIENCE else []
        told, why = process(folder, options, end, limits.silence)
        found += [row for row in told if "part" in row]
        if told and "end" in told[-1]:
            return found
        begun = [row["begin"] for row in told if "begin" in row]
        if not begun:
            return [*found, {"part": "device", "item": "the process", "fails": why}]
        plan, last = told[0]["plan"], begun[-1]
        part, item, head = plan[last]
        if "fails" not in told[-1]:
            kind = "skipped" if why == OVER else "fails"
            found.append({"part": part, "item": item, kind: why})
        if head:
            ended[head] += PATIENCE if "hangs" in why else 1
        first = last + 1
        if time.monotonic() > end:
            skipped = {"skipped": OVER}
            return found + [
                {"part": part, "item": item} | skipped for part, item, _ in plan[first:]
            ]


def process(
    folder: Path, options: list[str], end: float, silence: float
) -> tuple[list[dict], str]:
    """What one process told, and why it told no more."""
    path, log = folder / "accelerator.rows", folder / "accelerator.log"
    path.write_text("")
    flags = [f"-W{option}" for option in sys.warnoptions]
    command = [sys.executable, *flags, "-m", "benchmarks.on_device", *options]
    command += ["--rows", str(path), "--seconds", str(end - time.monotonic())]
    with log.open("a") as errors:
        # Bars would be all that a log has.
        quiet = os.environ | {"TQDM_DISABLE": "1"}
        run = subprocess.Popen(command, stdout=errors, stderr=errors, env=quiet)
        try:
            why = watched(run, path, end, silence)
        finally:
            run.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(DYING)
    last = [""] + [line for line in log.read_text().splitlines() if line.strip()]
    return lines(path), why or last[-1][:300]


def watched(run: subprocess.Popen, path: Path, end: float, silence: float) -> str:
    """Why a process had to be ended or was; "" where it ended by itself."""
    shown, heard = 0, time.monotonic()
    while run.poll() is None:
        now, told = time.monotonic(), lines(path)
        if len(told) != shown:
            for row in told[shown:]:
                if "begin" in row:
                    item = told[0]["plan"][row["begin"]][:2]
                    print(f"{end - now:4.0f} s left:", *item, flush=True)
            shown, heard = len(told), now
        if now > end:
            return OVER
        if now - heard > silence:
            return f"hangs: nothing for {silence:.0f} s"
        time.sleep(0.2)
    return f"ends the process: signal {-run.returncode}" if run.returncode < 0 else ""


def lines(path: Path) -> list[dict]:
    """What was told, but for a line that is still being written."""
    whole, _, _ = path.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def main(argv: list[str] | None = None, limits: Limits | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one minute")
    parser.add_argument("--output", type=Path, default=Path("demo-output/accelerator"))
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "accelerator.log").write_text("")
    start = time.monotonic()
    rows = measured(args.output, limits or (QUICK if args.quick else FULL), args.quick)
    command = ["python", "-m", "benchmarks.accelerator", *["--quick"] * args.quick]
    result = {
        "command": shlex.join(command), "seconds": round(time.monotonic() - start),
        "rows": rows,
    }  # fmt: skip
    device_page.save(result, args.output / "accelerator.json")
    print(device_page.summary(result))


if __name__ == "__main__":
    main()
