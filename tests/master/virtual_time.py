"""Asynchronous tests in virtual time: an hour passes in a moment, always in the same way.

Whenever nothing is left to do but wait, the clock of the loop jumps to when the next timer is due.
`time.monotonic` shows that clock too, and `time.time` goes with it; it begins at the real time, by
which OpenSSL judges certificates. Sockets are real: before a jump, packets that are under way get
`settle` seconds of real time to arrive. What would run in a thread of the loop's pool is carried
out at once.
"""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, overload
from unittest.mock import patch

_START = 1000.0
_EPOCH = datetime.now(UTC).replace(microsecond=0)
_STUCK = 10.0  # s of real time without any timer: the test waits for what will never come


class Packets:
    """Tells whether IPv4 packets are under way on this machine, by what the kernel has counted.

    On the loopback interface every packet that was sent is also received. Those of other networks
    shift the difference; then what was not known to have arrived is waited for, and no more.
    """

    def __init__(self) -> None:
        self._counters = os.open("/proc/self/net/snmp", os.O_RDONLY)
        self._difference: int | None = None

    def under_way(self) -> bool:
        return self._counted() != self._difference

    def arrived(self) -> None:
        """Nothing is under way now."""
        self._difference = self._counted()

    def close(self) -> None:
        os.close(self._counters)

    def _counted(self) -> int:
        names, values = os.pread(self._counters, 1024, 0).split(b"\n", 2)[:2]
        ip = dict(zip(names.split(), values.split(), strict=True))
        return int(ip[b"OutRequests"]) - int(ip[b"InReceives"])


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, settle: float = 0.0) -> None:
        super().__init__()
        self._packets = Packets()
        self._now = _START
        self._settle = settle
        self._really_select = self._selector.select  # type: ignore[attr-defined]
        self._selector.select = self._select  # type: ignore[attr-defined]

    def close(self) -> None:
        self._packets.close()
        super().close()

    def time(self) -> float:
        return self._now

    def pass_(self, seconds: float) -> None:
        """Time passes while everything stands still, as after SIGSTOP."""
        self._now += seconds

    def _select(self, timeout: float | None = None) -> Any:
        events = self._really_select(0)
        if events or timeout == 0:
            return events
        if timeout is None:
            events = self._really_select(_STUCK)
            if not events:
                raise RuntimeError("this test waits for something that never comes")
            return events
        if self._settle:
            under_way = self._packets.under_way()
            events = self._really_select(self._settle if under_way else 0)
            if events:
                return events
            if under_way:
                self._packets.arrived()
        self._now += timeout
        return []

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def now() -> float:
    """Seconds of virtual time since the test began."""
    return asyncio.get_running_loop().time() - _START


def utc() -> datetime:
    return _EPOCH + timedelta(seconds=now())


def freeze(seconds: float) -> None:
    """All of this process is held up for `seconds`."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.pass_(seconds)


Test = Callable[..., Coroutine[Any, Any, None]]


@overload
def virtual_time(test: Test) -> Callable[..., None]: ...


@overload
def virtual_time(*, settle: float) -> Callable[[Test], Callable[..., None]]: ...


def virtual_time(test: Test | None = None, *, settle: float = 0.0) -> Any:
    """Runs an asynchronous test in virtual time; it must leave no task behind."""
    if test is None:
        return lambda test: _in_virtual_time(test, settle)
    return _in_virtual_time(test, settle)


def _in_virtual_time(test: Test, settle: float) -> Callable[..., None]:

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def guarded() -> None:
            await test(*args, **kwargs)
            await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"the test left tasks behind: {left}"

        with (
            asyncio.Runner(loop_factory=lambda: VirtualLoop(settle)) as runner,
            patch.object(time, "monotonic", clock := runner.get_loop().time),
            patch.object(time, "time", lambda: _EPOCH.timestamp() + clock() - _START),
        ):
            runner.run(guarded())

    return run
