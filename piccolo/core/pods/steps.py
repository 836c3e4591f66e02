"""The words between the state machine of an instance and the shell that executes them.

An action is executed once, and answered by exactly one event that carries it, except `Tell` and
`Tail`, which need no answer. Of actions with the same `slot` there is one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from piccolo.core.model import Container as Listed
from piccolo.core.model import Severity
from piccolo.core.pods.probing import ProbeKind
from piccolo.core.pods.restarts import Record
from piccolo.core.workloads.containers import Container, Probe, PullPolicy
from piccolo.core.workloads.instances import Instance

# ---- actions ----


@dataclass(frozen=True, slots=True)
class Look:
    """List the pods of the instance, and its containers too where asked for."""

    containers: bool
    slot = "pod"


@dataclass(frozen=True, slots=True)
class EnsureImage:
    image: str
    pull: PullPolicy

    @property
    def slot(self) -> str:
        return f"image {self.pull} {self.image}"


@dataclass(frozen=True, slots=True)
class CreatePod:
    instance: Instance
    slot = "pod"


@dataclass(frozen=True, slots=True)
class RemovePod:
    name: str
    slot = "pod"


@dataclass(frozen=True, slots=True)
class Clean:
    """Remove the scratch volumes and the files of what there was; `last`: and the record."""

    last: bool
    slot = "pod"


@dataclass(frozen=True, slots=True)
class Create:
    """Write the container's files, and make it."""

    instance: Instance
    container: Container

    @property
    def slot(self) -> str:
        return f"container {self.container.name}"


@dataclass(frozen=True, slots=True)
class Start:
    id: str
    instance: Instance
    container: Container

    @property
    def slot(self) -> str:
        return self.id


@dataclass(frozen=True, slots=True)
class Stop:
    """`why`: what its end is to count as; empty: it is removed anyway."""

    id: str
    grace: float
    why: str = ""

    @property
    def slot(self) -> str:
        return self.id


@dataclass(frozen=True, slots=True)
class Remove:
    id: str

    @property
    def slot(self) -> str:
        return self.id


@dataclass(frozen=True, slots=True)
class Inspect:
    id: str

    @property
    def slot(self) -> str:
        return self.id


@dataclass(frozen=True, slots=True)
class Save:
    """Write the record, to stay."""

    record: Record
    slot = "record"


@dataclass(frozen=True, slots=True)
class Check:
    """Make the check of a probe; `run` tells the runs of a container apart."""

    id: str
    name: str
    run: int
    kind: ProbeKind
    probe: Probe
    address: str

    @property
    def slot(self) -> str:
        return f"{self.id} {self.kind}"


@dataclass(frozen=True, slots=True)
class Tell:
    severity: Severity
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Tail:
    """Tell, with the last lines that the container wrote."""

    id: str
    tell: Tell


Changing = CreatePod | RemovePod | Clean | Create | Start | Stop | Remove | Save
Answered = Changing | Look | EnsureImage | Inspect | Check
Action = Answered | Tell | Tail

# ---- events ----


@dataclass(frozen=True, slots=True)
class Observed:
    """All containers of the instance, as the runtime listed them: perhaps a while ago."""

    containers: Sequence[Listed]


@dataclass(frozen=True, slots=True)
class Updated:
    instance: Instance


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why it must not be started for the first time; empty: it may."""

    why: str


@dataclass(frozen=True, slots=True)
class Held:
    """Why it must not run at all; None: it may."""

    why: str | None


@dataclass(frozen=True, slots=True)
class Retired:
    """It is to be stopped and removed with all that belongs to it."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Done:
    action: Changing | EnsureImage
    id: str = ""  # of what was created


@dataclass(frozen=True, slots=True)
class Refused:
    """It was not done, and will not be as things are."""

    action: Answered
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Away:
    """The runtime does not answer. It may have been done or not."""

    action: Answered
    message: str


@dataclass(frozen=True, slots=True)
class Looked:
    action: Look
    containers: Sequence[Listed]
    pods: Mapping[str, str]  # name → hash


@dataclass(frozen=True, slots=True)
class Inspection:
    state: str  # the runtime's word
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    address: str = ""
    started: bool = True  # it was started, ever
    finished: bool = True  # … and its end since then was noted: not so after a power cut


@dataclass(frozen=True, slots=True)
class Inspected:
    action: Inspect
    found: Inspection | None  # None: it is gone


@dataclass(frozen=True, slots=True)
class Checked:
    action: Check
    well: bool | None  # None: it could not be made
    message: str = ""


Answer = Done | Refused | Away | Looked | Inspected | Checked
Event = Observed | Updated | Blocked | Held | Retired | Tick | Answer
