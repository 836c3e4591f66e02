"""By which name the program is started, and that the executable can start its lean agent."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from piccolo.cli import program
from piccolo.config.settings import AgentSettings
from piccolo.roles import handover

ENTRY = Path(__file__).resolve().parents[2] / "packaging" / "entry.py"


@pytest.mark.parametrize(
    ("argv", "means"),
    [
        (["/usr/local/bin/piccolo", "get", "nodes"], ["/usr/local/bin/piccolo", "get", "nodes"]),
        (["/opt/nodeagent/piccolo"], ["/opt/nodeagent/piccolo"]),
        (["/opt/piccolo/nodeagent", "--master", "m"], ["piccolo", "agent", "--master", "m"]),
        (["./nodeagent-arm64"], ["piccolo", "agent"]),
        (["nodeagent", "--help"], ["piccolo", "agent", "--help"]),
        (["nodeagent", "--version"], ["piccolo", "--version"]),
        (["nodeagent", "--name", "--version"], ["piccolo", "agent", "--name", "--version"]),
    ],
)
def test_under_the_name_nodeagent_it_is_the_agent(argv: list[str], means: list[str]) -> None:
    assert program.words(argv) == means


def test_the_whole_command_line_is_behind_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(sys, "argv", ["/opt/piccolo/nodeagent", "--help"])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 0
    assert "Usage: piccolo agent [OPTIONS]" in capsys.readouterr().out


Started = Callable[[list[str]], tuple[str, list[str]]]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Started:
    """Starts the executable, as far as it is Python: which main it came to, and with what."""

    def start(argv: list[str]) -> tuple[str, list[str]]:
        came: list[tuple[str, list[str]]] = []
        for name in ("piccolo.roles.agent", "piccolo.cli.program"):
            module = ModuleType(name)
            vars(module)["main"] = lambda name=name: came.append((name, list(sys.argv)))
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(sys, "argv", argv)
        runpy.run_path(str(ENTRY), run_name="__main__")
        ((name, arguments),) = came
        return name, arguments

    return start


def test_the_executable_is_the_interpreter_that_become_calls(
    monkeypatch: pytest.MonkeyPatch, start: Started
) -> None:
    called: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda _, argv, environ: called.append((argv, environ)))
    monkeypatch.setattr(sys, "_MEIPASS", "/opt/piccolo/_internal", raising=False)
    settings = AgentSettings(masters=("m",), name="n", data_dir="/d")
    handover.become(settings)
    ((argv, environ),) = called
    assert environ["LD_LIBRARY_PATH"] == "/opt/piccolo/_internal"
    name, (_, descriptor) = start(argv)
    assert name == "piccolo.roles.agent"
    assert handover.take(descriptor) == settings


def test_everything_else_is_a_command_line(start: Started) -> None:
    name, (_, *arguments) = start(["piccolo", "-m", "piccolo.roles.agent"])
    assert (name, arguments) == ("piccolo.cli.program", ["-m", "piccolo.roles.agent"])


@pytest.mark.parametrize(("before", "after"), [(None, None), ("/site", "/site"), ("", None)])
def test_what_it_starts_loads_the_libraries_of_the_system(
    monkeypatch: pytest.MonkeyPatch, start: Started, before: str | None, after: str | None
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/piccolo/_internal")
    monkeypatch.delenv("LD_LIBRARY_PATH_ORIG", raising=False)
    if before is not None:
        monkeypatch.setenv("LD_LIBRARY_PATH_ORIG", before)
    start(["piccolo"])
    assert os.environ.get("LD_LIBRARY_PATH") == after
    assert "LD_LIBRARY_PATH_ORIG" not in os.environ
