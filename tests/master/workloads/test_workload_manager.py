"""What is declared, its generations, and who may change it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from piccolo.core.errors import Conflict, InvalidSpec, NotFound, Unavailable
from piccolo.core.workloads.declared import Declared
from piccolo.core.workloads.workload import Action, ActionKind, Workload
from piccolo.master import keys
from piccolo.master.workloads.workload_manager import Outcome
from piccolo.store import codec
from tests.master.memory_store import Disk
from tests.master.virtual_time import utc, virtual_time
from tests.master.workload_world import needing, workload
from tests.master.world import World, master

ANNA = "admin:anna"


async def apply(
    world: World, *asked: Workload, actions: Sequence[Action] = (), **options: Any
) -> dict[str, str]:
    """What became of each."""
    return told(await world.cluster.workloads.apply(asked, actions, ANNA, **options))


def told(outcome: Outcome) -> dict[str, str]:
    return {change.name: str(change.what) for change in outcome.changes}


def found(world: World, name: str = "web") -> Declared:
    declared = world.cluster.state.workload(name)
    assert declared is not None
    return declared


def image(world: World, name: str = "web") -> str:
    return found(world, name).workload.containers[0].image


def model(name: str, package: str = "car", **fields: Any) -> Workload:
    return workload(name, package=package, held=True, **fields)


def scenario(kind: ActionKind, package: str = "car") -> list[Action]:
    return [Action(str(kind), kind, package)]


LAUNCH, TERMINATE = scenario(ActionKind.LAUNCH), scenario(ActionKind.TERMINATE)
ROLLBACK, UPDATE = scenario(ActionKind.ROLLBACK), scenario(ActionKind.UPDATE)


@virtual_time
async def test_each_change_is_a_generation_and_what_is_the_same_is_not_written() -> None:
    disk = Disk()
    async with master(disk) as world:
        assert await apply(world, workload()) == {"web": "created"}
        first = found(world)
        assert first == Declared(workload(), 1, utc(), utc(), ANNA, "apply")
        written = world.store.written(keys.WORKLOAD)
        revision = world.cluster.state.revision_of(keys.workload("web"))
        assert await apply(world, workload()) == {"web": "unchanged"}
        assert world.store.written(keys.WORKLOAD) == written
        assert world.cluster.state.revision_of(keys.workload("web")) == revision

        await asyncio.sleep(1)
        assert await apply(world, workload(image="v2"), workload("db")) == {
            "web": "changed",
            "db": "created",
        }
        second = found(world)
        assert (second.generation, second.created_at) == (2, first.created_at)
        assert second.changed_at == utc() > first.changed_at
        [past] = world.cluster.state.history("web")
        assert (past.generation, past.workload, past.at) == (1, workload(), first.changed_at)
        assert (past.by, past.cause) == (ANNA, "apply")
    async with master(disk) as world:
        assert found(world) == second
        assert world.cluster.state.history("web") == [past]


@virtual_time
async def test_the_history_has_an_end() -> None:
    async with master() as world:
        for number in range(15):
            await apply(world, workload(image=f"v{number}"))
        assert [p.generation for p in world.cluster.state.history("web")] == [*range(5, 15)]
        kept = [k for k in world.disk.entries if k.startswith(keys.HISTORY)]
        assert len(kept) == 10


@virtual_time
async def test_all_or_nothing() -> None:
    async with master() as world:
        await apply(world, workload())
        revision = world.cluster.state.revision_of(keys.workload("web"))
        with pytest.raises(InvalidSpec, match="Package"):
            await apply(world, workload(image="v2"), workload("db"), actions=LAUNCH)
        world.store.away = "gone"
        with pytest.raises(Unavailable):
            await apply(world, workload(image="v2"), workload("db"))
        assert list(world.cluster.state.declared()) == ["web"]
        assert world.cluster.state.revision_of(keys.workload("web")) == revision
        world.store.away = ""


@virtual_time
async def test_hundreds_at_once_are_all_or_nothing() -> None:
    many = [workload(f"w{n}") for n in range(200)]
    disk = Disk()
    async with master(disk) as world:
        assert set((await apply(world, *many)).values()) == {"created"}
        changed = await apply(world, *(replace(w, replicas=2) for w in many))
        assert set(changed.values()) == {"changed"}
        assert {d.generation for d in world.cluster.state.declared().values()} == {2}
        conflicting = [replace(w, replicas=3) for w in many]
        with pytest.raises(InvalidSpec):
            await apply(world, *conflicting, needing("a", "b"), needing("b", "a"))
        assert {d.workload.replicas for d in world.cluster.state.declared().values()} == {2}
    async with master(disk) as world:
        assert {d.workload.replicas for d in world.cluster.state.declared().values()} == {2}
        assert len(world.cluster.state.declared()) == 200


@virtual_time
async def test_the_same_from_two_clients_at_once_is_one_change() -> None:
    async with master() as world:
        answers = await asyncio.gather(*(apply(world, workload()) for _ in range(3)))
        assert sorted(a["web"] for a in answers) == ["created", "unchanged", "unchanged"]
        assert found(world).generation == 1
        await asyncio.gather(*(apply(world, workload(image=f"v{n}")) for n in range(2, 5)))
        assert found(world).generation == 4


@virtual_time
async def test_two_that_form_a_circle_together_cannot_both_come_in() -> None:
    async with master() as world:
        await apply(world, workload("a"), workload("b"))
        results = await asyncio.gather(
            apply(world, needing("a", "b")), apply(world, needing("b", "a")), return_exceptions=True
        )
        [refused] = [r for r in results if isinstance(r, InvalidSpec)]
        assert " → " in str(refused)


@virtual_time
async def test_who_comes_second_begins_again_from_what_is_there() -> None:
    """As when what was deleted is removed just now."""
    async with master() as world:
        await apply(world, workload())
        world.store.gate.clear()
        late = asyncio.create_task(apply(world, workload(image="v2")))
        await asyncio.sleep(0.1)
        elsewhere = replace(found(world), workload=workload(image="v9"), generation=7)
        world.store.forced(keys.workload("web"), codec.encode(elsewhere))
        world.store.gate.set()
        assert await late == {"web": "changed"}
        assert (image(world), found(world).generation) == ("v2", 8)


@virtual_time
async def test_a_dry_run_writes_nothing() -> None:
    async with master() as world:
        outcome = await world.cluster.workloads.apply([workload()], [], ANNA, dry_run=True)
        assert told(outcome) == {"web": "created"}
        assert (outcome.changed, list(outcome.declared)) == (True, ["web"])
        assert world.cluster.state.declared() == {}
        await apply(world, workload())
        await apply(world, workload(image="v2"))
        manager = world.cluster.workloads
        assert told(await manager.roll_back("web", ANNA, dry_run=True)) == {"web": "rolled back"}
        assert told(await manager.delete(["web"], ANNA, dry_run=True)) == {"web": "deleted"}
        assert (image(world), found(world).deleting_since) == ("v2", None)


# ---- Pullpiri ----


@virtual_time
async def test_a_package_runs_once_an_action_launched_it() -> None:
    async with master() as world:
        await apply(world, model("a"), model("b"), workload("other"))
        assert [d.active for d in world.cluster.state.declared().values()] == [False, False, True]
        assert await apply(world, actions=LAUNCH) == {
            "a": "launched",
            "b": "launched",
            "launch": "launched",
        }
        assert found(world, "a").generation == 1
        assert await apply(world, actions=UPDATE) == {"update": "unchanged"}
        assert await apply(world, model("a", image="v2"), actions=UPDATE) == {
            "a": "changed",
            "update": "unchanged",
        }
        assert found(world, "a").active  # it was, and stays so
        assert await apply(world, model("a", image="v2"), actions=TERMINATE) == {
            "a": "terminated",
            "b": "terminated",
            "terminate": "terminated",
        }
        assert not found(world, "a").active
        assert not found(world, "b").active
        assert found(world, "other").active


@virtual_time
async def test_a_package_goes_back_as_a_whole() -> None:
    async with master() as world:
        await apply(world, model("a"), model("b"), actions=LAUNCH)
        with pytest.raises(InvalidSpec, match="no workload of the Package"):
            await apply(world, actions=ROLLBACK)
        await apply(world, model("a", image="v2"), model("b"))
        assert await apply(world, actions=ROLLBACK) == {
            "a": "rolled back",
            "rollback": "rolled back",
        }
        assert (image(world, "a"), found(world, "a").generation) == ("v1", 3)
        assert found(world, "a").active
        with pytest.raises(InvalidSpec, match=r'no Package "cat"; did you mean "car"\?'):
            await apply(world, actions=scenario(ActionKind.LAUNCH, "cat"))


# ---- going back ----


@virtual_time
async def test_going_back_is_a_new_generation() -> None:
    async with master() as world:
        manager = world.cluster.workloads
        for number in range(1, 4):
            await apply(world, workload(image=f"v{number}"))
        assert told(await manager.roll_back("web", "admin:bob")) == {"web": "rolled back"}
        now = found(world)
        assert (image(world), now.generation, now.by) == ("v2", 4, "admin:bob")
        assert now.cause == "rollback to 2"
        assert told(await manager.roll_back("web", ANNA, to=2)) == {"web": "unchanged"}
        await manager.roll_back("web", ANNA, to=1)
        assert (image(world), found(world).generation) == ("v1", 5)
        assert [p.generation for p in world.cluster.state.history("web")] == [1, 2, 3, 4]
        with pytest.raises(InvalidSpec, match="current"):
            await manager.roll_back("web", ANNA, to=5)
        with pytest.raises(NotFound, match="there are 1, 2, 3, 4"):
            await manager.roll_back("web", ANNA, to=9)
        with pytest.raises(NotFound, match='did you mean "web"'):
            await manager.roll_back("wep", ANNA)
        await apply(world, workload("new"))
        with pytest.raises(InvalidSpec, match="no earlier generation"):
            await manager.roll_back("new", ANNA)


@virtual_time
async def test_going_back_into_a_circle_is_refused() -> None:
    async with master() as world:
        await apply(world, needing("a", "b"), workload("b"))
        await apply(world, workload("a"))
        await apply(world, needing("b", "a"))
        with pytest.raises(InvalidSpec, match="a → b → a"):
            await world.cluster.workloads.roll_back("a", ANNA)


# ---- restarts and deletion ----


@virtual_time
async def test_a_restart_is_no_generation() -> None:
    async with master() as world:
        await apply(world, workload(), model("held"))
        manager = world.cluster.workloads
        assert told(await manager.restart(["web"], ANNA)) == {"web": "restarted"}
        assert (found(world).restarts, found(world).generation) == (1, 1)
        with pytest.raises(InvalidSpec, match="launches its Package"):
            await manager.restart(["web", "held"], ANNA)
        with pytest.raises(InvalidSpec, match="name the workloads"):
            await manager.restart([], ANNA)
        assert found(world).restarts == 1


@virtual_time
async def test_what_others_depend_on_goes_with_them_only() -> None:
    async with master() as world:
        manager = world.cluster.workloads
        await apply(world, workload("db"), needing("api", "db"), needing("web", "api"))
        with pytest.raises(Conflict, match="api, web would wait for db for ever"):
            await manager.delete(["db"], ANNA)
        with pytest.raises(Conflict, match="web would wait"):
            await manager.delete(["db", "api"], ANNA)
        with pytest.raises(NotFound, match='"nothing"'):
            await manager.delete(["web", "nothing"], ANNA)
        outcome = await manager.delete(["web", "nothing"], ANNA, ignore_missing=True, dry_run=True)
        assert told(outcome) == {"web": "deleted"}
        assert not any(d.deleting_since for d in world.cluster.state.declared().values())
        assert told(await manager.delete(["db"], ANNA, cascade=True)) == {
            "db": "deleted",
            "api": "deleted",
            "web": "deleted",
        }
        assert found(world, "db").deleting_since  # nobody has planned yet
        with pytest.raises(Conflict, match="being deleted"):
            await manager.restart(["db"], ANNA)


@virtual_time
async def test_what_is_being_deleted_comes_back_with_its_document() -> None:
    async with master() as world:
        manager = world.cluster.workloads
        await apply(world, workload(), needing("api", "web"))
        world.store.gate.clear()  # nobody removes it meanwhile
        deleting = asyncio.create_task(manager.delete(["web", "api"], ANNA))
        await asyncio.sleep(0)
        coming = asyncio.create_task(apply(world, workload()))
        world.store.gate.set()
        await deleting
        assert await coming == {"web": "created"}
        await asyncio.sleep(1)
        assert found(world).deleting_since is None
        assert found(world).generation == 2
        assert world.cluster.state.workload("api") is None  # nothing was left of it


@virtual_time
async def test_what_is_too_large_to_be_kept_is_refused() -> None:
    async with master() as world:
        big = replace(workload().containers[0], env={"A": "x" * 600_000})
        with pytest.raises(InvalidSpec, match="at most 512"):
            await apply(world, replace(workload(), containers=(big,)))
