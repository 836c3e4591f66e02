"""The kernel's log, as a file with one record. `test_podman_changes` has a real one."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from piccolo.runtime.podman import oom

ID = "bd595f867bad"


def oom_kill(id: str) -> str:
    return f"oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/libpod-{id}"


@pytest.mark.parametrize(
    ("text", "seconds_ago", "killed"),
    [
        (oom_kill(ID), 1, True),
        (oom_kill(ID), 30, False),  # an earlier run
        (oom_kill("other"), 1, False),
        (f"port 1({ID}) entered disabled state", 1, False),
    ],
)
def test_records(tmp_path: Path, text: str, seconds_ago: int, killed: bool) -> None:
    microseconds = int((time.monotonic() - seconds_ago) * 1e6)
    (tmp_path / "kmsg").write_text(f"6,10215,{microseconds},-;{text}\n")
    since = datetime.now(UTC) - timedelta(seconds=10)
    assert oom.killed(ID, since, str(tmp_path / "kmsg")) is killed


def test_no_log(tmp_path: Path) -> None:
    assert not oom.killed(ID, datetime.now(UTC), str(tmp_path / "none"))
