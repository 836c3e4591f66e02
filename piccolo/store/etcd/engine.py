"""The store in etcd.

Below the prefix of the store's address: `data/` holds the keys, `holder` and `generation` say
whose they are. The history is etcd's: it trims it when it runs with --auto-compaction-retention.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from piccolo.core.errors import Compacted, InvalidSpec, Unavailable
from piccolo.rpc.generated.etcdserverpb import (
    CompactionRequest,
    Compare,
    CompareCompareTarget,
    DeleteRangeRequest,
    EventEventType,
    KeyValue,
    KvStub,
    PutRequest,
    RangeRequest,
    RangeResponse,
    RequestOp,
    ResponseHeader,
    ResponseOp,
    TxnRequest,
)
from piccolo.store.base import Change, Condition, Delete, Entry, Operation, Snapshot
from piccolo.store.etcd.client import EtcdClient, cancel
from piccolo.store.etcd.errors import is_future
from piccolo.store.etcd.holder import Holder
from piccolo.store.etcd.url import EtcdUrl
from piccolo.store.etcd.watch import watch
from piccolo.store.rules import check, conflict, key_bytes, key_range

PAGE = 500  # keys per request of a list
LIST_ATTEMPTS = 3


async def open_etcd(url: EtcdUrl | str, *, ttl: int = 10) -> EtcdStore:
    """The store at `url`, see `piccolo.store.etcd.url`.

    `ttl`: seconds after which a master that fell silent may be replaced. Raises `Conflict` naming
    the master that holds it, `InvalidSpec` for a bad address, `PermissionDenied`, or
    `Unavailable` when no endpoint answers. May wait for one TTL for a master that died.
    """
    client = EtcdClient(EtcdUrl.parse(url) if isinstance(url, str) else url)
    try:
        holder = Holder(client, ttl=ttl)
        await holder.acquire()
    except BaseException:
        client.stop(Unavailable("the store is closed"))
        raise
    return EtcdStore(client, holder)


class EtcdStore:
    """See `piccolo.store.base.Store`. Made by `open_etcd`."""

    def __init__(self, client: EtcdClient, holder: Holder) -> None:
        self._client = client
        self._holder = holder
        self._root = f"{client.url.prefix}data/".encode()
        self._keeper = asyncio.create_task(holder.keep(), name="etcd lease")

    async def get(self, key: str) -> Entry | None:
        answer = await self._range(RangeRequest(key=self._root + key_bytes(key)))
        return self._entry(answer.kvs[0]) if answer.kvs else None

    async def list(self, prefix: str) -> Snapshot:
        for _ in range(LIST_ATTEMPTS):
            try:
                return await self._list(prefix)
            except Compacted:  # between two pages
                continue
        raise Unavailable(f"etcd at {self._client.url} is compacted faster than it can be read")

    async def _list(self, prefix: str) -> Snapshot:
        low, high = key_range(prefix, self._root)
        entries: list[Entry] = []
        revision, more = 0, True
        while more:
            request = RangeRequest(key=low, range_end=high, limit=PAGE, revision=revision)
            answer = await self._range(request)
            entries += map(self._entry, answer.kvs)
            revision = revision or _header(answer.header).revision
            more = answer.more
            if more:
                low = answer.kvs[-1].key + b"\0"
        return Snapshot(tuple(entries), revision)

    async def commit(
        self, operations: Sequence[Operation], conditions: Sequence[Condition] = ()
    ) -> int:
        check(operations, conditions)
        request = TxnRequest(
            compare=[self._holder.condition, *map(self._compare, conditions)],
            success=[self._request(operation) for operation in operations],
            failure=[self._holder.question, *map(self._question, conditions)],
        )
        answer = await self._client.call(lambda link: link(KvStub).txn(request), repeatable=False)
        if answer.succeeded:
            return _header(answer.header).revision
        generation, *found = (_found(response) for response in answer.responses)
        self._holder.judge(generation)
        for condition, kvs in zip(conditions, found, strict=True):
            revision = kvs[0].mod_revision if kvs else 0
            if revision != condition.revision:
                raise conflict(condition, revision)
        raise AssertionError("etcd refused a transaction whose conditions hold")

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[Change, None]:
        async with aclosing(watch(self._client, *key_range(prefix, self._root), after)) as batches:
            async for events in batches:
                for event in events:
                    assert event.kv is not None
                    gone = event.type is EventEventType.DELETE
                    value = None if gone else event.kv.value
                    yield Change(self._key(event.kv), value, event.kv.mod_revision)

    async def compact(self, revision: int) -> None:
        """Mind that etcd's history is one for all who use it."""
        request = CompactionRequest(revision=revision)
        try:
            await self._client.call(lambda link: link(KvStub).compact(request))
        except Compacted as error:
            if is_future(error):
                raise InvalidSpec(f"cannot compact up to revision {revision}: {error}") from error

    async def scrub(self) -> str:
        """Left to people, because the history is one for all who use this etcd."""
        request = RangeRequest(key=self._root, count_only=True)
        revision = _header((await self._range(request)).header).revision
        return (
            "etcd keeps what was replaced until its history is compacted and each member is"
            f" defragmented: etcdctl compaction {revision}, then etcdctl defrag"
        )

    async def close(self) -> None:
        await cancel(self._keeper)
        if self._client.stopped is None:
            await self._holder.release()
            self._client.stop(Unavailable("the store is closed"))

    # ---- our words and etcd's ----

    async def _range(self, request: RangeRequest) -> RangeResponse:
        return await self._client.call(lambda link: link(KvStub).range(request))

    def _key(self, kv: KeyValue) -> str:
        return kv.key.removeprefix(self._root).decode()

    def _entry(self, kv: KeyValue) -> Entry:
        return Entry(self._key(kv), kv.value, kv.mod_revision)

    def _compare(self, condition: Condition) -> Compare:
        key = self._root + key_bytes(condition.key)
        return Compare(target=CompareCompareTarget.MOD, key=key, mod_revision=condition.revision)

    def _question(self, condition: Condition) -> RequestOp:
        key = self._root + key_bytes(condition.key)
        return RequestOp(request_range=RangeRequest(key=key, keys_only=True))

    def _request(self, operation: Operation) -> RequestOp:
        key = self._root + key_bytes(operation.key)
        if isinstance(operation, Delete):
            return RequestOp(request_delete_range=DeleteRangeRequest(key=key))
        return RequestOp(request_put=PutRequest(key=key, value=operation.value))


def _header(header: ResponseHeader | None) -> ResponseHeader:
    assert header is not None
    return header


def _found(response: ResponseOp) -> Sequence[KeyValue]:
    assert response.response_range is not None
    return response.response_range.kvs
