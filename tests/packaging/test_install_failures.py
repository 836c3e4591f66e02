"""Whatever fails, and whenever: the machine is as it was before, or it is said what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.packaging.fake_machine import MASTER, TOKEN, FakeMachine, write_script

pytestmark = pytest.mark.slow

# The Nth call of it fails, once; until so many calls are no longer made.
FAILS_AT = """#!/bin/sh
n=$(cat "$FAKE/count" 2>/dev/null || echo 0)
echo $((n + 1)) >"$FAKE/count"
[ "$n" != "$FAIL_AT" ] || exit 1
exec {real} "$@"
"""


def fail_everywhere(
    machine: FakeMachine, command: str, script: Path, *words: str, least: int
) -> None:
    """Runs the script again and again, with each call of `command` failing in turn."""
    here = machine.bin / command
    real = machine.fake / f"real/{command}"
    real.parent.mkdir(exist_ok=True)
    shutil.copy(here, real)
    here.unlink()
    write_script(here, FAILS_AT.format(real=real))
    before = machine.everything()
    for at in range(100):
        (machine.fake / "count").unlink(missing_ok=True)
        ended = machine.run(script, *words, FAIL_AT=str(at))
        if int((machine.fake / "count").read_text()) <= at:
            assert ended.code == 0, ended.said
            assert at >= least
            return
        if ended.code:
            assert "error: " in ended.said
            assert machine.everything() == before, f"{command}, call {at}:\n{ended.said}"
        else:  # a call that may fail: whether a unit is active, or a port is open
            assert command in ("systemctl", "firewall-cmd"), f"call {at} failed unnoticed"
            undo(machine, script)
            assert machine.everything() == before
    pytest.fail("there is no end to it")


def undo(machine: FakeMachine, script: Path) -> None:
    ended = machine.run(script, "--uninstall", "--purge", "--yes", FAIL_AT="none")
    assert ended.code == 0, ended.said


@pytest.mark.parametrize(
    ("command", "least"),
    [("mkdir", 4), ("cp", 4), ("mv", 5), ("ln", 3), ("systemctl", 5)],
)
def test_a_first_install(command: str, least: int, machine: FakeMachine, bundle: Path) -> None:
    script = bundle / "install_nodeagent.sh"
    fail_everywhere(machine, command, script, MASTER, "--token", TOKEN, least=least)


@pytest.mark.parametrize(("command", "least"), [("mv", 2), ("ln", 1)])
def test_an_upgrade(
    command: str, least: int, machine: FakeMachine, bundle: Path, newer: Path
) -> None:
    first = machine.run(bundle / "install_nodeagent.sh", MASTER, "--token", TOKEN)
    assert first.code == 0, first.said
    fail_everywhere(machine, command, newer / "install_nodeagent.sh", MASTER, least=least)


@pytest.mark.parametrize(("command", "least"), [("firewall-cmd", 10)])
def test_a_master(command: str, least: int, machine: FakeMachine, bundle: Path) -> None:
    (machine.fake / "firewalld").mkdir()
    machine.give("firewall-cmd")
    fail_everywhere(machine, command, bundle / "install_master.sh", least=least)


def test_an_interruption(machine: FakeMachine, bundle: Path) -> None:
    """Ctrl-C while the new program is started."""
    systemctl = (machine.bin / "systemctl").read_text()
    machine.give("systemctl", "case $1 in start) kill -INT $PPID; sleep 0.1;; esac\n" + systemctl)
    machine.give("timeout", 'shift; exec "$@"\n')
    before = machine.everything()
    ended = machine.run(bundle / "install_nodeagent.sh", MASTER, "--token", TOKEN)
    assert ended.code == 130, ended.said
    assert machine.everything() == before


def test_what_cannot_be_taken_back_is_said(machine: FakeMachine, bundle: Path) -> None:
    file = machine.path("/usr/local/bin/node_ready_check.sh")
    file.write_text("the one before")
    mv = machine.bin / "mv"
    real = mv.readlink()
    mv.unlink()
    # What was replaced cannot be put back.
    write_script(mv, f'#!/bin/sh\ncase $* in *undo.*) exit 1;; esac\nexec {real} "$@"\n')
    run = (bundle / "install_nodeagent.sh", MASTER, "--token", TOKEN)
    ended = machine.run(*run, FAKE_BROKEN="1.0.0")
    assert ended.code == 1
    assert "Do it by hand, in this order:" in ended.said
    command = ended.last.split()
    assert command[:2] == ["mv", "-fT"]
    assert Path(command[2]).read_text() == "the one before"  # the copy is still there
    assert command[3] == str(file)
