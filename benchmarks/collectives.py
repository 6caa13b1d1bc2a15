# SPDX-License-Identifier: Apache-2.0
"""What a compiled program sends between devices, read off its text."""

import math
import re
from collections import defaultdict
from typing import NamedTuple

KINDS = (
    "all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter"
)  # fmt: skip
COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(?:-start)?\(")
ARRAY = re.compile(r"\b(pred|bf16|[fsu]\d+)\[([\d,]*)\]")
COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.-]+) \(.*\{$")
CALLED = re.compile(
    r"(calls|body|to_apply|branch_computations|true_computation|false_computation)"
    r"=\{?((?:%?[\w.-]+(?:, )?)+)"
)


class Collective(NamedTuple):
    kind: str
    shapes: tuple[tuple[int, ...], ...]
    """Of the arrays of its result."""
    size: int
    """Bytes of its result on one device."""
    group: int
    """Devices that take part together: a pair, in a permutation."""
    times: int
    """How often a run of the program does it: more than once inside a loop."""

    @property
    def sent(self) -> float:
        """Bytes that one device sends in all, on a ring of its group."""
        share = (self.group - 1) / self.group
        factor = {"all-reduce": 2 * share, "collective-permute": 1,
                  "reduce-scatter": self.group - 1}  # fmt: skip
        return self.times * self.size * factor.get(self.kind, share)

    @property
    def largest(self) -> int:
        """Elements of the largest array of its result."""
        return max(map(math.prod, self.shapes))


def collectives(text: str) -> list[Collective]:
    """The collectives of `compiled.as_text()`, each once, with how often it runs.

    A branch counts as taken.
    """
    computations, entry = _computations(text)
    times, found = _repeats(computations, entry), {}
    fused = set(re.findall(r" fusion\(.* calls=%?([\w.-]+)", text))
    for name, lines in computations.items():
        for line in lines if times[name] else ():
            if match := COLLECTIVE.search(line):
                # The fusions that one collective is spread over name one channel.
                channel = re.search(r"channel_id=(\d+)", line)
                key = channel[1] if channel and name in fused else (name, line)
                found[key] = _collective(match[2], match[1], line, times[name])
    return list(found.values())


def _collective(kind: str, result: str, line: str, times: int) -> Collective:
    arrays = ARRAY.findall(result)
    if "-start(" in line:  # what it returns begins with its operands
        if kind == "collective-permute":
            arrays = arrays[1:2]
        elif kind == "all-gather":
            arrays = arrays[len(arrays) // 2 :]
    shapes = tuple(tuple(map(int, re.findall(r"\d+", dims))) for _, dims in arrays)
    size = sum(
        math.prod(shape) * _itemsize(dtype)
        for (dtype, _), shape in zip(arrays, shapes, strict=True)
    )
    return Collective(kind, shapes, size, _group(line), times)


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """The lines of each computation, and the name of the one that is run."""
    computations, entry, name = {}, "", ""
    for line in text.splitlines():
        if match := COMPUTATION.match(line):
            name = match[1]
            computations[name] = []
            entry = name if line.startswith("ENTRY") else entry
        elif name:
            computations[name].append(line)
    return computations, entry


def _repeats(computations: dict[str, list[str]], entry: str) -> dict[str, int]:
    """How often each computation is run: callers times the loops they are in."""
    times = defaultdict(int, {entry: 1})
    # In the text a computation stands before those that call it.
    for caller in reversed(computations):
        for line in computations[caller] if times[caller] else ():
            for key, names in CALLED.findall(line):
                trips = _trips(line, computations) if key == "body" else 1
                for name in re.findall(r"[\w.-]+", names):
                    times[name] += times[caller] * trips
    return times


def _trips(loop: str, computations: dict[str, list[str]]) -> int:
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop):
        return int(known[1])
    condition = re.search(r"condition=%?([\w.-]+)", loop)[1]
    (bound,) = re.findall(r"constant\((\d+)\)", "\n".join(computations[condition]))
    return int(bound)


def _itemsize(dtype: str) -> int:
    if dtype == "pred":
        return 1
    return int(dtype.lstrip("bfsu")) // 8


def _group(line: str) -> int:
    """Devices of one group, in any of the ways that XLA writes groups."""
    if match := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
        return int(match[1])
    if match := re.search(r"replica_groups=\{\{([\d,]*)\}", line):
        return len(match[1].split(","))
    if match := re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", line):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
        axes = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", match[2])
        return math.prod(int(part or sizes[axis]) for axis, part in axes)
    return 2
