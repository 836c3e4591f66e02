"""The gRPC server: who calls, what answers, and how our errors look from outside."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest
from grpclib import GRPCError, Status
from grpclib.client import UnaryUnaryMethod
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import StreamTerminatedError
from grpclib.protocol import Stream as H2Stream

from piccolo.core.address import Address
from piccolo.core.errors import PermissionDenied, Unavailable
from piccolo.rpc import wire
from piccolo.rpc.client import dial
from piccolo.rpc.messages import MessageStream
from piccolo.rpc.server import Caller, GrpcServer
from tests.rpc.ground import GET_NODE, Ground, Guarding, Issuer, Service, ask, eventually, ours


async def test_the_caller_is_known(ground: Ground) -> None:
    async with ground.caller(ours().client("mia")) as connection:
        stub = wire.ApiServerServiceStub(connection.channel)
        reply = await stub.get_node(wire.GetNodeRequest(node_id="caller"), timeout=5)
    assert reply.node is not None
    assert reply.node.name.startswith("127.0.0.1:")
    assert reply.node.id == "admin:mia"


async def test_our_errors_become_statuses(ground: Ground) -> None:
    with pytest.raises(GRPCError) as caught:
        await ground.get("unknown")
    assert caught.value.status is Status.NOT_FOUND
    assert caught.value.message == "there is no node unknown"


async def test_unexpected_errors_tell_the_client_nothing(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(GRPCError) as caught:
        await ground.get("crash")
    assert caught.value.status is Status.INTERNAL
    assert "secret" not in (caught.value.message or "")
    assert "a secret detail" in caplog.text


async def test_a_call_that_is_not_served_is_unimplemented(ground: Ground) -> None:
    async with ground.caller() as connection:
        stub = wire.ApiServerServiceStub(connection.channel)
        with pytest.raises(GRPCError) as caught:
            await stub.get_nodes(wire.GetNodesRequest(), timeout=5)
    assert caught.value.status is Status.UNIMPLEMENTED


class Raw(CodecBase):
    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data


@pytest.mark.parametrize("body", [b"\x0a\xff", b"\xff" * 20, b"\x0a\x05ab\xfe", os.urandom(64)])
async def test_bytes_that_are_no_message_are_the_senders_fault(
    ground: Ground, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with ground.caller() as connection:
        connection.channel._codec = Raw()
        call = UnaryUnaryMethod(connection.channel, GET_NODE, bytes, bytes)
        status = Status.OK  # some random bytes are a message
        try:
            await call(body, timeout=5)
        except GRPCError as error:
            status = error.status
    assert status in (Status.OK, Status.INVALID_ARGUMENT)
    assert not caplog.records


async def test_whoever_is_refused_is_told_why(ground: Ground) -> None:
    with pytest.raises(GRPCError) as caught:
        await ground.get(tls=ours().client())
    assert caught.value.status is Status.PERMISSION_DENIED
    assert caught.value.message == "GetNode needs a certificate"


async def test_whoever_is_refused_is_told_why_also_while_still_sending(ground: Ground) -> None:
    async with ground.caller(ours().client()) as connection:
        with pytest.raises(GRPCError) as caught:
            await ask(connection, "x" * 20_000_000)
        assert caught.value.status is Status.PERMISSION_DENIED
        protocol = connection.channel._protocol
        assert protocol is not None
        assert protocol.connection.data_sent < 200_000


async def test_a_new_context_is_for_new_connections(ground: Ground) -> None:
    async with ground.caller() as old:
        assert await ask(old) == "2"
        successor = Issuer()
        ground.server.tls = successor.server()
        with pytest.raises(PermissionDenied):
            await ground.get()
        assert await ground.get(tls=successor.client("mia")) == "2"
        assert await ask(old) == "2"


async def test_a_port_in_use_is_explained(ground: Ground) -> None:
    second = GrpcServer([Service()], Guarding(), ours().server())
    with pytest.raises(Unavailable, match="another master"):
        await second.start("127.0.0.1", ground.port)
    await second.close()


async def test_a_host_that_there_is_not_is_explained() -> None:
    server = GrpcServer([Service()], Guarding(), ours().server())
    with pytest.raises(Unavailable, match=r"cannot listen on 192\.0\.2\.1:0.*--listen"):
        await server.start("192.0.2.1", 0)
    await server.close()


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
async def test_everywhere_is_ipv4_and_ipv6_and_callers_look_alike() -> None:
    server = GrpcServer([Service()], Guarding(), ours().server())
    port = await server.start("::", 0)
    seen = []
    for host in ("127.0.0.1", "::1"):
        connection = await dial([Address(host, port)], timeout=5, tls=ours().client("mia"))
        seen.append((await ask(connection, "caller")).rpartition(":")[0])
        connection.close()
    await server.close()
    await asyncio.sleep(0.01)
    assert seen == ["127.0.0.1", "[::1]"]
    assert Caller("[2001:db8::1]:5").source == "2001:db8::/64"
    assert Caller("127.0.0.1:5").source == "127.0.0.1"


async def test_closing_ends_what_runs_and_says_so() -> None:
    async with Ground() as ground, ground.caller() as connection:
        call = asyncio.create_task(ask(connection, "sleep"))
        await eventually(lambda: ground.service.calls == 1)
        await ground.server.close()
        with pytest.raises((GRPCError, OSError, Exception)) as caught:
            await call
        assert not isinstance(caught.value, TimeoutError)
        with pytest.raises(Unavailable, match="refused"):
            await ground.get()


async def test_dialling_names_every_address_that_failed() -> None:
    with pytest.raises(Unavailable) as caught:
        await dial(
            [Address("127.0.0.1", 1), Address("127.0.0.2", 1)], timeout=1, tls=ours().client()
        )
    assert "127.0.0.1:1" in str(caught.value)
    assert "127.0.0.2:1" in str(caught.value)


async def test_an_answer_to_a_stream_that_was_closed_is_no_failure_of_ours(
    ground: Ground, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer's reset is taken in while a handler is about to send."""
    send = H2Stream.send_data

    async def reset_first(self: H2Stream, data: bytes, end_stream: bool = False) -> None:
        if isinstance(self, MessageStream) and self.id:  # the server's
            self._h2_connection.reset_stream(self.id)
            self.connection.flush()
        await send(self, data, end_stream)

    monkeypatch.setattr(H2Stream, "send_data", reset_first)
    async with ground.caller() as connection:
        with pytest.raises(StreamTerminatedError):
            await ask(connection, "anything")
    await eventually(lambda: ground.service.calls == 1)
    assert "failed" not in caplog.text
