"""What people ask of the cluster, at random: and what they were promised."""

from __future__ import annotations

import random
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from piccolo.core.errors import PiccoloError, Unavailable
from piccolo.core.workloads.containers import (
    Container,
    ExecCheck,
    Mount,
    MountKind,
    Port,
    Probe,
    Probes,
    SecretKey,
)
from piccolo.core.workloads.workload import (
    Dependency,
    DependencyCondition,
    Isolation,
    OnIsolation,
    Placement,
    Restart,
    RestartPolicy,
    Update,
    UpdateStrategy,
    Workload,
)
from piccolo.master.cluster import Cluster
from piccolo.master.workloads.workload_manager import Outcome
from tests.simulation.master import Master

SECRETS = ("s0", "s1")
ZONES = ("a", "b")
JOB, FLAKY, STEADY = "job", "flaky", "steady"  # what containers do, by their image


class People:
    def __init__(self, rng: random.Random, names: int, nodes: list[str]) -> None:
        self.promised: dict[str, Workload | None] = {}  # None: it was deleted
        self._rng = rng
        self._names = [f"w{i}" for i in range(names)]
        self._nodes = nodes
        self._versions = 0

    async def ask(self, master: Master) -> str:
        """Something; what, and what came of it."""
        rng, c = self._rng, master.cluster
        name = rng.choice(self._names)
        verbs = {
            "apply": 6,
            "change": 6,
            "same": 2,
            "scale": 5,
            "delete": 3,
            "restart": 3,
            "rollback": 2,
            "secret": 2,
            "label": 2,
        }
        what = rng.choices(list(verbs), list(verbs.values()))[0]
        known = c.state.workload(name)
        if known is None and what not in ("secret", "label"):
            what = "apply"
        try:
            if what == "secret":
                return await self._secret(master)
            if what == "label":
                return await self._label(c)
            if what == "apply":
                fresh = [self._workload(n) for n in self._some(name)]
                return await self._carry_out(what, c.workloads.apply(fresh, (), "user:x"), fresh)
            if what == "delete":
                cascade = rng.random() < 0.7
                work = c.workloads.delete([name], "user:x", cascade=cascade)
                return await self._carry_out(f"delete {name}", work, list(self.promised))
            if what == "restart":
                await c.workloads.restart([name], "user:x")
                return f"restart {name}"
            if what == "rollback":
                work = c.workloads.roll_back(name, "user:x")
                return await self._carry_out(f"rollback {name}", work, [name])
            assert known is not None
            changed = self._changed(known.workload, what)
            work = c.workloads.apply([changed], (), "user:x")
            return await self._carry_out(what, work, [changed])
        except PiccoloError as error:
            return f"{what} {name}: {error}"

    async def _carry_out(
        self,
        what: str,
        work: Coroutine[Any, Any, Outcome],
        about: Sequence[Workload | str],
    ) -> str:
        """While it is not known whether it was done, nothing is promised."""
        names = [one if isinstance(one, str) else one.name for one in about]
        before = {n: self.promised.pop(n) for n in names if n in self.promised}
        try:
            outcome = await work
        except Unavailable:
            raise
        except PiccoloError:
            self.promised |= before
            raise
        self.promised |= before
        for change in outcome.changes:
            there = outcome.declared[change.name]
            self.promised[change.name] = there.workload if not there.deleting_since else None
        told = [f"{o.name} {o.what}" for o in outcome.changes]
        texts = [_short(one) for one in about if isinstance(one, Workload)]
        return f"{what}: {', '.join(told)}; {' | '.join(texts)}"

    async def _secret(self, master: Master) -> str:
        name, value = self._rng.choice(SECRETS), self._rng.randbytes(2).hex().encode()
        if self._rng.random() < 0.15:
            await master.secrets.delete(name)
            return f"delete the secret {name}"
        await master.secrets.put(name, {"key": value}, replace=True)
        return f"change the secret {name}"

    async def _label(self, c: Cluster) -> str:
        node, zone = self._rng.choice(self._nodes), self._rng.choice(ZONES)
        await c.nodes.label(node, {"zone": zone}, (), True)
        return f"label {node} zone={zone}"

    # ---- workloads ----

    def _some(self, name: str) -> list[str]:
        more = self._rng.choice((0, 0, 0, 1, 3))
        others = self._rng.sample(self._names, min(more, len(self._names)))
        return list(dict.fromkeys((name, *others)))

    def _workload(self, name: str) -> Workload:
        rng = self._rng
        policy = rng.choices(list(RestartPolicy), (6, 2, 2))[0]
        image = STEADY
        if policy is not RestartPolicy.ALWAYS:
            image = JOB
        elif rng.random() < 0.2:
            image = FLAKY
        self._versions += 1
        several = rng.random() < 0.15
        main = Container("main", image, args=(f"v{self._versions}",))
        if rng.random() < 0.15:
            main = replace(main, secret_env={"X": SecretKey(rng.choice(SECRETS), "key")})
        if rng.random() < 0.1:
            main = replace(main, ports=(Port(80, 8080),))
        if rng.random() < 0.1 and image == STEADY:
            probe = Probe(exec=ExecCheck(("well",)), interval=2.0)
            main = replace(main, probes=Probes(readiness=probe))
        if rng.random() < 0.1:
            main = replace(main, mounts=(Mount("/s", MountKind.SCRATCH, "s"),))
        return Workload(
            name,
            (main, Container("side", image)) if several else (main,),
            (Container("init", JOB),) if rng.random() < 0.12 else (),
            restart=Restart(policy, 1.0, 8.0),
            stop_grace=2.0,
            depends_on=self._dependencies(name),
            placement=self._placement(),
            replicas=rng.choice((0, 1, 1, 1, 2, 2, 3, 4)),
            one_per_node=rng.random() < 0.15,
            update=self._update(),
            on_isolation=Isolation(OnIsolation.STOP, 5.0) if rng.random() < 0.1 else Isolation(),
        )

    def _dependencies(self, name: str) -> tuple[Dependency, ...]:
        rng = self._rng
        if rng.random() < 0.6:
            return ()
        others = self._names if rng.random() < 0.1 else [n for n in self._names if n < name]
        others = [n for n in others if n != name]
        conditions = rng.choices(list(DependencyCondition), (4, 2, 2), k=2)
        chosen = rng.sample(others, min(len(others), rng.choice((1, 1, 2))))
        return tuple(Dependency(n, c) for n, c in zip(chosen, conditions, strict=False))

    def _placement(self) -> Placement:
        rng = self._rng
        if rng.random() < 0.6:
            return Placement()
        if rng.random() < 0.5:
            return Placement(labels={"zone": rng.choice(ZONES)})
        return Placement(tuple(rng.sample(self._nodes, min(2, len(self._nodes)))))

    def _update(self) -> Update:
        rng = self._rng
        strategy = UpdateStrategy.RECREATE if rng.random() < 0.25 else UpdateStrategy.ROLLING
        return Update(strategy, rng.choice((1, 1, 2)), rng.choice((0.0, 0.0, 2.0)))

    def _changed(self, old: Workload, what: str) -> Workload:
        if what == "same":
            return old
        if what == "scale":
            return replace(old, replicas=self._rng.randrange(5))
        fresh = self._workload(old.name)
        which = self._rng.choice(("image", "placement", "depends_on", "update", "probes"))
        if which == "image":
            return replace(old, containers=fresh.containers, restart=fresh.restart)
        if which == "probes":
            first, *others = old.containers
            return replace(
                old, containers=(replace(first, probes=fresh.containers[0].probes), *others)
            )
        return replace(old, **{which: getattr(fresh, which)})


def _short(w: Workload) -> str:
    needs = ",".join(f"{d.workload} {d.condition}" for d in w.depends_on)
    copies = "each node" if w.one_per_node else str(w.replicas)
    at = ",".join((*w.placement.nodes, *w.placement.labels.values()))
    image = " ".join((w.containers[0].image, *w.containers[0].args))
    return f"{copies} × {image} {w.restart.policy} {w.update.strategy} at[{at}] needs[{needs}]"
