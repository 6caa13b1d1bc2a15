# SPDX-License-Identifier: Apache-2.0
"""What is no test, and which tests are left to a thorough run, `make test-all`.

What recorded the golden files needs its framework, what runs peers' tests changes what
it finds, and what is to be type-checked is no test: none of these is imported. Nor has
a `conftest.py` any doctests.
"""

import re

import pytest
from everyday import COMPOSED, EVERYDAY, OF_COMPOSED, ROWS

collect_ignore_glob = [
    "golden/*.py", "peers/*.py", "typed/*.py", "*/conftest.py", "conftest.py",
]  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    rows = config.stash.setdefault(ROWS, {})
    for item in items:
        file, (name, _, row) = item.path.stem, item.name.rstrip("]").partition("[")
        kept = re.search(EVERYDAY.get(f"{file}::{name}", ""), row)
        rows.setdefault(f"{file}::{name}", set()).add(bool(kept))
        composed = any(loss in row for loss in COMPOSED)
        if not kept or (composed and file not in OF_COMPOSED):
            item.add_marker("thorough")
