"""What the master finds in its store, its key file and its audit trail."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from piccolo.core.errors import InvalidSpec
from piccolo.core.security import audit
from piccolo.core.security.audit import GENESIS, Entry, Head, chain
from piccolo.core.security.audit_check import Verifier
from piccolo.master import keys
from piccolo.master.security.audit_reading import verify
from piccolo.security.authority import Request, load_certificate
from piccolo.security.keyring import KeyRing
from piccolo.store.base import Put
from piccolo.store.codec import decode, encode
from piccolo.store.seals import Seals
from piccolo.store.sqlite.database import Database, Transaction
from tests.core.workloads.filled import filled
from tests.fuzz.inputs import any_bytes, any_text, spoilt_bytes, spoilt_text
from tests.fuzz.target import target

_PLACES = [
    "node/n", "node-status/n", "node-live/n", "usage/n", "event/1", "topology", "master", "token/t",
    "authorities", "secret/s", "audit-head", "heartbeats", "workload/w", "unplaced/w",
    "agent-events/n", "changeset", "container/n/c", "certificate/agent/n/1",
    "workload-history/w/0000000001", "assignment/n/w.0", "instance/n/w.0",
]  # fmt: skip
_VALUES = {place: encode(filled(keys.type_of(place))) for place in _PLACES}


@st.composite
def _records(draw: st.DrawFn) -> tuple[str, bytes]:
    place = draw(st.sampled_from(_PLACES))
    others = [_VALUES[draw(st.sampled_from(_PLACES))]]
    return place, draw(spoilt_bytes([_VALUES[place]] * 4 + others) | any_bytes)


@target(_records(), quick=80)
def stored_values(given: tuple[str, bytes]) -> None:
    """Values of the store: what is read is written as the same."""
    place, data = given
    kind = keys.type_of(place)
    again = encode(decode(kind, data, place))
    assert encode(decode(kind, again, place)) == again


@target(any_text)
def store_keys(text: str) -> None:
    """What stands under a key that is not ours."""
    keys.type_of(text)
    keys.workload_of(text)
    keys.group_of(text)


def _ring() -> KeyRing:
    with tempfile.TemporaryDirectory() as directory:
        ring = KeyRing.load(Path(directory), {})
        ring.renew()
        return ring


_RING = _ring()
_SEALS = Seals(_RING, everything=False)
_PLAIN = b'{"a":1}'


@target(st.tuples(st.integers(0, 60), st.integers(0, 255), st.booleans()), quick=40)
def sealed_values(given: tuple[int, int, bool]) -> None:
    """A sealed value with a byte changed, or cut off, or elsewhere, is refused."""
    at, byte, cut = given
    sealed = _SEALS.put(Put("secret/a", _PLAIN), _RING.ids[0]).value
    assert _SEALS.opened("secret/a", sealed) == _PLAIN
    at %= len(sealed)
    spoilt = sealed[:at] if cut else sealed[:at] + bytes([byte]) + sealed[at + 1 :]
    for key, data in (("secret/a", spoilt), ("secret/b", sealed)):
        try:
            opened = _SEALS.opened(key, data)
        except InvalidSpec:
            continue
        assert data == sealed
        assert (key, opened) == ("secret/a", _PLAIN)


@target(st.tuples(st.text(), st.binary(max_size=40).map(lambda d: b"\xff" + d) | any_bytes))
def strange_seals(given: tuple[str, bytes]) -> None:
    """Any bytes under any key."""
    _SEALS.is_in_line(*given)
    _SEALS.opened(*given)


def _database() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        database = Database(Path(directory) / "store.db")
        for number in range(8):
            puts = [Put(place, _VALUES[place]) for place in _PLACES[number::8]]
            database.apply([Transaction(puts, ())])
        database.close()
        return (Path(directory) / "store.db").read_bytes()


_DATABASE = _database()
_pieces = st.tuples(st.integers(0, len(_DATABASE)), st.integers(0, 64), st.binary(max_size=64))


@target(st.lists(_pieces, max_size=4), quick=15, found=[[(4079, 0, b"\x80")]])
def databases(pieces: list[tuple[int, int, bytes]]) -> None:
    """The file of the SQLite store, with pieces of it overwritten, cut out or put in."""
    data = _DATABASE
    for at, size, piece in pieces:
        data = data[:at] + piece + data[at + size :]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "store.db"
        path.write_bytes(data)
        database = Database(path)
        try:
            database.get("topology")
            database.list("")
            database.replay("", database.compacted())
            database.apply([Transaction([Put("x", b"y")], ())])
            database.scrub()
        finally:
            database.close()


_KEYS = "# keys\n0011223344556677 " + "A" * 43 + "=\n"


@target(spoilt_text([_KEYS]) | any_text)
def key_files(text: str) -> None:
    """The file of the store's keys; it is never repeated in an error."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "pki"
        path.mkdir(mode=0o700)
        (path / "store.key").write_bytes(text.encode("utf-8", "surrogatepass"))
        (path / "store.key").chmod(0o600)
        with pytest.raises(InvalidSpec) as refused:
            KeyRing.load(Path(directory), {})
        assert "A" * 43 not in str(refused.value)


_ENTRY = Entry(datetime(2026, 5, 1, tzinfo=UTC), "admin:a", "10.0.0.2:1", "RemoveNode", "node n1")


def _trail() -> list[bytes]:
    lines, head = [], GENESIS
    for entry in (audit.beginning(_ENTRY.time, 1, 1), _ENTRY, replace(_ENTRY, reason="ü\n")):
        line, head = chain(entry, head)
        lines.append(line)
    return lines


_LINES = _trail()
_HEAD = audit.parse(_LINES[-1])[0].head


@target(spoilt_bytes(_LINES) | any_bytes, quick=60)
def audit_records(line: bytes) -> None:
    """A line of the audit trail: genuine only as it was written."""
    _, genuine = audit.parse(line)
    assert genuine is (line in _LINES) or line not in _LINES


@target(spoilt_bytes([b"".join(_LINES)]), quick=40)
def audit_trails(data: bytes) -> None:
    """A whole trail: every change of it is found, once its end is known."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / audit.file_name(1)).write_bytes(data)
        report = verify(Path(directory), _HEAD)
        verify(Path(directory))
    assert bool(report.findings) is (data != b"".join(_LINES))


@target(st.builds(Entry, st.datetimes(timezones=st.just(UTC)), *[any_text] * 4, st.booleans()))
def audit_entries(entry: Entry) -> None:
    """Whatever is to be recorded fits into a line, and is read again."""
    line, head = chain(entry, Head(5, "0" * 64))
    assert len(line) <= audit.MAX_LINE
    record, genuine = audit.parse(line)
    assert genuine
    assert record.head == head
    verifier = Verifier()
    verifier.file(1)
    verifier.line(line)


_CSR = (
    "-----BEGIN CERTIFICATE REQUEST-----\nMIHNMHQCAQAwEjEQMA4GA1UEAwwH\n"
    "-----END CERTIFICATE REQUEST-----\n"
)


@target(spoilt_text([_CSR]) | any_text)
def certificate_requests(text: str) -> None:
    """What a stranger sends as a request for a certificate, or as a certificate."""
    for read in (Request, load_certificate):
        found: Any = None
        try:
            found = read(text)
        except InvalidSpec:
            assert found is None
