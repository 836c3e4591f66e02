"""What libpod answers to the verbs that change something, or look at one thing, in our words.

As `libpod`, which has the lists and streams: pure, and nothing raises anything but `Unavailable`.
"""

from __future__ import annotations

from typing import NamedTuple

from piccolo.runtime.base import Detail
from piccolo.runtime.podman.libpod_json import (
    INT32,
    Object,
    as_list,
    as_object,
    clean,
    excerpt,
    id_of,
    integer_of,
    labels_of,
    object_of,
    parse,
    text_of,
    time_of,
)


class Inspection(NamedTuple):
    """`network`: bridge, host, none, `container:ID` in a pod, or another word of Podman's."""

    detail: Detail
    labels: dict[str, str]
    network: str


class Pod(NamedTuple):
    """Ids: `infra` of the container that only holds its network, `containers` of the others."""

    id: str
    labels: dict[str, str]
    infra: str
    containers: list[str]


class Command(NamedTuple):
    """That is run in a container; `pid` 0: it has ended."""

    exit_code: int
    pid: int


def inspection(body: bytes | bytearray) -> Inspection:
    """The answer to `/containers/{id}/json`."""
    what = "the inspection of a container"
    row = as_object(parse(body, what), what)
    state = object_of(row, "State")
    detail = Detail(
        id=id_of(row, "Id"),
        state=text_of(state, "Status").lower(),
        exit_code=integer_of(state, "ExitCode", -INT32 - 1, INT32),
        oom_killed=state.get("OOMKilled") is True,
        error=excerpt(state["Error"]) if state.get("Error") else "",
        address=_address(object_of(row, "NetworkSettings")),
        started_at=time_of(state, "StartedAt"),
        finished_at=time_of(state, "FinishedAt"),
    )
    mode = text_of(object_of(row, "HostConfig"), "NetworkMode")
    return Inspection(detail, labels_of(object_of(row, "Config")), mode)


def spec_path(body: bytes | bytearray) -> str:
    """The file that Podman writes anew whenever it starts the container, from
    `/containers/{id}/json`; empty: it was never started."""
    what = "the inspection of a container"
    return text_of(as_object(parse(body, what), what), "OCIConfigPath")


def _address(settings: Object) -> str:
    """IPv4 where there is one, of the first of its networks."""
    networks = [as_object(n, "Networks") for n in object_of(settings, "Networks").values()]
    for key in ("IPAddress", "GlobalIPv6Address"):
        for place in (settings, *networks):
            if address := text_of(place, key):
                return address
    return ""


def leftovers(body: bytes | bytearray) -> set[str]:
    """The names of what lies in Podman's storage and is no container of its own, nor one of
    Buildah's, from `/containers/json` with `external`.
    """
    what = "the list of containers"
    rows = [as_object(row, what) for row in as_list(parse(body, what), what)]
    left = [row for row in rows if row.get("Command") == [row.get("State")] == ["storage"]]
    names = [name for row in left for name in as_list(row.get("Names"), "Names")]
    return {clean(name) for name in names if isinstance(name, str)}


def made(body: bytes | bytearray) -> str:
    """The id of a container, a pod or a command that was created."""
    return id_of(as_object(parse(body, "what was made"), "what was made"), "Id")


def image(body: bytes | bytearray) -> tuple[str, str]:
    """Id and architecture, from `/images/{name}/json`."""
    row = as_object(parse(body, "an image"), "an image")
    return id_of(row, "Id"), text_of(row, "Architecture")


def pulled(line: bytes) -> str | None:
    """A line of `/images/pull`; None: it goes on. Empty: it is done; else why it failed."""
    if not line.strip():
        return None
    row = as_object(parse(line, "a fetch"), "a fetch")
    if row.get("error"):
        return excerpt(row["error"])
    return "" if row.get("id") else None


def pods(body: bytes | bytearray) -> dict[str, dict[str, str]]:
    """Labels by name, from `/pods/json`."""
    rows = [as_object(row, "a pod") for row in as_list(parse(body, "the list of pods"), "pods")]
    return {id_of(row, "Name"): labels_of(row) for row in rows}


def pod(body: bytes | bytearray) -> Pod:
    """From `/pods/{name}/json`."""
    row = as_object(parse(body, "a pod"), "a pod")
    infra = text_of(row, "InfraContainerID")
    listed = [as_object(c, "Containers") for c in as_list(row.get("Containers"), "Containers")]
    own = [id for container in listed if (id := id_of(container, "Id")) != infra]
    return Pod(id_of(row, "Id"), labels_of(row), infra, own)


def volumes(body: bytes | bytearray) -> list[str]:
    """The names, from `/volumes/json`."""
    rows = as_list(parse(body, "the list of volumes"), "volumes")
    return [id_of(as_object(row, "a volume"), "Name") for row in rows]


def volume_labels(body: bytes | bytearray) -> dict[str, str]:
    """From `/volumes/{name}/json`."""
    return labels_of(as_object(parse(body, "a volume"), "a volume"))


def command(body: bytes | bytearray) -> Command:
    """From `/exec/{id}/json`."""
    row = as_object(parse(body, "a command"), "a command")
    running = row.get("Running") is True
    return Command(
        integer_of(row, "ExitCode", -INT32 - 1, INT32),
        integer_of(row, "Pid", 0, INT32) if running else 0,
    )
