"""What an agent has on its disk: it outlives the agent, killed at whatever moment.

`Held` and how a change is taken over are the real ones; only the file itself is made here.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import gettempdir

from piccolo.agent.workloads.dependencies import Dependencies
from piccolo.agent.workloads.desired import Desired, Everything, Held, Spec, hold
from piccolo.core.pods.restarts import Record
from piccolo.core.workloads.instances import InstanceStatus
from piccolo.security.files import private_dir


@dataclass(slots=True)
class Disk:
    everything: dict[str, Held] = field(default_factory=dict)
    whole: bool = False  # there is a file, and no piece of it is missing
    once: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # dependencies that held
    records: dict[str, Record] = field(default_factory=dict)  # by key of the instance
    folders: dict[str, None] = field(default_factory=dict)  # of instances, in order
    full: bool = False

    def lose_a_piece(self, key: str) -> None:
        """A line of the file is damaged."""
        if self.everything.pop(key, None) is not None:
            self.whole = False


class DesiredOnDisk(Desired):
    def __init__(self, disk: Disk) -> None:
        super().__init__(_nowhere())
        self._disk = disk
        self.everything, self.whole = dict(disk.everything), disk.whole

    def _hold(self, spec: Spec) -> Held:
        return _hold(spec.key, spec.spec, tuple(spec.secrets.items()))

    def _write(self, wanted: Everything, fresh: Mapping[str, Spec]) -> None:
        if self._disk.full:
            raise OSError(errno.ENOSPC, "no space left on device")
        self._disk.everything, self._disk.whole = dict(wanted), True


@cache
def _nowhere() -> Path:
    """Nothing is written there."""
    return private_dir(Path(gettempdir()) / "piccolo-pure-simulation")


@cache
def _hold(key: str, spec: bytes, secrets: tuple[tuple[str, str], ...]) -> Held:
    return hold(Spec(key, spec, dict(secrets)))


class DependenciesOnDisk(Dependencies):
    def __init__(self, disk: Disk, statuses: Mapping[str, InstanceStatus]) -> None:
        super().__init__(_nowhere(), statuses)
        self._disk = disk
        self._once = {key: dict(held) for key, held in disk.once.items()}

    @property
    def unwritten(self) -> bool:
        return self._news.is_set()

    def write(self) -> None:
        self._news.clear()
        if not self._disk.full:
            self._disk.once = {key: dict(held) for key, held in self._once.items()}
