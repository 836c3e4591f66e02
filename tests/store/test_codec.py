from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import pytest

from piccolo.core.errors import InvalidSpec
from piccolo.core.model import Event, Severity
from piccolo.store.codec import decode, encode


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    size: float = 0.0


@dataclass(frozen=True, slots=True)
class Thing:
    id: str
    colour: Colour = Colour.RED
    since: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    part: Part | None = None


THING = Thing(
    "größer 🦜",
    since=datetime(2026, 11, 21, 7, 0, 0, 123456, UTC),
    labels={"z": "1", "a": "2"},
    parts=(Part("a", 1.5), Part("b")),
    part=Part("c"),
)


@pytest.mark.parametrize(
    ("cls", "value"),
    [
        (Thing, THING),
        (Thing, Thing("small")),
        (tuple[Part, ...], (Part("a"), Part("b"))),
        (Mapping[str, datetime], {"n": datetime(2026, 1, 1, tzinfo=UTC)}),
        (int, 5),
        (
            Event,
            Event("1", datetime(2026, 1, 1, tzinfo=UTC), Severity.ERROR, "k", "s", "r", "m"),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_was_encoded_is_decoded_to_the_same(cls: Any, value: object) -> None:
    decoded = decode(cls, encode(value), "key")
    assert decoded == value
    assert type(decoded) is type(value)


def test_the_same_value_gives_the_same_bytes() -> None:
    other = Thing(
        "größer 🦜",
        since=THING.since,
        labels=MappingProxyType({"a": "2", "z": "1"}),
        parts=THING.parts,
        part=THING.part,
    )
    assert encode(other) == encode(THING)
    assert b" " not in encode(THING).replace("größer 🦜".encode(), b"")
    assert list(json.loads(encode(THING))) == sorted(json.loads(encode(THING)))


def test_what_a_newer_version_wrote_can_be_read() -> None:
    newer = json.loads(encode(THING)) | {"new": {"deep": [1]}, "colour": "red"}
    newer["part"]["new"] = 1
    assert decode(Thing, json.dumps(newer).encode(), "thing/1") == THING


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "Invalid JSON"),
        (b"\xff\x00", "Invalid JSON"),
        (b"[]", "should be an object"),
        (b"{}", "id: "),
        (b'{"id": "a", "colour": "loud"}', "colour: "),
        (b'{"id": "a", "parts": [{"name": 1}]}', r"parts.0.name: "),
        (b'{"id": "a", "since": "yesterday"}', "since: "),
    ],
)
def test_wrong_data_names_the_key_and_the_place(data: bytes, what: str) -> None:
    with pytest.raises(InvalidSpec, match=rf'under "thing/1" is no Thing: .*{what}'):
        decode(Thing, data, "thing/1")
