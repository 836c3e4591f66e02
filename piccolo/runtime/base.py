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
* A verb that changes something has happened when it returns, and can be said again: creating what
  is there, starting what runs, stopping or removing what is gone does no harm. One that raised
  `Unavailable`, or was cancelled, may have happened or not: look, and say it again.
* What the runtime does not want to do raises `Refused`, with a reason in one word.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from piccolo.core.errors import PiccoloError
from piccolo.core.model import Container, ContainerUsage
from piccolo.core.workloads import containers
from piccolo.core.workloads.workload import Network

# Inside the class below `list` is a method.
Containers = list[Container]
ContainerUsages = list[ContainerUsage]
Lines = list[str]


class Refusal(StrEnum):
    """Why the runtime does not do it; the reason that people see."""

    IMAGE_MISSING = "ImageMissing"  # not there, and it could not be fetched
    WRONG_ARCHITECTURE = "WrongArchitecture"
    PORT_TAKEN = "PortTaken"
    MOUNT_MISSING = "MountMissing"  # nothing is at the path of the node that is to be mounted
    COMMAND_MISSING = "CommandMissing"  # the image has no such program, or it cannot be run
    NAME_TAKEN = "NameTaken"  # by a container, a pod or a volume that is not ours
    REFUSED = "Refused"  # anything else; the message has the runtime's words


class Refused(PiccoloError):
    """The runtime will not do it as things are. `reason` for programs, the text for people."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Bind:
    """A file of the node that appears in a container, read-only."""

    source: str
    path: str


@dataclass(frozen=True, slots=True)
class PodRequest:
    """The network that the containers of one instance share."""

    name: str
    labels: Mapping[str, str]
    network: Network
    ports: tuple[containers.Port, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerRequest:
    """A container to be made: `container` with everything that is not in it resolved."""

    name: str
    labels: Mapping[str, str]
    container: containers.Container
    network: Network | None  # None: that of `pod`
    pod: str = ""  # name of its pod
    secret_env: Mapping[str, str] = field(default_factory=dict, repr=False)  # values
    binds: tuple[Bind, ...] = ()
    scratch: str = ""  # what the names of its scratch volumes begin with


@dataclass(frozen=True, slots=True)
class Detail:
    """What only an inspection of a container tells."""

    id: str
    state: str  # created | running | paused | exited | …, the runtime's word
    exit_code: int
    oom_killed: bool
    error: str  # why the runtime could not run it; often empty
    address: str  # IP by which its ports are reached from the node; empty: none
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class ExecResult:
    exit_code: int
    output: str  # the last of standard output and error, a few kB at most


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

    # ---- changing ----

    async def ensure_image(self, image: str, pull: containers.PullPolicy) -> str:
        """The id of an image that is there now; fetching it may take minutes.

        Raises `Refused` (ImageMissing, WrongArchitecture).
        """
        ...

    async def create_pod(self, request: PodRequest) -> str:
        """Make a pod; returns its id. The one of that name that carries the same labels is it."""
        ...

    async def remove_pod(self, name: str) -> None:
        """Remove a pod with all that is in it, running or not."""
        ...

    async def pods(self, labels: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
        """The labels of all pods that carry `labels` (an empty value: whatever it is), by name."""
        ...

    async def create(self, request: ContainerRequest) -> str:
        """Make a container; returns its id. Never restarted by the runtime itself: no policy.

        The one of that name that carries the same labels is it; one with others is in the way
        (NameTaken). The image has to be there, see `ensure_image`.
        """
        ...

    async def start(self, id: str) -> None:
        """Raises `Refused` also when it is gone."""
        ...

    async def stop(self, id: str, grace: float) -> None:
        """Its stop signal, and SIGKILL after `grace` seconds. Returns when it has ended."""
        ...

    async def remove(self, id: str) -> None:
        """Kill it if it runs, and remove it with its anonymous volumes."""
        ...

    async def remove_volumes(self, prefix: str) -> None:
        """Remove the scratch volumes whose names begin with `prefix`, once nothing uses them."""
        ...

    async def inspect(self, id: str) -> Detail | None:
        """None: it is gone."""
        ...

    async def exec(self, id: str, command: tuple[str, ...], timeout: float) -> ExecResult:
        """Run a command in a running container.

        Raises `TimeoutError` after `timeout` seconds: the command may then still run there.
        """
        ...

    async def tail(self, id: str, lines: int) -> Lines:
        """The last lines that it wrote since it was last started, oldest first, each cut to 500
        characters."""
        ...

    async def close(self) -> None:
        """Let go of all connections. Idempotent."""
        ...
