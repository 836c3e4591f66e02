"""Calls to whichever endpoint of etcd answers.

There is one connection at a time. Each call is bounded: a dead endpoint costs two seconds, a
silent one three, then the next is tried. A call that may have been carried out is repeated only
when that does no harm. The holder's keepalive runs over the same connection and is the heartbeat
of the watches on it: when it goes unanswered the connection is given up, and they move.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from betterproto2.grpclib import ServiceStub
from grpclib import GRPCError
from grpclib.client import Channel

from piccolo.core.errors import InvalidSpec, PiccoloError, Unavailable
from piccolo.rpc.generated.etcdserverpb import AuthenticateRequest, AuthStub
from piccolo.store.etcd.errors import (
    CALL_ERRORS,
    from_etcd,
    lets_everybody_in,
    lost_connection,
    never_begun,
    wants_login,
)
from piccolo.store.etcd.url import Endpoint, EtcdUrl

T = TypeVar("T")
S = TypeVar("S", bound=ServiceStub)

CONNECT_SECONDS = 2.0  # per endpoint, with the TLS handshake
ANSWER_SECONDS = 3.0  # per request
PATIENCE_SECONDS = 6.0  # for members that are up but have no leader yet
PAUSE_SECONDS = 0.2

log = logging.getLogger(__name__)


class Link:
    """A connection to one endpoint."""

    def __init__(self, endpoint: Endpoint, channel: Channel) -> None:
        self.endpoint = endpoint
        self.channel = channel
        self.token = ""
        self.login = asyncio.Lock()
        self._closed = False

    @property
    def metadata(self) -> dict[str, str]:
        # A member that lost its leader must say so, instead of letting us wait.
        return {"hasleader": "true"} | ({"token": self.token} if self.token else {})

    def __call__(self, stub: type[S]) -> S:
        return stub(self.channel, metadata=self.metadata)

    def close(self) -> None:
        """End all that runs over it."""
        self._closed = True
        self.channel.close()

    def release(self) -> None:
        """To be called after use: grpclib connects again when a closed channel is used."""
        if self._closed:
            self.channel.close()


class EtcdClient:
    """Raises `PiccoloError`s only. Close it with `stop`."""

    def __init__(self, url: EtcdUrl) -> None:
        self.url = url
        self.stopped: PiccoloError | None = None
        self._next = 0  # the endpoint to try first
        self._link: Link | None = None
        self._connecting = asyncio.Lock()
        self._proven = False  # our address, files and password were good once

    def stop(self, error: PiccoloError) -> None:
        """Everything under way ends, and from now on every call raises `error`."""
        if self.stopped is None:
            self.stopped = error
        if self._link is not None:
            self.give_up(self._link)

    def check(self) -> None:
        """Raises what `stop` was given."""
        if self.stopped is not None:
            raise type(self.stopped)(*self.stopped.args)

    async def call(self, send: Callable[[Link], Awaitable[T]], *, repeatable: bool = True) -> T:
        """What `send` returns, given a link to an endpoint that answers.

        `repeatable`: no harm is done if it is carried out twice. If it is not repeatable and
        `Unavailable` is raised, it may or may not have been carried out.
        """

        async def log_in_and_send() -> T:
            await self.log_in(link)
            return await send(link)

        loop = asyncio.get_running_loop()
        patience = loop.time() + PATIENCE_SECONDS
        losses = logins = 0
        while True:
            link = await self.link()
            try:
                answer = await isolated(log_in_and_send(), ANSWER_SECONDS)
            except CALL_ERRORS as error:
                failure = from_etcd(error, link.endpoint)
                if wants_login(error) and self.url.user and not logins:
                    logins += 1
                    link.token = ""
                    continue
                if lost_connection(error):
                    self.give_up(link)
                    losses += 1
                    again = repeatable and losses <= len(self.url.endpoints)
                else:
                    again = never_begun(error) and loop.time() < patience
                    if again:
                        self.give_up(link)
                self.check()
                if not again:
                    raise failure from error
                log.debug("trying again: %s", failure)
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self._proven = True
                return answer
            finally:
                link.release()

    async def link(self) -> Link:
        """A connection that is up, as far as we know."""
        async with self._connecting:
            self.check()
            link = self._link
            if link is None or not await self._is_up(link):
                link = await self._connect()
                self._link = link
            if self.stopped is not None:
                self.give_up(link)
                self.check()
            return link

    def give_up(self, link: Link) -> None:
        """Take another endpoint from now on; whatever still runs over this one ends."""
        if self._link is link:
            self._link = None
            self._next = (self.url.endpoints.index(link.endpoint) + 1) % len(self.url.endpoints)
        link.close()

    async def log_in(self, link: Link) -> None:
        """Make sure that `link` has a token, where we have a user. Raises as a call does."""
        async with link.login:
            if link.token or not self.url.user:
                return
            password = await self._read(self.url.read_password)
            request = AuthenticateRequest(name=self.url.user, password=password)
            try:
                link.token = (await AuthStub(link.channel).authenticate(request)).token
            except GRPCError as error:
                if not lets_everybody_in(error):
                    raise

    async def _is_up(self, link: Link) -> bool:
        try:  # nothing is sent when the connection is up
            await isolated(link.channel.__connect__(), CONNECT_SECONDS)
        except (OSError, TimeoutError):
            self.give_up(link)
            return False
        return True

    async def _connect(self) -> Link:
        tls = await self._read(self.url.tls_context)
        failures = []
        for _ in self.url.endpoints:
            endpoint = self.url.endpoints[self._next]
            channel = Channel(endpoint.host, endpoint.port, ssl=tls)
            try:
                await isolated(channel.__connect__(), CONNECT_SECONDS)
            except (OSError, TimeoutError) as error:
                channel.close()
                failures.append(str(from_etcd(error, endpoint)))
                self._next = (self._next + 1) % len(self.url.endpoints)
            except BaseException:
                channel.close()
                raise
            else:
                return Link(endpoint, channel)
        raise Unavailable("; ".join(failures))

    async def _read(self, function: Callable[[], T]) -> T:
        """Read files; once we were connected, a file that is bad now may soon be good again."""
        try:
            return await asyncio.to_thread(function)
        except InvalidSpec as error:
            if self._proven:
                raise Unavailable(str(error)) from error
            raise


async def isolated(work: Awaitable[T], seconds: float) -> T:
    """The result of `work`, done in a task of its own. Raises `TimeoutError`.

    grpclib ends a call whose connection is lost by cancelling the task that waits for it. Such a
    cancellation must not be mistaken for ours, nor swallow it.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
    finally:
        if not task.done():
            await cancel(task)
    if not done:
        raise TimeoutError
    return task.result()


async def cancel(task: asyncio.Future[Any]) -> None:
    """Cancel a task until it has ended, in whichever way."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=1.0)
    if not task.cancelled():
        task.exception()  # nobody else asks for it
