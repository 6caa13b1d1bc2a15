# SPDX-License-Identifier: Apache-2.0
"""`python -m jaxent COMMAND`: see `python -m jaxent --help`."""

import argparse
import importlib
import sys

from ._errors import Refusal

COMMANDS = {  # a module with `describe(parser)` and `run(arguments) -> exit status`
    "explain": ("_explain.command", "which framework prints which number, and why"),
    "certify": (
        "_certify.command",
        "whether this device keeps the documented accuracy",
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; mistakes in what it is given are told, not traced."""
    parser = argparse.ArgumentParser(prog="python -m jaxent")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, text) in COMMANDS.items():
        commands.add_parser(name, help=text, description=text, add_help=False)
    chosen, rest = parser.parse_known_args(argv)
    name, text = COMMANDS[chosen.command]
    module = importlib.import_module(f".{name}", __package__)
    own = argparse.ArgumentParser(
        prog=f"python -m jaxent {chosen.command}", description=text
    )
    module.describe(own)
    try:
        return module.run(own.parse_args(rest))
    except Refusal as refusal:
        print(refusal.error(f"jaxent.{chosen.command}"), file=sys.stderr)
    except (TypeError, ValueError) as error:
        print(error, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
