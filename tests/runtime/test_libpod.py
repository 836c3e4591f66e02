"""The decoder: what Podman really said, what other versions say, and what nobody should say."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from piccolo.core.errors import Unavailable
from piccolo.core.model import Container
from piccolo.runtime.podman import libpod
from tests.runtime.recorded import (
    BROKEN_LOG,
    CREATED,
    EVENT,
    EXITED,
    HEALTH_EVENT,
    INSPECT,
    LIST,
    RUNNING,
    STATS,
    dump,
)
from tests.runtime.spoilt import anything, sound, spoilt

# ---- containers ----


def one(row: dict[str, Any], **changed: Any) -> Container:
    [listed] = libpod.containers(dump([{**row, **changed}]))
    return listed.container


def test_the_recorded_list() -> None:
    a, c, d = (item.container for item in libpod.containers(dump(LIST)))
    assert a == Container(
        id="2b716a94d34f5b2b389b689496a044c75605551803b8a29ad7d56640f1117df1",
        name="a",
        image="localhost/busybox:1",
        state="exited",
        health="starting",
        exit_code=137,
        created_at=datetime(2026, 11, 21, 6, 39, 32, 156067, UTC),
        started_at=datetime(2026, 11, 21, 6, 39, 33, 0, UTC),
        finished_at=datetime(2026, 11, 21, 6, 39, 33, 0, UTC),
        labels={"k": "v", "uni": "ünïcødé ☃"},
    )
    assert (c.state, c.pod, c.finished_at, c.health, c.labels) == ("running", "pp", None, "", {})
    assert (d.state, d.started_at, d.finished_at) == ("created", None, None)


def test_runs_are_told_apart() -> None:
    def run(**changed: Any) -> object:
        return libpod.containers(dump([{**RUNNING, **changed}]))[0].run

    assert run() == run(Status="healthy", Names=["other"])
    assert len({run(), run(Pid=7), run(StartedAt=1795243176), run(ExitedAt=1795243176)}) == 4


def test_restarts_are_known_of_what_never_ran_and_of_later_podmans() -> None:
    exited, running, created = libpod.containers(dump(LIST))
    assert exited.run is not None
    assert running.run is not None
    assert created.run is None
    [later] = libpod.containers(dump([{**EXITED, "Restarts": 4}]))
    assert (later.container.restarts, later.run) == (4, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21T06:39:32Z", datetime(2026, 11, 21, 6, 39, 32, tzinfo=UTC)),
        ("2026-11-21T08:39:32.5+02:00", datetime(2026, 11, 21, 6, 39, 32, 500_000, UTC)),
        ("2026-11-21T06:39:32.156067141Z", datetime(2026, 11, 21, 6, 39, 32, 156067, UTC)),
        ("2026-11-21T06:39:32", datetime(2026, 11, 21, 6, 39, 32, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("", None),
        (None, None),
        (0, None),
        (-62135596800, None),
        (1795243172, datetime(2026, 11, 21, 6, 39, 32, tzinfo=UTC)),
        (1795243172.5, datetime(2026, 11, 21, 6, 39, 32, 500_000, UTC)),
    ],
)
def test_times(text: object, expected: datetime | None) -> None:
    assert one(RUNNING, Created=text).created_at == expected
    assert one(RUNNING, StartedAt=text).started_at == expected


@pytest.mark.parametrize("field", ["Created", "StartedAt", "ExitedAt"])
@pytest.mark.parametrize("wrong", ["soon", 10**30, 1e300, True, {}, "9999-12-31T23:59:59-12:00"])
def test_what_is_no_time(field: str, wrong: object) -> None:
    with pytest.raises(Unavailable, match=field):
        one(RUNNING, **{field: wrong})


@pytest.mark.parametrize("word", ["healthy", "unhealthy", "starting"])
def test_health(word: str) -> None:
    assert one(RUNNING, Status=word).health == word
    assert one(RUNNING, Status="Up 2 hours").health == ""


def test_missing_and_null_fields_are_empty() -> None:
    nothing = Container(id="x", name="")
    assert one({"Id": "x"}) == nothing
    assert one({"Id": "x", **dict.fromkeys(set(EXITED) - {"Id"})}) == nothing


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("Id", None),
        ("Id", ""),
        ("Id", 7),
        ("Names", "a"),
        ("Names", [7]),
        ("Image", []),
        ("State", {}),
        ("Status", 1),
        ("ExitCode", "0"),
        ("ExitCode", False),
        ("ExitCode", math.nan),
        ("ExitCode", math.inf),
        ("Labels", ["a"]),
        ("PodName", {}),
        ("Pid", "x"),
    ],
)
def test_fields_of_a_wrong_type_are_named(field: str, wrong: object) -> None:
    with pytest.raises(Unavailable, match=field):
        one(RUNNING, **{field: wrong})


def test_a_label_of_a_wrong_type_is_named() -> None:
    with pytest.raises(Unavailable, match="tier"):
        one(RUNNING, Labels={"tier": 1})


def test_numbers_out_of_range_are_clamped() -> None:
    assert one(EXITED, ExitCode=10**400).exit_code == 2**31 - 1
    assert one(EXITED, ExitCode=-(10**400)).exit_code == -(2**31)
    assert one(EXITED, Restarts=2**40).restarts == 2**32 - 1
    assert one(EXITED, Restarts=-1).restarts == 0


def test_text_survives_or_is_mended() -> None:
    kept = "日本語 𝄞 ‮ \u0000 \n"
    assert one(RUNNING, Labels={kept: kept}).labels == {kept: kept}
    lone = json.dumps([{**RUNNING, "Names": ["a\ud800b"], "Labels": {"\udfff": "\ud800"}}])
    [listed] = libpod.containers(lone.encode())
    assert (listed.container.name, listed.container.labels) == ("a?b", {"?": "?"})
    broken = dump([RUNNING]).replace(b'"c"', b'"c\xff"')
    assert libpod.containers(broken)[0].container.name == "c�"


@pytest.mark.parametrize(
    "body",
    [b"", b"OK", b"<html>", b"{}", b'"x"', b"[1]", b"[null]", b"[" * 100_000, b"1" * 10_000],
)
def test_what_is_no_list(body: bytes) -> None:
    with pytest.raises(Unavailable, match="see that it is Podman"):
        libpod.containers(body)


def test_an_empty_list() -> None:
    assert libpod.containers(b"[]") == []
    assert libpod.containers(b"null") == []  # how Go says it


def test_a_message_about_garbage_is_short() -> None:
    with pytest.raises(Unavailable) as caught:
        libpod.containers(b"<p>" + b"x y\n" * 100_000)
    assert len(str(caught.value)) < 500


# ---- restarts ----


def test_restarts() -> None:
    assert libpod.restarts(dump(INSPECT)) == 3
    assert libpod.restarts(b"{}") == 0
    with pytest.raises(Unavailable):
        libpod.restarts(b"[]")


# ---- usage ----


def test_the_recorded_stats() -> None:
    server, client = stats_of(STATS, "4.3.1")
    assert server == libpod.Sample("aaaa", 25296778, 1.9110338208731843, 700416, 5359, 5250305)
    assert (client.rx_bytes, client.tx_bytes) == (5250845, 4139)


@pytest.mark.parametrize(
    ("version", "exchanged"),
    [("4.0.0", True), ("4.3.1", True), ("4.4.0", False), ("4.10.0", False), ("5.0.0", False)],
)
def test_podman_before_4_4_exchanged_input_and_output(version: str, exchanged: bool) -> None:
    server, _ = stats_of(STATS, version)
    assert (server.rx_bytes < server.tx_bytes) is exchanged


def test_podman_5_tells_traffic_by_interface() -> None:
    stats = copy.deepcopy(STATS)
    del stats["Stats"][0]["NetInput"], stats["Stats"][0]["NetOutput"]
    stats["Stats"][0]["Network"] = {
        "eth0": {"RxBytes": 10, "TxBytes": 1},
        "eth1": {"RxBytes": 20, "TxBytes": 2, "RxDropped": 5},
    }
    server, _ = stats_of(stats, "5.4.0")
    assert (server.rx_bytes, server.tx_bytes) == (30, 3)


@pytest.mark.parametrize("error", [{}, "no cgroup", {"message": "x"}])
def test_stats_that_failed(error: object) -> None:
    assert libpod.samples(dump({"Error": error, "Stats": None}), "4.3.1") is None


def stats_of(recorded: object, version: str) -> list[libpod.Sample]:
    found = libpod.samples(dump(recorded), version)
    assert found is not None
    return found


def sample(cpu_ns: int, id: str = "a", average: float = 7.0) -> libpod.Sample:
    return libpod.Sample(id, cpu_ns, average, 1, 2, 3)


def test_cpu_is_a_rate_between_two_calls() -> None:
    meter = libpod.CpuMeter()
    second = 10**9
    [first] = meter.usage([sample(5 * second)], 100.0)
    assert first.cpu_percent == 7.0  # over its life: there is nothing else yet
    assert (first.id, first.memory_bytes, first.network_rx_bytes, first.network_tx_bytes) == (
        "a",
        1,
        2,
        3,
    )
    assert meter.usage([sample(6 * second)], 102.0)[0].cpu_percent == pytest.approx(50)
    assert meter.usage([sample(10 * second)], 104.0)[0].cpu_percent == pytest.approx(200)
    assert meter.usage([sample(10 * second)], 105.0)[0].cpu_percent == 0


def test_cpu_of_a_new_run_and_after_a_gap() -> None:
    meter = libpod.CpuMeter()
    meter.usage([sample(1000)], 1.0)
    assert meter.usage([sample(10)], 2.0)[0].cpu_percent == 7.0
    assert meter.usage([], 3.0) == []
    assert meter.usage([sample(20)], 4.0)[0].cpu_percent == 7.0
    assert meter.usage([sample(30)], 4.0)[0].cpu_percent == 7.0


# ---- events ----


def test_the_recorded_events() -> None:
    assert libpod.happening(dump(EVENT)) == ("bc1a6c6b0075", "died")
    assert libpod.happening(dump(HEALTH_EVENT)) == ("2b716a94d34f", "health_status")
    assert libpod.happening(b"") is None
    assert libpod.happening(b"\r") is None


def test_other_forms_of_an_event() -> None:
    assert libpod.happening(b'{"id":"x","status":"start"}') == ("x", "start")
    assert libpod.happening(b'{"Actor":{"ID":"x"},"Action":"start"}') == ("x", "start")
    assert libpod.happening(b'{"Actor":null,"id":"x"}') == ("x", "")


def test_an_error_among_the_events() -> None:
    with pytest.raises(Unavailable, match="ended the event stream: invalid character"):
        libpod.happening(BROKEN_LOG)


@pytest.mark.parametrize("line", [b"x", b"[]", b"{}", b'{"id":7}', b'{"Actor":[],"id":"x"}'])
def test_what_is_no_event(line: bytes) -> None:
    with pytest.raises(Unavailable):
        libpod.happening(line)


# ---- refusals ----


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"cause":"c","message":"the message","response":500}', "HTTP 500: the message"),
        (b'{"cause":"the cause"}', "HTTP 500: the cause"),
        (b'{"message":{"a":1}}', "HTTP 500: an object"),
        (b"Internal  Server\nError", "HTTP 500: Internal Server Error"),
        (b"", "HTTP 500: nothing"),
        (b"\xff", "HTTP 500: �"),
        (b"[", "HTTP 500: ["),
    ],
)
def test_refusals(body: bytes, text: str) -> None:
    assert text in libpod.refusal(500, body)


# ---- anything at all ----


@given(spoilt(LIST) | anything.map(lambda v: json.dumps(v).encode()) | st.binary())
@example(b'[{"Id":"x","ExitCode":1e999}]')
def test_any_list_is_containers_or_unavailable(body: bytes) -> None:
    try:
        found = libpod.containers(body)
    except Unavailable as error:
        sound(str(error))
        return
    for container, _, _ in found:
        assert container.id
        assert -(2**31) <= container.exit_code < 2**31
        assert 0 <= container.restarts < 2**32
        for text in (container.id, container.name, container.image, container.state):
            sound(text)
        for pair in container.labels.items():
            sound("".join(pair))
        for time in (container.created_at, container.started_at, container.finished_at):
            if time is not None:
                assert time.utcoffset() == timedelta(0)
                time.timestamp()


@given(spoilt(STATS) | anything.map(lambda v: json.dumps(v).encode()) | st.binary())
def test_any_stats_are_usage_or_unavailable(body: bytes) -> None:
    try:
        found = libpod.samples(body, "4.3.1") or []
    except Unavailable as error:
        sound(str(error))
        return
    meter = libpod.CpuMeter()
    for now in (1.0, 1.000001, 5.0):
        for usage in meter.usage(found, now):
            sound(usage.id)
            assert math.isfinite(usage.cpu_percent)
            assert usage.cpu_percent >= 0
            for number in (usage.memory_bytes, usage.network_rx_bytes, usage.network_tx_bytes):
                assert 0 <= number < 2**64


@pytest.mark.parametrize("read", [libpod.happening, libpod.restarts])
@given(
    body=spoilt(EVENT)
    | spoilt(INSPECT)
    | anything.map(lambda v: json.dumps(v).encode())
    | st.binary()
)
def test_any_event_or_inspection(read: Callable[[bytes], object], body: bytes) -> None:
    try:
        read(body)
    except Unavailable as error:
        sound(str(error))
    sound(libpod.refusal(500, body))


def test_the_recorded_created_container_has_no_run() -> None:
    assert libpod.containers(dump([CREATED]))[0].run is None
