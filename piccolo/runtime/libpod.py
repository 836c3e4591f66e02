"""What libpod's JSON means, in our words.

Pure: bytes in, values out. Nothing that Podman, or something else at its socket, can say raises
anything but `Unavailable`: fields of a wrong type are named; fields that are missing or null
count as empty, since Podman leaves out what it has not got; numbers out of range are clamped.

Source: the libpod API v4.0.0, as Podman 4.3.1 answers it, and what later versions do otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from math import isfinite
from typing import Any, NamedTuple, NoReturn

from piccolo.core.errors import Unavailable
from piccolo.core.model import Container, ContainerUsage

_HEALTH = frozenset({"starting", "healthy", "unhealthy"})
_INT32 = 2**31 - 1
_UINT32 = 2**32 - 1
_UINT64 = 2**64 - 1

_Object = dict[str, Any]


Run = tuple[datetime | None, datetime | None, int]


class Listed(NamedTuple):
    """A container, and what tells its runs apart; `run` None: its restarts are known."""

    container: Container
    run: Run | None


class Sample(NamedTuple):
    """What a running container has used so far. `cpu_average` is in percent of one core."""

    id: str
    cpu_ns: int
    cpu_average: float
    memory_bytes: int
    rx_bytes: int
    tx_bytes: int


class Happening(NamedTuple):
    """One line of the event stream."""

    id: str
    action: str


def containers(body: bytes | bytearray) -> list[Listed]:
    """The answer to `/containers/json`."""
    what = "the list of containers"
    return [_listed(_object(item, what)) for item in _list(_parse(body, what), what)]


def _listed(row: _Object) -> Listed:
    names = _list(row.get("Names"), "Names")
    health = _text(row, "Status")
    container = Container(
        id=_id(row, "Id"),
        name=_text({"Names": names[0]}, "Names") if names else "",
        image=_text(row, "Image"),
        state=_text(row, "State").lower(),
        health=health if health in _HEALTH else "",
        exit_code=_integer(row, "ExitCode", -_INT32 - 1, _INT32),
        created_at=_time(row, "Created"),
        started_at=_time(row, "StartedAt"),
        finished_at=_time(row, "ExitedAt"),
        restarts=_integer(row, "Restarts", 0, _UINT32),
        labels=_labels(row),
        pod=_text(row, "PodName") or _text(row, "Pod"),
    )
    if "Restarts" in row or container.started_at is None:
        return Listed(container, None)
    pid = _integer(row, "Pid", 0, _INT32)
    return Listed(container, (container.started_at, container.finished_at, pid))


def restarts(body: bytes | bytearray) -> int:
    """How often a container was restarted by its policy, from `/containers/{id}/json`."""
    what = "the inspection of a container"
    return _integer(_object(_parse(body, what), what), "RestartCount", 0, _UINT32)


def samples(body: bytes | bytearray, version: str) -> list[Sample] | None:
    """The answer to `/containers/stats`, without the containers that do not run.

    None: Podman gave up, as it does when a container ends while it looks, and says no more.
    Podman before 4.4 exchanges NetInput and NetOutput (containers/podman#16618); Podman 5 tells
    them by interface instead.
    """
    what = "the use of resources"
    report = _object(_parse(body, what), what)
    if report.get("Error") is not None:
        return None
    exchanged = _before_4_4(version)
    rows = [_object(item, what) for item in _list(report.get("Stats"), "Stats")]
    # A container that does not run has a row full of zeros.
    return [_sample(row, exchanged) for row in rows if _integer(row, "SystemNano", 0, _UINT64)]


def _sample(row: _Object, exchanged: bool) -> Sample:
    if row.get("Network") is not None:
        links = [_object(x, "Network") for x in _object(row["Network"], "Network").values()]
        rx = sum(_integer(link, "RxBytes", 0, _UINT64) for link in links)
        tx = sum(_integer(link, "TxBytes", 0, _UINT64) for link in links)
    else:
        rx, tx = (_integer(row, key, 0, _UINT64) for key in ("NetInput", "NetOutput"))
        if exchanged:
            rx, tx = tx, rx
    return Sample(
        id=_id(row, "ContainerID"),
        cpu_ns=_integer(row, "CPUNano", 0, _UINT64),
        cpu_average=float(min(max(_number(row, "AvgCPU"), 0), _INT32)),
        memory_bytes=_integer(row, "MemUsage", 0, _UINT64),
        rx_bytes=min(rx, _UINT64),
        tx_bytes=min(tx, _UINT64),
    )


def _before_4_4(version: str) -> bool:
    major, _, rest = version.partition(".")
    minor = rest.partition(".")[0]
    return major == "4" and minor.isdecimal() and int(minor) < 4


class CpuMeter:
    """Makes a rate of what the samples count. Podman's own figure is the average over the
    container's life, whatever it is called.
    """

    __slots__ = ("_at", "_cpu_ns")

    def __init__(self) -> None:
        self._at = 0.0
        self._cpu_ns: dict[str, int] = {}

    def usage(self, samples: Iterable[Sample], now: float) -> list[ContainerUsage]:
        """`now` in monotonic seconds, when the samples came."""
        elapsed_ns, self._at = (now - self._at) * 1e9, now
        before, self._cpu_ns = self._cpu_ns, {}
        found = []
        for sample in samples:
            self._cpu_ns[sample.id] = sample.cpu_ns
            # A counter that went back belongs to a new run of the container.
            used = sample.cpu_ns - before.get(sample.id, _UINT64)
            known = used >= 0 and elapsed_ns > 0
            found.append(
                ContainerUsage(
                    sample.id,
                    used / elapsed_ns * 100 if known else sample.cpu_average,
                    sample.memory_bytes,
                    sample.rx_bytes,
                    sample.tx_bytes,
                )
            )
        return found


def happening(line: bytes) -> Happening | None:
    """A line of `/events`; None: an empty line."""
    if not line.strip():
        return None
    what = "an event"
    event = _object(_parse(line, what), what)
    if "cause" in event and "Actor" not in event:  # errors come in the stream as well
        raise Unavailable(f"Podman ended the event stream: {_message(event)}; open it anew")
    actor = _object(event.get("Actor"), "Actor") if event.get("Actor") is not None else {}
    identity = _text(actor, "ID") or _id(event, "id")
    return Happening(identity, _text(event, "Action") or _text(event, "status"))


def is_gone(status: int, body: bytes | bytearray) -> bool:
    """Whether an error says that there is no such container. In the midst of a removal Podman
    says so with status 500.
    """
    return status == 404 or (status == 500 and b"no such container" in body)


def refusal(status: int, body: bytes | bytearray) -> str:
    """What Podman says when it answers with an error."""
    try:
        text = _message(_object(_parse(body, "an error"), "an error"))
    except Unavailable:
        text = _excerpt(body.decode("utf-8", "replace"))
    return f"Podman answered with HTTP {status}: {text}"


def _message(error: _Object) -> str:
    return _excerpt(error.get("message") or error.get("cause") or error)


# ---- one JSON value at a time ----


def _parse(body: bytes | bytearray, what: str) -> object:
    try:
        return json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        _nonsense(what, "JSON", body[:200].decode("utf-8", "replace"))


def _nonsense(what: str, expected: str, found: object) -> NoReturn:
    raise Unavailable(
        f"{what} from Podman should be {expected}, not {_excerpt(found)}:"
        " see that it is Podman 4 or newer that listens at its socket"
    )


def _excerpt(found: object) -> str:
    if isinstance(found, dict | list):
        return "an object" if isinstance(found, dict) else "a list"
    text = " ".join(_clean(found if isinstance(found, str) else repr(found)).split())
    return (text if len(text) <= 300 else text[:300] + "…") or "nothing"


def _clean(text: str) -> str:
    """Without lone surrogates, which JSON can say and UTF-8 cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _object(value: object, what: str) -> _Object:
    return value if isinstance(value, dict) else _nonsense(what, "an object", value)


def _list(value: object, what: str) -> list[Any]:
    if value is None:  # Go's empty list
        return []
    return value if isinstance(value, list) else _nonsense(what, "a list", value)


def _text(row: _Object, key: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    return _clean(value) if isinstance(value, str) else _nonsense(key, "a text", value)


def _id(row: _Object, key: str) -> str:
    return _text(row, key) or _nonsense(key, "an id", row.get(key))


def _labels(row: _Object) -> dict[str, str]:
    labels = row.get("Labels")
    return {_clean(key): _text(labels, key) for key in _object(labels, "Labels")} if labels else {}


def _number(row: _Object, key: str) -> float:
    value = row.get(key)
    if value is None:
        return 0
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and isfinite(value):
        return value
    return _nonsense(key, "a number", value)


def _integer(row: _Object, key: str, low: int, high: int) -> int:
    return int(min(max(_number(row, key), low), high))


def _time(row: _Object, key: str) -> datetime | None:
    """Seconds since 1970, or RFC 3339. Before 1970 is Go's zero time: not yet."""
    value = row.get(key)
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            if time.year < 1970:
                return None
            return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
        seconds = _number(row, key)
        return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None
    except (ValueError, OverflowError, OSError):
        _nonsense(key, "a time", value)
