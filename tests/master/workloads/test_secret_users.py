"""Who is told when a secret changes or goes: the workloads that have its values."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from piccolo.core.security.access import Principal, Role
from piccolo.master.api_server.client_service import ClientService
from piccolo.rpc import wire
from tests.master.insiders import calling
from tests.master.virtual_time import utc, virtual_time
from tests.master.workload_world import agent, declare, settled, with_secret, workload
from tests.master.world import World, master


@pytest.fixture(autouse=True)
def _admin() -> Iterator[None]:
    with calling(Principal(Role.ADMIN, "anna")):
        yield


async def put(world: World, name: str = "db", **data: str) -> list[str]:
    values = {key: value.encode() for key, value in data.items()}
    request = wire.PutSecretRequest(name=name, data=values, replace=True)
    return (await ClientService(world.cluster).put_secret(request)).used_by


async def delete(world: World, name: str = "db") -> list[str]:
    request = wire.DeleteSecretRequest(name=name)
    return (await ClientService(world.cluster).delete_secret(request)).used_by


def told(world: World) -> list[tuple[str, str]]:
    return [(e.subject, e.message) for e in world.events("SecretChanged")]


@virtual_time
async def test_the_users_of_a_value_that_changed_are_named_and_get_new_containers() -> None:
    async with master() as world:
        assert await put(world, password="1", user="x") == []
        n1 = await agent(world)
        await declare(world, with_secret("web", "db"), with_secret("api", "db"), workload("other"))
        await settled([n1])
        before = {key: i.hash for key, i in n1.instances().items()}
        assert await put(world, password="2", user="x") == ["api", "web"]
        await settled([n1])
        after = {key: i.hash for key, i in n1.instances().items()}
        assert {key for key in after if after[key] != before[key]} == {"api.0", "web.0"}
        text = 'the secret "db" changed: its containers are made anew'
        assert told(world) == [("api", text), ("web", text)]


@virtual_time
async def test_what_changes_no_containers_is_not_told() -> None:
    async with master() as world:
        await put(world, password="1", user="x")
        await declare(world, with_secret("web", "db"), with_secret("late", "db", "new"))
        await declare(world, with_secret("held", "db"), active=False)
        await declare(world, with_secret("going", "db"), deleting_since=utc())
        assert await put(world, password="1", user="x") == [], "the same"
        assert await put(world, password="1", user="y") == [], "nobody has this value"
        assert await put(world, "else", password="2") == [], "another secret"
        assert await put(world, password="1", new="2") == [], "late has waited for it"
        assert await put(world, new="2") == [], "web waits for it to come back"
        assert told(world) == []


@virtual_time
async def test_whoever_names_a_secret_is_told_of_when_it_goes() -> None:
    async with master() as world:
        await put(world, password="1")
        await declare(world, with_secret("web", "db"), with_secret("api", "db", "none"))
        await declare(world, with_secret("held", "db"), workload("other"), active=False)
        await declare(world, with_secret("going", "db"), deleting_since=utc())
        assert await delete(world) == ["api", "held", "web"]
        assert told(world) == []
        await put(world, password="2")
        assert told(world) == [], "there was none before"
