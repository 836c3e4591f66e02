"""The runtime: what the agent asks of the program that runs the node's containers.

List, then watch: `changes()` says *which* containers changed, `list()` says what they are now.
That way an event that comes late, twice or out of order does no harm, and the event format of the
runtime matters to nobody.

Guarantees, checked for every runtime by `tests/runtime/contract.py`:

* What `list()` returns was true at some moment between its call and its return.
* Whoever lists after the first set of `changes()`, and again what each further set names, misses
  nothing. A set may also name containers that did not change, or are gone.
* A runtime that is away, hangs or answers nonsense raises `Unavailable`, whose message says what
  to do; once it is back, the next call works.

Reading only, so far: verbs that change containers join here with the workloads.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from typing import Protocol

from piccolo.core.model import Container, ContainerUsage

# Inside the class below `list` is a method.
Containers = list[Container]
ContainerUsages = list[ContainerUsage]


class Runtime(Protocol):
    """See the module's docstring for the guarantees. All methods may raise `Unavailable`."""

    async def version(self) -> str:
        """The version of the runtime, such as `4.3.1`. Cheap: also good as a sign of life."""
        ...

    async def list(self, ids: Collection[str] | None = None) -> Containers:
        """The containers with these ids, in any state, in no particular order; None: all.

        A container that does not exist is left out.
        """
        ...

    def changes(self) -> AsyncGenerator[frozenset[str], None]:
        """The ids of containers that changed, for ever; a burst of changes makes one set.

        The first set is empty. It says that changes from now on will be told: list now.
        Raises `Unavailable` when the stream breaks: list again and call anew. Close it with
        `aclose()`.
        """
        ...

    async def usage(self) -> ContainerUsages:
        """What each running container uses; those that do not run are left out.

        `cpu_percent` is of one core, 200 being two cores in full, over the time since the
        previous call, or over the container's life when it is new.
        """
        ...

    async def close(self) -> None:
        """Let go of all connections. Idempotent."""
        ...
