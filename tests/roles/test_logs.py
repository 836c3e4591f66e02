"""How lines look, on a terminal and in the journal."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from piccolo.roles import logs

LOG = logging.getLogger("piccolo.x")


@pytest.fixture(autouse=True)
def _logging_is_put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    noisy = {name: logging.getLogger(name).level for name in ("hpack", "grpclib", "asyncio")}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook = hook
    for name, before in noisy.items():
        logging.getLogger(name).setLevel(before)


@contextmanager
def stderr_to(path: Path, monkeypatch: pytest.MonkeyPatch, stream: str = "") -> Iterator[None]:
    """A file that is the journal's, unless JOURNAL_STREAM is to be something else."""
    with path.open("w") as file, monkeypatch.context() as patch:
        found = os.fstat(file.fileno())
        patch.setenv("JOURNAL_STREAM", stream or f"{found.st_dev}:{found.st_ino}")
        patch.setattr(sys, "stderr", file)
        yield


def written(
    do: Callable[[], object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str = "text",
    stream: str = "",
) -> str:
    """What `do` makes a role write that logs everything."""
    path = tmp_path / "stderr"
    with stderr_to(path, monkeypatch, stream):
        logs.configure("debug", form)
        do()
    return path.read_text()


def test_lines_in_the_journal_have_a_level_and_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def log() -> None:
        for level in (10, 20, 30, 40, 50):
            LOG.log(level, "one\ntwo")

    text = written(log, tmp_path, monkeypatch)
    assert text == "".join(f"<{n}>one\n<{n}>two\n" for n in (7, 6, 4, 3, 2))


def test_each_line_of_a_traceback_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        try:
            raise ValueError("first\nsecond")
        except ValueError:
            LOG.exception("that went wrong")

    lines = written(fail, tmp_path, monkeypatch).splitlines()
    assert lines[0] == "<3>that went wrong"
    assert lines[-2:] == ["<3>ValueError: first", "<3>second"]
    assert all(line.startswith("<3>") for line in lines)


def test_an_error_that_ends_the_program_is_found_by_its_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ValueError("unforeseen")
    text = written(lambda: sys.excepthook(ValueError, error, None), tmp_path, monkeypatch)
    assert text.splitlines() == ["<2>the program ends by an error", "<2>ValueError: unforeseen"]


def test_json_goes_to_the_journal_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = written(lambda: LOG.warning("one\ntwo"), tmp_path, monkeypatch, form="json")
    assert text[:3] == "<4>"
    assert json.loads(text[3:])["message"] == "one\ntwo"


@pytest.mark.parametrize("stream", ["1:2", "nonsense"])
def test_elsewhere_lines_have_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    hook = sys.excepthook
    text = written(lambda: LOG.info("hello"), tmp_path, monkeypatch, stream=stream)
    assert re.fullmatch(r"20\d\d-\S+ \S+ INFO +hello\n", text)
    assert sys.excepthook is hook


def test_an_error_of_the_command_line_has_a_level_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert logs.complaint("no") == "no"
    monkeypatch.setattr(logs, "is_journal", lambda descriptor: descriptor == 2)
    assert logs.complaint("no\nway") == "<3>no\n<3>way"


def test_a_closed_descriptor_is_no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    file = os.open("/dev/null", os.O_RDONLY)
    os.close(file)
    assert not logs.is_journal(file)
