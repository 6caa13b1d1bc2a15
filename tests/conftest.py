# SPDX-License-Identifier: Apache-2.0
"""What recorded the golden files needs its framework, and what is to be type-checked
is no test: neither is imported. Nor has a `conftest.py` any doctests."""

collect_ignore_glob = ["golden/*.py", "typed/*.py", "*/conftest.py", "conftest.py"]
