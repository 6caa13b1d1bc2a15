# SPDX-License-Identifier: Apache-2.0
"""Loss objects: dataclasses of a function's options."""

from typing import TypeVar

from .._errors import door

T = TypeVar("T")


def made(cls: type[T]) -> type[T]:
    """A class whose mistakes in the making are answered as a function's are."""
    cls.__init__ = door(cls.__init__)
    return cls
