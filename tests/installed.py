# SPDX-License-Identifier: Apache-2.0
"""A wheel as its user has it: `python tests/installed.py dist/jaxent-*.whl`.

It holds the package and nothing else; a project that uses it is type-checked by it;
installed alone in an empty environment it passes `python -m jaxent certify`, and the
code of every page runs there, with what the pages say they need.
"""

import argparse
import email
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TYPED = ROOT / "tests" / "typed"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# Strict, and with `py.typed` alone to go by: no types are inferred from the sources.
# The pages, how their doctests are run, and what runs their programs.
READ = ("README.md", "docs", "conftest.py", "pyproject.toml", "tests/test_programs.py")
NEEDED = ("optax", "scikit-learn", "pytest")
CHECKER = {"typeCheckingMode": "strict", "useLibraryCodeForTypes": False}


def expected_names() -> set[str]:
    """The files of a whole wheel."""
    package = ROOT / "jaxent"
    files = {*package.rglob("*.py"), package / "py.typed"}
    about = f"jaxent-{PROJECT['version']}.dist-info"
    own = {f"{about}/{x}" for x in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE")}
    return own | {path.relative_to(ROOT).as_posix() for path in files}


def faults(wheel: Path) -> list[str]:
    """What is missing from a wheel, what should not be there, what it wrongly needs."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (x for x in names if x.endswith(".dist-info/METADATA"))
        told = email.message_from_bytes(archive.read(metadata))
    expected = expected_names()
    needs = [x for x in told.get_all("Requires-Dist", []) if "extra ==" not in x]
    needed = {re.split(r"[<>=!~;\s\[]", x)[0] for x in needs}
    return [
        *(f"missing: {x}" for x in sorted(expected - names)),
        *(f"not of the package: {x}" for x in sorted(names - expected)),
        *(f"needs {x}" for x in sorted(needed - {"jax", "jaxlib", "jaxtyping"})),
    ]


def faults_of_pages(folder: Path, python: Path) -> int:
    """The exit status of the pages' code, away from the repository."""
    for name in READ:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, target)
    install(python, *NEEDED)
    command = [python, "-I", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    paths = ("README.md", "docs", "tests/test_programs.py")
    return subprocess.run([*command, *paths], cwd=folder, check=False).returncode


def install(python: Path, *what: object):
    options = ["--quiet", "--disable-pip-version-check"]
    subprocess.run([python, "-m", "pip", "install", *options, *what], check=True)


def environment(folder: Path, wheel: Path) -> Path:
    """The interpreter of an empty environment that the wheel was installed in."""
    venv.create(folder, with_pip=True, clear=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    install(python, wheel.resolve())
    return python


def type_errors(project: Path, python: Path) -> set[tuple[str, int]]:
    """(file, line) of what basedpyright finds in a folder."""
    (project / "pyrightconfig.json").write_text(json.dumps(CHECKER))
    command = ["basedpyright", "--outputjson", "--project", project]
    run = subprocess.run(
        [sys.executable, "-m", *command, "--pythonpath", python],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return {
        (Path(found["file"]).name, found["range"]["start"]["line"] + 1)
        for found in json.loads(run.stdout)["generalDiagnostics"]
        if found["severity"] == "error"
    }


def marked_errors() -> set[tuple[str, int]]:
    """(file, line) of what a type checker is to find."""
    return {
        (path.name, number)
        for path in TYPED.glob("*.py")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if line.endswith("# error")
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    wheel = parser.parse_args(argv).wheel
    found = faults(wheel)
    if found:
        sys.exit("\n".join([f"{wheel}:", *found]))
    print(f"{wheel.name}: {len(expected_names())} files, the package and nothing else")
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "project")
        python = environment(Path(folder, "env"), wheel)
        shutil.copytree(TYPED, project)
        got, want = type_errors(project, python), marked_errors()
        if got != want:
            sys.exit(f"type errors at {sorted(got)}, not at {sorted(want)}")
        print(f"typed: {len(want)} wrong calls found, and nothing but these")
        command = [python, "-I", "-m", "jaxent", "certify"]
        status = subprocess.run(command, cwd=folder, check=False).returncode
        sys.exit(status or faults_of_pages(Path(folder, "pages"), python))


if __name__ == "__main__":
    main()
