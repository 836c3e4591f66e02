"""What the service manager that started us is told: that we are ready, live, and how it goes.

The protocol of sd_notify(3) and sd_watchdog_enabled(3), which is a datagram to a socket. Without
such a manager all of this does nothing; and what goes wrong with it never stops the program.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import MutableMapping

log = logging.getLogger(__name__)

_WITHIN = 0.2  # s; a manager whose queue is full for longer is not waited for


class ServiceManager:
    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        """`watchdog`: it ends a program of which it hears nothing for so many seconds; 0: never."""
        self.watchdog = watchdog
        self._address = address
        self._status = ""

    @classmethod
    def take(cls, environ: MutableMapping[str, str] = os.environ) -> ServiceManager:
        """The one that the environment names. It is taken out there: it is not our children's."""
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", "")
        meant = address and pid in ("", str(os.getpid())) and microseconds.isdecimal()
        return cls(address, int(microseconds[:18]) / 1e6 if meant else 0.0)

    def ready(self) -> None:
        """The start, or a reload, is done."""
        self._send("READY=1")

    def reloading(self) -> None:
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """How it goes, in words; sent when it is news."""
        if text != self._status:
            self._status = text
            self._send("STATUS=" + " ".join(text.split()))

    async def keep_alive(self) -> None:
        """For ever, from the loop of events: when that hangs, the manager hears nothing more.

        It ends us by SIGABRT then, and the traceback of that tells where we hung.
        """
        if not self.watchdog:
            return
        import faulthandler

        faulthandler.enable(2)
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog / 3)

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # unix(7): "@" stands for the zero byte before an abstract name.
        path = os.fsencode(self._address)
        path = b"\0" + path[1:] if path[:1] == b"@" else path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(_WITHIN)
                sender.sendto(message.encode("utf-8", "replace"), path)
        except (OSError, ValueError) as error:
            log.debug("the service manager at %s was not told: %s", self._address, error)
