"""The gRPC server against what networks and strangers send."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpclib import GRPCError, Status
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.encoding.base import CodecBase

from piccolo.core.address import Address
from piccolo.core.errors import NotFound, Unavailable
from piccolo.rpc import wire
from piccolo.rpc.client import dial
from piccolo.rpc.server import GrpcServer, peer


class Service(wire.ApiServerServiceBase):
    async def get_node(self, message: wire.GetNodeRequest) -> wire.GetNodeResponse:
        if message.node_id == "crash":
            raise RuntimeError("a secret detail")
        if message.node_id == "peer":
            return wire.GetNodeResponse(node=wire.Node(name=peer()))
        raise NotFound(f"there is no node {message.node_id}")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = GrpcServer([Service()])
    yield await server.start("127.0.0.1", 0)
    await server.close()


async def get(port: int, node_id: str) -> wire.GetNodeResponse:
    connection = await dial([Address("127.0.0.1", port)], timeout=5)
    try:
        stub = wire.ApiServerServiceStub(connection.channel)
        return await stub.get_node(wire.GetNodeRequest(node_id=node_id), timeout=5)
    finally:
        connection.close()


async def test_the_peer_is_known(port: int) -> None:
    reply = await get(port, "peer")
    assert reply.node is not None
    assert reply.node.name.startswith("127.0.0.1:")


async def test_our_errors_become_statuses(port: int) -> None:
    with pytest.raises(GRPCError) as caught:
        await get(port, "n1")
    assert caught.value.status is Status.NOT_FOUND
    assert caught.value.message == "there is no node n1"


async def test_unexpected_errors_tell_the_client_nothing(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(GRPCError) as caught:
        await get(port, "crash")
    assert caught.value.status is Status.INTERNAL
    assert "secret" not in (caught.value.message or "")
    assert "a secret detail" in caplog.text


async def test_a_call_that_is_not_served_is_unimplemented(port: int) -> None:
    connection = await dial([Address("127.0.0.1", port)], timeout=5)
    try:
        stub = wire.ApiServerServiceStub(connection.channel)
        with pytest.raises(GRPCError) as caught:
            await stub.get_nodes(wire.GetNodesRequest(), timeout=5)
    finally:
        connection.close()
    assert caught.value.status is Status.UNIMPLEMENTED


class Raw(CodecBase):
    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data


@pytest.mark.parametrize("body", [b"\x0a\xff", b"\xff" * 20, b"\x0a\x05ab\xfe", os.urandom(64)])
async def test_bytes_that_are_no_message_are_the_senders_fault(port: int, body: bytes) -> None:
    channel = Channel("127.0.0.1", port, codec=Raw())
    call = UnaryUnaryMethod(channel, "/piccolo.v1.ApiServerService/GetNode", bytes, bytes)
    try:
        with pytest.raises(GRPCError) as caught:
            await call(body, timeout=5)
    finally:
        channel.close()
    # Some random bytes are a message: one that names no node that there is.
    assert caught.value.status in (Status.INVALID_ARGUMENT, Status.NOT_FOUND)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 400,
        os.urandom(4096),
        b"",
    ],
)
async def test_garbage_does_not_disturb_others(port: int, garbage: bytes) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(garbage)
    await writer.drain()
    assert (await get(port, "peer")).node is not None
    writer.close()
    await writer.wait_closed()
    assert (await get(port, "peer")).node is not None


async def test_half_open_connections_do_not_keep_others_out(port: int) -> None:
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
    assert (await get(port, "peer")).node is not None
    for _, writer in idle:
        writer.close()
        await writer.wait_closed()


async def test_a_port_in_use_is_explained(port: int) -> None:
    second = GrpcServer([Service()])
    with pytest.raises(Unavailable, match="another master"):
        await second.start("127.0.0.1", port)
    await second.close()


async def test_dialling_names_every_address_that_failed() -> None:
    with pytest.raises(Unavailable) as caught:
        await dial([Address("127.0.0.1", 1), Address("127.0.0.2", 1)], timeout=1)
    assert "127.0.0.1:1" in str(caught.value)
    assert "127.0.0.2:1" in str(caught.value)
