"""A watch that outlives its connections: every event once, in order, or `Compacted`.

What was delivered counts by whole revisions. After a lost connection the next one asks for
everything after the last complete one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from grpclib.const import Cardinality

from piccolo.core.backoff import pause
from piccolo.core.errors import Compacted, InvalidSpec, PiccoloError, Unavailable
from piccolo.rpc.generated.etcdserverpb import (
    Event,
    KvStub,
    RangeRequest,
    WatchCreateRequest,
    WatchRequest,
    WatchResponse,
)
from piccolo.store.etcd.client import EtcdClient, Link, cancel
from piccolo.store.etcd.errors import CALL_ERRORS, from_etcd, never_begun

METHOD = "/etcdserverpb.Watch/Watch"
CREATED_SECONDS = 3.0
READ_AHEAD = 8  # responses
STABLE_SECONDS = 5.0  # a connection that lasted this long is no reason to hold back the next one
BACKOFF_CAP = 2.0

log = logging.getLogger(__name__)


async def watch(
    client: EtcdClient, key: bytes, range_end: bytes, after: int
) -> AsyncGenerator[Sequence[Event], None]:
    """The events of all revisions after `after`, in batches of whole revisions.

    Raises `Compacted`, `PermissionDenied`, or what the client was stopped with.
    """
    loop = asyncio.get_running_loop()
    attempt = 0
    while True:
        started = loop.time()
        try:
            async with aclosing(_connected(client, key, range_end, after)) as batches:
                async for events, reached in batches:
                    yield events
                    after = reached
        except (Unavailable, InvalidSpec) as error:
            client.check()
            log.debug("the watch goes on after revision %s: %s", after, error)
        attempt = 1 if loop.time() - started > STABLE_SECONDS else attempt + 1
        await asyncio.sleep(pause(attempt, random.random(), base=0.1, cap=BACKOFF_CAP))


async def _connected(
    client: EtcdClient, key: bytes, range_end: bytes, after: int
) -> AsyncGenerator[tuple[Sequence[Event], int], None]:
    """Events as long as one connection lasts, and the revision up to which they are complete."""
    link = await client.link()
    create = WatchCreateRequest(
        key=key,
        range_end=range_end,
        start_revision=after + 1,
        progress_notify=True,  # else an idle watch would come back to a compacted revision
        fragment=True,
    )
    responses: asyncio.Queue[WatchResponse | Exception] = asyncio.Queue(READ_AHEAD)
    reader = asyncio.create_task(_read(client, link, create, responses), name="etcd watch")
    try:
        try:
            async with asyncio.timeout(CREATED_SECONDS):
                first = await responses.get()
        except TimeoutError as error:
            client.give_up(link)
            raise from_etcd(error, link.endpoint) from error
        await _probe(client, key, after)  # logs in again, if that is what the server wants
        _judge(first, link)
        waiting: list[Event] = []  # those of a revision that may continue in the next fragment
        while True:
            response = _judge(await responses.get(), link)
            waiting += response.events
            if not response.fragment:
                reached = _revision(waiting[-1]) if waiting else _progress(response)
                batch, waiting = waiting, []
            elif waiting:
                reached = _revision(waiting[-1]) - 1
                batch = [event for event in waiting if _revision(event) <= reached]
                waiting = waiting[len(batch) :]
            else:
                continue
            yield batch, max(after, reached)
    finally:
        await cancel(reader)
        link.release()


async def _read(
    client: EtcdClient,
    link: Link,
    create: WatchCreateRequest,
    responses: asyncio.Queue[WatchResponse | Exception],
) -> None:
    """Everything the server says, and at last why it said no more."""
    try:
        await client.log_in(link)
        async with link.channel.request(
            METHOD,
            Cardinality.STREAM_STREAM,
            WatchRequest,
            WatchResponse,
            metadata=link.metadata,
        ) as stream:
            await stream.send_message(WatchRequest(create_request=create))
            while (response := await stream.recv_message()) is not None:
                await responses.put(response)
            await stream.end()
        await responses.put(Unavailable(f"etcd at {link.endpoint} ended the watch"))
    except CALL_ERRORS as error:
        if never_begun(error):
            client.give_up(link)  # another member may do better
        await responses.put(from_etcd(error, link.endpoint))
    except Exception as error:
        await responses.put(error)


def _judge(response: WatchResponse | Exception, link: Link) -> WatchResponse:
    """Raises `Compacted`, or `Unavailable` for whatever another connection may mend."""
    if isinstance(response, PiccoloError) and not isinstance(response, Compacted | InvalidSpec):
        # Whether we may read at all is what `_probe` finds out.
        raise Unavailable(str(response))
    if isinstance(response, Exception):
        raise response
    if response.compact_revision:
        raise Compacted(
            f"etcd at {link.endpoint} keeps no changes before revision "
            f"{response.compact_revision}: list again, then watch"
        )
    if response.canceled:
        raise Unavailable(f"etcd at {link.endpoint} ended the watch: {response.cancel_reason}")
    return response


async def _probe(client: EtcdClient, key: bytes, after: int) -> None:
    """Raises `Compacted` unless the store is at `after` or later and has kept what came then.

    A watch may begin at the very revision that was compacted, and etcd 3.4 then leaves out what
    was deleted by it. A read at the revision before is refused.
    """
    request = RangeRequest(key=key, limit=1, keys_only=True, revision=after)
    await client.call(lambda link: link(KvStub).range(request))


def _revision(event: Event) -> int:
    assert event.kv is not None
    return event.kv.mod_revision


def _progress(response: WatchResponse) -> int:
    assert response.header is not None
    return response.header.revision
