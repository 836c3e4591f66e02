"""One master per prefix, and a master that was replaced can never write again.

Two keys. `holder` hangs on a lease: it is there while its master lives, and keeps a second one
out. `generation` stays for ever and is rewritten by each master that takes the store; every
transaction is on the condition that it is still as this master wrote it. So what a lost lease
costs is the right to keep others out, not the right to write: if etcd was away and nobody came,
the lease is taken anew and nothing happened.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from piccolo.core.errors import Conflict, PiccoloError, StaleGeneration, Unavailable
from piccolo.rpc.generated.etcdserverpb import (
    Compare,
    CompareCompareTarget,
    KeyValue,
    KvStub,
    LeaseGrantRequest,
    LeaseKeepAliveRequest,
    LeaseRevokeRequest,
    LeaseStub,
    LeaseTimeToLiveRequest,
    PutRequest,
    RangeRequest,
    RequestOp,
    TxnRequest,
    TxnResponse,
)
from piccolo.store.etcd.client import EtcdClient, Link

POLL_SECONDS = 0.3
RELEASE_SECONDS = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Person:
    """Who a master is, for the people who read of it."""

    host: str
    pid: int
    since: str
    id: str

    @classmethod
    def me(cls) -> Person:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(socket.gethostname(), os.getpid(), since, uuid.uuid4().hex)

    def to_json(self) -> bytes:
        fields = {"host": self.host, "pid": self.pid, "since": self.since, "id": self.id}
        return json.dumps(fields).encode()

    @staticmethod
    def describe(data: bytes) -> str:
        try:
            fields = json.loads(data)
            return f"process {fields['pid']} on {fields['host']} (since {fields['since']})"
        except (ValueError, KeyError, TypeError):
            return f"somebody who left {data[:80]!r}"


class Holder:
    """Call `acquire`, then keep `keep` running until `release`."""

    def __init__(self, client: EtcdClient, *, ttl: int) -> None:
        self._client = client
        self._ttl = ttl
        self._holder = f"{client.url.prefix}holder".encode()
        self._generation = f"{client.url.prefix}generation".encode()
        self._me = Person.me().to_json()
        self._lease = 0
        self._revision = 0  # of `generation`, as we wrote it

    # ---- what every transaction carries ----

    @property
    def condition(self) -> Compare:
        return Compare(
            target=CompareCompareTarget.MOD, key=self._generation, mod_revision=self._revision
        )

    @property
    def question(self) -> RequestOp:
        """Asks, when the transaction failed, who holds the store now; for `judge`."""
        return RequestOp(request_range=RangeRequest(key=self._generation))

    def judge(self, found: Sequence[KeyValue]) -> None:
        """Stops the client and raises `StaleGeneration` when another master took the store."""
        if found and found[0].mod_revision == self._revision:
            return
        who = Person.describe(found[0].value) if found else "somebody who removed its keys"
        error = StaleGeneration(
            f"this master was replaced by {who} at {self._client.url}: it must not write any more; "
            f"restart it when the other one is gone"
        )
        log.error("%s", error)
        self._client.stop(error)
        raise error

    # ---- taking, keeping, giving back ----

    async def acquire(self) -> None:
        """Raises `Conflict` naming a living holder; a dead one is waited for, for one TTL."""
        while True:
            await self._wait_for_predecessor()
            if await self._claim(
                [_absent(self._holder)],
                RequestOp(request_put=PutRequest(key=self._generation, value=self._me)),
            ):
                return

    async def keep(self) -> None:
        """Renew the lease until the client is stopped."""
        while self._client.stopped is None:
            await asyncio.sleep(self._ttl / 3)
            try:
                await self.renew()
            except PiccoloError as error:
                if self._client.stopped is None:
                    log.warning("cannot renew the lease of the store: %s", error)
            except Exception as error:
                self._client.stop(Unavailable(f"the lease of the store is not renewed: {error!r}"))
                raise

    async def renew(self) -> None:
        """Raises `StaleGeneration` when the store is another's."""
        if not await self._prolong():
            log.warning("the lease of the store had run out")
            await self._claim([_absent(self._holder), self.condition])
        request = RangeRequest(key=self._generation)
        self.judge((await self._client.call(lambda link: link(KvStub).range(request))).kvs)

    async def release(self) -> None:
        """Let the next master in at once; if etcd is away, it has to wait for the lease to end."""
        request = LeaseRevokeRequest(id=self._lease)
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._client.call(lambda link: link(LeaseStub).lease_revoke(request))
        except (PiccoloError, TimeoutError) as error:
            log.warning("cannot give back the lease of the store: %s", error)

    async def _prolong(self) -> bool:
        """False: the lease is gone."""
        request = LeaseKeepAliveRequest(id=self._lease)

        async def send(link: Link) -> int:
            answers = [answer async for answer in link(LeaseStub).lease_keep_alive([request])]
            return answers[0].ttl if answers else 0

        return await self._client.call(send) > 0

    async def _claim(self, conditions: list[Compare], *more: RequestOp) -> bool:
        """Put the holder's key on a new lease, if the conditions hold."""
        grant = LeaseGrantRequest(ttl=self._ttl)
        lease = (await self._client.call(lambda link: link(LeaseStub).lease_grant(grant))).id
        put = PutRequest(key=self._holder, value=self._me, lease=lease)
        request = TxnRequest(compare=conditions, success=[RequestOp(request_put=put), *more])
        answer: TxnResponse = await self._client.call(
            lambda link: link(KvStub).txn(request), repeatable=False
        )
        if answer.succeeded:
            self._lease = lease
            if more:
                assert answer.header is not None
                self._revision = answer.header.revision
            return True
        revoke = LeaseRevokeRequest(id=lease)
        await self._client.call(lambda link: link(LeaseStub).lease_revoke(revoke))
        return False

    async def _wait_for_predecessor(self) -> None:
        """Wait until nobody holds the store. Raises `Conflict` when somebody alive does."""
        loop = asyncio.get_running_loop()
        request = RangeRequest(key=self._holder)
        lowest = None
        while True:
            found = (await self._client.call(lambda link: link(KvStub).range(request))).kvs
            if not found:
                return
            remaining = await self._remaining(found[0].lease)
            now = loop.time()
            if lowest is None:
                lowest = remaining
                # Whole seconds; a lease that is still there then must have been renewed.
                expected_end = now + remaining + 2.0
            if remaining > lowest or now > expected_end or not found[0].lease:
                raise Conflict(
                    f"the store at {self._client.url} is held by "
                    f"{Person.describe(found[0].value)}: stop that master first"
                )
            lowest = min(lowest, remaining)
            await asyncio.sleep(POLL_SECONDS)

    async def _remaining(self, lease: int) -> int:
        """Whole seconds until `lease` ends; -1: it has ended."""
        request = LeaseTimeToLiveRequest(id=lease)
        answer = await self._client.call(lambda link: link(LeaseStub).lease_time_to_live(request))
        return answer.ttl


def _absent(key: bytes) -> Compare:
    return Compare(target=CompareCompareTarget.CREATE, key=key, create_revision=0)
