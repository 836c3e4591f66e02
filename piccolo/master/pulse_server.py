"""Pulses in, answers out (P6). What is not authentic, or not new, is dropped without a word."""

from __future__ import annotations

from piccolo.core.nodes.pulse import ANSWER, NEVER, PULSE, Pulse, decode, encode, session_of
from piccolo.master.monitoring_server import MonitoringServer
from piccolo.master.sessions import Session, Sessions
from piccolo.rpc import wire
from piccolo.rpc.datagram import Datagrams, Source, bind


class PulseServer:
    def __init__(self, sessions: Sessions, monitoring: MonitoringServer) -> None:
        self._sessions = sessions
        self._monitoring = monitoring
        self._socket: Datagrams | None = None

    async def start(self, host: str, port: int) -> None:
        """Raises `Unavailable` when the port cannot be bound."""
        self._socket = await bind(host, port, self._received)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _received(self, datagram: bytes, source: Source) -> None:
        session_id = session_of(datagram)
        session = self._sessions.by_id(session_id) if session_id is not None else None
        if session is None or self._socket is None:
            return
        pulse = decode(datagram, session.key, PULSE)
        if pulse is None or pulse.seq <= session.pulse_seq:
            return
        session.pulse_seq = pulse.seq
        self._take(session, pulse.heard_ms_ago, datagram=True)
        answer = Pulse(ANSWER, session.session_id, pulse.seq, 0)
        self._socket.send(encode(answer, session.key), source)

    def on_stream(self, session: Session, pulse: wire.StreamPulse) -> None:
        """A pulse that came by the stream; the answer goes the same way."""
        self._take(session, pulse.heard_ms_ago, datagram=False)
        answer = wire.StreamPulse(seq=pulse.seq, answer=True)
        session.send(wire.MasterMessage(pulse=answer))

    def _take(self, session: Session, heard_ms_ago: int, *, datagram: bool) -> None:
        self._monitoring.heard(
            session.node_id,
            session.generation,
            heard_us_ago=None if heard_ms_ago == NEVER else heard_ms_ago / 1000,
            datagram=datagram,
        )
