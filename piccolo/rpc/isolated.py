"""Calls that may break, each in a task of its own.

grpclib ends a call whose connection is lost by cancelling the task that made it, and the TaskGroup
of Python before 3.11.4 (Debian 12 has 3.11.2) leaves such a mark too. The mark stays with the
task: the next `asyncio.timeout` in it raises `CancelledError` where it should raise `TimeoutError`,
and whoever tries again in the same task is ended by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from piccolo.core.errors import Unavailable

T = TypeVar("T")


async def isolated(call: Coroutine[Any, Any, T]) -> T:
    """What `call` returns or raises; `Unavailable` when it was cancelled from inside.

    Who is cancelled himself ends so, even if the call breaks in that very moment: a TaskGroup that
    has an error already raises it, and forgets that it was cancelled.
    """
    task = asyncio.get_running_loop().create_task(call, name="isolated call")
    try:
        return await task  # cancelling us cancels it
    except (Exception, asyncio.CancelledError) as error:
        us = asyncio.current_task()
        if us is not None and us.cancelling():
            raise asyncio.CancelledError from error
        if isinstance(error, asyncio.CancelledError):
            raise Unavailable("the connection was lost") from None
        raise
