# SPDX-License-Identifier: Apache-2.0
"""Loss objects: dataclasses of a function's options."""

import dataclasses
import inspect
from typing import Any, TypeVar

from .._errors import door, fail

T = TypeVar("T")


def made(cls: type[T]) -> type[T]:
    """A class whose mistakes in the making are answered as a function's are."""
    cls.__init__ = door(cls.__init__)
    return cls


def no_arrays(made: Any):
    """That an object is made of options: labels and predictions are for its call."""
    fields = [f.name for f in dataclasses.fields(made) if not f.kw_only]
    if not all(getattr(getattr(made, name), "ndim", 0) for name in fields[:2]):
        return
    method = ".update" if hasattr(made, "update") else ""
    call = inspect.signature(made.update if method else made.__call__)
    names = ", ".join([*call.parameters][:2])
    remedy = f"Build it, then call it: `{type(made).__name__}(){method}({names})`."
    fail(TypeError, "", "be made of options", "arrays by position", remedy)
