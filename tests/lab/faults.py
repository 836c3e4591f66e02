"""All that can be broken in a lab, with its undo.

    with lab.faults.cut("node3"):
        ...
    fault = lab.faults.fill("node2", leave=4096)
    lab.faults.heal("node2")  # or fault.heal(), or the end of the lab

What is broken is one part of one host at a time: its cable, its clock, its disk, a file, a program.
Breaking the same part again takes the place of the first fault. `heal` puts parts right; what was
killed or stopped runs again then. What happens once and is over (`reset`, `restart`) has no undo.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tests.lab.clock import RIGHT
from tests.lab.errors import LabError
from tests.lab.net import Direction, Network
from tests.lab.programs import Programs

if TYPE_CHECKING:
    from tests.lab.cluster import Lab
    from tests.lab.disk import Disk

CORRUPTED = 16  # bytes, where nothing else is said


@dataclass(frozen=True, slots=True)
class Fault:
    """A part of a host that is broken. At the end of a `with` block it is healed."""

    host: str
    part: str
    what: str  # for people
    undo: Callable[[], object]
    faults: Faults

    def __str__(self) -> str:
        return f"{self.host}: {self.part} {self.what}"

    def heal(self) -> None:
        """Nothing happens when it was healed already, or another took its place."""
        self.faults.healed(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.heal()


class Faults:
    """The faults of one lab. Raises `LabError` for what this lab or machine cannot do."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._programs = Programs(lab)
        self._active: dict[tuple[str, str], Fault] = {}

    # ---- what is broken ----

    @property
    def active(self) -> list[Fault]:
        """In the order in which it was broken."""
        return list(self._active.values())

    def heal(self, host: str = "", part: str = "") -> list[Fault]:
        """Put right what is broken: everything, or of one host, or one part of it.

        Programs come last, so that they find their disk and their cable in order.
        """
        if host:
            self._programs.check_host(host)
        chosen = [
            fault
            for fault in reversed(self.active)
            if host in ("", fault.host) and part in ("", fault.part)
        ]
        chosen.sort(key=lambda fault: self._programs.has(fault.host, fault.part))
        for fault in chosen:
            self.healed(fault)
        return chosen

    def healed(self, fault: Fault) -> None:
        if self._active.get((fault.host, fault.part)) is fault:
            del self._active[fault.host, fault.part]
            fault.undo()

    def _broken(self, host: str, part: str, what: str, undo: Callable[[], object]) -> Fault:
        fault = Fault(host, part, what, undo, self)
        self._active.pop((host, part), None)  # it comes last now
        self._active[host, part] = fault
        return fault

    # ---- the cable ----

    def cut(self, host: str, direction: Direction = "both") -> Fault:
        """Pull the cable silently. "in": nothing reaches the host; "out": nothing leaves it."""
        self._lab.net.cut(host, direction)
        what = "is cut" if direction == "both" else f'is cut for what goes "{direction}"'
        return self._broken(host, "cable", what, lambda: self._lab.net.heal(host))

    def loss(self, host: str, percent: float) -> Fault:
        """Lose that share of the packets, in each direction independently."""
        self._lab.net.loss(host, percent)
        what = f"loses {percent:g} % of the packets"
        return self._broken(host, "cable", what, lambda: self._lab.net.heal(host))

    def reset(self, host: str) -> int:
        """Break off the TCP connections of a host by a reset at both ends; returns how many."""
        self._programs.check_host(host)
        if not isinstance(self._lab.net, Network):
            raise LabError("connections are reset on hosts with a network of their own: needs root")
        kill = ["ss", "--kill", "--no-header", "--tcp", "--numeric", "state", "established"]
        done = self._lab.site.run([*self._lab.net.hosts[host].prefix(), *kill])
        if done.stderr:  # it does not exit with an error
            raise LabError(f"this kernel cannot reset connections: {done.stderr.strip()}")
        return len(done.stdout.splitlines())

    # ---- programs: agent and podman on nodes, master and etcd on the master's host ----

    def kill(self, host: str, program: str = "") -> Fault:
        """`kill -9`, of the program alone."""
        part = self._programs.named(host, program)
        self._programs.kill(host, part)
        return self._broken(host, part, "is killed", lambda: self._programs.start(host, part))

    def stop(self, host: str, program: str = "") -> Fault:
        """End it in order (SIGTERM), and wait for that."""
        part = self._programs.named(host, program)
        self._programs.stop(host, part)
        return self._broken(host, part, "is stopped", lambda: self._programs.start(host, part))

    def freeze(self, host: str, program: str = "") -> Fault:
        """Let it stand still (SIGSTOP), with its children: it answers and closes nothing."""
        part = self._programs.named(host, program)
        self._programs.running(host, part).freeze()
        return self._broken(host, part, "is frozen", lambda: self._programs.thaw(host, part))

    def restart(self, host: str, program: str = "") -> None:
        """Stop it if it runs, start it as it was started before."""
        part = self._programs.named(host, program)
        self._active.pop((host, part), None)
        if self._programs.alive(host, part):
            self._programs.stop(host, part)
        self._programs.start(host, part)

    # ---- the disk that the data directory is ----

    def fill(self, host: str, leave: int = 0) -> Fault:
        """Leave so many bytes free. Files that are there keep the blocks they have."""
        disk = self._disk(host)
        disk.fill(leave)
        return self._broken(host, "space", f"has {disk.free_bytes} bytes left", disk.free)

    def slow(self, host: str, writes: int = 4) -> Fault:
        """Let the disk be written to so many times a second; one fsync is two or three writes."""
        disk = self._disk(host)
        disk.slow(writes)
        return self._broken(host, "speed", f"is {writes} writes a second", disk.fast)

    def fail(self, host: str) -> Fault:
        """The disk has an error, and is read-only from now on. Its undo stops who uses it, repairs
        it and starts them again.
        """
        disk = self._disk(host)
        disk.fail()
        return self._broken(host, "disk", "failed: read-only", lambda: self._off(host, disk.repair))

    def _disk(self, host: str) -> Disk:
        self._programs.check_host(host)
        if host not in self._lab.disks:
            raise LabError(f"{host} has no disk of its own: make the lab with disk_mb (--disk MB)")
        return self._lab.disks[host]

    def _off(self, host: str, then: Callable[[], object]) -> None:
        """Do something while nothing of PICCOLO runs on a host."""
        part = self._programs.named(host)
        ran = self._programs.alive(host, part)
        if ran:
            self._programs.kill(host, part)
        then()
        if ran:
            self._programs.start(host, part)

    # ---- files in the data directory ----

    def corrupt(self, host: str, file: str, at: int | None = None, size: int = CORRUPTED) -> Fault:
        """Invert some bytes of a file, by default in its middle. The undo puts it back as it was,
        unless it was written since.
        """
        path = self._file(host, file)
        self.heal(host, file)
        before = path.read_bytes()
        start = max(0, (len(before) - size) // 2) if at is None else at
        piece = bytes(byte ^ 0xFF for byte in before[start : start + size])
        if not piece:
            raise LabError(f"{file} has {len(before)} bytes: there are none at {start}")
        after = before[:start] + piece + before[start + size :]
        what = f"is corrupt from byte {start} to {start + len(piece)}"
        return self._rewritten(host, file, path, before, after, what)

    def truncate(self, host: str, file: str, size: int | None = None) -> Fault:
        """Cut a file off, by default in its middle. The undo is as that of `corrupt`."""
        path = self._file(host, file)
        self.heal(host, file)
        before = path.read_bytes()
        after = before[: len(before) // 2 if size is None else size]
        what = f"is cut off after {len(after)} of {len(before)} bytes"
        return self._rewritten(host, file, path, before, after, what)

    def _file(self, host: str, file: str) -> Path:
        self._programs.check_host(host)
        directory = self._data(host)
        path = directory / file
        if not path.is_file():
            there = sorted(
                str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()
            )
            raise LabError(f"{host} has no file {file}: there are {', '.join(there) or 'none'}")
        return path

    def _data(self, host: str) -> Path:
        return self._lab.net.hosts[host].dir / "data"

    def _rewritten(
        self, host: str, file: str, path: Path, before: bytes, after: bytes, what: str
    ) -> Fault:
        def undo() -> None:
            if path.exists() and path.read_bytes() == after:
                _overwrite(path, before)

        _overwrite(path, after)
        return self._broken(host, file, what, undo)

    # ---- the clock ----

    def clock(self, host: str, to: str) -> Fault:
        """Set it, in the words of faketime(1): "+1h", "-5m", "@2030-01-01 00:00:00"."""
        self._programs.check_host(host)
        if host not in self._lab.clocks:
            raise LabError(
                f"the clock of {host} cannot be set: make the lab with clocks (--clocks)"
            )
        clock = self._lab.clocks[host]
        clock.set(to)
        return self._broken(host, "clock", f"is set to {to}", lambda: clock.set(RIGHT))

    # ---- the machine ----

    def replace(self, host: str) -> Fault:
        """Another machine takes a host's place: same name and address, empty disk, no containers.

        An agent is started on it at once. A master is not: it would begin a cluster of its own, and
        is to be restored first. The undo brings the old machine back, with its data, and starts
        what ran on it; its containers are gone.
        """
        part = self._programs.named(host)
        again = (host, "machine") in self._active  # it is not the first one's place it takes
        ran = self._programs.alive(host, part) or (again and self._lab.was_started(host))
        what = "is another one"
        if part == "master":
            self._programs.end(host, part)
            self._exchange(host)
            what += ": restore a backup there, then ./dev lab restart master"
        else:
            self._off(host, lambda: self._exchange(host))

        def undo() -> None:
            self._off(host, lambda: self._put_back(host))
            if ran:  # though the other machine's agent may have ended, because nobody let it in
                self._programs.start(host, part)

        return self._broken(host, "machine", what, undo)

    def _exchange(self, host: str) -> None:
        if host == "master":
            self._lab.token = ""  # which only the old one is sure to know
        if host in self._lab.podman:
            self._lab.podman[host].podman("rm", "--force", "--all", "--time", "0")
        if host in self._lab.disks:
            self._lab.disks[host].exchange()
        else:
            data = self._data(host)
            data.mkdir(mode=0o700, exist_ok=True)  # nothing may ever have run there
            if data.with_suffix(".old").exists():  # it is not the first one's place it takes
                shutil.rmtree(data)
            else:
                data.rename(data.with_suffix(".old"))

    def _put_back(self, host: str) -> None:
        if host == "master":
            self._lab.token = ""
        if host in self._lab.disks:
            self._lab.disks[host].put_back()
        else:
            data = self._data(host)
            shutil.rmtree(data, ignore_errors=True)
            data.with_suffix(".old").rename(data)

    def clone(self, host: str) -> Fault:
        """A copy of a node's disk runs in another machine, at another address, at the same time."""
        self._check_node(host)
        twin = f"{host[:9]}-clone"
        if twin not in self._lab.nodes:
            self._lab.add_node(twin)
        data = self._lab.nodes[twin].dir / "data"
        if self._programs.alive(twin, "agent"):
            self._programs.kill(twin, "agent")
        shutil.copytree(self._lab.nodes[host].dir / "data", data, symlinks=True, dirs_exist_ok=True)
        self._lab.start_agent(twin, called=host)
        undo = lambda: self._programs.end(twin, "agent")  # noqa: E731
        return self._broken(host, "clone", f"runs in {twin} as well", undo)

    def _check_node(self, host: str) -> None:
        self._programs.check_host(host)
        if host not in self._lab.nodes:
            raise LabError(f"{host} is no node: there are {', '.join(self._lab.nodes)}")


def _overwrite(path: Path, content: bytes) -> None:
    """In place, as a bad disk would: who has it open sees it."""
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()
