"""The nodes that the contract is tested on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from piccolo.runtime.podman import Podman
from tests.lab.podman import HELLO, PodmanNode
from tests.runtime.contract import Program
from tests.runtime.fake import Command, FakeRuntime, Script


class FakeWorld:
    """A `World` without containers."""

    image = "localhost/fake:1"
    absent_image = "localhost/absent:1"
    foreign_image = "localhost/foreign:1"
    absent_path = "/absent"
    grace = 0.1

    def __init__(self) -> None:
        self.runtime = FakeRuntime()
        self.runtime.missing_images.add(self.absent_image)
        self.runtime.foreign_images.add(self.foreign_image)
        self.runtime.missing_paths.add(self.absent_path)
        said = ("", "größe ☃", "x" * 600, "last")
        self.runtime.scripts |= {
            Program.STUBBORN.name: Script(ignores_stop=True),
            Program.TALKS.name: Script(exit_code=3, lines=said),
            Program.MISSING.name: Script(missing=True),
        }
        self.runtime.commands |= {
            Program.STUBBORN.name: Command(takes=9.0),
            Program.TALKS.name: Command(3, "last\n"),
        }

    def command(self, program: Program) -> tuple[str, ...]:
        return (program.name,)

    @asynccontextmanager
    async def listener(self, port: int) -> AsyncIterator[None]:
        self.runtime.used_ports.add(port)
        yield
        self.runtime.used_ports.discard(port)

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
        id = self.runtime.run(name, labels=labels, health=health, pod=pod)
        if program is Program.BUSY:
            self.runtime.use(name, 100.0)
        if program in (Program.GOOD, Program.BAD):
            code = 3 if program is Program.BAD else 0
            for _ in range(restarts):
                self.runtime.restart(name, code)
            self.runtime.end(name, code)
        return id

    async def create(self, name: str) -> str:
        return self.runtime.create_by_hand(name)

    async def start(self, name: str) -> None:
        self.runtime.start_by_hand(name)

    async def stop(self, name: str) -> None:
        self.runtime.kill(name)

    async def kill(self, name: str) -> None:
        self.runtime.kill(name)

    async def pause(self, name: str) -> None:
        self.runtime.pause(name)

    async def unpause(self, name: str) -> None:
        self.runtime.unpause(name)

    async def rename(self, name: str, new: str) -> None:
        self.runtime.rename(name, new)

    async def remove(self, *names: str) -> None:
        self.runtime.remove_by_hand(*names)

    async def check_health(self, name: str, well: bool) -> None:
        self.runtime.check_health(name, well)

    async def go_away(self) -> None:
        self.runtime.go_away()

    async def come_back(self) -> None:
        self.runtime.come_back()


_COMMANDS = {
    Program.IDLE: "sleep 1000",
    Program.BUSY: "exec yes >/dev/null",
    Program.GOOD: "exit 0",
    Program.BAD: "exit 3",
    Program.POLITE: "trap 'exit 143' TERM; while :; do sleep 1000 & wait $!; done",
    Program.STUBBORN: "trap '' TERM; while :; do sleep 1; done",
    Program.TALKS: "printf '\\033[31mfirst\\033[m\\r\\n'; echo größe ☃ >&2;"
    " echo $(printf %0600d 0 | tr 0 x); echo last; exit 3",
}


class PodmanWorld:
    """A `World` on a real Podman. The commands are programs of their own, beside its service."""

    image = HELLO
    absent_image = "localhost/absent:1"
    foreign_image = "localhost/foreign:1"
    absent_path = "/absent"
    grace = 1.0

    def __init__(self, node: PodmanNode, timeout: float = 20.0) -> None:
        self.node = node
        self.runtime = Podman(node.socket, timeout)

    def command(self, program: Program) -> tuple[str, ...]:
        if program is Program.MISSING:
            return ("/no/such/program",)
        return ("sh", "-c", _COMMANDS[program])

    @asynccontextmanager
    async def listener(self, port: int) -> AsyncIterator[None]:
        with self.node.host.socket() as socket:
            socket.bind(("0.0.0.0", port))
            socket.listen()
            yield

    async def podman(self, *args: str, check: bool = True) -> str:
        done = await asyncio.to_thread(self.node.podman, *args, check=check)
        return done.stdout.strip()

    async def run(
        self,
        name: str,
        program: Program = Program.IDLE,
        *,
        labels: Mapping[str, str] | None = None,
        restarts: int = 0,
        health: bool = False,
        pod: str = "",
        network: str = "none",
    ) -> str:
        options = [f"--label={key}={value}" for key, value in (labels or {}).items()]
        if restarts:
            options.append(f"--restart=on-failure:{restarts}")
        if health:
            options += ["--health-cmd=test -e /well", "--health-retries=1"]
            options.append("--health-interval=disable")
        if pod:
            await self.podman("pod", "create", "--infra=false", "--name", pod)
            options.append(f"--pod={pod}")
        return await asyncio.to_thread(
            self.node.run, name, "sh", "-c", _COMMANDS[program], network=network, options=options
        )

    async def create(self, name: str) -> str:
        return await self.podman("create", "--network=none", f"--name={name}", HELLO, "true")

    async def start(self, name: str) -> None:
        # conmon's clean-up after a container that was killed does not know the node's own root of
        # runc, so a first start may find the old run there; it removes it, and fails.
        await self.podman("start", name, check=False)
        await self.podman("start", name)

    async def stop(self, name: str) -> None:
        await self.podman("stop", "--time=0", name)

    async def kill(self, name: str) -> None:
        await self.podman("kill", name)

    async def pause(self, name: str) -> None:
        await self.podman("pause", name)

    async def unpause(self, name: str) -> None:
        await self.podman("unpause", name)

    async def rename(self, name: str, new: str) -> None:
        await self.podman("rename", name, new)

    async def remove(self, *names: str) -> None:
        await self.podman("rm", "--force", "--time=0", *names)

    async def check_health(self, name: str, well: bool) -> None:
        await self.podman("exec", name, *(("touch", "/well") if well else ("rm", "-f", "/well")))
        await self.podman("healthcheck", "run", name, check=False)

    async def go_away(self) -> None:
        await asyncio.to_thread(self.node.kill_service)

    async def come_back(self) -> None:
        await asyncio.to_thread(self.node.start_service)

    async def clear(self) -> None:
        """Remove all containers, and let go."""
        await self.runtime.close()
        for certain in (False, True):  # a container that is about to end makes the first fail
            await self.podman("pod", "rm", "--force", "--all", "--time=0", check=certain)
            await self.podman("rm", "--force", "--all", "--time=0", check=certain)
        if self.node.service is None or not self.node.service.alive:
            await self.come_back()
