# SPDX-License-Identifier: Apache-2.0
"""What a compiled program sends between devices, read off its text."""

import math
import re
from typing import NamedTuple

KINDS = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
CALL = re.compile(rf"= (?P<type>\S.*?) (?P<kind>{KINDS})(-start)?\(")
SHAPE = re.compile(r"\b(?P<dtype>pred|bf16|[sufc]\d+)\[(?P<shape>[\d,]*)\]")


class Message(NamedTuple):
    kind: str
    bytes: int
    """What a device has of it afterwards."""


def messages(program):
    """Every collective in the text, once: those of a loop's body, too."""
    return [
        Message(call["kind"], sum(map(_bytes, SHAPE.finditer(call["type"]))))
        for call in map(CALL.search, program.as_text().splitlines())
        if call is not None
    ]


def _bytes(array):
    dims = [int(n) for n in array["shape"].split(",") if n]
    bits = 8 if array["dtype"] == "pred" else int(re.sub(r"\D", "", array["dtype"]))
    return math.prod(dims) * bits // 8
