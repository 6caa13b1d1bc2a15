# SPDX-License-Identifier: Apache-2.0
"""The wheel holds the package, and nothing else; `make dist` installs it as well."""

import zipfile

import installed
import pytest

builders = pytest.importorskip(
    "hatchling.builders.wheel", reason="a release needs the extra `dist`"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("dist"))
    builder = builders.WheelBuilder(str(installed.ROOT))
    return installed.Path(next(builder.build(directory=folder, versions=["standard"])))


def test_the_wheel_is_the_package_and_nothing_else(wheel):
    assert installed.faults(wheel) == []
    assert wheel.name == f"jaxent-{installed.PROJECT['version']}-py3-none-any.whl"


def test_a_new_jax_is_not_refused():
    assert installed.PROJECT["dependencies"][:2] == ["jax>=0.10", "jaxlib>=0.10"]


def test_the_citation_is_of_this_release():
    cited = (installed.ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {installed.PROJECT['version']}\n" in cited


def test_what_a_wheel_should_not_hold_is_found(wheel, tmp_path):
    other = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as given, zipfile.ZipFile(other, "w") as changed:
        for name in given.namelist():
            content = given.read(name)
            if name == "jaxent/py.typed":
                name = "tests/oracle.py"
            elif name.endswith("METADATA"):
                content = content.replace(
                    b"\nLicense", b"\nRequires-Dist: optax\nLicense", 1
                )
            changed.writestr(name, content)
    assert installed.faults(other) == [
        "missing: jaxent/py.typed", "not of the package: tests/oracle.py", "needs optax"
    ]  # fmt: skip
