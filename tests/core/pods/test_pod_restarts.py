"""Ends of containers, and the pauses between restarts."""

from __future__ import annotations

import pytest

from piccolo.core import plain
from piccolo.core.pods.restarts import End, Record, Restarts, end_of, stays, with_lines
from piccolo.core.workloads.workload import Restart, RestartPolicy


@pytest.mark.parametrize(
    ("code", "oom", "error", "reason", "message"),
    [
        (0, False, "", "", "ended with exit code 0"),
        (3, False, "", "Crashed", "ended with exit code 3"),
        (137, False, "", "Crashed", "ended with exit code 137 (SIGKILL)"),
        (143, False, "", "Crashed", "ended with exit code 143 (SIGTERM)"),
        (137, True, "", "OOMKilled", "ran out of memory (exit code 137)"),
        (255, False, "", "Crashed", "ended with exit code 255"),
        (128, False, "", "Crashed", "ended with exit code 128"),
        (126, False, "denied", "Crashed", "ended with exit code 126: denied"),
    ],
)
def test_what_is_said_of_an_end(
    code: int, oom: bool, error: str, reason: str, message: str
) -> None:
    assert end_of(code, oom, error) == End(code, reason, message)


def test_which_ends_stay() -> None:
    good, bad = End(0), End(1, "Crashed")
    stay = {
        (policy, end.well) for policy in RestartPolicy for end in (good, bad) if stays(end, policy)
    }
    assert stay == {
        (RestartPolicy.ON_FAILURE, True),
        (RestartPolicy.NEVER, True),
        (RestartPolicy.NEVER, False),
    }


def test_pauses_double_up_to_the_cap_and_half_of_each_is_chance() -> None:
    settings = Restart(backoff_initial=2.0, backoff_max=9.0)
    most, least = Restarts(), Restarts()
    assert [most.ended(0.0, settings, 1.0) for _ in range(5)] == [0.0, 2.0, 4.0, 8.0, 9.0]
    assert [least.ended(0.0, settings, 0.0) for _ in range(5)] == [0.0, 1.0, 2.0, 4.0, 4.5]


@pytest.mark.parametrize(("ran", "again"), [(59.0, True), (61.0, False)])
def test_a_minute_of_running_ends_the_row(ran: float, again: bool) -> None:
    restarts = Restarts(row=4, pause=8.0)
    assert (restarts.ended(ran, Restart(), 1.0) > 0) is again


def test_so_must_a_run_be_longer_than_the_pause_before_it() -> None:
    restarts = Restarts(row=10, pause=300.0)
    assert restarts.ended(200.0, Restart(), 1.0) == 300.0
    assert restarts.ended(301.0, Restart(), 1.0) == 0.0


def test_the_last_lines_are_bounded() -> None:
    assert with_lines("it ended", []) == "it ended"
    assert with_lines("it ended", ["a", "b"]) == "it ended; last lines:\na\nb"
    long = with_lines("it ended", [f"{n}" + "ä" * 490 for n in range(10)])
    assert long.splitlines()[1][0] == "8"
    assert len(long.encode()) < 2100


def test_a_record_survives_the_disk() -> None:
    record = Record("h", ("a", "b"), {"a": End(1, "Crashed", "ended")})
    assert plain.decode(Record, plain.encode(record), "it") == record
