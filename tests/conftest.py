# SPDX-License-Identifier: Apache-2.0
"""Scripts that recorded the golden files are no tests: they need what they call."""

collect_ignore_glob = ["golden/*.py"]
