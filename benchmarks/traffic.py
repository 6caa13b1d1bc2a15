# SPDX-License-Identifier: Apache-2.0
"""What a compiled program moves between memory and its kernels, read off the program.

TPU's compiler says it itself. XLA's for GPUs does not: there each kernel of the entry
computation reads its operands and writes its results, once; only those as large as
the array in question count, and not those of which single elements are picked.
"""

import math
import re
from typing import NamedTuple

NO_KERNEL = {"parameter", "get-tuple-element", "tuple", "bitcast", "constant"}
PICKS = {"gather", "dynamic-slice", "scatter", "dynamic-update-slice"}
INSTRUCTION = re.compile(
    r"^\s*(?P<root>ROOT )?%?(?P<name>[\w.-]+) = (?P<shape>\(.*?\)|\S+) "
    r"(?P<op>[\w-]+)\((?P<operands>.*?)\)(?P<rest>.*)$"
)


class Instruction(NamedTuple):
    name: str
    shape: str
    op: str
    operands: list[str]
    index: str
    """Of a parameter."""
    calls: str
    root: bool


def passes(program, size: int, itemsize: int) -> float:
    """Bytes moved, in units of an array of `size` numbers of `itemsize` bytes."""
    cost = program.cost_analysis() or {}
    moved = cost.get("bytes accessed") or moved_by_kernels(program.as_text(), size)
    return moved / (size * itemsize)


def moved_by_kernels(text: str, size: int) -> int:
    """Bytes of arrays of at least `size` numbers that kernels read and write."""
    computations = parsed(text)
    entry = computations["ENTRY"]
    shapes = {i.name: i.shape for i in entry}
    moved = 0
    for kernel in entry:
        if kernel.op not in NO_KERNEL:
            inside = computations.get(kernel.calls, [])
            if not picks_result(inside):
                moved += large_bytes(kernel.shape, size)
            moved += sum(
                large_bytes(shapes[operand], size)
                for index, operand in enumerate(kernel.operands)
                if not picks_from(inside, index)
            )
    return moved


def parsed(text: str) -> dict[str, list[Instruction]]:
    """The instructions of each computation, and of the entry as "ENTRY"."""
    found, current = {}, None
    for line in text.splitlines():
        head = re.match(r"^(ENTRY )?%?([\w.-]+) .*\{$", line)
        if head:
            current = found.setdefault("ENTRY" if head[1] else head[2], [])
        elif current is not None and (match := INSTRUCTION.match(line)):
            calls = re.search(r"calls=%?([\w.-]+)", match["rest"])
            current.append(
                Instruction(
                    match["name"], match["shape"], match["op"],
                    re.findall(r"%([\w.-]+)", match["operands"]), match["operands"],
                    calls[1] if calls else "", bool(match["root"]),
                )
            )  # fmt: skip
    return found


def large_bytes(shape: str, size: int) -> int:
    total = 0
    for kind, dims in re.findall(r"\b([a-z]+\d*)\[([\d,]+)\]", shape):
        count = math.prod(map(int, dims.split(",")))
        bits = int(re.sub(r"\D", "", kind) or 8)  # pred is a byte
        total += count * bits // 8 if count >= size else 0
    return total


def picks_from(inside: list[Instruction], index: int) -> bool:
    """Whether a kernel takes of an operand but some elements."""
    names = {i.name for i in inside if i.op == "parameter" and i.index == str(index)}
    uses = [i for i in inside if names & set(i.operands)]
    while passed_on := {i.name for i in uses if i.op in ("convert", "bitcast")}:
        uses = [i for i in uses if i.name not in passed_on]
        uses += [i for i in inside if passed_on & set(i.operands)]
    return bool(uses) and all(i.op in PICKS for i in uses)


def picks_result(inside: list[Instruction]) -> bool:
    """Whether a kernel changes some elements of an operand, in place."""
    return any(i.root and i.op in PICKS for i in inside)
