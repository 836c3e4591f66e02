"""The simulated master's end of one agent's connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from piccolo.rpc import wire
from tests.simulation.pure.network import Stream

if TYPE_CHECKING:
    from tests.simulation.pure.master import Master


class MasterSession:
    """As `master.sessions.Session`."""

    def __init__(self, master: Master, node_id: str) -> None:
        self.node_id = node_id
        self.generation = 0  # 0: no Hello came
        self.pulse_seq = 0
        self.message_seq = 0
        self.over = False
        self.stream: Stream
        self._master = master

    @property
    def backlog(self) -> int:
        return self.stream.down.waiting

    def send(self, message: object) -> None:
        if isinstance(message, wire.MasterMessage) and message.desired is not None:
            self._master.watch.told(message.desired)
        self.stream.down.send(message)

    def end(self) -> None:
        """What is queued still goes out."""
        if not self.over:
            self.over = True
            self.stream.down.end()
            self._master.closed(self)
