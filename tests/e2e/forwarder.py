"""A way to the master that lets TCP through and loses every datagram, as some firewalls do.

Listens on a loopback address of its own. An agent that dials it sends its pulses to that address
too, where nobody takes them.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class TcpForwarder:
    """Forwards connections to `listen` on to `target`, both (host, port), until closed."""

    def __init__(self, listen: tuple[str, int], target: tuple[str, int]) -> None:
        self.sent: list[bytearray] = []  # by the clients, connection by connection
        self._target = target
        self._listener = socket.create_server(listen)
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._begin(self._accept)

    def _begin(self, work: object, *args: object) -> None:
        assert callable(work)
        self._threads.append(threading.Thread(target=work, args=args))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                inner, _ = self._listener.accept()
            except OSError:  # closed
                return
            try:
                outer = socket.create_connection(self._target, timeout=1)
            except OSError:
                inner.close()
                continue
            outer.settimeout(None)
            self._sockets += [inner, outer]
            self.sent.append(bytearray())
            self._begin(_pump, inner, outer, self.sent[-1])
            self._begin(_pump, outer, inner, None)

    def close(self) -> None:
        _shut(self._listener)
        self._threads[0].join()
        for each in self._sockets:
            _shut(each)
        for thread in self._threads:
            thread.join()
        for each in (self._listener, *self._sockets):
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _pump(source: socket.socket, sink: socket.socket, kept: bytearray | None) -> None:
    """Until one of the two ends; then both do."""
    try:
        while data := source.recv(65536):
            if kept is not None:
                kept += data
            sink.sendall(data)
    except OSError:
        pass
    _shut(source)
    _shut(sink)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
