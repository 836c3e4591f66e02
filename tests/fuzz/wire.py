"""What comes over the network: messages, and the pulses beside them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import betterproto2 as b
from hypothesis import strategies as st

from piccolo.core.model import Container
from piccolo.core.nodes.pulse import (
    ANSWER,
    KEY_BYTES,
    PULSE,
    SIZE,
    Pulse,
    decode,
    encode,
    session_of,
)
from piccolo.core.report import Report
from piccolo.core.workloads.instances import InstanceStatus
from piccolo.rpc import convert, wire
from piccolo.rpc.codec import Codec
from piccolo.rpc.generated.piccolo import v1
from piccolo.rpc.generated.piccolo.api import v1 as api
from piccolo.store import codec as stored
from tests.fuzz.inputs import any_bytes
from tests.fuzz.target import target

MESSAGES: list[Any] = [
    found
    for module in (v1, api)
    for name in module.__all__
    if isinstance(found := getattr(module, name), type) and issubclass(found, b.Message)
]

# ---- bytes in the form of messages ----


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, kind: int, payload: bytes) -> bytes:
    return _varint(number << 3 | kind) + (_varint(len(payload)) if kind == 2 else b"") + payload


_numbers = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**31, 2**32, 2**63])
_scalars = st.one_of(
    _numbers.map(lambda n: (0, _varint(n))),
    st.binary(min_size=8, max_size=8).map(lambda raw: (1, raw)),
    st.binary(min_size=4, max_size=4).map(lambda raw: (5, raw)),
    st.floats().map(lambda x: (1, struct.pack("<d", x))),
    st.sampled_from([(3, b""), (4, b""), (6, b""), (7, b"")]),
    (any_bytes | st.text(max_size=8).map(str.encode)).map(lambda raw: (2, raw)),
)
_fields = st.recursive(
    _scalars,
    lambda inner: st.lists(st.tuples(st.integers(1, 20), inner), max_size=4).map(
        lambda many: (2, b"".join(_field(number, *one) for number, one in many))
    ),
    max_leaves=8,
)
shaped = st.lists(st.tuples(st.integers(0, 25), _fields), max_size=6).map(
    lambda many: b"".join(_field(number, *one) for number, one in many)
)


def nested(levels: int) -> bytes:
    """The field 1 in the field 1 …, as deep as that."""
    data = b""
    for _ in range(levels):
        data = _field(1, 2, data)
    return data


# ---- messages as their declarations have them ----

_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    b.TYPE_STRING: st.text(max_size=6),
    b.TYPE_BYTES: st.binary(max_size=12),
    b.TYPE_BOOL: st.booleans(),
    b.TYPE_FLOAT: st.floats(width=32),
    b.TYPE_DOUBLE: st.floats(),
    b.TYPE_ENUM: st.integers(0, 12),
    b.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    b.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    b.TYPE_UINT32: st.integers(0, 2**32 - 1),
    b.TYPE_UINT64: st.integers(0, 2**64 - 1),
    b.TYPE_FIXED64: st.integers(0, 2**64 - 1),
}
_times = st.datetimes(timezones=st.just(UTC)) | st.sampled_from(
    [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
)


@st.composite
def messages(draw: st.DrawFn, cls: Any, depth: int = 0) -> Any:
    """A message with some of its fields set, to what they may be."""
    message = cls()
    declared = cls._betterproto
    for name, meta in declared.meta_by_field_name.items():
        if not draw(st.booleans()):
            continue
        kind = declared.cls_by_field[name]
        if meta.proto_type == b.TYPE_MAP:
            of_keys, of_values = (_SCALARS.get(part.proto_type) for part in meta.map_meta)
            if of_keys is not None and of_values is not None:
                setattr(message, name, draw(st.dictionaries(of_keys, of_values, max_size=2)))
            continue
        one = _one(meta.proto_type, kind, depth)
        if one is not None:
            setattr(message, name, draw(st.lists(one, max_size=2) if meta.repeated else one))
    return message


def _one(proto_type: str, kind: Any, depth: int) -> st.SearchStrategy[Any] | None:
    if proto_type != b.TYPE_MESSAGE:
        found = _SCALARS[proto_type]
        return found.map(kind) if proto_type == b.TYPE_ENUM else found
    if kind is datetime:
        return _times
    if kind is timedelta:
        return st.timedeltas(timedelta(-1000), timedelta(1000))
    return messages(kind, depth + 1) if depth < 3 else None


def _serialized(message: Any) -> bytes:
    return bytes(message)


# ---- targets ----


@target(st.tuples(st.sampled_from(MESSAGES), shaped | any_bytes), quick=80)
def message_bytes(given: tuple[Any, bytes]) -> None:
    """Any bytes as any message."""
    kind, data = given
    message = Codec().decode(data, kind)
    again = Codec().decode(bytes(message), kind)
    assert bytes(again) == bytes(message)


@target(st.tuples(st.sampled_from(MESSAGES), st.integers(0, 3000)), quick=5)
def nested_messages(given: tuple[Any, int]) -> None:
    """Messages in messages, far deeper than any honest one."""
    Codec().decode(nested(given[1]), given[0])


_BODIES = tuple((kind, messages(kind)) for kind in (v1.AgentMessage, v1.MasterMessage))


@st.composite
def _spoilt_message(draw: st.DrawFn) -> tuple[Any, bytes]:
    kind, strategy = draw(st.sampled_from(_BODIES))
    data = bytes(draw(strategy))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=3)) + data[at + draw(st.integers(0, 3)) :]
    return kind, data


_TWO = bytes(v1.AgentMessage(goodbye=v1.Goodbye())) + bytes(v1.AgentMessage(pulse=v1.StreamPulse()))


@target(_spoilt_message(), quick=40, found=[(v1.AgentMessage, _TWO)])
def session_messages(given: tuple[Any, bytes]) -> None:
    """What master and agent say in a session, spoilt on the way."""
    kind, data = given
    message = Codec().decode(data, kind)
    wire.which_one_of(message, "body")


def _kept(value: Any) -> None:
    """The master can store what it was told, read it again, and say it to clients."""
    assert stored.encode(stored.decode(type(value), stored.encode(value), "key")) == stored.encode(
        value
    )


_FROM_WIRE: list[tuple[Any, Callable[[Any], Any], Callable[[Any], Any]]] = [
    (v1.ResourceInfo, convert.resources_from_wire, convert.resources_to_wire),
    (v1.NodeFacts, convert.facts_from_wire, convert.facts_to_wire),
    (v1.NodeUsage, convert.usage_from_wire, convert.usage_to_wire),
    (v1.Condition, convert.condition_from_wire, convert.condition_to_wire),
    (v1.ContainerStatus, convert.container_from_wire, convert.container_to_wire),
    (v1.ContainerUsage, convert.container_usage_from_wire, convert.container_usage_to_wire),
    (v1.InstanceStatus, convert.instance_status_from_wire, convert.instance_status_to_wire),
    (v1.DependencyState, convert.dependency_from_wire, convert.dependency_to_wire),
    (v1.AgentEvent, convert.happening_from_wire, convert.happening_to_wire),
]


@st.composite
def _told(draw: st.DrawFn) -> tuple[int, bytes]:
    number = draw(st.integers(0, len(_FROM_WIRE) - 1))
    kind = _FROM_WIRE[number][0]
    message = draw(messages(kind))
    if kind is v1.InstanceStatus and draw(st.booleans()):
        message = replace(message, phase="Running", workload="w")
    return number, draw(st.just(_serialized(message)) | shaped)


@target(_told(), quick=80, found=[(2, b"\x08\x00")])
def told_values(given: tuple[int, bytes]) -> None:
    """What the other side tells becomes a value that can be kept and told again, or is refused."""
    kind, from_wire, to_wire = _FROM_WIRE[given[0]]
    value = from_wire(Codec().decode(given[1], kind))
    _kept(value)
    if isinstance(value, Container):
        assert Report(containers=[value]).digest < 2**64
    if isinstance(value, InstanceStatus):
        assert Report(instances=[value]).digest < 2**64
    assert bytes(to_wire(from_wire(Codec().decode(bytes(to_wire(value)), kind)))) == bytes(
        to_wire(value)
    )


_KEY = bytes(range(KEY_BYTES))
_uint32 = st.integers(0, 2**32 - 1)
_pulses = st.builds(Pulse, st.sampled_from([PULSE, ANSWER]), _numbers, _uint32, _uint32)


@target(st.tuples(_pulses, st.integers(0, SIZE - 1), st.integers(1, 255)))
def pulses(given: tuple[Pulse, int, int]) -> None:
    """A pulse is read as it was sent; with any one byte changed, it is none."""
    pulse, at, flip = given
    data = bytearray(encode(pulse, _KEY))
    assert decode(bytes(data), _KEY, pulse.kind) == pulse
    assert session_of(bytes(data)) == pulse.session_id
    data[at] ^= flip
    assert decode(bytes(data), _KEY, pulse.kind) is None


@target(any_bytes | st.binary(min_size=SIZE, max_size=SIZE).map(lambda d: b"P" + d[1:]))
def datagrams(data: bytes) -> None:
    """Any bytes are no pulse."""
    session_of(data)
    assert decode(data, _KEY, PULSE) is None
    assert decode(data, _KEY, ANSWER) is None
