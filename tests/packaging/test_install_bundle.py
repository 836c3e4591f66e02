"""A bundle is installed whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.packaging import fake_bundle
from tests.packaging.fake_machine import MASTER, TOKEN, FakeMachine

pytestmark = pytest.mark.slow

INSTALLER = "install_nodeagent.sh"
WRONG = "0" * 64


def lose_a_file(bundle: Path) -> None:
    (bundle / "program/_internal/base.so").unlink()


def lose_what_is_needed(bundle: Path) -> None:
    (bundle / "templates/nodeagent.yaml").unlink()
    fake_bundle.seal(bundle)


def change_a_file(bundle: Path) -> None:
    with (bundle / "program/piccolo").open("a") as file:
        file.write("# one line more\n")


def add_a_file(bundle: Path) -> None:
    (bundle / "program/_internal/more.so").write_text("")


def cut_the_list(bundle: Path) -> None:
    sums = bundle / "SHA256SUMS"
    lines = sums.read_text().splitlines(keepends=True)
    sums.write_text("".join(line for line in lines if "base.so" not in line))


def be_of_another_processor(bundle: Path) -> None:
    bundle.rename(bundle.with_name("piccolo-1.0.0-linux-arm64"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lose_a_file, "program/_internal/base.so"),
        (lose_what_is_needed, "lacks templates/nodeagent.yaml"),
        (change_a_file, "program/piccolo: FAILED"),
        (add_a_file, "program/_internal/more.so"),
        (cut_the_list, "does not know"),
        (be_of_another_processor, "is for another processor: this machine needs one for amd64"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_a_damaged_one_changes_nothing(
    damage: Callable[[Path], None],
    said: str,
    packed: bool,
    machine: FakeMachine,
    bundle: Path,
    tmp_path: Path,
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy" / bundle.name))
    damage(copy)
    (copy,) = (path for path in copy.parent.iterdir() if path.is_dir())
    if packed:
        fake_bundle.pack(copy)
    script = (bundle if packed else copy) / INSTALLER
    options = ("--bundle", f"{copy}.tar.gz") if packed else ()
    before = machine.everything()
    ended = machine.run(script, MASTER, "--token", TOKEN, *options)
    assert ended.code == 1
    assert said in ended.said
    assert ended.last == "Nothing was changed."
    assert machine.everything() == before


@pytest.fixture
def packed(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(f"{bundle}.tar.gz", tmp_path))


@pytest.mark.parametrize("where", ["--sha256", "FILE.sha256", "SHA256SUMS"])
@pytest.mark.parametrize("right", [True, False])
def test_its_checksum_from_outside(
    where: str, right: bool, machine: FakeMachine, bundle: Path, packed: Path
) -> None:
    sum = fake_bundle.digest(packed) if right else WRONG
    options: tuple[str, ...] = ()
    if where == "--sha256":
        options = (f"--sha256={sum.upper()}",)
    elif where == "FILE.sha256":
        packed.with_name(f"{packed.name}.sha256").write_text(f"{sum}\n")
    else:
        packed.with_name("SHA256SUMS").write_text(f"{WRONG}  other.whl\n{sum}  {packed.name}\n")
    ended = machine.run(
        bundle / INSTALLER, MASTER, "--dry-run", "--token", TOKEN, "--bundle", packed, *options
    )
    assert "no checksum" not in ended.said
    if right:
        assert ended.code == 0
    else:
        assert ended.code == 1
        assert f"wrong checksum: {packed.name}" in ended.said
        assert ended.last == "Nothing was changed."


def test_that_none_is_there_is_said(machine: FakeMachine, bundle: Path, packed: Path) -> None:
    ended = machine.run(
        bundle / INSTALLER, MASTER, "--dry-run", "--token", TOKEN, "--bundle", packed
    )
    assert ended.code == 0
    assert f"no checksum of {packed.name}" in ended.said


def test_a_packed_one_is_installed(machine: FakeMachine, bundle: Path, packed: Path) -> None:
    ended = machine.run(bundle / INSTALLER, MASTER, "--token", TOKEN, "--bundle", packed)
    assert ended.code == 0, ended.said
    program = machine.path("/opt/piccolo/versions/1.0.0")
    assert (program / "_internal/base.so.1").is_symlink()
    assert (program / "_internal/base.so").read_text() == "library of 1.0.0\n"
    assert list(machine.scratch.iterdir()) == []


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_half_of_one(share: float, machine: FakeMachine, bundle: Path, packed: Path) -> None:
    whole = packed.read_bytes()
    packed.write_bytes(whole[: int(len(whole) * share)])
    before = machine.everything()
    ended = machine.run(bundle / INSTALLER, MASTER, "--token", TOKEN, "--bundle", packed)
    assert ended.code == 1
    assert "damaged, incomplete, or no bundle" in ended.said
    assert machine.everything() == before


def test_none_at_all(machine: FakeMachine, bundle: Path, tmp_path: Path) -> None:
    ended = machine.run(bundle / INSTALLER, MASTER, "--bundle", tmp_path / "missing")
    assert ended.code == 1
    assert f"there is no file {tmp_path}/missing" in ended.said


def test_outside_of_one_it_has_to_be_named(machine: FakeMachine, bundle: Path) -> None:
    script = Path(__file__).parents[2] / "packaging" / INSTALLER
    ended = machine.run(script, MASTER, "--token", TOKEN)
    assert ended.code == 1
    assert "is no unpacked bundle" in ended.said
    ended = machine.run(bundle / INSTALLER, MASTER, "--sha256", WRONG)
    assert ended.code == 1
    assert "give --bundle FILE too" in ended.said


def test_a_program_that_does_not_run_here(
    machine: FakeMachine, bundle: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy" / bundle.name))
    (copy / "program/piccolo").write_text("#!/bin/sh\necho 'GLIBC_2.99 not found'; exit 1\n")
    fake_bundle.seal(copy)
    before = machine.everything()
    ended = machine.run(copy / INSTALLER, MASTER, "--token", TOKEN)
    assert ended.code == 1
    assert "does not run on this machine" in ended.said
    assert "GLIBC_2.99 not found" in ended.said
    assert machine.everything() == before
