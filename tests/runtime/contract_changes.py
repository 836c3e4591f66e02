"""What every runtime guarantees of the verbs that change something, and of looking into one
container. Real Podman and the fake pass the same tests; each tells a story of several verbs,
since a real container costs time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Protocol

import pytest

from piccolo.core.errors import Unavailable
from piccolo.core.workloads.containers import (
    Container,
    HostPathType,
    Mount,
    MountKind,
    Port,
    PullPolicy,
)
from piccolo.core.workloads.instances import LABEL_CONTAINER, LABEL_HASH, LABEL_INSTANCE, LABEL_NODE
from piccolo.core.workloads.workload import Network, NetworkMode
from piccolo.runtime.base import ContainerRequest, Detail, PodRequest, Refusal, Refused, Runtime
from tests.runtime.contract import SOON, Program, World, following, listed

LABELS = {LABEL_INSTANCE: "web.0", LABEL_CONTAINER: "main", LABEL_HASH: "h1", LABEL_NODE: "n1"}
ISOLATED = Network(NetworkMode.NONE)
PORT = 18080


class ChangingWorld(World, Protocol):
    image: str  # that is there
    absent_image: str  # and not to be had
    foreign_image: str  # of another architecture
    absent_path: str  # of the node
    grace: float  # s; Podman knows whole seconds only

    def command(self, program: Program) -> tuple[str, ...]:
        """What to run in a container of `image`."""
        ...

    def listener(self, port: int) -> AbstractAsyncContextManager[None]:
        """Another program of the node uses a TCP port."""
        ...


async def until(runtime: Runtime, id: str, wanted: Callable[[Detail], object]) -> Detail:
    async with asyncio.timeout(SOON):
        while True:
            detail = await runtime.inspect(id)
            assert detail is not None
            if wanted(detail):
                return detail
            await asyncio.sleep(0.05)


class ChangesContract:
    """Subclasses provide the fixture `world`, without containers."""

    @pytest.fixture
    def runtime(self, world: ChangingWorld) -> Runtime:
        return world.runtime

    @pytest.fixture
    def request_(self, world: ChangingWorld) -> ContainerRequest:
        command = world.command(Program.POLITE)
        container = Container("main", world.image, command=command)
        return ContainerRequest("web.0.main", LABELS, container, ISOLATED)

    # ---- images ----

    async def test_images(self, world: ChangingWorld, runtime: Runtime) -> None:
        id = await runtime.ensure_image(world.image, PullPolicy.IF_NOT_PRESENT)
        assert id
        for pull in PullPolicy:  # an image of this node's own is never sought elsewhere
            assert await runtime.ensure_image(world.image, pull) == id
        for pull in PullPolicy:
            with pytest.raises(Refused, match=f"(?s){world.absent_image}.*podman pull") as missing:
                await runtime.ensure_image(world.absent_image, pull)
            assert missing.value.reason is Refusal.IMAGE_MISSING
        with pytest.raises(Refused, match="architecture") as foreign:
            await runtime.ensure_image(world.foreign_image, PullPolicy.IF_NOT_PRESENT)
        assert foreign.value.reason is Refusal.WRONG_ARCHITECTURE

    # ---- the life of a container ----

    async def test_a_life(self, runtime: Runtime, request_: ContainerRequest) -> None:
        async with following(runtime) as follower:
            id = await runtime.create(request_)
            assert await runtime.create(request_) == id
            made = await listed(runtime, "web.0.main")
            assert (made.id, made.state) == (id, "created")
            assert made.labels.items() >= LABELS.items()
            await runtime.start(id)
            await runtime.start(id)
            assert await runtime.create(request_) == id
            detail = await runtime.inspect(id)
            assert detail is not None
            assert (detail.id, detail.state, detail.address) == (id, "running", "")
            assert detail.started_at is not None
            assert not detail.oom_killed
            began = time.monotonic()
            await runtime.stop(id, 10.0)
            assert time.monotonic() - began < 5
            detail = await runtime.inspect(id)
            assert detail is not None
            assert (detail.state, detail.exit_code) == ("exited", 143)
            assert detail.finished_at is not None
            await runtime.stop(id, 10.0)
            await runtime.start(id)
            await runtime.remove(id)  # though it runs
            await runtime.remove(id)
            await runtime.stop(id, 10.0)
            assert await runtime.inspect(id) is None
            assert await runtime.tail(id, 10) == []
            assert await runtime.list() == []
            for verb in (runtime.start(id), runtime.exec(id, ("true",), 5.0)):
                with pytest.raises(Refused):
                    await verb
            await follower.until(lambda: not follower.seen)

    async def test_one_that_does_not_want_to_end(
        self, world: ChangingWorld, runtime: Runtime, request_: ContainerRequest
    ) -> None:
        stubborn = replace(request_.container, command=world.command(Program.STUBBORN))
        id = await runtime.create(replace(request_, container=stubborn))
        await runtime.start(id)
        await until(runtime, id, lambda d: d.state == "running")
        began = time.monotonic()
        await runtime.stop(id, world.grace)
        assert 0.9 * world.grace < time.monotonic() - began < 4
        detail = await runtime.inspect(id)
        assert detail is not None
        assert (detail.state, detail.exit_code, detail.oom_killed) == ("exited", 137, False)

    async def test_how_it_ended_and_what_it_said(
        self, world: ChangingWorld, runtime: Runtime, request_: ContainerRequest
    ) -> None:
        talks = replace(request_.container, command=world.command(Program.TALKS))
        id = await runtime.create(replace(request_, container=talks))
        assert await runtime.tail(id, 5) == []
        await runtime.start(id)
        detail = await until(runtime, id, lambda d: d.state == "exited")
        assert detail.exit_code == 3
        lines = await runtime.tail(id, 3)
        assert lines == ["größe ☃", "x" * 500, "last"]
        assert await runtime.tail(id, 1) == ["last"]
        assert await runtime.tail(id, 0) == []
        for _ in range(3):  # runs in quick succession
            await runtime.start(id)
            await until(runtime, id, lambda d: d.state == "exited")
            assert len(await runtime.tail(id, 20)) == 4, "the lines of the last run only"

    # ---- what is refused ----

    async def test_refusals_of_create(
        self, world: ChangingWorld, runtime: Runtime, request_: ContainerRequest
    ) -> None:
        await world.create("theirs")
        path, asked = world.absent_path, request_.container
        for request, reason in (
            (replace(request_, container=replace(asked, image=world.absent_image)), "ImageMissing"),
            (replace(request_, name="theirs"), "NameTaken"),
            (replace(request_, pod="nopod", network=None), "Refused"),
            *(
                (replace(request_, container=replace(asked, mounts=(mount,))), "MountMissing")
                for mount in (
                    Mount("/m", MountKind.HOST, path),
                    Mount("/m", MountKind.HOST, path, HostPathType.DIRECTORY),
                )
            ),
        ):
            with pytest.raises(Refused) as refused:
                await runtime.create(request)
            assert refused.value.reason == reason, refused.value
        assert [c.name for c in await runtime.list()] == ["theirs"]

    async def test_a_name_that_stands_for_something_else_now(
        self, runtime: Runtime, request_: ContainerRequest
    ) -> None:
        id = await runtime.create(request_)
        newer = replace(request_, labels={**LABELS, LABEL_HASH: "h2"})
        with pytest.raises(Refused) as refused:
            await runtime.create(newer)
        assert refused.value.reason is Refusal.NAME_TAKEN
        await runtime.remove(id)
        assert await runtime.create(newer) != id

    async def test_a_command_that_is_not_there(
        self, world: ChangingWorld, runtime: Runtime, request_: ContainerRequest
    ) -> None:
        wrong = replace(request_.container, command=world.command(Program.MISSING))
        id = await runtime.create(replace(request_, container=wrong))
        with pytest.raises(Refused, match="command") as refused:
            await runtime.start(id)
        assert refused.value.reason is Refusal.COMMAND_MISSING
        await runtime.remove(id)
        assert await runtime.list() == []

    async def test_a_port_that_is_taken(
        self, world: ChangingWorld, runtime: Runtime, request_: ContainerRequest
    ) -> None:
        listens = replace(request_.container, ports=(Port(80, PORT),))
        request = replace(request_, container=listens, network=Network())
        id = await runtime.create(request)
        async with world.listener(PORT):
            with pytest.raises(Refused, match=str(PORT)) as refused:
                await runtime.start(id)
            assert refused.value.reason is Refusal.PORT_TAKEN
        await runtime.start(id)
        assert (await until(runtime, id, lambda d: d.state == "running")).address.startswith("10.")
        pod = PodRequest("other.0", LABELS, Network(), (Port(80, PORT),))
        await runtime.create_pod(pod)
        inner = replace(request_, name="other.0.main", pod="other.0", network=None)
        other = await runtime.create(inner)
        with pytest.raises(Refused) as refused:
            await runtime.start(other)
        assert refused.value.reason is Refusal.PORT_TAKEN

    # ---- commands ----

    async def test_exec(
        self, world: ChangingWorld, runtime: Runtime, request_: ContainerRequest
    ) -> None:
        id = await runtime.create(request_)
        with pytest.raises(Refused):
            await runtime.exec(id, ("true",), 5.0)
        await runtime.start(id)
        await until(runtime, id, lambda d: d.state == "running")
        done = await runtime.exec(id, world.command(Program.TALKS), 10.0)
        assert done.exit_code == 3
        assert "last\n" in done.output  # the order of output and error is not certain
        assert len(done.output) <= 4096
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await runtime.exec(id, world.command(Program.STUBBORN), world.grace / 2)
        assert time.monotonic() - began < 3
        await runtime.remove(id)

    # ---- pods ----

    async def test_a_pod(self, runtime: Runtime, request_: ContainerRequest) -> None:
        pod = PodRequest(
            "web.0", {k: v for k, v in LABELS.items() if k != LABEL_CONTAINER}, ISOLATED
        )
        id = await runtime.create_pod(pod)
        assert await runtime.create_pod(pod) == id
        for labels in ({LABEL_NODE: ""}, {LABEL_NODE: "n1", LABEL_INSTANCE: "web.0"}):
            assert {n: dict(x) for n, x in (await runtime.pods(labels)).items()} == {
                "web.0": pod.labels
            }
        assert await runtime.pods({LABEL_NODE: "n2"}) == {}
        assert await runtime.pods({"other": ""}) == {}
        with pytest.raises(Refused) as refused:
            await runtime.create_pod(replace(pod, labels={**pod.labels, LABEL_HASH: "h2"}))
        assert refused.value.reason is Refusal.NAME_TAKEN
        inner = replace(request_, pod="web.0", network=None)
        one = await runtime.create(inner)
        two = await runtime.create(replace(inner, name="web.0.side"))
        await runtime.start(one)
        await runtime.start(two)
        found = {c.id: (c.name, c.pod, c.state) for c in await runtime.list()}
        assert found == {
            one: ("web.0.main", "web.0", "running"),
            two: ("web.0.side", "web.0", "running"),
        }
        assert {u.id for u in await runtime.usage()} == {one, two}
        await runtime.remove(two)
        await runtime.remove_pod("web.0")
        await runtime.remove_pod("web.0")
        assert await runtime.list() == []
        assert await runtime.pods({}) == {}

    # ---- volumes ----

    async def test_scratch_volumes(self, runtime: Runtime, request_: ContainerRequest) -> None:
        mounts = (Mount("/s", MountKind.SCRATCH, "a"), Mount("/t", MountKind.SCRATCH, "b"))
        asked = replace(request_.container, mounts=mounts)
        request = replace(request_, container=asked, scratch="web.0.")
        id = await runtime.create(request)
        other = await runtime.create(replace(request, name="other.0.main", scratch="other.0."))
        await runtime.remove(id)
        await runtime.remove_volumes("web.0.")
        await runtime.remove_volumes("web.0.")
        await runtime.remove(other)
        await runtime.remove_volumes("other.0.")

    # ---- what goes wrong ----

    async def test_changing_while_the_runtime_is_away(
        self, world: ChangingWorld, runtime: Runtime, request_: ContainerRequest
    ) -> None:
        id = await runtime.create(request_)
        await runtime.start(id)
        await world.go_away()
        for verb in (
            runtime.ensure_image(world.image, PullPolicy.IF_NOT_PRESENT),
            runtime.create(request_),
            runtime.start(id),
            runtime.stop(id, 1.0),
            runtime.remove(id),
            runtime.inspect(id),
            runtime.exec(id, ("true",), 1.0),
            runtime.tail(id, 1),
            runtime.pods({}),
            runtime.remove_pod("web.0"),
            runtime.create_pod(PodRequest("web.0", LABELS, ISOLATED)),
            runtime.remove_volumes("web.0."),
        ):
            with pytest.raises(Unavailable):
                await verb
        await world.come_back()
        assert await runtime.create(request_) == id
        assert (await listed(runtime, "web.0.main")).state == "running"

    async def test_said_by_two_at_once(self, runtime: Runtime, request_: ContainerRequest) -> None:
        ids = set(await asyncio.gather(*(runtime.create(request_) for _ in range(3))))
        assert len(ids) == 1
        [id] = ids
        await asyncio.gather(*(runtime.start(id) for _ in range(3)))
        await asyncio.gather(*(runtime.stop(id, 1.0) for _ in range(3)))
        await asyncio.gather(*(runtime.remove(id) for _ in range(3)))
        assert await runtime.list() == []
