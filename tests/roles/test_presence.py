"""What a role says of itself on its machine, and what others make of it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from piccolo.roles import presence
from piccolo.roles.presence import Presence
from piccolo.roles.service_manager import ServiceManager


class Told(ServiceManager):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def status(self, text: str) -> None:
        self.said.append(text)


def agent(directory: Path, manager: ServiceManager | None = None) -> Presence:
    environ = {"RUNTIME_DIRECTORY": f"{directory}:/run/other"}
    return Presence("agent", manager or Told(), environ)


def test_others_see_it_until_its_end(tmp_path: Path) -> None:
    role = agent(tmp_path)
    assert list(presence.look([tmp_path])) == []
    role.tell(False, "looking for the master at h")
    [seen] = presence.look([tmp_path])
    assert (seen.role, seen.online, seen.message) == ("agent", False, "looking for the master at h")
    assert seen.pid == os.getpid()
    role.tell(True, "connected to h as n1")
    [seen] = presence.look([tmp_path])
    assert (seen.online, seen.message) == (True, "connected to h as n1")
    role.close()
    role.tell(False, "it is over")
    assert list(tmp_path.iterdir()) == []


def test_it_is_written_only_when_something_changes(tmp_path: Path) -> None:
    manager = Told()
    role = agent(tmp_path, manager)
    for message in ("a", "a", "b"):
        role.tell(False, message)
    before = (tmp_path / "agent.json").stat().st_ino
    role.tell(False, "b")
    assert (tmp_path / "agent.json").stat().st_ino == before
    [seen] = presence.look([tmp_path])
    role.tell(True, "c")
    assert manager.said == [f"a (since {seen.since})", f"b (since {seen.since})", "c"]


def test_everybody_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        agent(tmp_path).tell(True, "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "agent.json").stat().st_mode) == 0o644


def test_one_that_was_killed_is_not_online(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    found = {"role": "agent", "online": True, "message": "connected", "since": "", "pid": child.pid}
    path = tmp_path / "agent.json"
    path.write_text(json.dumps({**found, "started": presence._started(child.pid)}))
    try:
        assert [s.online for s in presence.look([tmp_path])] == [True]
        # Its id was given to another process since.
        path.write_text(json.dumps({**found, "started": "1"}))
        assert [s.online for s in presence.look([tmp_path])] == [False]
        path.write_text(json.dumps({**found, "started": presence._started(child.pid)}))
    finally:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert [s.online for s in presence.look([tmp_path])] == [False]  # a zombie
    child.communicate()
    [seen] = presence.look([tmp_path])
    assert (seen.online, seen.message) == (False, "it was killed, or has crashed")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"role": "agent"}', "\xff", "[" * 9999])
def test_a_damaged_file_is_not_online(tmp_path: Path, text: str) -> None:
    (tmp_path / "master.json").write_text(text, encoding="latin-1")
    [seen] = presence.look([tmp_path])
    assert (seen.role, seen.online) == ("master", False)
    assert "cannot be read" in seen.message


def test_without_a_directory_only_the_manager_is_told(tmp_path: Path) -> None:
    manager = Told()
    for environ in ({}, {"RUNTIME_DIRECTORY": "relative"}):
        Presence("agent", manager, environ).tell(True, "x")
    assert manager.said == ["x", "x"]


def test_a_directory_that_cannot_be_written_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    role = agent(tmp_path / "missing")
    role.tell(True, "x")
    role.tell(True, "y")
    role.close()
    assert caplog.text.count("`piccolo is-online` will not know") == 1


def test_where_to_look() -> None:
    system = Path("/run/piccolo")
    assert presence.directories({}) == [system]
    assert presence.directories({"XDG_RUNTIME_DIR": "/x"}) == [system, Path("/x/piccolo")]
