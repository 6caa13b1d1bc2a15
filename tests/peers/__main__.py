# SPDX-License-Identifier: Apache-2.0
"""`python -m peers NAME ...`: the tests of these peers, of all if none is named."""

import importlib
import subprocess
import sys
from pathlib import Path

PEERS = "optax", "sklearn", "keras", "tokamax"
# None of this repository's own settings: a peer's tests run as it wrote them.
PLAIN = ["-q", "--noconftest", "-c", "/dev/null", "--import-mode=importlib"]


def run(peer: str) -> int:
    tests = importlib.import_module(f"{__package__}.of_{peer}").TESTS
    plugin = ["-p", f"{__package__}.of_{peer}", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *PLAIN, *plugin, *tests]
    print(f"{peer}: {' '.join(tests)}", flush=True)
    return subprocess.run(
        command, cwd=Path(__file__).parents[1], check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(max([run(peer) for peer in sys.argv[1:] or PEERS]))
