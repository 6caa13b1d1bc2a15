# SPDX-License-Identifier: Apache-2.0
"""One table of what the tests found, each through `record_property("row", {...})`.

It is printed, and saved in the folder that JAXENT_RESULTS names.
"""

import os
from pathlib import Path

from benchmarks import compiled


def pytest_terminal_summary(terminalreporter):
    rows = [
        value | ({} if report.passed else {"verdict": "FAILED"})
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, value in report.user_properties
        if name == "row"
    ]
    if rows:
        terminalreporter.section("compiled, not run")
        terminalreporter.write_line(compiled.table(rows))
        if folder := os.environ.get("JAXENT_RESULTS"):
            compiled.save(rows, Path(folder))
