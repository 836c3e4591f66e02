"""What every runtime guarantees. Real Podman and the fake pass the same tests.

A `World` is a node whose containers a test changes behind the runtime's back, as people and
programs do on a real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime
from enum import Enum
from typing import Protocol

import pytest

from piccolo.core.errors import Unavailable
from piccolo.core.model import Container
from piccolo.runtime.base import Runtime

SOON = 5.0  # s; the machine may be busy


class Program(Enum):
    """What runs in a container."""

    IDLE = "runs until it is killed"
    BUSY = "takes one core"
    GOOD = "ends at once, with exit code 0"
    BAD = "ends at once, with exit code 3"
    POLITE = "runs until it is asked to end, and then ends with exit code 143"
    STUBBORN = "runs until it is killed, whoever asks"
    TALKS = "writes some lines, and ends with exit code 3"
    MISSING = "is not in the image"


class World(Protocol):
    @property
    def runtime(self) -> Runtime: ...

    async def run(
        self,
        name: str,
        program: Program = Program.IDLE,
        *,
        labels: Mapping[str, str] | None = None,
        restarts: int = 0,
        health: bool = False,
        pod: str = "",
    ) -> str:
        """Start a container; its id. `restarts`: so often the runtime starts it anew."""
        ...

    async def create(self, name: str) -> str: ...
    async def start(self, name: str) -> None: ...
    async def stop(self, name: str) -> None: ...
    async def kill(self, name: str) -> None: ...
    async def pause(self, name: str) -> None: ...
    async def unpause(self, name: str) -> None: ...
    async def rename(self, name: str, new: str) -> None: ...

    async def remove(self, *names: str) -> None:
        """Remove containers, running or not."""
        ...

    async def check_health(self, name: str, well: bool) -> None:
        """Let the container's health check run, and succeed or fail."""
        ...

    async def go_away(self) -> None:
        """The runtime's service ends; containers run on."""
        ...

    async def come_back(self) -> None: ...


class Follower:
    """An agent that knows nothing but what the contract allows it to."""

    def __init__(self, runtime: Runtime) -> None:
        self.seen: dict[str, Container] = {}
        self.sets: list[frozenset[str]] = []
        self.states: list[tuple[str, str]] = []
        self._runtime = runtime
        self._changed = asyncio.Condition()

    async def follow(self) -> None:
        async with aclosing(self._runtime.changes()) as changes:
            async for ids in changes:
                found = await self._runtime.list(ids if self.sets else None)
                async with self._changed:
                    self.sets.append(ids)
                    for gone in ids:
                        self.seen.pop(gone, None)
                    self.seen.update((c.id, c) for c in found)
                    self.states.extend((c.name, c.state) for c in found)
                    self._changed.notify_all()

    def named(self, name: str) -> Container | None:
        return next((c for c in self.seen.values() if c.name == name), None)

    async def until(self, wanted: Callable[[], object]) -> None:
        try:
            async with asyncio.timeout(SOON), self._changed:
                await self._changed.wait_for(wanted)
        except TimeoutError:
            pytest.fail(f"did not come: seen {self.seen} by {self.sets}")


@asynccontextmanager
async def following(runtime: Runtime) -> AsyncIterator[Follower]:
    """A follower that has seen the first set, and has thus listed everything."""
    follower = Follower(runtime)
    task = asyncio.create_task(follower.follow())
    try:
        await follower.until(lambda: follower.sets or task.done())
        yield follower
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def listed(runtime: Runtime, name: str) -> Container:
    found = {c.name: c for c in await runtime.list()}
    assert name in found
    return found[name]


async def ended(runtime: Runtime, name: str, restarts: int = 0) -> Container:
    """The container, once it has ended for good: after so many restarts."""
    async with asyncio.timeout(SOON):
        while True:
            container = await listed(runtime, name)
            if container.state == "exited" and container.restarts == restarts:
                return container
            await asyncio.sleep(0.02)


async def _last(changes: AsyncIterator[frozenset[str]]) -> None:
    async with asyncio.timeout(SOON):
        async for _ in changes:
            pass


class RuntimeContract:
    """Subclasses provide the fixture `world`, without containers."""

    # ---- what is ----

    async def test_tells_its_version(self, world: World) -> None:
        major, *rest = (await world.runtime.version()).split(".")
        assert major.isdecimal()
        assert rest

    async def test_an_empty_node(self, world: World) -> None:
        assert await world.runtime.list() == []
        assert await world.runtime.usage() == []

    async def test_a_running_container(self, world: World) -> None:
        before = datetime.now(UTC).replace(microsecond=0)
        id = await world.run("web", labels={"tier": "front", "größe": "☃ 𝄞"})
        [web] = await world.runtime.list()
        after = datetime.now(UTC)
        assert web.id == id
        assert web.name == "web"
        assert web.image.startswith("localhost/")
        assert web.state == "running"
        assert web.health == ""
        assert web.exit_code == 0
        assert web.restarts == 0
        assert web.pod == ""
        assert {"tier": "front", "größe": "☃ 𝄞"}.items() <= web.labels.items()
        assert web.created_at is not None
        assert web.started_at is not None
        assert before <= web.created_at <= after
        assert before <= web.started_at <= after
        assert web.finished_at is None

    async def test_a_container_that_was_never_started(self, world: World) -> None:
        await world.create("web")
        web = await listed(world.runtime, "web")
        assert (web.state, web.started_at, web.finished_at) == ("created", None, None)

    @pytest.mark.parametrize(("program", "code"), [(Program.GOOD, 0), (Program.BAD, 3)])
    async def test_how_a_container_ended(self, world: World, program: Program, code: int) -> None:
        await world.run("job", program)
        job = await ended(world.runtime, "job")
        assert job.exit_code == code
        assert job.started_at is not None
        assert job.finished_at is not None
        assert job.started_at <= job.finished_at

    @pytest.mark.parametrize("verb", ["stop", "kill"])
    async def test_a_container_that_was_killed(self, world: World, verb: str) -> None:
        await world.run("web")
        await getattr(world, verb)("web")
        assert (await ended(world.runtime, "web")).exit_code == 137

    async def test_a_restarted_container_forgets_its_exit_code(self, world: World) -> None:
        await world.run("web")
        await world.kill("web")
        await ended(world.runtime, "web")
        await world.start("web")
        web = await listed(world.runtime, "web")
        assert (web.state, web.exit_code, web.restarts) == ("running", 0, 0)

    async def test_counts_restarts_by_policy(self, world: World) -> None:
        async with following(world.runtime) as follower:
            id = await world.run("job", Program.BAD, restarts=2)
            await follower.until(lambda: (c := follower.named("job")) and c.restarts == 2)
            job = await ended(world.runtime, "job", restarts=2)
            assert (job.restarts, job.exit_code) == (2, 3)
            assert await world.runtime.list({id}) == [job]

    async def test_the_pod_of_a_container(self, world: World) -> None:
        await world.run("web", pod="site")
        assert (await listed(world.runtime, "web")).pod == "site"

    async def test_lists_those_it_is_asked_for(self, world: World) -> None:
        a, b = await world.run("a"), await world.create("b")
        await world.create("c")
        nobody = "f" * 64
        assert [c.name for c in await world.runtime.list({a})] == ["a"]
        assert {c.name for c in await world.runtime.list([b, nobody, a])} == {"a", "b"}
        assert await world.runtime.list({nobody}) == []
        assert await world.runtime.list(frozenset()) == []
        many = {a, *(f"{n:060x}dead" for n in range(200))}
        assert [c.name for c in await world.runtime.list(many)] == ["a"]

    async def test_a_container_looks_the_same_however_it_is_listed(self, world: World) -> None:
        """Else an agent would report changes where there are none."""
        await world.run("web", labels={"a": "b"}, health=True)
        await world.run("job", Program.BAD, restarts=1)
        await world.create("new")
        await ended(world.runtime, "job", restarts=1)
        everything = {c.id: c for c in await world.runtime.list()}
        assert {c.id: c for c in await world.runtime.list(set(everything))} == everything
        for id, container in everything.items():
            assert await world.runtime.list([id]) == [container]
        assert {c.id: c for c in await world.runtime.list()} == everything

    # ---- what changes ----

    async def test_the_first_set_is_empty(self, world: World) -> None:
        await world.run("web")
        async with aclosing(world.runtime.changes()) as changes:
            assert await anext(changes) == frozenset()

    async def test_a_follower_sees_everything(self, world: World) -> None:
        runtime = world.runtime
        await world.run("old")
        async with following(runtime) as follower:
            assert follower.named("old")

            def is_now(name: str, state: str) -> Callable[[], bool]:
                return lambda: (c := follower.named(name)) is not None and c.state == state

            await world.run("web")
            await follower.until(is_now("web", "running"))
            await world.pause("web")
            await follower.until(is_now("web", "paused"))
            await world.unpause("web")
            await follower.until(is_now("web", "running"))
            await world.rename("web", "www")
            await follower.until(is_now("www", "running"))
            await world.kill("www")
            await follower.until(is_now("www", "exited"))
            await world.start("www")
            await follower.until(is_now("www", "running"))
            await world.create("new")
            await follower.until(is_now("new", "created"))
            await world.remove("www", "new")
            await follower.until(lambda: not follower.named("www") and not follower.named("new"))
            assert list(follower.seen.values()) == await runtime.list()

    async def test_a_follower_sees_a_container_end_by_itself(self, world: World) -> None:
        async with following(world.runtime) as follower:
            await world.run("job", Program.BAD)
            await follower.until(lambda: (c := follower.named("job")) and c.state == "exited")
            assert follower.seen == {c.id: c for c in await world.runtime.list()}

    async def test_a_follower_sees_health(self, world: World) -> None:
        async with following(world.runtime) as follower:

            def is_now(health: str) -> Callable[[], bool]:
                return lambda: (c := follower.named("web")) is not None and c.health == health

            await world.run("web", health=True)
            await follower.until(is_now("starting"))
            for well, word in ((True, "healthy"), (False, "unhealthy"), (True, "healthy")):
                await world.check_health("web", well)
                await follower.until(is_now(word))

    async def test_two_follow_at_once(self, world: World) -> None:
        async with following(world.runtime) as one:
            async with following(world.runtime) as other:
                id = await world.run("web")
                await one.until(lambda: id in one.seen)
                await other.until(lambda: id in other.seen)
            await world.remove("web")
            await one.until(lambda: id not in one.seen)

    async def test_changes_can_be_left_at_any_moment(self, world: World) -> None:
        never_begun = world.runtime.changes()
        await never_begun.aclose()
        waiting = world.runtime.changes()
        await anext(waiting)
        task = asyncio.ensure_future(anext(waiting))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await waiting.aclose()

    # ---- what is used ----

    async def test_usage_of_those_that_run(self, world: World) -> None:
        busy, idle = await world.run("busy", Program.BUSY), await world.run("idle")
        await world.create("new")
        await world.run("done", Program.GOOD)
        await ended(world.runtime, "done")
        first = {u.id: u for u in await world.runtime.usage()}
        await asyncio.sleep(0.5)
        second = {u.id: u for u in await world.runtime.usage()}
        for usages in (first, second):
            assert set(usages) == {busy, idle}
            assert usages[busy].cpu_percent > 20  # of one core; the machine may be busy
            assert usages[busy].cpu_percent < 150
            assert all(u.memory_bytes > 0 for u in usages.values())
        assert second[idle].cpu_percent < 15

    # ---- what goes wrong ----

    async def test_a_runtime_that_goes_away_and_comes_back(self, world: World) -> None:
        runtime = world.runtime
        id = await world.run("web")
        assert await runtime.version()
        async with aclosing(runtime.changes()) as changes:
            await anext(changes)
            await world.go_away()
            with pytest.raises(Unavailable):
                await _last(changes)
        for ask in (runtime.version, runtime.list, runtime.usage, lambda: runtime.list({id})):
            with pytest.raises(Unavailable, match="start"):
                await ask()
        with pytest.raises(Unavailable):
            await anext(runtime.changes())
        await world.come_back()
        assert [c.id for c in await runtime.list()] == [id]
        async with following(runtime) as follower:
            await world.kill("web")
            await follower.until(lambda: follower.seen[id].state == "exited")

    async def test_close_twice(self, world: World) -> None:
        await world.runtime.list()
        await world.runtime.close()
        await world.runtime.close()
