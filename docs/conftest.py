# SPDX-License-Identifier: Apache-2.0
"""The pages are doctests; what makes the site of them is none."""

collect_ignore_glob = ["*.py", "extensions/*.py", "pictures/*.py"]
