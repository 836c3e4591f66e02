"""What `./dev build` made, as it is: the program without a Python, as directory and as file."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from piccolo import __version__
from tests.lab.cluster import LoopbackLab
from tools.bundle import BUNDLE, SINGLE_FILE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"
PROGRAM = DIST / "piccolo" / "piccolo"

OLDEST_GLIBC = (2, 36)  # of Debian 12, on which bundles are built: docs/build.md
# What belongs to the C library, and so must be the system's.
OF_THE_SYSTEM = re.compile(r"(ld-linux|libc|libm|libdl|librt|libpthread|libutil)\b.*\.so")
LEAN = re.compile(r"pydantic_core|cryptography|/yaml/|typer")


def _why_not() -> str:
    if not (DIST / "SHA256SUMS").is_file():
        return "nothing is built"
    built = (DIST / "SHA256SUMS").stat().st_mtime
    sources = [*(ROOT / "piccolo").rglob("*.py"), *(ROOT / "packaging").glob("*.*")]
    newer = [str(path.relative_to(ROOT)) for path in sources if path.stat().st_mtime > built]
    return f"what is built is older than {newer[0]}" if newer else ""


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    if why := _why_not():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{why}: ./dev build", pytrace=False)
        pytest.skip(f"{why}: ./dev build")


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The single file, under the name that makes it the whole program."""
    link = tmp_path_factory.mktemp("bin") / "piccolo"
    link.symlink_to(DIST / SINGLE_FILE)
    return link


def run(program: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """With an environment that helps it to nothing."""
    return subprocess.run(
        [program, *arguments],
        env={"PATH": "/usr/bin:/bin", **environ},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture(params=["directory", "file"])
def program(request: pytest.FixtureRequest, single: Path) -> Path:
    return PROGRAM if request.param == "directory" else single


def test_it_tells_its_version_and_completes(program: Path) -> None:
    assert run(program, "--version").stdout.startswith(f"piccolo {__version__} (Python 3.")
    asked = {"COMP_WORDS": "piccolo get nodes", "COMP_CWORD": "2"}
    assert run(program, _PICCOLO_COMPLETE="complete_bash", **asked).stdout.split() == ["nodes"]
    # Which shell asks, it finds out by itself.
    shown = run(Path("/bin/bash"), "-c", f"{program} --show-completion; exit $?")
    assert "_PICCOLO_COMPLETE=complete_bash" in shown.stdout, shown


@pytest.mark.parametrize("name", ["nodeagent", SINGLE_FILE])
def test_under_the_name_nodeagent_it_is_the_agent(program: Path, tmp_path: Path, name: str) -> None:
    agent = tmp_path / name
    agent.symlink_to(program)
    assert "Usage: piccolo agent [OPTIONS]" in run(agent, "--help").stdout
    assert run(agent, "--version").stdout.startswith(f"piccolo {__version__} ")
    nowhere = run(agent, "--config", "/no/such/file")
    assert nowhere.returncode == 2
    assert "/no/such/file" in nowhere.stderr


def test_texts_and_errors_are_those_of_the_wheel(program: Path) -> None:
    assert run(program, "doctor", LC_ALL="C").stdout.startswith("✗ context: who are you")
    example = ROOT / "examples" / "web.yaml"
    valid = run(program, "validate", "-f", str(example))
    assert valid.returncode == 0, valid
    assert run(program, "schema").stdout.startswith("{")


def mapped(pid: int) -> set[Path]:
    """The files that a process has in its memory."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return {Path(path) for path in re.findall(r" (/\S+\.so\S*)$", maps, re.MULTILINE)}


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture(scope="module")
def lab() -> Iterator[LoopbackLab]:
    with LoopbackLab(["board", "tiny"], piccolo=PROGRAM) as lab:
        lab.start_master()
        yield lab


def test_a_cluster_of_it(lab: LoopbackLab, single: Path, tmp_path: Path) -> None:
    with lab.watch_nodes() as watch:
        board = lab.start_agent("board")
        lab.program = single
        tiny = lab.start_agent("tiny", env={"TMPDIR": str(tmp_path)})
        lab.program = PROGRAM
        watch.wait_status("board", "Ready", 20)
        watch.wait_status("tiny", "Ready", 20)
    (inner,) = children(tiny.pid)
    (unpacked,) = tmp_path.glob("_MEI*")
    # The process that was started became the lean agent: a service manager knows its number.
    for pid, brought in ((board.pid, PROGRAM.parent), (inner, unpacked)):
        assert b"-m\0piccolo.roles.agent" in Path(f"/proc/{pid}/cmdline").read_bytes()
        files = mapped(pid)
        assert any("libpython" in path.name for path in files)
        assert [p for p in files if not p.is_relative_to(brought)] == [
            p for p in files if OF_THE_SYSTEM.match(p.name)
        ]
        assert [str(p) for p in files if LEAN.search(str(p))] == []
    assert board.terminate() == 0
    assert tiny.terminate() == 0
    assert list(tmp_path.iterdir()) == []


def test_the_master_of_it(lab: LoopbackLab, tmp_path: Path) -> None:
    assert lab.piccolo("doctor", check=False).stdout.count("\n") > 3
    phrase = tmp_path / "phrase"
    phrase.write_text("a long passphrase for a backup\n")
    phrase.chmod(0o600)
    kept = tmp_path / "kept"
    lab.piccolo("backup", str(kept), "--passphrase-file", str(phrase))
    anew = tmp_path / "anew"
    lab.piccolo("restore", str(kept), "--passphrase-file", str(phrase), "--data-dir", str(anew))
    assert list(anew.glob("*.db")), list(anew.iterdir())


def test_it_runs_on_the_oldest_system_that_is_promised() -> None:
    wanted: dict[tuple[int, ...], Path] = {}
    for path in (*PROGRAM.parent.rglob("*"), DIST / SINGLE_FILE):
        if path.is_file() and path.read_bytes().startswith(b"\x7fELF"):
            said = subprocess.run(
                ["objdump", "-T", path], capture_output=True, text=True, timeout=20, check=True
            )
            for version in re.findall(r"GLIBC_([0-9.]+)", said.stdout):
                wanted[tuple(map(int, version.split(".")))] = path
    assert max(wanted) <= OLDEST_GLIBC, f"{wanted[max(wanted)]} needs glibc {max(wanted)}"


def test_the_checksums_are_of_what_is_there(tmp_path: Path) -> None:
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    subprocess.run(check, cwd=DIST, check=True, timeout=30)
    with tarfile.open(DIST / f"{BUNDLE}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="tar")
    subprocess.run(check, cwd=tmp_path / BUNDLE, check=True, timeout=30)
    assert run(tmp_path / BUNDLE / "program" / "piccolo", "--version").returncode == 0
