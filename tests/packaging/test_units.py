"""The units: what systemd thinks of them, and that they say what the program and the docs say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "packaging/systemd"
AGENT, MASTER = UNITS / "nodeagent.service", UNITS / "piccolo-master.service"
ROOTLESS = UNITS / "user/nodeagent.service"
ALL = [AGENT, MASTER, ROOTLESS]

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze: install systemd"
)


def read(unit: Path) -> dict[str, list[str]]:
    found = defaultdict(list)
    for line in unit.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found[key].append(value)
    return found


def seconds(unit: Path, key: str) -> float:
    return float(read(unit)[key][0])


@needs_systemd
@pytest.mark.parametrize("unit", ALL, ids=["agent", "master", "rootless"])
def test_systemd_knows_every_word(unit: Path, tmp_path: Path) -> None:
    """All but the programs, which are not installed here."""
    text = re.sub(r"^(Exec\w+=\W*)/\S+", r"\1/bin/true", unit.read_text(), flags=re.M)
    trial = tmp_path / unit.name
    trial.write_text(text)
    user = ["--user"] if unit is ROOTLESS else []
    argv = ["systemd-analyze", *user, "verify", "--man=no", "--recursive-errors=no", str(trial)]
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        argv, env=environ, capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, [x for x in done.stderr.splitlines() if unit.name in x]) == (0, [])


@needs_systemd
@pytest.mark.parametrize("unit", [AGENT, MASTER], ids=["agent", "master"])
def test_the_exposure_is_what_the_docs_state(unit: Path) -> None:
    argv = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True)
    score = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    stated = re.search(rf"`{unit.name}` \| ([\d.]+)", (ROOT / "docs/systemd.md").read_text())
    assert score is not None
    assert stated is not None
    assert float(score[1]) <= float(stated[1])


@pytest.mark.parametrize("unit", ALL, ids=["agent", "master", "rootless"])
def test_what_hangs_or_fails_is_started_again(unit: Path) -> None:
    found = read(unit)
    assert found["Type"] == ["notify"]
    assert found["Restart"] == ["on-failure"]
    assert found["StartLimitIntervalSec"] == ["0"]
    assert seconds(unit, "WatchdogSec") == 30
    # It is given so long to say where it hung; a stopped process cannot even die of SIGABRT.
    assert 1 <= seconds(unit, "TimeoutAbortSec") <= 10


def test_the_agent_is_as_in_the_design() -> None:
    found = read(AGENT)
    assert found["ExecStart"] == ["/opt/piccolo/nodeagent --config /etc/piccolo/nodeagent.yaml"]
    [check] = found["ExecStartPre"]
    assert check.startswith("-"), "a failed check must not keep a device from booting"
    assert check.endswith("/usr/local/bin/node_ready_check.sh sub")
    assert found["RestartSec"] == ["10"]
    assert found["NoNewPrivileges"] == ["yes"]
    assert found["ProtectSystem"] == ["full"]
    assert found["ProtectHome"] == ["yes"]


@pytest.mark.parametrize("unit", ALL, ids=["agent", "master", "rootless"])
def test_no_unit_waits_for_a_network(unit: Path) -> None:
    found = read(unit)
    for key in ("After", "Wants", "Requires", "BindsTo"):
        assert "network-online.target" not in " ".join(found[key])


def test_both_on_one_machine_share_their_directory_in_run() -> None:
    """`piccolo is-online` finds it there: see `piccolo.roles.presence`."""
    for unit in ALL:
        assert read(unit)["RuntimeDirectory"] == ["piccolo"]
        assert read(unit)["RuntimeDirectoryPreserve"] == ["yes"]
