"""What people may wish for, at random: workloads of all kinds, and changes of them."""

from __future__ import annotations

import random
from dataclasses import replace

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

SECRETS = ("s0", "s1")
ZONES = ("a", "b")
JOB, FLAKY, STEADY = "job", "flaky", "steady"  # what containers do, by their image
VERBS = {
    "apply": 6,
    "change": 6,
    "same": 2,
    "scale": 5,
    "delete": 3,
    "restart": 3,
    "rollback": 2,
    "secret": 2,
    "label": 2,
}  # and how often they are wished for


class Wishes:
    """`names`: how many workloads there may be; `nodes`: the names of the cluster's."""

    def __init__(self, rng: random.Random, names: int, nodes: list[str]) -> None:
        self.names = [f"w{i}" for i in range(names)]
        self._rng = rng
        self._nodes = nodes
        self._versions = 0

    def verb(self) -> str:
        return self._rng.choices(list(VERBS), list(VERBS.values()))[0]

    def some(self, name: str) -> list[str]:
        more = self._rng.choice((0, 0, 0, 1, 3))
        others = self._rng.sample(self.names, min(more, len(self.names)))
        return list(dict.fromkeys((name, *others)))

    def workload(self, name: str) -> Workload:
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
            main = replace(main, ports=(Port(80, rng.choice((8080, 8080, 8081))),))
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
        others = self.names if rng.random() < 0.1 else [n for n in self.names if n < name]
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

    def changed(self, old: Workload, what: str) -> Workload:
        if what == "same":
            return old
        if what == "scale":
            return replace(old, replicas=self._rng.randrange(5))
        fresh = self.workload(old.name)
        which = self._rng.choice(("image", "placement", "depends_on", "update", "probes"))
        if which == "image":
            return replace(old, containers=fresh.containers, restart=fresh.restart)
        if which == "probes":
            first, *others = old.containers
            return replace(
                old, containers=(replace(first, probes=fresh.containers[0].probes), *others)
            )
        return replace(old, **{which: getattr(fresh, which)})


def short(w: Workload) -> str:
    needs = ",".join(f"{d.workload} {d.condition}" for d in w.depends_on)
    copies = "each node" if w.one_per_node else str(w.replicas)
    at = ",".join((*w.placement.nodes, *w.placement.labels.values()))
    image = " ".join((w.containers[0].image, *w.containers[0].args))
    return f"{copies} × {image} {w.restart.policy} {w.update.strategy} at[{at}] needs[{needs}]"
