"""What the planner decides, carried out: committed, told, tried again, and never in a loop."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from piccolo.core.errors import Unavailable
from piccolo.core.model import NodeState
from piccolo.core.planning import planner as planning
from piccolo.core.planning.planner import Plan, Step, Verb
from piccolo.core.planning.rollout import UNPROBED_READY
from piccolo.core.workloads.declared import Declared
from piccolo.core.workloads.instances import Phase
from piccolo.core.workloads.workload import Placement, Update, UpdateStrategy
from piccolo.master import keys
from piccolo.master.workloads.churn import Churn
from tests.master.memory_store import Disk
from tests.master.virtual_time import now, utc, virtual_time
from tests.master.workload_world import (
    agent,
    change,
    declare,
    delete,
    needing,
    put_secret,
    settled,
    with_secret,
    workload,
)
from tests.master.world import World, master, until


def placed(world: World) -> list[tuple[str, str, int]]:
    found = world.cluster.state.assignments()
    return [(a.key, a.node_id.removeprefix("id-"), a.generation) for a in found]


def told(world: World, reason: str) -> list[str]:
    return [e.message for e in world.events(reason) if e.kind == "workload"]


@virtual_time
async def test_copies_are_spread_and_told_of() -> None:
    async with master() as world:
        agents = [await agent(world, "n1"), await agent(world, "n2")]
        await declare(world, workload(replicas=2))
        await settled(agents)
        assert sorted(key for key, _, _ in placed(world)) == ["web.0", "web.1"]
        assert {node for _, node, _ in placed(world)} == {"n1", "n2"}
        assert sorted([*agents[0].disk, *agents[1].disk]) == ["web.0", "web.1"]
        (message,) = told(world, "Placed")
        assert "web.0 on n" in message
        assert "web.1 on n" in message
        await settled(agents, 5)
        assert len([e for e in world.events() if e.kind == "workload"]) == 1


@virtual_time
async def test_one_on_each_node_and_on_those_that_join_later() -> None:
    async with master() as world:
        agents = [await agent(world, "n1")]
        await declare(world, workload(one_per_node=True))
        await settled(agents)
        agents.append(await agent(world, "n2"))
        await settled(agents)
        assert placed(world) == [("web.0", "n1", 1), ("web.0", "n2", 1)]
        assert [a.runs() for a in agents] == [{"web.0": "v1"}] * 2
        await world.cluster.remove("n1")
        await settled(agents[1:])
        assert placed(world) == [("web.0", "n2", 1)]


@virtual_time
async def test_a_new_generation_is_rolled_out_copy_by_copy() -> None:
    async with master() as world:
        agents = [await agent(world, f"n{n}") for n in range(3)]
        update = Update(max_unavailable=1, min_ready=5.0)
        await declare(world, workload(one_per_node=True, update=update))
        await settled(agents)
        for a in agents:
            a.report()
        await settled(agents, 10)
        await declare(world, workload(image="v2", one_per_node=True, update=update))

        def updated() -> int:
            return sum(a.runs() == {"web.0": "v2"} for a in agents)

        for step in range(1, 4):
            await settled(agents)
            assert updated() == step
            for a in agents:
                a.report()
            await settled(agents, 3)
            assert updated() == step, "it has to stay well for five seconds"
            await settled(agents, 3)
        assert len(told(world, "Updated")) == 3


@virtual_time
async def test_what_has_no_place_is_said_once_and_placed_when_there_is_one() -> None:
    async with master() as world:
        await declare(world, workload(placement=Placement(labels={"gpu": "yes"})))
        agents = [await agent(world, "n1")]
        await settled(agents, 2)
        assert placed(world) == []
        first = world.cluster.actions.unplaced["web"]
        assert told(world, "Unplaceable")[-1] == first
        count = len(told(world, "Unplaceable"))
        for _ in range(5):
            world.cluster.actions.poke()
            await settled(agents)
        assert len(told(world, "Unplaceable")) == count
        await world.cluster.nodes.label("n1", {"gpu": "yes"}, [], False)
        await settled(agents)
        assert placed(world) == [("web.0", "n1", 1)]
        assert world.cluster.actions.unplaced == {}


@virtual_time
async def test_deleting_takes_dependents_first_and_leaves_nothing() -> None:
    disk = Disk()
    async with master(disk) as world:
        a = await agent(world)
        await declare(world, workload("db"), needing("web", "db"))
        await declare(world, workload("db", image="v2"))
        await a.settle()
        a.report()
        await a.settle()
        await delete(world, "db", "web")
        await a.settle()
        assert list(a.disk) == ["db.0"], "web goes first"
        a.report("db.0")
        await a.settle()
        assert list(a.disk) == ["db.0"], "and its agent has not said yet that it is gone"
        a.report()
        await a.settle()
        assert a.disk == {}
        assert world.cluster.state.workload("web") is None
        assert world.cluster.state.workload("db") is not None
        a.report()
        await a.settle(2)
        prefixes = keys.WORKLOAD, keys.HISTORY, keys.ASSIGNMENT, keys.INSTANCE
        assert [k for k in disk.entries if k.startswith(prefixes)] == []
        assert sorted(e.subject for e in world.events("Deleted")) == ["db", "web"]


@virtual_time
async def test_what_was_deleted_while_its_node_was_away_does_not_come_back() -> None:
    disk = Disk()
    async with master(disk) as world:
        a = await agent(world)
        await declare(world, workload(), workload("stays"))
        await a.settle()
        a.report()
        await asyncio.sleep(1)
        a.disconnect()
        await asyncio.sleep(60)
        assert world.state_of()[0] is NodeState.NOT_READY
        await delete(world, "web")
        await asyncio.sleep(1)
        assert world.cluster.state.workload("web") is None
    async with master(disk) as world:
        a.world = world
        a.connect()
        await a.settle()
        assert list(a.disk) == ["stays.0"]
        a.report()
        await a.settle(1)
        assert placed(world) == [("stays.0", "n1", 1)]
        assert [s.key for s in world.cluster.state.seen().values()] == ["stays.0"]


@virtual_time
async def test_declared_again_while_it_is_removed_is_not_removed() -> None:
    async with master() as world:
        await declare(world, workload())
        await asyncio.sleep(1)
        world.store.gate.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(delete(world, "web"))
            await asyncio.sleep(1)
            tasks.create_task(declare(world, workload(image="v2")))
            await asyncio.sleep(1)
            world.store.gate.set()
        await asyncio.sleep(1)
        found = world.cluster.state.workload("web")
        assert found is not None
        assert found.workload.containers[0].image == "v2"


@virtual_time
async def test_of_a_removed_node_no_assignment_is_left() -> None:
    disk = Disk()
    async with master(disk) as world:
        a, b = await agent(world, "n1"), await agent(world, "n2")
        names = [f"w{n}" for n in range(300)]
        await declare(world, *(workload(name) for name in names))
        await settled([a, b], 2)
        assert len(a.disk) + len(b.disk) == 300
        assert len(a.disk) > 130
        await world.cluster.remove("n1")
        await b.settle(2)
        assert {node for _, node, _ in placed(world)} == {"n2"}
        assert sorted(b.disk) == sorted(f"{name}.0" for name in names)
        assert [k for k in disk.entries if k.startswith(keys.assignments("id-n1"))] == []


# ---- dry runs ----


@virtual_time
async def test_a_preview_changes_nothing() -> None:
    async with master() as world:
        a = await agent(world)
        await declare(world, workload())
        await a.settle()
        written = world.store.written(keys.ASSIGNMENT)
        declared = world.cluster.state.declared()
        new = Declared(with_secret("db", "none"), 1, utc(), utc())
        web = replace(declared["web"], workload=workload(image="v2"), generation=2)
        plan = world.cluster.actions.preview({"web": web, "db": new})
        assert [(s.verb, s.assignment.key, s.generation) for s in plan.steps] == [
            (Verb.REPLACE, "web.0", 2)
        ]
        assert "none" in plan.unplaced["db"]
        await a.settle()
        assert world.store.written(keys.ASSIGNMENT) == written
        assert world.cluster.actions.unplaced == {}
        assert told(world, "Unplaceable") == []


# ---- a store that fails ----


@virtual_time
async def test_a_store_that_is_away_delays_and_breaks_nothing() -> None:
    async with master() as world:
        a = await agent(world)
        await declare(world, workload("first"))
        await a.settle()
        world.store.away = "no route to host"
        a.disconnect()
        a.disk.clear()  # it has lost all, and gets it from a master that cannot store a thing
        a.connect()
        with pytest.raises(Unavailable):
            await declare(world, workload("third"))
        world.cluster.actions.poke()
        await a.settle(30)
        assert list(a.disk) == ["first.0"]
        world.store.away = ""
        await a.settle(10)
        await declare(world, workload("third"))
        await a.settle()
        assert sorted(a.disk) == ["first.0", "third.0"]


@virtual_time
async def test_a_plan_that_cannot_be_stored_is_made_again_until_it_can() -> None:
    async with master() as world:
        await declare(world, workload(placement=Placement(labels={"a": "b"})))
        a = await agent(world, labels={"a": "b"})
        world.store.hold_up()
        await a.settle(3)
        assert placed(world) == []
        assert told(world, "Placed") == []
        world.store.answer()
        await a.settle(10)
        await world.store.let_through()  # what was late undoes nothing
        await a.settle()
        assert a.runs() == {"web.0": "v1"}
        assert placed(world) == [("web.0", "n1", 1)]


# ---- plans that go round in circles ----


@virtual_time
async def test_a_planner_that_contradicts_itself_is_slowed_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = 0

    def contradicting(*args: object, **kwargs: object) -> Plan:
        nonlocal count
        count += 1
        verb = Verb.START if not world.cluster.state.assignments() else Verb.STOP
        return Plan((Step(verb, "web", 0, "id-n1", 1, 0, "why not"),), {}, ())

    async with master() as world:
        a = await agent(world)
        await declare(world, workload())
        await a.settle()
        monkeypatch.setattr(planning, "plan", contradicting)
        world.cluster.actions.poke()
        await asyncio.sleep(600)
        assert 10 < count < 120
        assert len(world.events("Placed")) < 30


@virtual_time
async def test_who_applies_and_deletes_again_and_again_gets_just_that() -> None:
    async with master() as world:
        a = await agent(world)
        for _ in range(12):
            await declare(world, workload())
            await a.settle(0.1)
            assert list(a.disk) == ["web.0"]
            a.report()
            await a.settle(0.1)
            await delete(world, "web")
            await a.settle(0.1)
            assert a.disk == {}
            a.report()
            await a.settle(0.1)
            assert world.cluster.state.workload("web") is None


def test_the_same_thing_may_be_done_again_but_not_for_ever() -> None:
    churn, at, waits = Churn(), 0.0, []
    for _ in range(12):
        waits.append(wait := churn.wait("this", at))
        assert churn.wait("that", at) == 0
        at += wait
        assert churn.wait("this", at) == 0
        churn.done("this", at)
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60]
    at += 200
    churn.done("that", at)
    assert churn.wait("this", at) == 0, "long ago"


# ---- a burst ----


@virtual_time
async def test_a_burst_of_news_is_one_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = 0
    really = planning.plan

    def counted(*args: object, **kwargs: object) -> Plan:
        nonlocal plans
        plans += 1
        return really(*args, **kwargs)  # type: ignore[arg-type]

    async with master() as world:
        a = await agent(world)
        await declare(world, *(workload(f"w{n}") for n in range(200)))
        await a.settle(1)
        monkeypatch.setattr(planning, "plan", counted)
        for phase in (Phase.STARTING, Phase.RUNNING):
            for key in a.disk:
                a.report(key, phase=phase)
                await asyncio.sleep(0)
        await a.settle(1)
        assert 1 <= plans <= 10
        plans = 0
        await a.settle(60)
        assert plans <= 3, "nothing happens, nothing is planned"


@virtual_time
async def test_what_a_secret_lacks_is_told_at_once() -> None:
    async with master() as world:
        a = await agent(world)
        await declare(world, with_secret("web", "db"))
        await a.settle()
        await put_secret(world, "db", password="x")
        began = now()
        await until(lambda: placed(world), 1)
        assert now() - began < 0.03


@virtual_time
async def test_recreating_stops_all_before_it_starts_any() -> None:
    async with master() as world:
        agents = [await agent(world, "n1"), await agent(world, "n2")]
        update = Update(strategy=UpdateStrategy.RECREATE)
        await declare(world, workload(replicas=2, update=update))
        await settled(agents)
        for a in agents:
            a.report()
        await declare(world, workload(image="v2", replicas=2, update=update))
        await settled(agents)
        assert [a.disk for a in agents] == [{}, {}]
        for a in agents:
            a.report()
        await settled(agents)
        assert [list(a.runs().values()) for a in agents] == [["v2"], ["v2"]]


@virtual_time
async def test_fresh_containers_are_another_hash_of_the_same_generation() -> None:
    async with master() as world:
        a = await agent(world)
        await declare(world, workload())
        await a.settle()
        a.report()
        before = a.instances()["web.0"]
        await change(world, "web", restarts=1)
        await a.settle()
        after = a.instances()["web.0"]
        assert (before.generation, before.workload) == (after.generation, after.workload)
        assert before.hash != after.hash


@virtual_time
async def test_a_version_that_ends_at_once_again_and_again_takes_one_copy_down() -> None:
    async with master() as world:
        agents = [await agent(world, f"n{n}") for n in range(3)]
        await declare(world, workload(one_per_node=True))
        await settled(agents)
        for a in agents:
            a.report()
        await settled(agents, 5)
        await declare(world, workload(image="bad", one_per_node=True))
        await settled(agents)
        (bad,) = (a for a in agents if a.runs() == {"web.0": "bad"})
        for _ in range(10):
            bad.report()
            await settled(agents, 0.3)
            bad.report(phase=Phase.BACK_OFF, ready=False)
            await settled(agents, 1)
        assert [a for a in agents if a.runs() == {"web.0": "bad"}] == [bad]
        bad.report()
        await settled(agents, UNPROBED_READY + 1)
        assert sum(a.runs() == {"web.0": "bad"} for a in agents) == 2, "at last it has lasted"
