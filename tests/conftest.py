# SPDX-License-Identifier: Apache-2.0
"""What recorded the golden files needs its framework, what runs peers' tests changes
what it finds, and what is to be type-checked is no test: none of these is imported. Nor
has a `conftest.py` any doctests."""

collect_ignore_glob = [
    "golden/*.py", "peers/*.py", "typed/*.py", "*/conftest.py", "conftest.py",
]  # fmt: skip
