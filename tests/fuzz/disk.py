"""What the agent finds on its own disk after a power cut, a full disk, or a bad one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import strategies as st

from piccolo.agent.identity import Identity
from piccolo.agent.pki import Pki
from piccolo.agent.workloads import records
from piccolo.agent.workloads.dependencies import Dependencies
from piccolo.agent.workloads.desired import Change, Desired, Spec, hold
from piccolo.agent.workloads.journal import Journal
from piccolo.core.errors import PiccoloError
from piccolo.core.model import Severity
from piccolo.core.plain import decode, encode
from piccolo.core.pods.restarts import End, Record
from piccolo.core.workloads.instances import Happening, Instance
from piccolo.rpc import convert, wire
from tests.agent.workloads.specs import digest, everything, instance, spec
from tests.core.workloads.filled import filled
from tests.fuzz.inputs import DEEP, any_bytes, spoilt_bytes
from tests.fuzz.target import target


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o700)
        yield Path(directory)


def _put(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)


_INSTANCE = filled(Instance)
_RECORD = Record("h", ("main",), {"main": End(1, "Crashed", "m")})


_SIMPLE = encode(instance("web"))


@target(
    spoilt_bytes([encode(_INSTANCE), _SIMPLE]) | any_bytes,
    quick=60,
    found=[_SIMPLE.replace(b"main", b"\\ud800"), _SIMPLE.replace(b"main", b"\xed\xa0\x80")],
)
def instances(data: bytes) -> None:
    """What an agent is asked to run; what is read is written as the same."""
    found = decode(Instance, data, "it")
    again = encode(found)
    assert encode(decode(Instance, again, "it")) == again


_WEB, _DB = spec("web"), spec("db", **{"login/password": "czNjcmV0"})


def _written() -> bytes:
    with _directory() as directory:
        Desired(directory / "w").take_over(everything(_WEB, _DB))
        return (directory / "w" / "desired").read_bytes()


_DESIRED = _written()


@target(spoilt_bytes([_DESIRED]) | any_bytes, quick=50)
def desired_state(data: bytes) -> None:
    """The file of what is to run here: what is whole of it counts, and it can be replaced."""
    with _directory() as directory:
        found = Desired(directory / "w")
        _put(directory / "w" / "desired", data)
        complaint = found.load()
        assert bool(complaint) is not found.whole
        assert set(found.everything) <= {"web.0", "db.0"} or data != _DESIRED
        assert found.take_over(everything(_WEB)) or found.whole
        again = Desired(directory / "w")
        assert again.load() == ""
        assert set(again.held) == {"web.0"}


@target(
    st.tuples(spoilt_bytes([_DESIRED]), st.booleans()),
    quick=30,
    found=[(_DESIRED.replace(b" web.0", b" \x80web.0"), False)],
)
def desired_state_spoilt_meanwhile(given: tuple[bytes, bool]) -> None:
    """The same file, spoilt while the agent runs: a change still comes through, or is refused."""
    data, one_more = given
    with _directory() as directory:
        found = Desired(directory / "w")
        found.take_over(everything(_WEB, _DB))
        _put(directory / "w" / "desired", data)
        extra = (spec("more"),) if one_more else ()
        wanted = digest(_WEB, *extra)
        with suppress(PiccoloError):
            found.take_over(Change(extra, frozenset({"db.0"}), digest=wanted))
        Desired(directory / "w").load()


@target(st.builds(Spec, st.text(max_size=9), any_bytes, st.dictionaries(st.text(), st.text())))
def desired_specs(asked: Spec) -> None:
    """One instance as the master sends it: taken over, or refused and nothing changed."""
    held = hold(asked)
    with _directory() as directory:
        found = Desired(directory / "w")
        change = Change((asked,), reset=True, digest=held.digest)
        found.take_over(change)
        again = Desired(directory / "w")
        assert again.load() == ""
        assert set(again.held) == {asked.key}


_HAPPENING = Happening(7, datetime(2026, 5, 1, tzinfo=UTC), Severity.INFO, "web.0", "Runs", "it")
_EVENTS = b"".join(
    json.dumps(["stream", encode(happening).decode()]).encode() + b"\n"
    for happening in (_HAPPENING, replace(_HAPPENING, seq=8, reason="Crashed", count=3))
)


@target(
    spoilt_bytes([_EVENTS]) | any_bytes,
    quick=50,
    found=[
        b"[" * DEEP,
        _EVENTS.replace(b"info", b"Info"),
        _EVENTS.replace(b"8", b"-8"),
        _EVENTS.replace(b"7", b"9"),
        _EVENTS.replace(b"stream", b"\\ud800"),
        _EVENTS.replace(b"T00:00:00+00:00", b":00"),
    ],
)
def journals(data: bytes) -> None:
    """What happened, as a former agent left it: all that is read can be told to the master."""
    with _directory() as directory:
        _put(directory / "events", data)
        journal = Journal(directory / "events")
        journal.load()
        journal.connected()
        while batch := journal.next_batch():
            happenings = [convert.happening_to_wire(happening) for happening in batch.happenings]
            bytes(wire.AgentEvents(stream=batch.stream, events=happenings, lost=batch.lost))
            journal.acknowledged(batch.stream, batch.happenings[-1].seq)


@target(spoilt_bytes([encode(_RECORD)]) | any_bytes)
def runner_records(data: bytes) -> None:
    """Which containers must not be started again."""
    with _directory() as directory:
        _put(directory / "record.json", data)
        found = records.load(directory)
        records.save(directory, found)
        assert records.load(directory) == found


@target(
    spoilt_bytes([b'{"web.0":{"hash":["db Running"]}}']) | any_bytes,
    found=[b"[" * DEEP, b'{"web.0":{"hash":1}}'],
)
def dependencies_held_once(data: bytes) -> None:
    """What dependencies once held."""
    with _directory() as directory:
        _put(directory / "held-once", data)
        Dependencies(directory, {}).load()


@target(
    spoilt_bytes([b'{"node_id": "0123456789abcdef", "cluster_id": "c"}']) | any_bytes,
    found=[b"[" * DEEP, b'{"node_id": "\\ud800", "cluster_id": "c"}'],
)
def identities(data: bytes) -> None:
    """Who the agent is: one that is read can be said."""
    with _directory() as directory:
        _put(directory / "identity.json", data)
        found = Identity.open(directory)
        try:
            (found.node_id + found.cluster_id).encode()
        finally:
            found.close()


_PEM = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
_CERTIFICATE = b"Made: 2026-05-01T00:00:00+00:00\nNot After: 2026-06-01T00:00:00+00:00\n" + _PEM


@target(
    st.tuples(spoilt_bytes([_CERTIFICATE]), spoilt_bytes([_PEM])),
    found=[(_CERTIFICATE, b"\xc3\xbc" + _PEM)],
)
def agent_certificates(given: tuple[bytes, bytes]) -> None:
    """The agent's certificate and whom it trusts."""
    with _directory() as directory:
        directory.joinpath("pki").mkdir(mode=0o700)
        _put(directory / "pki" / "node.crt", given[0])
        _put(directory / "pki" / "ca.crt", given[1])
        pki = Pki(directory / "pki")
        if pki.held is not None:
            pki.held.due(0.5)
        assert isinstance(pki.pins, list)
        pki.anonymous()
