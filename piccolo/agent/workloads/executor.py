"""Carries out the actions of an instance's state machine: on the runtime, and on the disk.

Whatever goes wrong becomes an answer: `Refused` with a reason for people, or `Away` when it is not
known whether it was done.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

from piccolo.agent.workloads import files, records
from piccolo.agent.workloads.prober import check
from piccolo.agent.workloads.requests import container_request, owned, pod_request, scratch
from piccolo.core.errors import NotFound, PiccoloError, Unavailable
from piccolo.core.model import Container as Listed
from piccolo.core.pods.steps import (
    Answer,
    Answered,
    Away,
    Check,
    Checked,
    Clean,
    Create,
    CreatePod,
    Done,
    EnsureImage,
    Inspect,
    Inspected,
    Inspection,
    Look,
    Looked,
    Refused,
    Remove,
    RemovePod,
    Save,
    Start,
    Stop,
)
from piccolo.core.workloads.containers import Container
from piccolo.core.workloads.instances import LABEL_HASH, Instance, Secrets
from piccolo.runtime import base
from piccolo.runtime.base import Bind, Detail, Runtime

_LINES = 10  # of a log, told with its container's end
_TAIL_WITHIN = 5.0  # s: the container's next run waits for it
_MOST = 1000  # characters of what the runtime says: it is in every status of the instance


class Executor:
    """`instance` and `secrets` are the latest; the runner keeps them so."""

    def __init__(
        self,
        runtime: Runtime,
        instance: Instance,
        secrets: Secrets,
        directory: Path,
        node_id: str,
    ) -> None:
        self.instance = instance
        self.secrets = secrets
        self._runtime = runtime
        self._directory = directory
        self._node_id = node_id

    async def execute(self, action: Answered) -> Answer:
        """Raises nothing that the runtime, the disk or the spec can be to blame for."""
        try:
            return await self._execute(action)
        except Unavailable as error:
            if isinstance(action, Save):
                return Refused(action, *_disk(error.__cause__, str(error)))
            return Away(action, str(error)[:_MOST])
        except base.Refused as error:
            return Refused(action, error.reason.value, str(error)[:_MOST])
        except OSError as error:
            return Refused(action, *_disk(error, f"cannot write {error.filename}: {error}"))
        except NotFound as error:
            return Refused(action, "SecretMissing", str(error))
        except PiccoloError as error:
            return Refused(action, "Refused", str(error))

    async def tail(self, id: str) -> Sequence[str]:
        """The last lines of a container's last run; none if they cannot be had in time."""
        try:
            async with asyncio.timeout(_TAIL_WITHIN):
                return await self._runtime.tail(id, _LINES)
        except (PiccoloError, TimeoutError):
            return ()

    async def _execute(self, action: Answered) -> Answer:
        runtime = self._runtime
        match action:
            case Look():
                return await self._look(action)
            case Inspect(id):
                detail = await runtime.inspect(id)
                return Inspected(action, _inspection(detail) if detail is not None else None)
            case Check(id=id, probe=probe, address=address):
                return Checked(action, *await check(runtime, id, probe, address))
            case EnsureImage(image, pull):
                await runtime.ensure_image(image, pull)
            case CreatePod(instance):
                await runtime.create_pod(pod_request(instance, self._node_id))
            case Create(instance, container):
                return Done(action, await self._create(instance, container))
            case Start(id, instance, container):
                await self._files(instance, container)
                await runtime.start(id)
            case Stop(id, grace):
                await runtime.stop(id, grace)
            case Remove(id):
                await runtime.remove(id)
            case RemovePod(name):
                await runtime.remove_pod(name)
            case Clean():
                await self._clean(action)
            case Save(record):
                await asyncio.to_thread(records.save, self._directory, record)
            case _:
                assert_never(action)
        return Done(action)

    async def _look(self, action: Look) -> Looked:
        ours = owned(self.instance, self._node_id)
        pods = await self._runtime.pods(ours)
        found: list[Listed] = []
        if action.containers:
            listed = await self._runtime.list()
            found = [c for c in listed if ours.items() <= c.labels.items()]
        return Looked(action, found, {n: labels.get(LABEL_HASH, "") for n, labels in pods.items()})

    async def _create(self, instance: Instance, container: Container) -> str:
        workload = instance.workload
        several = len(workload.containers) > 1 or workload.init_containers
        secrets = self.secrets
        binds = await self._files(instance, container)
        request = container_request(
            instance,
            container,
            self._node_id,
            pod=instance.key if several else "",
            secrets=secrets,
            binds=binds,
        )
        return await self._runtime.create(request)

    async def _files(self, instance: Instance, container: Container) -> Sequence[Bind]:
        if not container.files:
            return ()
        return await asyncio.to_thread(
            files.write, self._directory, instance.hash, container, self.secrets
        )

    async def _clean(self, action: Clean) -> None:
        await self._runtime.remove_volumes(scratch(self.instance))
        keep = "" if action.last else self.instance.hash
        await asyncio.to_thread(files.clean, self._directory, keep)
        if action.last:
            await asyncio.to_thread(records.remove, self._directory)


def _disk(error: BaseException | None, message: str) -> tuple[str, str]:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full:
        return "DiskFull", f"{message}; make room on this node's disk"
    return "DiskFailed", f"{message}; look at this node's disk"


def _inspection(detail: Detail) -> Inspection:
    started, finished = detail.started_at, detail.finished_at
    return Inspection(
        state=detail.state,
        exit_code=detail.exit_code,
        oom_killed=detail.oom_killed,
        error=detail.error,
        address=detail.address,
        started=started is not None,
        finished=finished is not None and (started is None or finished >= started),
    )
