# SPDX-License-Identifier: Apache-2.0
"""Peers' own tests, run on `jaxent.compat` in place of what they were written for.

Each room is a plugin of pytest for one peer: it puts compat's functions where the
peer's tests find its own, and names each test that is to fail, with the reason.
`make test-peers` runs all, in an environment of their own.
"""

from fnmatch import fnmatch
from types import ModuleType

import pytest


def replace(home: ModuleType, compat: ModuleType, names: list[str]):
    """compat's functions in the place of those of the same names."""
    for name in names:
        assert hasattr(home, name), name
        setattr(home, name, getattr(compat, name))


def _name(item: pytest.Item) -> str:
    module = item.getparent(pytest.Module)
    assert module is not None
    return f"{module.obj.__name__}::{item.nodeid.partition('::')[2]}"


def expect_failures(items: list[pytest.Item], expected: dict[str, str]):
    """Failures with a reason; a reason without a failure fails too."""
    for name, reason in expected.items():
        found = [item for item in items if fnmatch(_name(item), f"*{name}")]
        if not found:
            raise pytest.UsageError(f"no test is called {name}")
        for item in found:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
