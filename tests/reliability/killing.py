"""The master of a lab, killed and started again beside clients that run in an event loop."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from grpclib import GRPCError, Status
from grpclib.exceptions import ProtocolError, StreamTerminatedError

from piccolo.core.errors import PiccoloError
from tests.e2e.asking import Stub, admin, connection_to
from tests.lab.cluster import ETCD_PORT, Lab
from tests.reliability.findings import Findings

# What a call ends with that nobody answered: whether it took effect is not known.
UNANSWERED = (PiccoloError, GRPCError, StreamTerminatedError, ProtocolError, OSError)
# An answer all the same: nothing was changed.
_REFUSED = {
    Status.INVALID_ARGUMENT,
    Status.NOT_FOUND,
    Status.ALREADY_EXISTS,
    Status.ABORTED,
    Status.FAILED_PRECONDITION,
    Status.OUT_OF_RANGE,
    Status.PERMISSION_DENIED,
    Status.UNIMPLEMENTED,
}
ANSWER = 30.0  # s for one call
PAUSE = 0.03  # s until a client looks again whether the master is back
KILLS, EARLY_KILLS = "kills", "of them while it started"
EARLY = 0.1  # of all kills come while the master starts
STARTING = 0.8  # s that it takes to start, about


def refused(error: BaseException) -> bool:
    return isinstance(error, GRPCError) and error.status in _REFUSED


class Master:
    """The master of a lab, and how clients get to it."""

    def __init__(self, lab: Lab, chance: random.Random, found: Findings) -> None:
        self.lab = lab
        self.kills = 0
        for figure in (KILLS, EARLY_KILLS):  # the first ones of the row
            found.count(figure, 0)
        self._chance = chance
        self._found = found
        self._tls: ssl.SSLContext | None = None

    @asynccontextmanager
    async def asked(self) -> AsyncIterator[Stub]:
        """A connection of its own. Raises one of `UNANSWERED`."""
        if self._tls is None:
            self._tls = admin(self.lab)
        async with connection_to(self.lab.address, self._tls) as connection:
            yield Stub(connection.channel)

    async def kill(self) -> None:
        """kill -9, and again with luck while it starts; then it listens again."""
        await self._end()
        while self._chance.random() < EARLY:
            await asyncio.to_thread(self.lab.start_master, wait=False)
            await asyncio.sleep(self._chance.random() * STARTING)
            self._found.count(EARLY_KILLS)
            await self._end()
        begun = time.monotonic()
        await asyncio.to_thread(self.lab.start_master)
        self._found.took("started again → listens", begun)

    async def _end(self) -> None:
        proc = self.lab.master_proc
        assert proc is not None
        if not proc.alive:
            raise proc.error(f"ended by itself ({proc.exit_code})")
        proc.kill()
        await asyncio.to_thread(proc.wait)
        self.kills += 1
        self._found.count(KILLS)
        if self.lab.store == "etcd":
            await asyncio.to_thread(revoke_lease, self.lab)


def revoke_lease(lab: Lab) -> None:
    """Take the lease of a dead master away, so that the next one need not wait for its end.

    As an administrator could who knows that it is dead. It makes nothing safer: writes of the old
    one that are still on their way meet the new one all the sooner.
    """
    url = f"http://{lab.master.ip}:{ETCD_PORT}/v3"
    key = base64.b64encode(b"/piccolo/holder").decode()
    for entry in _post(f"{url}/kv/range", {"key": key}).get("kvs", []):
        _post(f"{url}/lease/revoke", {"ID": entry["lease"]})


def _post(url: str, body: dict[str, str]) -> Any:
    with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=10) as answer:
        return json.load(answer)
