# SPDX-License-Identifier: Apache-2.0
"""How everything is measured: interleaved, warmed up, blocked on, against a peer."""

import dataclasses
import statistics
from collections.abc import Callable
from time import perf_counter

import jax


@dataclasses.dataclass
class Measured:
    """One program: times of its repeats, and what it compiled to."""

    seconds: list[float]
    compile_seconds: float
    temporaries: int

    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclasses.dataclass
class Eager:
    """A program of another framework's, which blocks: timed, it takes no arguments."""

    run: Callable


def interleaved(
    programs: dict[str, Callable | Eager],
    args: dict[str, tuple],
    repeats: int,
    failed: dict[str, str] | None = None,
) -> dict[str, Measured]:
    """Each program in turn, `repeats` times over, so that drift falls on all alike.

    One that fails is left out and noted in `failed`, if that is given.
    """
    # Here, as reading a report needs no progress bar.
    from tqdm import tqdm

    compiled, result = {}, {}
    for name, f in programs.items():
        try:
            run, measured = _prepared(f, args[name])
            run()
        except Exception as failure:
            if failed is None:
                raise
            says = str(failure).splitlines() or [""]
            failed[name] = f"{type(failure).__name__}: {says[0]}"
        else:
            compiled[name], result[name] = run, measured
    for _ in tqdm(range(repeats), leave=False):
        for name, program in compiled.items():
            start = perf_counter()
            program()
            result[name].seconds.append(perf_counter() - start)
    return result


def _prepared(f: Callable | Eager, args: tuple) -> tuple[Callable, Measured]:
    if isinstance(f, Eager):
        return f.run, Measured([], 0.0, -1)
    start = perf_counter()
    program = jax.jit(f).lower(*args).compile()
    seconds = perf_counter() - start
    memory = program.memory_analysis().temp_size_in_bytes
    return _blocking(program, args), Measured([], seconds, memory)


def _blocking(program: Callable, args: tuple) -> Callable:
    return lambda: jax.block_until_ready(program(*args))


def ratio(a: Measured, b: Measured) -> tuple[float, float, float]:
    """Quartiles of a's time over b's, repeat by repeat: first, median, third."""
    pairs = [x / y for x, y in zip(a.seconds, b.seconds, strict=True)]
    if len(pairs) < 2:
        return (pairs[0],) * 3
    return tuple(statistics.quantiles(pairs, n=4, method="inclusive"))
