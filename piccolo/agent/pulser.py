"""The pulser: sends the agent's pulses, on time, whatever else goes on.

It outlives the sessions: while the agent is between two of them, pulses of the last one go on as
probes, and an answer (the way is free again) cuts the back-off short.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from piccolo.core.errors import Unavailable
from piccolo.core.nodes.liveness import LinkProfile
from piccolo.core.nodes.pulse import ANSWER, PULSE, Pacer, Pulse, decode, encode, ms_ago
from piccolo.rpc.datagram import Datagrams, Source, connect

log = logging.getLogger(__name__)

_OVERSLEPT = 0.3  # s: a wake-up later than that means that the agent itself was held up
_PROBE_EVERY = 0.5  # s, between sessions that are long apart
_CONNECTING = 10.0  # s after a session's end: pulses go on as before, for the master to see it live
_PROBES_END = 120.0  # s after the session's end


class Pulser:
    def __init__(self) -> None:
        self.pacer: Pacer | None = None
        self.answered = asyncio.Event()  # set by each answer; whoever waits clears it
        self.by_stream: Callable[[int, int], None] | None = None  # sends a pulse on the stream
        self.worst_lag = 0.0  # s, of the event loop, since it was last asked for
        self._socket: Datagrams | None = None
        self._session_id = 0
        self._key = b""
        self._ended_at: float | None = None
        self._begun = asyncio.Event()

    async def begin(
        self, host: str, port: int, session_id: int, key: bytes, profile: LinkProfile
    ) -> Pacer:
        """Pulse for a new session. `port` 0: on the stream only."""
        self.close()
        self._session_id, self._key = session_id, key
        self._ended_at = None
        if port:
            try:
                self._socket = await connect(host, port, self._received)
            except Unavailable as error:
                log.warning("%s; pulses travel on the stream", error)
        self.pacer = Pacer(profile, time.monotonic())
        self._begun.set()
        return self.pacer

    def end(self) -> None:
        """The session is over; what was its pulse is a probe from now on."""
        self.by_stream = None
        self._ended_at = time.monotonic()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def run(self) -> None:
        """Pulse for ever."""
        while True:
            await self._begun.wait()
            pacer = self.pacer
            if pacer is None:
                continue
            now = time.monotonic()
            due = pacer.next_pulse()
            if self._ended_at is not None:
                if now - self._ended_at > _CONNECTING:
                    due = max(due, pacer.sent_at() + _PROBE_EVERY)
                if now - self._ended_at > _PROBES_END:
                    self._begun.clear()
                    continue
            if due <= now:
                self._send(pacer, now)
                continue
            await asyncio.sleep(due - now)
            late = time.monotonic() - due
            self.worst_lag = max(self.worst_lag, late)
            if late > _OVERSLEPT:
                pacer.forgive(late)

    def _send(self, pacer: Pacer, now: float) -> None:
        heard = ms_ago(pacer.heard_at(), now)
        seq = pacer.send(now)
        if self._socket is not None:
            self._socket.send(encode(Pulse(PULSE, self._session_id, seq, heard), self._key))
        unheard = pacer.silent_for(now) >= pacer.fallback_after
        if self.by_stream is not None and (self._socket is None or unheard):
            self.by_stream(seq, heard)

    def _received(self, datagram: bytes, source: Source) -> None:
        pulse = decode(datagram, self._key, ANSWER)
        if pulse is None or self.pacer is None or pulse.session_id != self._session_id:
            return
        if self.pacer.answered(pulse.seq, time.monotonic()):
            self.answered.set()
