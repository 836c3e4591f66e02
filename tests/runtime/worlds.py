"""The nodes that the contract is tested on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from piccolo.runtime.podman import Podman
from tests.lab.podman import HELLO, PodmanNode
from tests.runtime.contract import Program
from tests.runtime.fake import FakeRuntime


class FakeWorld:
    """A `World` without containers."""

    def __init__(self) -> None:
        self.runtime = FakeRuntime()

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
        return self.runtime.create(name)

    async def start(self, name: str) -> None:
        self.runtime.start(name)

    async def stop(self, name: str) -> None:
        self.runtime.stop(name)

    async def kill(self, name: str) -> None:
        self.runtime.kill(name)

    async def pause(self, name: str) -> None:
        self.runtime.pause(name)

    async def unpause(self, name: str) -> None:
        self.runtime.unpause(name)

    async def rename(self, name: str, new: str) -> None:
        self.runtime.rename(name, new)

    async def remove(self, *names: str) -> None:
        self.runtime.remove(*names)

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
}


class PodmanWorld:
    """A `World` on a real Podman. The commands are programs of their own, beside its service."""

    def __init__(self, node: PodmanNode, timeout: float = 20.0) -> None:
        self.node = node
        self.runtime = Podman(node.socket, timeout)

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
