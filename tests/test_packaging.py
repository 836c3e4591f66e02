"""What is shipped: the locked dependencies and the wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ["requirements.lock", "requirements-dev.lock", "requirements-build.lock"]


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def locked(name: str) -> dict[str, str]:
    """Distribution → version; a distribution has one version in one file."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", (ROOT / name).read_text(), re.MULTILINE)
    return {canonicalize_name(distribution): version for distribution, version in pins}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_every_direct_dependency(name: str, pyproject: dict[str, Any]) -> None:
    wanted = list(pyproject["project"]["dependencies"])
    if name != "requirements.lock":
        group = name.removeprefix("requirements-").removesuffix(".lock")
        wanted += pyproject["dependency-groups"][group] + pyproject["build-system"]["requires"]
    pins = locked(name)
    for requirement in map(Requirement, wanted):
        version = pins.get(canonicalize_name(requirement.name), "0")
        assert version in requirement.specifier, f"{requirement} is not locked: run ./dev lock"


def test_what_is_shipped_is_what_is_tested() -> None:
    shipped, tested, frozen = (locked(name) for name in LOCKS)
    assert shipped
    assert shipped.items() <= tested.items()
    assert shipped.items() <= frozen.items()


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_hashes_and_names_no_registry(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert "--index-url" not in text
    for block in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=sha256:" in block, block.splitlines()[0]


def test_uvloop_is_only_asked_for_where_it_has_a_wheel(pyproject: dict[str, Any]) -> None:
    (uvloop,) = (
        requirement
        for requirement in map(Requirement, pyproject["project"]["dependencies"])
        if requirement.name == "uvloop"
    )
    assert uvloop.marker is not None
    wanted = {
        machine: uvloop.marker.evaluate(
            {"platform_machine": machine, "implementation_name": "cpython"}
        )
        for machine in ("x86_64", "aarch64", "armv7l")
    }
    assert wanted == {"x86_64": True, "aarch64": True, "armv7l": False}


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("piccolo_cluster-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entry_points,) = (n for n in names if n.endswith(".dist-info/entry_points.txt"))
        commands = archive.read(entry_points).decode()
        assert "piccolo = piccolo.cli.main:main" in commands
        assert "nodeagent = piccolo.cli.program:main" in commands
    assert {name.split("/")[0].split("-")[0] for name in names} == {"piccolo", "piccolo_cluster"}
    assert {"piccolo/py.typed", "piccolo/rpc/generated/piccolo/v1/__init__.py"} <= set(names)
    assert wheel.name.endswith("-py3-none-any.whl")
