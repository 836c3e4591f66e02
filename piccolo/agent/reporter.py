"""The reporter: keeps a `Report` of the node's containers true, and tells of every change.

What is said of instances comes from the supervisor, which learns here what the containers do.

Changes come from the runtime's event stream; a slow full listing repairs what events missed. A
runtime that is away, hangs or answers nonsense is a condition (`RuntimeReady`), not an error: the
node stays usable, and the reporter keeps trying.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing

from piccolo.core.backoff import pause
from piccolo.core.errors import PiccoloError
from piccolo.core.model import Condition, ContainerUsage
from piccolo.core.report import Delta, Report
from piccolo.core.workloads.instances import InstanceStatus
from piccolo.runtime.base import Runtime

log = logging.getLogger(__name__)

Listener = Callable[[Delta, Condition | None], None]

_RESYNC = 60.0  # s between two full listings
_RETRY_CAP = 15.0  # s
_USAGE_WITHIN = 3.0  # s: heartbeats wait for it, and a runtime may hang

RUNTIME_READY = "RuntimeReady"


class Reporter:
    """`runtime` None: the node has none, and the condition says so."""

    def __init__(self, runtime: Runtime | None) -> None:
        self.report = Report()
        self.runtime_version = ""
        self.condition = Condition(
            RUNTIME_READY,
            False,
            "NoRuntime" if runtime is None else "Starting",
            "no Podman socket was found; start one with `systemctl enable --now podman.socket`,"
            " or name one with --podman-socket"
            if runtime is None
            else "not asked yet",
        )
        self.known = runtime is None  # whether `report` is what the runtime said, ever
        self.listener: Listener | None = None  # is told everything
        self.observer: Listener | None = None  # is told what the runtime says
        self.looked = asyncio.Event()  # the runtime was asked once, whatever it said
        self._runtime = runtime
        if runtime is None:
            self.looked.set()

    async def run(self) -> None:
        """Follow the runtime for ever."""
        attempt = 0
        while self._runtime is not None:
            began = time.monotonic()
            try:
                await self._follow(self._runtime)
            except PiccoloError as error:
                if time.monotonic() - began > 2 * _RETRY_CAP:
                    attempt = 0
                attempt += 1
                self._set_condition(False, "RuntimeUnavailable", str(error))
            self.looked.set()
            await asyncio.sleep(pause(attempt, random.random(), base=0.5, cap=_RETRY_CAP))

    async def _follow(self, runtime: Runtime) -> None:
        self.runtime_version = await runtime.version()
        async with aclosing(runtime.changes()) as changes:
            following = asyncio.ensure_future(anext(changes))
            try:
                listed = time.monotonic()
                while True:
                    left = listed + _RESYNC - time.monotonic()
                    done, _ = await asyncio.wait({following}, timeout=max(0.0, left))
                    ids = following.result() if done else frozenset()
                    if done:
                        following = asyncio.ensure_future(anext(changes))
                    if ids:
                        found = await runtime.list(ids)
                        self._apply(self.report.difference_of(ids, found))
                        continue
                    # The stream has just begun, or it is time for a look at everything.
                    found = await runtime.list()
                    self.known = True
                    self._apply(self.report.difference(found))
                    self._set_condition(True, "RuntimeAnswers", f"Podman {self.runtime_version}")
                    self.looked.set()
                    listed = time.monotonic()
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    async def usage(self) -> list[ContainerUsage]:
        """What the running containers use now; empty when the runtime does not say."""
        if self._runtime is None or not self.condition.status:
            return []
        try:
            async with asyncio.timeout(_USAGE_WITHIN):
                return await self._runtime.usage()
        except (PiccoloError, TimeoutError) as error:
            log.debug("usage of the containers: %r", error)
            return []

    def instances(
        self, changed: Sequence[InstanceStatus] = (), removed: Sequence[str] = ()
    ) -> None:
        """What is to be said of instances from now on; and keys of which nothing more is."""
        known = self.report.instances
        delta = Delta(
            instances=tuple(s for s in changed if known.get(s.key) != s),
            removed_instances=tuple(key for key in removed if key in known),
        )
        if delta:
            self.report.apply(delta)
            if self.listener is not None:
                self.listener(delta, None)

    def _apply(self, delta: Delta) -> None:
        if delta:
            self.report.apply(delta)
            self._tell(delta, None)

    def _set_condition(self, status: bool, reason: str, message: str) -> None:
        new = Condition(RUNTIME_READY, status, reason, message)
        if new == self.condition:
            return
        if new.status != self.condition.status or not status:
            log.log(logging.INFO if status else logging.WARNING, "runtime: %s", message)
        self.condition = new
        self._tell(Delta(), new)

    def _tell(self, delta: Delta, condition: Condition | None) -> None:
        for listener in (self.listener, self.observer):
            if listener is not None:
                listener(delta, condition)
