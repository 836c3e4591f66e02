"""What libpod's JSON means, in our words.

Pure: bytes in, values out. Nothing that Podman, or something else at its socket, can say raises
anything but `Unavailable`, see `libpod_json`.

Source: the libpod API v4.0.0, as Podman 4.3.1 answers it, and what later versions do otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from piccolo.core.errors import Unavailable
from piccolo.core.model import Container, ContainerUsage
from piccolo.runtime.podman.libpod_json import (
    INT32,
    UINT32,
    UINT64,
    Object,
    as_list,
    as_object,
    excerpt,
    id_of,
    integer_of,
    labels_of,
    number_of,
    object_of,
    parse,
    text_of,
    time_of,
)

_HEALTH = frozenset({"starting", "healthy", "unhealthy"})

Run = tuple[datetime | None, datetime | None, int]


class Listed(NamedTuple):
    """A container, and what tells its runs apart; `run` None: its restarts are known. `infra`: it
    is no container of anybody's, but holds the network of its pod.
    """

    container: Container
    run: Run | None
    infra: bool


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
    return [_listed(as_object(item, what)) for item in as_list(parse(body, what), what)]


def _listed(row: Object) -> Listed:
    names = as_list(row.get("Names"), "Names")
    health = text_of(row, "Status")
    container = Container(
        id=id_of(row, "Id"),
        name=text_of({"Names": names[0]}, "Names") if names else "",
        image=text_of(row, "Image"),
        state=text_of(row, "State").lower(),
        health=health if health in _HEALTH else "",
        exit_code=integer_of(row, "ExitCode", -INT32 - 1, INT32),
        created_at=time_of(row, "Created"),
        started_at=time_of(row, "StartedAt"),
        finished_at=time_of(row, "ExitedAt"),
        restarts=integer_of(row, "Restarts", 0, UINT32),
        labels=labels_of(row),
        pod=text_of(row, "PodName") or text_of(row, "Pod"),
    )
    infra = row.get("IsInfra") is True
    if "Restarts" in row or container.started_at is None:
        return Listed(container, None, infra)
    pid = integer_of(row, "Pid", 0, INT32)
    return Listed(container, (container.started_at, container.finished_at, pid), infra)


def restarts(body: bytes | bytearray) -> int:
    """How often a container was restarted by its policy, from `/containers/{id}/json`."""
    what = "the inspection of a container"
    return integer_of(as_object(parse(body, what), what), "RestartCount", 0, UINT32)


def samples(body: bytes | bytearray, version: str) -> list[Sample] | None:
    """The answer to `/containers/stats`, without the containers that do not run.

    None: Podman gave up, as it does when a container ends while it looks, and says no more.
    Podman before 4.4 exchanges NetInput and NetOutput (containers/podman#16618); Podman 5 tells
    them by interface instead.
    """
    what = "the use of resources"
    report = as_object(parse(body, what), what)
    if report.get("Error") is not None:
        return None
    exchanged = _before_4_4(version)
    rows = [as_object(item, what) for item in as_list(report.get("Stats"), "Stats")]
    # A container that does not run has a row full of zeros.
    return [_sample(row, exchanged) for row in rows if integer_of(row, "SystemNano", 0, UINT64)]


def _sample(row: Object, exchanged: bool) -> Sample:
    if row.get("Network") is not None:
        links = [as_object(x, "Network") for x in object_of(row, "Network").values()]
        rx = sum(integer_of(link, "RxBytes", 0, UINT64) for link in links)
        tx = sum(integer_of(link, "TxBytes", 0, UINT64) for link in links)
    else:
        rx, tx = (integer_of(row, key, 0, UINT64) for key in ("NetInput", "NetOutput"))
        if exchanged:
            rx, tx = tx, rx
    return Sample(
        id=id_of(row, "ContainerID"),
        cpu_ns=integer_of(row, "CPUNano", 0, UINT64),
        cpu_average=float(min(max(number_of(row, "AvgCPU"), 0), INT32)),
        memory_bytes=integer_of(row, "MemUsage", 0, UINT64),
        rx_bytes=min(rx, UINT64),
        tx_bytes=min(tx, UINT64),
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
            used = sample.cpu_ns - before.get(sample.id, UINT64)
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
    event = as_object(parse(line, what), what)
    if "cause" in event and "Actor" not in event:  # errors come in the stream as well
        raise Unavailable(f"Podman ended the event stream: {_message(event)}; open it anew")
    actor = object_of(event, "Actor")
    identity = text_of(actor, "ID") or id_of(event, "id")
    return Happening(identity, text_of(event, "Action") or text_of(event, "status"))


def is_gone(status: int, body: bytes | bytearray) -> bool:
    """Whether an error says that there is no such container. In the midst of a removal Podman
    says so with status 500.
    """
    return status == 404 or (status == 500 and b"no such " in body and b"no such file" not in body)


def refusal(status: int, body: bytes | bytearray) -> str:
    """What Podman says when it answers with an error."""
    return f"Podman answered with HTTP {status}: {complaint(body)}"


def complaint(body: bytes | bytearray) -> str:
    """The words of an error."""
    try:
        return _message(as_object(parse(body, "an error"), "an error"))
    except Unavailable:
        return excerpt(body.decode("utf-8", "replace"))


def _message(error: Object) -> str:
    return excerpt(error.get("message") or error.get("cause") or error)
