"""A master that is lost, and made anew from a backup that does not know the last changes."""

from __future__ import annotations

import itertools
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from piccolo.rpc import wire
from tests.e2e.asking import ask, connected, events, nodes
from tests.e2e.workloads import Cluster, Copy, Document, until, workload
from tests.lab.cluster import Lab

PASSPHRASE = {"PICCOLO_PASSPHRASE": "correct horse battery staple"}
OLD, JOINING = ("node1", "node2"), "node3"
SECRET = "door"
REFUSED = "RunsAnotherClusters"
BACK = 40.0  # s for everybody to come back, on a machine that does other things as well


@dataclass(frozen=True, slots=True)
class Asked:
    """A workload as it was asked for last."""

    node: str
    version: int = 0
    secret: bool = False

    def document(self, name: str) -> Document:
        env: dict[str, object] = {"VERSION": str(self.version)}
        if self.secret:
            env["KEY"] = {"secret": SECRET, "key": "key"}
        return workload(name, self.node, env=env)


@dataclass(slots=True)
class Seen:
    """The cluster at one moment."""

    generations: dict[str, int]
    copies: dict[str, Copy]  # by name

    @property
    def runs(self) -> dict[str, tuple[str, int]]:
        return {name: copy.run for name, copy in self.copies.items()}


@dataclass(slots=True)
class LostMaster:
    """`begin`, then `live`, then `lose`. `wrong` is what must not be, in words."""

    lab: Lab
    chance: random.Random
    wrong: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)  # what was done since the backup
    asked: dict[str, Asked] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)  # to the backup
    took: float = 0.0  # s from the start of the new master until it had heard from everybody
    _cluster: Cluster = field(init=False)
    _number: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self._cluster = Cluster(self.lab)

    # ---- what happens ----

    def begin(self, workloads: int = 4) -> None:
        """A cluster at work, of which a backup is made."""
        self.lab.start_master()
        for name in OLD:
            self.lab.start_agent(name)
        until(lambda: nodes(self.lab).keys() >= set(OLD) and connected(self.lab, *OLD))
        self._set_secret("first")
        for number in range(workloads):
            self._apply(f"old{number}", Asked(OLD[number % 2], secret=number == 0))
        self._cluster.wait_settled(*self.asked)
        self.known = set(self.asked)
        self._run("backup", self._backup)

    def live(self, changes: int = 0) -> None:
        """Each kind of change once, and so many more, in any order."""
        kinds: list[Callable[[], None]] = [self._add, self._change, self._delete, self._secret]
        todo = [*kinds, *self.chance.choices(kinds, k=changes), self._join]
        self.chance.shuffle(todo)
        for change in todo:
            change()
        self._cluster.wait_settled(*self.asked, within=BACK)
        until(lambda: self._cluster.all().keys() == self.asked.keys(), BACK)

    def lose(self) -> Seen:
        """Kill the master, throw its disk away, and start another from the backup."""
        before = self.see()
        master = self.lab.master_proc
        assert master is not None
        master.kill()
        master.wait()
        data = str(self.lab.master.dir / "data")
        self._run("restore", self._backup, "--data-dir", data, "--replace")
        begun = time.monotonic()
        self.lab.start_master()
        self.look_at_status()
        names = list(self._all_nodes())
        until(lambda: nodes(self.lab).keys() == set(names) and connected(self.lab, *names), BACK)
        until(lambda: not self.rebuilding(), BACK)
        self.took = time.monotonic() - begun
        back = self.known - self.asked.keys()
        self._cluster.wait_settled(*self.asked, *back, within=BACK)
        self._judge(before, self.see(), back)
        return before

    def restart(self, before: Seen) -> None:
        """The new master ends and starts again: that is nothing to anybody."""
        master = self.lab.master_proc
        assert master is not None
        now = self.see()
        master.kill()
        master.wait()
        self.lab.start_master()
        if said := self.rebuilding():
            self.wrong.append(f"after another start it says: {said}")
        names = list(self._all_nodes())
        until(lambda: connected(self.lab, *names), BACK)
        time.sleep(1.0)
        after = self.see()
        if after != now:
            self.wrong.append("another start of the master changed something")

    def forget(self, before: Seen) -> None:
        """Also the backup is lost, and nobody tells the new master that it is to rebuild."""
        self._begin_anew()
        busy = {copy.node for copy in before.copies.values()}
        until(lambda: {e["node"] for e in events(self.lab) if e["reason"] == REFUSED} == busy, BACK)
        time.sleep(1.0)
        copies: dict[str, Copy] = {}
        for name in self._all_nodes():
            copies |= self._cluster.copies(name)
        if copies != before.copies:
            self.wrong.append(f"a master that knows nothing left {copies}, not {before.copies}")

    def lose_everything(self, before: Seen) -> None:
        """Also the backup: the nodes join a new master by tokens, and bring what they hold."""
        self._begin_anew("--rebuild", "10s")
        until(lambda: not self.rebuilding(), BACK)
        now = self.see()
        self._cluster.wait_settled(*now.generations, within=BACK)
        if (after := self.see()) != before:
            self.wrong.append(f"without a backup the nodes brought {after}, not {before}")

    def _begin_anew(self, *flags: str) -> None:
        master = self.lab.master_proc
        assert master is not None
        master.kill()
        master.wait()
        shutil.rmtree(self.lab.master.dir / "data")
        self.lab.start_master(*flags)
        self.lab.token = ""  # of the new authority
        for name in self._all_nodes():
            self.lab.agents[name].kill()
            self.lab.agents[name].wait()
            self.lab.start_agent(name)

    # ---- what is seen ----

    def see(self) -> Seen:
        reply = ask(self.lab, lambda stub: stub.get_workloads(wire.GetWorkloadsRequest()))
        copies: dict[str, Copy] = {}
        for name in self._all_nodes():
            copies |= self._cluster.copies(name)
        return Seen({w.name: w.generation for w in reply.workloads}, copies)

    def rebuilding(self) -> str:
        """What `piccolo status` says of it."""
        reply = ask(self.lab, lambda stub: stub.get_cluster_status(wire.GetClusterStatusRequest()))
        return reply.rebuilding

    def look_at_status(self) -> None:
        said = self.rebuilding()
        if not said.startswith("rebuilding from the backup of "):
            self.wrong.append(f"piccolo status does not tell that it is rebuilding: {said!r}")

    def _judge(self, before: Seen, after: Seen, back: set[str]) -> None:
        for name, generation in before.generations.items():
            if after.generations.get(name) != generation:
                seen = after.generations.get(name, "none")
                self.wrong.append(f"{name} has generation {seen}, not {generation}")
        for name, run in before.runs.items():
            if after.runs.get(name) != run:
                self.wrong.append(f"{name} was stopped or started again")
        for copy in after.copies.values():
            if copy.name not in before.copies and copy.workload not in back:
                self.wrong.append(f"{copy.name} was started, though nobody asked for it")
        certified = {c.node_name for c in self._certificates() if c.role == "agent"}
        if lacking := set(self._all_nodes()) - certified:
            self.wrong.append(f"no certificate is known of {', '.join(lacking)}")
        started = {e["subject"] for e in events(self.lab) if e["reason"] == "StartedAgain"}
        if started != back:
            self.wrong.append(f"told as started again: {started}, not {back}")

    def _certificates(self) -> list[wire.Certificate]:
        request = wire.GetCertificatesRequest()
        return ask(self.lab, lambda stub: stub.get_certificates(request)).certificates

    # ---- changes ----

    def _apply(self, name: str, asked: Asked) -> None:
        self._cluster.start(asked.document(name))
        self.asked[name] = asked
        self.history.append(f"apply {name} on {asked.node}, version {asked.version}")

    def _add(self) -> None:
        node = self.chance.choice(list(self._all_nodes()))
        self._apply(f"new{next(self._number)}", Asked(node, secret=self.chance.random() < 0.5))

    def _change(self) -> None:
        name = self.chance.choice(sorted(self.asked))
        asked = self.asked[name]
        self._apply(name, Asked(asked.node, asked.version + 1, asked.secret))

    def _delete(self) -> None:
        name = self.chance.choice(sorted(self.asked.keys() - {"old0"}))  # which has the secret
        request = wire.DeleteWorkloadsRequest(names=[name])
        ask(self.lab, lambda stub: stub.delete_workloads(request))
        del self.asked[name]
        self.history.append(f"delete {name}")

    def _secret(self) -> None:
        self._set_secret(f"value {next(self._number)}")
        self.history.append("set the secret")

    def _set_secret(self, value: str) -> None:
        request = wire.PutSecretRequest(name=SECRET, data={"key": value.encode()}, replace=True)
        ask(self.lab, lambda stub: stub.put_secret(request))

    def _join(self) -> None:
        self.lab.start_agent(JOINING)
        until(lambda: JOINING in nodes(self.lab) and connected(self.lab, JOINING))
        self.history.append(f"{JOINING} joins")
        self._apply(f"new{next(self._number)}", Asked(JOINING))

    def _all_nodes(self) -> tuple[str, ...]:
        return (*OLD, JOINING) if JOINING in self.lab.agents else OLD

    def _run(self, *args: str) -> None:
        argv = [*self.lab.master.prefix(), str(self.lab.program), *args]
        self.lab.site.run(argv, env=self.lab.client_env() | PASSPHRASE, timeout=60)

    @property
    def _backup(self) -> str:
        return str(self.lab.master.dir / "cluster.backup")
