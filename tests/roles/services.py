"""A role as a service manager starts it, with the other end of all that systemd gives it."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

from tests.cli.scripted import PICCOLO

CREDENTIALS = struct.Struct("iII")  # pid, uid, gid: unix(7)
WATCHDOG = 0.6  # s
LONGEST = 20.0  # s for anything that is waited for


class Service:
    """`piccolo ROLE …` with a notification socket, a watchdog, a journal and a directory in /run.

    `directory` is the service's own; `run`: what XDG_RUNTIME_DIR is for whoever asks for it.
    """

    def __init__(self, directory: Path, run: Path, *args: str) -> None:
        self.log = directory / "journal"
        self.said: list[str] = []
        self.senders: set[int] = set()
        (run / "piccolo").mkdir(parents=True, exist_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(str(directory / "notify"))
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("PICCOLO_", "XDG_"))}
        with self.log.open("wb") as log:
            found = os.fstat(log.fileno())
            environ |= {
                "HOME": str(directory),
                "NOTIFY_SOCKET": str(directory / "notify"),
                "WATCHDOG_USEC": f"{WATCHDOG * 1e6:.0f}",
                "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}",
                "RUNTIME_DIRECTORY": str(run / "piccolo"),
            }
            # A shell knows the number that the program is going to have.
            line = f"ulimit -c 0; WATCHDOG_PID=$$ exec {shlex.join([str(PICCOLO), *args])}"
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", line],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def hear(self, within: float = 0.0) -> bool:
        """Take in what has come; whether something has."""
        self._socket.settimeout(max(within, 0.001))
        try:
            data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(CREDENTIALS.size))
        except TimeoutError:
            return False
        [(_, _, credentials)] = ancillary
        self.senders.add(CREDENTIALS.unpack(credentials)[0])
        self.said += [line for line in data.decode().splitlines() if line != "WATCHDOG=1"]
        return True

    def wait_said(self, part: str) -> None:
        """Until it says what begins so, after all that was waited for before."""
        deadline = time.monotonic() + LONGEST
        while not any(line.startswith(part) for line in self.said):
            self.hear(0.1)
            assert time.monotonic() < deadline, (part, self.said, self.log.read_text())
            assert self.process.poll() is None, self.log.read_text()
        place = next(n for n, line in enumerate(self.said) if line.startswith(part))
        del self.said[: place + 1]

    def silent_for(self, seconds: float) -> bool:
        while self.hear():
            pass
        return not self.hear(seconds)

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(LONGEST)

    def close(self) -> None:
        self.stop(signal.SIGKILL)
        self._socket.close()
