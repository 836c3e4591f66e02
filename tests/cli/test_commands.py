"""The installed program from outside: help, wrong usage, exit codes, where the master is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from piccolo import __version__

PICCOLO = Path(sys.executable).with_name("piccolo")


def piccolo(*args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("PICCOLO_")}
    return subprocess.run(
        [PICCOLO, *args], capture_output=True, text=True, timeout=30, env=env | environ
    )


def test_help_names_every_verb() -> None:
    result = piccolo("--help")
    assert result.returncode == 0
    for verb in ("master", "agent", "get", "describe", "top", "status", "label", "approve"):
        assert f"\n  {verb} " in result.stdout


def test_version() -> None:
    result = piccolo("version", "-o", "json")
    assert json.loads(result.stdout)["version"] == __version__


@pytest.mark.parametrize("args", [["nonsense"], ["get", "nodez"], ["get", "nodes", "-o", "xml"]])
def test_wrong_usage_exits_with_2(args: list[str]) -> None:
    result = piccolo(*args)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_an_unreachable_master_exits_with_4_and_names_every_address() -> None:
    result = piccolo("get", "nodes", "--master", "127.0.0.1:1", "--master", "127.0.0.2:1")
    assert result.returncode == 4
    assert "127.0.0.1:1" in result.stderr
    assert "127.0.0.2:1" in result.stderr
    assert "connection refused" in result.stderr


def test_an_address_that_is_none_exits_with_2() -> None:
    result = piccolo("get", "nodes", "--master", "not an address")
    assert result.returncode == 2
    assert "not an address" in result.stderr


def test_the_master_is_found_by_environment_and_by_context_file(tmp_path: Path) -> None:
    context = tmp_path / "context.yaml"
    context.write_text("masters: [127.0.0.3:1]\n")
    by_file = piccolo("get", "nodes", PICCOLO_CONTEXT=str(context))
    assert "127.0.0.3:1" in by_file.stderr
    by_environment = piccolo(
        "get", "nodes", PICCOLO_CONTEXT=str(context), PICCOLO_MASTER="127.0.0.4:1"
    )
    assert "127.0.0.4:1" in by_environment.stderr


@pytest.mark.parametrize("content", ["masters: 5", "[", "masters: []", "{}", "\x00"])
def test_a_broken_context_file_is_named(tmp_path: Path, content: str) -> None:
    context = tmp_path / "context.yaml"
    context.write_text(content)
    result = piccolo("get", "nodes", PICCOLO_CONTEXT=str(context))
    assert result.returncode == 2
    assert str(context) in result.stderr
    assert "Traceback" not in result.stderr


def test_a_context_that_is_named_but_missing_is_an_error(tmp_path: Path) -> None:
    result = piccolo("get", "nodes", PICCOLO_CONTEXT=str(tmp_path / "none.yaml"))
    assert result.returncode == 2
    assert "does not exist" in result.stderr
