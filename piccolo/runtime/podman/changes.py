"""The verbs of `Podman` that change something, and those that look into one container.

Each makes as few requests as it can, since applying a workload is to cost little more than
`podman run`: what might be in the way is looked for when Podman complains. `piccolo.runtime.base`
says what they guarantee; `libpod_spec` what containers are like.
"""

from __future__ import annotations

import asyncio
import json
import math
import signal
from collections.abc import Mapping
from dataclasses import replace

from piccolo.core.workloads.containers import PullPolicy
from piccolo.core.workloads.instances import LABEL_INSTANCE
from piccolo.runtime.base import (
    ContainerRequest,
    Detail,
    ExecResult,
    Lines,
    PodRequest,
    Refusal,
    Refused,
)
from piccolo.runtime.http import HttpClient, Response
from piccolo.runtime.podman import host_paths, libpod, libpod_answers, libpod_spec, oom
from piccolo.runtime.podman import inside as podman_inside
from piccolo.runtime.podman.images import Images
from piccolo.runtime.podman.refusals import reason, refused

API = "/v4.0.0/libpod"
_WHILE_BUSY = (0.0, 0.1, 0.2, 0.4)  # s, between attempts; a container may be about to end, or to go
_SURELY_LEFT = 1.0  # s more, after which nobody makes or removes it any more
_KILLED = 128 + signal.SIGKILL


class PodmanChanges:
    """The changing half of `Podman`."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._images = Images(http, API)

    async def ensure_image(self, image: str, pull: PullPolicy) -> str:
        return await self._images.ensure(image, pull)

    # ---- pods ----

    async def create_pod(self, request: PodRequest) -> str:
        spec = libpod_spec.pod(request)
        answer = await self._post("/pods/create", spec)
        if answer.status != 201 and reason(libpod.complaint(answer.body)) is Refusal.NAME_TAKEN:
            there = await self._get(f"/pods/{request.name}/json")
            if there.status == 200:
                found = libpod_answers.pod(there.body)
                if request.labels.items() <= found.labels.items():
                    if found.infra:
                        return found.id
                    # A Podman that was killed had not yet given it its network.
                    await self.remove_pod(request.name)
                    answer = await self._post("/pods/create", spec)
        if answer.status != 201:
            raise _refused(f"pod {request.name}", answer)
        return libpod_answers.made(answer.body)

    async def remove_pod(self, name: str) -> None:
        answer = await self._get(f"/pods/{name}/json")
        if answer.status == 200:
            # With the pod, each would be given the ten seconds of Podman's default to end.
            for id in libpod_answers.pod(answer.body).containers:
                await self.remove(id)
        await self._delete(f"/pods/{name}", what=f"pod {name}", force="true")

    async def pods(self, labels: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
        wanted = [f"{key}={value}" if value else key for key, value in labels.items()]
        answer = await self._get("/pods/json", filters=json.dumps({"label": wanted}))
        if answer.status != 200:
            raise _refused("the list of pods", answer)
        return libpod_answers.pods(answer.body)

    # ---- containers ----

    async def create(self, request: ContainerRequest) -> str:
        paths = host_paths.needed(request)
        devices = [device.source for device in request.container.devices]
        if paths or devices:
            await asyncio.to_thread(host_paths.prepare, paths, devices)
        for name in libpod_spec.scratch_volumes(request):
            await self._create_volume(name, request.labels)
        spec = libpod_spec.container(request)
        for pause in (*_WHILE_BUSY, _SURELY_LEFT):
            await asyncio.sleep(pause)
            if pause == _SURELY_LEFT:
                await self._remove_leftover(request.name)
            answer = await self._post("/containers/create", spec)
            if answer.status == 201:
                return libpod_answers.made(answer.body)
            if reason(libpod.complaint(answer.body)) is not Refusal.NAME_TAKEN:
                break
            there = await self._get(f"/containers/{request.name}/json")
            if there.status == 200:
                found = libpod_answers.inspection(there.body)
                if request.labels.items() <= found.labels.items():
                    return found.detail.id
                break
        raise _refused(f"container {request.name}", answer)

    async def _remove_leftover(self, name: str) -> None:
        """A Podman that was killed while it made a container left its files behind. They have its
        name, and are no container to Podman itself: without this, there could never be one again.
        """
        answer = await self._get("/containers/json", all="true", external="true")
        if answer.status == 200 and name in libpod_answers.leftovers(answer.body):
            await self._delete(f"/containers/{name}", what=f"what is left of {name}", force="true")

    async def start(self, id: str) -> None:
        answer = await self._post(f"/containers/{id}/start")
        if not _started(answer) and (infra := await self._infra_of(id)):
            # Podman does not say why the network of a pod could not be made, unless asked for it.
            answer = await self._post(f"/containers/{infra}/start")
            if _started(answer):
                answer = await self._post(f"/containers/{id}/start")
        if not _started(answer):
            raise _refused(f"container {id[:12]} could not be started", answer)

    async def _infra_of(self, id: str) -> str:
        """Whose network it shares; empty: nobody's."""
        answer = await self._get(f"/containers/{id}/json")
        if answer.status != 200:
            return ""
        kind, _, infra = libpod_answers.inspection(answer.body).network.partition(":")
        return infra if kind == "container" else ""

    async def stop(self, id: str, grace: float) -> None:
        seconds = math.ceil(max(grace, 0))
        answer = await self._post(f"/containers/{id}/stop", extra=seconds, timeout=str(seconds))
        if answer.status not in (204, 304) and not libpod.is_gone(answer.status, answer.body):
            raise _refused(f"container {id[:12]} could not be stopped", answer)

    async def remove(self, id: str) -> None:
        what = f"container {id[:12]}"
        await self._delete(f"/containers/{id}", what=what, force="true", v="true", timeout="0")

    async def remove_volumes(self, prefix: str) -> None:
        # Our label as well: the prefix might fit a volume that somebody else made.
        answer = await self._get("/volumes/json", filters=json.dumps({"label": [LABEL_INSTANCE]}))
        if answer.status != 200:
            raise _refused("the list of volumes", answer)
        for name in libpod_answers.volumes(answer.body):
            if name.startswith(prefix):
                await self._delete(f"/volumes/{name}", what=f"volume {name}")

    async def _create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        answer = await self._post("/volumes/create", libpod_spec.volume(name, labels))
        if answer.status == 201:
            return
        there = await self._get(f"/volumes/{name}/json")
        ours = there.status == 200 and LABEL_INSTANCE in libpod_answers.volume_labels(there.body)
        if not ours:
            raise _refused(f"volume {name}", answer)

    # ---- looking into one ----

    async def inspect(self, id: str) -> Detail | None:
        answer = await self._get(f"/containers/{id}/json")
        if libpod.is_gone(answer.status, answer.body):
            return None
        if answer.status != 200:
            raise _refused(f"container {id[:12]}", answer)
        detail, _, network = libpod_answers.inspection(answer.body)
        if network == "host" and detail.state == "running":
            return replace(detail, address="127.0.0.1")
        if detail.exit_code == _KILLED and not detail.oom_killed and detail.started_at is not None:
            return replace(detail, oom_killed=oom.killed(detail.id, detail.started_at))
        return detail

    async def exec(self, id: str, command: tuple[str, ...], timeout: float) -> ExecResult:
        return await podman_inside.exec(self._http, API, id, command, timeout)

    async def tail(self, id: str, lines: int) -> Lines:
        return await podman_inside.tail(self._http, API, id, lines)

    # ---- HTTP ----

    async def _get(self, path: str, **query: str) -> Response:
        return await self._http.request("GET", API + path, query)

    async def _post(
        self, path: str, body: libpod_spec.Spec | None = None, extra: float = 0.0, **query: str
    ) -> Response:
        sent = json.dumps(body).encode() if body is not None else None
        return await self._change("POST", path, query, sent, extra)

    async def _delete(self, path: str, *, what: str, **query: str) -> None:
        """What is gone already is as well."""
        answer = await self._change("DELETE", path, query)
        if answer.status not in (200, 204) and not libpod.is_gone(answer.status, answer.body):
            raise _refused(f"{what} could not be removed", answer)

    async def _change(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes | None = None,
        extra: float = 0.0,
    ) -> Response:
        """Asked again when the container is about to become something else, such as exited."""
        for pause in _WHILE_BUSY:
            await asyncio.sleep(pause)
            answer = await self._http.request(method, API + path, query, body=body, extra=extra)
            if answer.status < 400 or b"container state improper" not in answer.body:
                break
        return answer


def _started(answer: Response) -> bool:
    return answer.status in (204, 304)


def _refused(what: str, answer: Response) -> Refused:
    return refused(what, libpod.complaint(answer.body))
