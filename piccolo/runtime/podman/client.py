"""Podman as the runtime, over its libpod REST API on a unix socket (LLD 3.3), from version 4 on.

What it does for the contract, beyond asking:

* `/containers/json` of Podman 4.3 tells no restarts, so a container is inspected once per run.
* `/events` begins to listen a little after it has answered, so the first set waits for that; and
  a health check is told before its result is kept, so its container is told again a little later.
* Usage is a rate between two calls, see `libpod.CpuMeter`.
* What Podman runs in a pod only to hold its network (infra) is no container of anybody's.

The verbs that change something are in `podman_changes`.

Podman's log of events decides how fast they come: at once with `journald`, its default where
systemd runs; within 250 ms with `file`, which Podman polls.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from piccolo.core import podman_sockets
from piccolo.core.errors import InvalidSpec, Unavailable
from piccolo.core.model import Container
from piccolo.runtime.base import Containers, ContainerUsages
from piccolo.runtime.burst import Burst
from piccolo.runtime.http import TIMEOUT, HttpClient, Response
from piccolo.runtime.podman import libpod
from piccolo.runtime.podman.changes import API, PodmanChanges

ROOTFUL = Path(podman_sockets.ROOTFUL)

_EVENTS = {"stream": "true", "filters": '{"type":["container"]}'}
_LISTENS = 0.1  # s after its answer, `/events` surely listens
_MOST_FILTERED = 64  # ids in one request; more are picked from all
_USAGE_PAUSES = (0.0, 0.05, 0.1, 0.2)  # s; for up to 0.1 s after a container's end Podman gives up

# Events that change nothing of what `list()` tells.
_IRRELEVANT = frozenset({"attach", "commit", "copy", "exec", "export", "mount", "unmount"})


class Podman(PodmanChanges):
    """A `Runtime`, see `piccolo.runtime.base`. `timeout` in seconds, of each request."""

    def __init__(self, socket: Path, timeout: float = TIMEOUT) -> None:
        start = _how_to_start(socket)
        super().__init__(HttpClient(socket, name="Podman", start=start, timeout=timeout))
        self._infra: set[str] = set()  # ids, of those listed last
        self._restarts: dict[str, tuple[libpod.Run, int]] = {}
        self._meter = libpod.CpuMeter()

    async def version(self) -> str:
        # Not /version, which starts conmon and runc to ask for theirs: 300 ms.
        return _version(_good(await self._http.request("GET", f"{API}/_ping")))

    async def list(self, ids: Collection[str] | None = None) -> Containers:
        if ids is not None and not ids:
            return []
        query = {"all": "true"}
        if ids is not None and len(ids) <= _MOST_FILTERED:
            query["filters"] = json.dumps({"id": sorted(ids)})
        answer = await self._http.request("GET", f"{API}/containers/json", query)
        listed = libpod.containers(_good(answer).body)
        if ids is None:
            present = {item.container.id for item in listed}
            self._restarts = {id: r for id, r in self._restarts.items() if id in present}
            self._infra = {item.container.id for item in listed if item.infra}
        else:
            listed = [item for item in listed if item.container.id in ids]
        # Whoever names ids knows that they changed: only a general listing trusts what we keep.
        own = [item for item in listed if not item.infra]
        found = [await self._with_restarts(item, trust=ids is None) for item in own]
        return [container for container in found if container is not None]

    async def _with_restarts(self, item: libpod.Listed, *, trust: bool) -> Container | None:
        """None: the container was removed meanwhile."""
        container, run, _ = item
        if run is None:
            return container
        kept = self._restarts.get(container.id)
        if not trust or kept is None or kept[0] != run:
            answer = await self._http.request("GET", f"{API}/containers/{container.id}/json")
            if libpod.is_gone(answer.status, answer.body):
                self._restarts.pop(container.id, None)
                return None
            kept = self._restarts[container.id] = run, libpod.restarts(_good(answer).body)
        return replace(container, restarts=kept[1]) if kept[1] else container

    async def changes(self) -> AsyncGenerator[frozenset[str], None]:
        clock = asyncio.get_running_loop().time
        burst = Burst()
        checked: set[str] = set()  # containers with a health check
        async with self._http.stream(f"{API}/events", _EVENTS) as stream:
            if stream.status != 200:
                raise Unavailable(libpod.refusal(stream.status, await stream.rest()))
            await asyncio.sleep(_LISTENS)
            yield frozenset()
            while True:
                due = burst.due()
                if due is not None and due <= clock():
                    yield burst.take(clock())
                    continue
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        event = libpod.happening(await stream.line())
                        if event is not None:
                            _note(event, burst, checked, clock())

    async def usage(self) -> ContainerUsages:
        query = {"stream": "false"}
        for pause in _USAGE_PAUSES:
            await asyncio.sleep(pause)
            answer = await self._http.request("GET", f"{API}/containers/stats", query)
            samples = libpod.samples(_good(answer).body, _version(answer))
            if samples is not None:
                own = [sample for sample in samples if sample.id not in self._infra]
                return self._meter.usage(own, asyncio.get_running_loop().time())
        raise Unavailable("Podman cannot tell what containers use, for they come and go; try again")

    async def close(self) -> None:
        self._http.close()


def _note(event: libpod.Happening, burst: Burst, checked: set[str], now: float) -> None:
    id, action = event
    if action == "exec_died":  # of a health check, or of a person
        if id in checked:
            burst.later(id, now)
        return
    if action == "health_status":
        checked.add(id)
    elif action == "remove":
        checked.discard(id)
    if action not in _IRRELEVANT:
        burst.add(id, now)


def _good(answer: Response) -> Response:
    if answer.status != 200:
        raise Unavailable(libpod.refusal(answer.status, answer.body))
    return answer


def _version(answer: Response) -> str:
    version = answer.headers.get(b"libpod-api-version", b"").decode("ascii", "replace")
    if not version:
        raise Unavailable("what listens at the socket is not Podman: see the socket's path")
    return version


def _how_to_start(socket: Path) -> str:
    if socket == ROOTFUL:
        return "systemctl enable --now podman.socket"
    if socket.is_relative_to("/run/user"):
        return "systemctl --user enable --now podman.socket"
    return f"podman system service --time 0 unix://{socket}"


def find_socket(environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> Path | None:
    """Podman's socket: the one that CONTAINER_HOST names, else the system's, else the user's.

    None: there is none. Raises `InvalidSpec` when CONTAINER_HOST is no unix socket: Podman on
    another machine is that machine's agent's business. `root` is where `/run` lies.
    """
    if host := environ.get("CONTAINER_HOST"):
        if not host.startswith("unix:///"):
            raise InvalidSpec(
                f"CONTAINER_HOST is {host}, but must be unix:// and an absolute path: correct it,"
                " or unset it to use Podman's usual socket"
            )
        return Path(host.removeprefix("unix://"))
    for candidate in podman_sockets.usual(environ, os.getuid()):
        path = root / candidate.lstrip("/")
        if os.access(path, os.R_OK | os.W_OK) and path.is_socket():
            return path
    return None
