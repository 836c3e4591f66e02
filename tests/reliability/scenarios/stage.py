"""A cluster that is broken on purpose again and again: what is seen of it, and whether it is whole.

Whole means: every node is Ready and connected, with its Podman; the master serves from its store;
each workload runs as asked, in the same containers as before; what was acknowledged last is there,
and something new can be written; no program has written a traceback; and no node was NotReady
meanwhile but those whose loss was expected.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, Self

from grpclib import GRPCError
from grpclib.exceptions import StreamTerminatedError

from piccolo.cli import exit_codes
from piccolo.core.errors import PiccoloError
from piccolo.rpc import wire
from tests.e2e.asking import DETECTED, Stub, ask, condition, connected, degraded, events, nodes
from tests.e2e.workloads import Cluster, Copy, workload
from tests.lab.cluster import Lab
from tests.lab.errors import LabError
from tests.lab.faults import Faults
from tests.lab.process import Proc

NODES = ("node1", "node2", "node3")
NODE, STEADY = "node1", "node3"  # what is broken, and where writes are asked for
DISK_MB = 32
REFUSED = 15.0  # s until a write that cannot be kept is refused
AWAY = (PiccoloError, GRPCError, StreamTerminatedError, OSError, TimeoutError)

Store = Literal["sqlite", "etcd"]


class Stage:
    """A master and three nodes with a container each. Closed at the end of a `with` block."""

    def __init__(self, store: Store = "sqlite") -> None:
        self.store = store
        self._stack = ExitStack()
        try:
            self.lab = self._stack.enter_context(
                Lab(NODES, store=store, disk_mb=DISK_MB, clocks=True)
            )
            self.lab.start_master()
            self.lab.start_agents()
            self.watch = self._stack.enter_context(self.lab.watch_nodes())
            self.cluster = Cluster(self.lab)
            self.cluster.start(*(workload(f"app-{name}", name) for name in NODES))
            self.cluster.wait_settled()
        except BaseException:
            self._stack.close()
            raise
        self.begun = time.monotonic()
        self._asked = 0  # the last number that was asked to be written
        self.acknowledged = 0  # the last one of which that was acknowledged
        self._lost: set[str] = set()  # nodes whose loss is expected
        self._extra: list[str] = []  # workloads that were declared meanwhile
        self._before: dict[str, Copy] = {}
        self._told: set[str] = set()  # events

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # ---- before ----

    def prepare(self) -> None:
        self._lost.clear()
        self._extra.clear()
        if not self.watch.proc.alive:  # its context was broken when it came back
            self.watch = self._stack.enter_context(self.lab.watch_nodes())
        self.write()
        self._before = {n: self.cluster.copy(n, f"app-{n}") for n in NODES}
        self._told = {event["id"] for event in events(self.lab)}
        self.begun = time.monotonic()

    # ---- breaking ----

    def begin(self) -> Faults:
        """From now on the time counts."""
        self.begun = time.monotonic()
        return self.lab.faults

    @property
    def took(self) -> float:
        return time.monotonic() - self.begun

    def write(self) -> None:
        """Have a number kept. Raises one of `AWAY` when that is not acknowledged."""
        self._asked += 1
        number = self._asked
        request = wire.LabelNodeRequest(node=STEADY, set={"tried": str(number)}, overwrite=True)

        async def label(stub: Stub) -> None:
            await stub.label_node(request)

        ask(self.lab, label, REFUSED)
        self.acknowledged = number

    def declare(self, name: str, node: str = NODE) -> None:
        """A further workload, which is expected to run when all is over."""
        self._extra.append(name)
        self.cluster.start(workload(name, node))

    # ---- what is seen while it is broken ----

    def lost(self, names: Iterable[str], reason: str, within: float = DETECTED) -> str:
        """That these nodes become NotReady, and how soon."""
        worst = 0.0
        for name in names:
            self._lost.add(name)
            change = self.watch.wait_status(name, "NotReady", 3 * within, since=self.begun)
            worst = max(worst, change.at - self.begun)
            found = change.object["reason"]
            assert found == reason, f"{name} is NotReady for {found}, not {reason}"
        assert worst <= within, f"NotReady after {worst:.1f} s"
        return f"NotReady ({reason}) after {worst:.1f} s"

    def may_be_lost(self, *names: str) -> None:
        self._lost.update(names)

    def condition(self, name: str, kind: str, wanted: bool, within: float) -> str:
        self.until(
            lambda: condition(nodes(self.lab)[name], kind) is wanted,
            within,
            f"the condition {kind} is not {wanted}",
        )
        return f"{kind} {'true' if wanted else 'false'} after {self.took:.1f} s"

    def event(self, reason: str, about: str, within: float) -> str:
        self.until(
            lambda: any(
                (e["reason"], e["node"]) == (reason, about) and e["id"] not in self._told
                for e in events(self.lab)
            ),
            within,
            f"no event {reason}",
        )
        return f"event {reason} after {self.took:.1f} s"

    def stays_ready(self, seconds: float) -> str:
        """Wait; that nobody is blamed is seen in the end."""
        time.sleep(seconds)
        self.check_nobody_else_lost()
        return f"Ready for {seconds:g} s"

    def session_is_new(self, name: str, before: int, within: float) -> str:
        self.until(
            lambda: self.generation(name) > before and connected(self.lab, name),
            within,
            f"{name} has no new session",
        )
        return f"connected again after {self.took:.1f} s"

    def generation(self, name: str) -> int:
        return int(nodes(self.lab)[name]["generation"])

    def refused(self) -> str:
        """A write fails soon, is not acknowledged, and what is known is served all the same."""
        while time.monotonic() < self.begun + 3 * REFUSED:
            asked = time.monotonic()
            try:
                self.write()  # the first ones may still fit
            except AWAY:
                break
        else:
            raise AssertionError("writes are still acknowledged")
        took = time.monotonic() - asked
        label = ("label", "node", STEADY, "refused=yes", "--overwrite")
        code = self.lab.piccolo(*label, check=False).returncode
        assert code == exit_codes.UNREACHABLE, f"a client that writes ends with {code}"
        done = self.lab.piccolo("get", "nodes", "-o", "json")
        assert {n["name"] for n in json.loads(done.stdout)} >= set(NODES), "nodes are missing"
        assert "degraded" in done.stderr, "nobody is told that the master is degraded"
        return f"a write is refused within {took:.1f} s, reads are served"

    def client_is_told(self) -> str:
        """A client without a master ends soon, and says why."""
        begun = time.monotonic()
        done = self.lab.piccolo("get", "nodes", check=False, timeout=60.0)
        took = time.monotonic() - begun
        assert done.returncode == exit_codes.UNREACHABLE, f"a client ends with {done.returncode}"
        assert self.lab.address in done.stderr, f"a client says: {done.stderr.strip()}"
        return f"a client is told within {took:.1f} s"

    def ends(self, program: Proc, *words: str, within: float = 10.0) -> str:
        """A program that cannot start ends, and says what is wrong."""
        code = program.wait(within)
        said = program.output()
        assert code not in (0, None), "it ends as if all were well"
        for word in words:
            assert word in said, f"it does not say {word}: {said.strip()[-200:]}"
        return f"it ends after {time.monotonic() - program.started_at:.1f} s, and says why"

    def check_containers(self, fresh: bool) -> None:
        """That all run on, whatever is broken: by their processes, for there may be no Podman."""
        for name, copy in self._before.items():
            if not (fresh and name == NODE):
                assert Path(f"/proc/{copy.pid}").exists(), f"the container on {name} has ended"

    def check_nobody_else_lost(self) -> None:
        lost = {c.name for c in self.watch.since(self.begun) if c.status == "NotReady"}
        assert lost <= self._lost, f"NotReady: {', '.join(sorted(lost - self._lost))}"

    # ---- after ----

    def heal(self, within: float, *, fresh: bool = False, undo: bool = True) -> float:
        """End the fault. Returns how many seconds later the cluster was whole."""
        begun = time.monotonic()
        if undo:
            self.lab.faults.heal()
        while amiss := self._amiss(fresh):
            assert time.monotonic() - begun < within, f"{within:g} s later: {amiss}"
            time.sleep(0.1)
        took = time.monotonic() - begun
        self.check_nobody_else_lost()
        if self._extra:
            self.cluster.delete(*self._extra)
        return took

    def _amiss(self, fresh: bool) -> str:
        """What is not as it was; empty: nothing."""
        try:
            found = nodes(self.lab)
            for name in NODES:
                if found[name]["status"] != "Ready" or not connected(self.lab, name):
                    return f"{name} is {found[name]['status']}: {found[name]['message']}"
                if not condition(found[name], "RuntimeReady"):
                    return f"{name} has no Podman"
            label = int(found[STEADY]["labels"].get("tried", "0"))
            if not self.acknowledged <= label <= self._asked:
                return f"{self.acknowledged} was acknowledged, {label} is there"
            if why := degraded(self.lab):
                return f"degraded: {why}"
            for name, of in self.cluster.all().items():
                if not of["settled"] or of["failed"]:
                    return f"{name} is {of['state']}: {of['message']}"
            for name, before in self._before.items():
                now = self.cluster.copy(name, before.workload)
                if now.state != "running" or (now.run == before.run) is (fresh and name == NODE):
                    return f"the container of {name} was {before.run}, is {now.run} {now.state}"
            for program in (self.lab.master_proc, *(self.lab.agents[name] for name in NODES)):
                if program is None or "Traceback" in program.output():
                    return "a traceback in a log"
            self.write()
        except (*AWAY, LabError, LookupError, ValueError) as error:
            return f"no answer: {error!r}"
        return ""

    def until(self, holds: Callable[[], object], within: float, else_: str) -> None:
        """Wait until that holds, `within` seconds since the beginning of the fault."""
        while not holds():
            assert self.took < within, f"after {within:g} s: {else_}"
            time.sleep(0.1)
