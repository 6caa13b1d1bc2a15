# SPDX-License-Identifier: Apache-2.0
"""How everything is measured: interleaved, warmed up, blocked on, against a peer."""

import dataclasses
import statistics
from collections.abc import Callable
from time import perf_counter

import jax
from tqdm import tqdm


@dataclasses.dataclass
class Measured:
    """One program: times of its repeats, and what it compiled to."""

    seconds: list[float]
    compile_seconds: float
    temporaries: int

    def median(self) -> float:
        return statistics.median(self.seconds)


def interleaved(
    programs: dict[str, Callable], args: dict[str, tuple], repeats: int
) -> dict[str, Measured]:
    """Each program in turn, `repeats` times over, so that drift falls on all alike."""
    compiled, result = {}, {}
    for name, f in programs.items():
        start = perf_counter()
        compiled[name] = jax.jit(f).lower(*args[name]).compile()
        memory = compiled[name].memory_analysis()
        seconds = perf_counter() - start
        result[name] = Measured([], seconds, memory.temp_size_in_bytes)
        jax.block_until_ready(compiled[name](*args[name]))
    for _ in tqdm(range(repeats), leave=False):
        for name, program in compiled.items():
            start = perf_counter()
            jax.block_until_ready(program(*args[name]))
            result[name].seconds.append(perf_counter() - start)
    return result


def ratio(a: Measured, b: Measured) -> tuple[float, float, float]:
    """Quartiles of a's time over b's, repeat by repeat: first, median, third."""
    pairs = [x / y for x, y in zip(a.seconds, b.seconds, strict=True)]
    if len(pairs) < 2:
        return (pairs[0],) * 3
    return tuple(statistics.quantiles(pairs, n=4, method="inclusive"))
