"""What is decoded has the types that the messages declare, whatever was sent."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piccolo.core.errors import InvalidSpec
from piccolo.rpc import wire
from piccolo.rpc.codec import Codec
from tests.rpc.test_convert import WIRE_NODE


def decode(data: bytes, kind: Any = wire.GetNodeRequest) -> Any:
    return Codec().decode(data, kind)


@pytest.mark.parametrize(
    "data",
    [
        b"\x08\x01",  # a number
        b"\x0b",  # a group
        b"\x0c",
        b"\x0f",  # no type at all
        b"\x0d" + bytes(4),
        b"\x09" + bytes(8),
        b"\x0a\x02\xff\xfe",  # no UTF-8
        b"\x0a\xff",
    ],
)
def test_a_string_is_a_string(data: bytes) -> None:
    with pytest.raises(InvalidSpec, match="cannot be decoded"):
        decode(data)


def test_honest_messages_come_through() -> None:
    assert decode(bytes(wire.GetNodeRequest(node_id="n1"))).node_id == "n1"
    response = wire.GetNodeResponse(node=WIRE_NODE)
    assert decode(bytes(response), wire.GetNodeResponse) == response
    assert decode(b"") == wire.GetNodeRequest()


@pytest.mark.parametrize("inner", [b"\x08\x01", b"\x13", b"\x30\x01\x3a\x02\x08\x01"])
def test_inner_messages_are_checked_too(inner: bytes) -> None:
    data = b"\x0a" + bytes([len(inner)]) + inner
    with pytest.raises(InvalidSpec):
        decode(data, wire.GetNodeResponse)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.binary(max_size=64))
def test_no_bytes_make_anything_else(data: bytes) -> None:
    try:
        message = decode(data, wire.Node)
    except InvalidSpec:
        return
    assert isinstance(message.id, str)
    assert isinstance(message.labels, dict)
    bytes(message)


def test_random_bytes() -> None:
    for _ in range(200):
        with contextlib.suppress(InvalidSpec):
            assert isinstance(decode(os.urandom(30)).node_id, str)
