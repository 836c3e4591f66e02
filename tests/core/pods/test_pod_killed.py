"""Agents that are killed, answers that get lost, and everything else at once, in virtual time."""

from __future__ import annotations

import random

import pytest

from piccolo.core.pods.steps import Answered, Create, CreatePod, Held, Retired, Stop, Updated
from piccolo.core.workloads.instances import LABEL_CONTAINER, Phase
from piccolo.core.workloads.workload import RestartPolicy
from tests.core.pods.pod_simulation import Simulation, instance

ALWAYS, NEVER = RestartPolicy.ALWAYS, RestartPolicy.NEVER


def let_init_containers_end(simulation: Simulation) -> bool:
    """Whether one did."""
    runtime = simulation.runtime
    for box in runtime.boxes.values():
        if box.labels[LABEL_CONTAINER] == "i" and box.state == "running":
            box.state, box.exit_code = "exited", 0
            simulation.events.append(runtime.listing())
            return True
    return False


def go(simulation: Simulation, left: int, *, lost: bool) -> int:
    """Carry out all that is to do. The agent is killed at the action that comes after `left`
    others, which the runtime then does (`lost`: does not do), and another takes over. Returns how
    many are left; -1: it was killed.
    """
    retiring = Retired() in simulation.events
    for _ in range(300):
        simulation.feed()
        simulation.check()
        if not simulation.pending:
            if not let_init_containers_end(simulation):
                return left
        elif left == 0:
            if not lost:
                simulation.runtime.do(simulation.pending[0])
            simulation.kill()
            simulation.events += [Retired()] if retiring else []
            left = -1
        else:
            left -= 1
            simulation.answer()
    raise AssertionError("it does not come to rest")


@pytest.mark.parametrize("policy", [ALWAYS, NEVER])
@pytest.mark.parametrize("lost", [False, True], ids=["after", "before"])
def test_killed_at_every_step(policy: RestartPolicy, lost: bool) -> None:
    """A start, an update and a removal; killed after (before) the n-th action, for each n."""
    for step in range(60):
        simulation = Simulation(instance("a", "b", inits=("i",), policy=policy))
        runtime = simulation.runtime
        left = go(simulation, step, lost=lost)
        assert simulation.shows(Phase.RUNNING)
        simulation.asked = instance("a", "c", policy=policy, hash="h2", generation=2)
        simulation.events.append(Updated(simulation.asked))
        left = go(simulation, left, lost=lost)
        assert runtime.hashes == {"h2"}
        simulation.events.append(Retired())
        left = go(simulation, left, lost=lost)
        assert simulation.machine.done
        assert runtime.left == []
        once = all(n == 1 for (name, _), n in runtime.starts.items() if name != "i")
        assert once or policy is not NEVER
        if left >= 0:
            return
    raise AssertionError("it takes more than 60 actions")


@pytest.mark.parametrize(
    "seed", [*range(30), *(pytest.param(n, marks=pytest.mark.slow) for n in range(30, 150))]
)
def test_random_schedules_converge(seed: int) -> None:
    """Late listings, lost answers, crashes, kills, power cuts, hands of people, new versions."""
    rng = random.Random(seed)
    policy = rng.choice(list(RestartPolicy))
    shapes = (("a",), ("a", "b"))
    inits = rng.choice(((), ("i",)))
    version = 1
    simulation = Simulation(instance(*rng.choice(shapes), inits=inits, policy=policy))
    runtime = simulation.runtime
    late = runtime.listing()
    ghosts: list[Answered] = []  # of a killed agent, that the runtime has still to do
    for _ in range(rng.randrange(5, 80)):
        simulation.chance = rng.random()
        boxes = list(runtime.boxes.values())
        match rng.randrange(14):
            case 0 | 1 | 2 | 3 | 4 | 5 if simulation.pending:
                simulation.answer(rng.randrange(len(simulation.pending)))
            case 6:
                simulation.feed(late)
                late = runtime.listing()
            case 7 if simulation.pending:
                simulation.lose(rng)
            case 8 if boxes:
                box = rng.choice(boxes)
                if box.state == "running":
                    box.state, box.exit_code = "exited", rng.choice((0, 1, 137))
            case 9 if boxes and rng.random() < 0.3:
                runtime.boxes.pop(rng.choice(boxes).id)
            case 10 if rng.random() < 0.3:
                ghosts += [
                    a for a in simulation.pending if isinstance(a, Create | CreatePod | Stop)
                ]
                simulation.kill(power_cut=rng.random() < 0.3)
            case 11 if rng.random() < 0.3:
                version += 1
                asked = instance(
                    *rng.choice(shapes), inits=inits, policy=policy, hash=f"h{version}"
                )
                simulation.asked = asked
                simulation.feed(Updated(asked))
            case 12 if rng.random() < 0.3:
                simulation.feed(Held(rng.choice((None, "alone"))))
            case 13 if ghosts:
                runtime.do(ghosts.pop())
            case _:
                simulation.now += rng.choice((0.01, 1.0, 20.0))
                simulation.feed()
        simulation.check()
    simulation.feed(Held(None))
    simulation.after(400.0)
    while let_init_containers_end(simulation):
        simulation.after(400.0)
    simulation.check()
    wanted = {c.name for c in simulation.asked.workload.containers}
    for (name, _), starts in runtime.starts.items():
        assert policy is not NEVER or name == "i" or starts <= 1, "a job ran twice"
    assert simulation.shows(Phase.RUNNING, Phase.COMPLETED, Phase.FAILED)
    if policy is ALWAYS:
        assert simulation.shows(Phase.RUNNING)
        there = {b.labels[LABEL_CONTAINER] for b in runtime.boxes.values()}
        assert wanted <= there <= wanted | {"i"}
        assert all(runtime.named(name).state == "running" for name in wanted)
    assert runtime.hashes <= {simulation.asked.hash}
    simulation.feed(Retired())
    for _ in range(3):
        simulation.after(100.0)
    assert simulation.machine.done
    assert runtime.left == []
