"""The entry script, as far as it can be tried without installing anything."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def dev(
    *arguments: str,
    script: Path = ROOT / "dev",
    path: str = "/usr/sbin:/usr/bin:/sbin:/bin",
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Runs it from another directory than the checkout."""
    return subprocess.run(
        [script, *arguments],
        cwd="/",
        env={"PATH": path, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def checkout(directory: Path) -> Path:
    """A checkout with just the script, and no .venv."""
    directory.mkdir()
    for name in ("dev", "pyproject.toml", "requirements-dev.lock"):
        shutil.copy(ROOT / name, directory)
    return directory / "dev"


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH without Python, on which nothing can be installed either."""
    path = tmp_path / "bin"
    path.mkdir()
    for name in ("bash", "cat", "dirname", "env", "grep", "head", "mkdir", "sha256sum"):
        found = shutil.which(name)
        assert found
        (path / name).symlink_to(found)
    return path


def test_without_a_verb_it_tells_what_there_is() -> None:
    run = dev()
    assert run.returncode == 0
    for verb in ("demo", "test", "check", "fmt", "setup", "proto", "bench", "build", "lock"):
        assert f"\n  {verb}" in run.stdout
    assert "\x1b" not in run.stdout


@pytest.mark.parametrize("arguments", [["tset"], ["proto", "--chek"]])
def test_what_it_does_not_know_is_a_usage_error(arguments: list[str]) -> None:
    run = dev(*arguments)
    assert run.returncode == 2
    assert "Usage: ./dev VERB" in run.stderr


# Stand-ins for interpreters: what they answer to the questions that ./dev asks, in its order.
SHIM = "exit 127"  # as pyenv's, for a version that is not installed
OLD = 'case "$2" in *version_info*) exit 1 ;; *) echo "$0" ;; esac'
BARE = 'case "$2" in *ensurepip*) exit 1 ;; *version_info*) ;; *) echo "$0" ;; esac'


@pytest.mark.parametrize(
    ("interpreters", "complaint"),
    [
        ({}, "install python3 (3.11 or newer)"),
        ({"python3": SHIM}, "no Python found"),
        ({"python3": SHIM, "python3.11": OLD}, "python3.11 is older; install one or name it"),
        ({"python3": OLD, "python3.12": BARE}, "apt-get install python3-venv"),
    ],
)
def test_it_says_what_is_wrong_with_the_python_it_finds(
    tmp_path: Path, bare_path: Path, interpreters: dict[str, str], complaint: str
) -> None:
    script = checkout(tmp_path / "a checkout")
    for name, answers in interpreters.items():
        (bare_path / name).write_text(f"#!/bin/sh\n{answers}\n")
        (bare_path / name).chmod(0o755)
    run = dev("setup", script=script, path=str(bare_path))
    assert run.returncode == 1
    assert complaint in run.stderr
    assert not (script.parent / ".venv").exists()


def test_a_python_that_was_asked_for_is_not_replaced_by_another(
    tmp_path: Path, bare_path: Path
) -> None:
    script = checkout(tmp_path / "checkout")
    (bare_path / "python3").symlink_to(sys.executable)
    run = dev("setup", script=script, path=str(bare_path), PYTHON="/no/python")
    assert run.returncode == 1
    assert "no Python found as /no/python" in run.stderr
