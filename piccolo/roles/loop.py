"""Running a role: the fastest event loop there is, ended by SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any


def run(role: Coroutine[Any, Any, None]) -> None:
    """Run to the end. uvloop where it has a wheel (x86-64 and arm64), else asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(role)
    else:
        uvloop.run(role)


def stop_signal() -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
