"""The offline bundle: whole or not at all, checkable with what every system has, reproducible."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from piccolo import __version__
from tools import bundle
from tools.bundle import BUNDLE, REQUIRED, SINGLE_FILE, Incomplete, architecture, make

EPOCH = 1_700_000_000


def place(root: Path, name: str) -> Path:
    """Where a file of the bundle comes from."""
    directory, _, rest = name.partition("/")
    if directory == "program":
        return root / "dist" / "piccolo" / rest
    if directory == "templates":
        return root / "piccolo" / "config" / name
    return root / "packaging" / name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout after PyInstaller, as small as it can be."""
    made = tmp_path / "checkout"
    for name in (*REQUIRED, "lib/all.sh", "program/_internal/libz.so.1"):
        path = place(made, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"this is {name}\n")
        path.chmod(0o755 if path.name in ("piccolo", "install_nodeagent.sh") else 0o600)
    (made / "packaging" / "entry.py").write_text("not for the site")
    (made / "dist" / "piccolo" / "_internal" / "libz.so").symlink_to("libz.so.1")
    (made / "dist" / SINGLE_FILE).write_text("single")
    (made / "dist" / f"piccolo_cluster-{__version__}-py3-none-any.whl").write_text("wheel")
    (made / "LICENSE").write_text("licence")
    (made / "requirements.lock").write_text("h11==1 \\\n    --hash=x\nno-such-package==1 \\\n")
    return made


def unpacked(archive: Path, target: Path) -> Path:
    with tarfile.open(archive) as packed:
        assert {member.name.split("/")[0] for member in packed} == {BUNDLE}
        assert {(m.mtime, m.uid, m.gid) for m in packed} == {(EPOCH, 0, 0)}
        packed.extractall(target, filter="tar")
    return target / BUNDLE


def check(directory: Path) -> subprocess.CompletedProcess[str]:
    """As the installers check it."""
    return subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )


def test_it_has_everything_and_the_checksum_of_each_file(root: Path, tmp_path: Path) -> None:
    made = unpacked(make(root, root / "dist", EPOCH), tmp_path)
    found = {str(path.relative_to(made)) for path in made.rglob("*") if not path.is_dir()}
    listed = {line.split("  ")[1] for line in (made / "SHA256SUMS").read_text().splitlines()}
    assert found == {*listed, "SHA256SUMS"}
    assert {*REQUIRED, "VERSION", "LICENSE", "lib/all.sh", "program/_internal/libz.so"} <= found
    assert any(name.startswith("licenses/h11/") for name in found)
    assert not any(name.endswith("entry.py") for name in found)
    assert (made / "VERSION").read_text() == f"{__version__}\n"
    assert (made / "program" / "_internal" / "libz.so").is_symlink()
    assert check(made).returncode == 0
    assert check(root / "dist").returncode == 0
    assert len((root / "dist" / "SHA256SUMS").read_text().splitlines()) == 3


def test_what_is_to_be_run_can_be_and_the_rest_can_be_read(root: Path, tmp_path: Path) -> None:
    made = unpacked(make(root, root / "dist", EPOCH), tmp_path)
    modes = {
        name: (made / name).stat().st_mode & 0o777
        for name in ("program/piccolo", "install_nodeagent.sh", "lib/all.sh")
    }
    assert modes == {
        "program/piccolo": 0o755,
        "install_nodeagent.sh": 0o755,
        "lib/all.sh": 0o644,
    }


def test_a_changed_file_is_noticed(root: Path, tmp_path: Path) -> None:
    made = unpacked(make(root, root / "dist", EPOCH), tmp_path)
    (made / "program" / "piccolo").write_text("something else")
    assert "program/piccolo: FAILED" in check(made).stdout


@pytest.mark.parametrize("name", REQUIRED)
def test_without_a_part_there_is_none(root: Path, name: str) -> None:
    place(root, name).unlink()
    with pytest.raises(Incomplete, match=name):
        make(root, root / "dist", EPOCH)
    assert not list((root / "dist").glob("*.tar.gz"))


@pytest.mark.parametrize("name", [SINGLE_FILE, "*.whl"])
def test_without_the_other_forms_there_is_none(root: Path, name: str) -> None:
    (found,) = (root / "dist").glob(name)
    found.unlink()
    with pytest.raises(Incomplete, match="one wheel"):
        make(root, root / "dist", EPOCH)
    assert not list((root / "dist").glob("*.tar.gz"))


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../LICENSE", "nothing"])
def test_a_link_that_leads_astray_is_refused(root: Path, target: str) -> None:
    (root / "dist" / "piccolo" / "link").symlink_to(target)
    with pytest.raises(Incomplete, match="link"):
        make(root, root / "dist", EPOCH)


def test_the_same_input_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    first = make(root, root / "dist", EPOCH).read_bytes()
    again = tmp_path / "another place"
    shutil.copytree(root, again, symlinks=True)
    for path in again.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    assert make(again, again / "dist", EPOCH).read_bytes() == first


def test_the_tool_says_what_is_missing_and_fails(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bundle, "ROOT", root)
    monkeypatch.setattr("sys.argv", ["tools.bundle", str(root / "dist")])
    assert bundle.main() == 0
    place(root, "node_ready_check.sh").unlink()
    assert bundle.main() == 1
    assert "the bundle would lack node_ready_check.sh" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("machine", "bits", "name"),
    [
        ("x86_64", 64, "amd64"),
        ("aarch64", 64, "arm64"),
        ("aarch64", 32, "arm"),  # a 32-bit system on a 64-bit kernel
        ("armv7l", 32, "arm"),
        ("riscv64", 64, "riscv64"),
    ],
)
def test_architectures_have_the_names_that_installers_use(
    machine: str, bits: int, name: str
) -> None:
    assert architecture(machine, bits) == name
