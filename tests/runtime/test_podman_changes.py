"""Real containers: that Podman makes of our specifications what documents mean by them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from piccolo.core.workloads.containers import (
    Container,
    Device,
    HostPathType,
    Mount,
    MountKind,
    Port,
    Resources,
    Security,
)
from piccolo.core.workloads.instances import LABEL_INSTANCE
from piccolo.core.workloads.workload import Network, NetworkMode
from piccolo.runtime.base import Bind, ContainerRequest, PodRequest, Refusal, Refused
from piccolo.runtime.podman import Podman
from piccolo.runtime.podman.changes import API
from tests.lab.podman import HELLO
from tests.runtime.contract_changes import until
from tests.runtime.worlds import PodmanWorld

pytestmark = [pytest.mark.slow, pytest.mark.needs_root, pytest.mark.needs_podman]

LABELS = {LABEL_INSTANCE: "web.0"}
NONE = Network(NetworkMode.NONE)
IDLE = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done")


@pytest.fixture
def podman(podman_world: PodmanWorld) -> Podman:
    return podman_world.runtime


async def shell(podman: Podman, id: str, script: str) -> str:
    done = await podman.exec(id, ("sh", "-c", script), 10.0)
    assert done.exit_code == 0, done
    return done.output.strip()


async def test_everything_that_can_be_asked_for(podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("content")
    new = tmp_path / "made" / "there"
    file = tmp_path / "file"
    mounts = (
        Mount("/data", MountKind.HOST, str(new), HostPathType.DIRECTORY_OR_CREATE),
        Mount("/file", MountKind.HOST, str(file), HostPathType.FILE_OR_CREATE, read_only=True),
        Mount("/scratch", MountKind.SCRATCH, "tmp"),
        Mount("/memory", MountKind.TMPFS, size=1 << 20),
    )
    asked = Container(
        "main",
        HELLO,
        command=IDLE[:2],
        args=IDLE[2:],
        working_dir="/tmp",
        env={"A": "b c", "B": "ö=ü"},
        mounts=mounts,
        devices=(Device("/dev/null", "/dev/nothing", "r"),),
        resources=Resources(cpu=0.5, memory=64 << 20, pids=20),
        security=Security(user="7:8", read_only_root=True, add=("NET_BIND_SERVICE",)),
        stop_signal="SIGUSR1",
    )
    network = Network(hostname="box", hosts={"other": "10.1.2.3"}, dns_servers=("10.9.9.9",))
    request = ContainerRequest(
        "web.0.main",
        LABELS,
        asked,
        network,
        secret_env={"S": "secret"},
        binds=(Bind(str(tmp_path / "config"), "/etc/app/config"),),
        scratch="web.0.",
    )
    id = await podman.create(request)
    await podman.start(id)
    told = await shell(
        podman,
        id,
        """pwd; echo "$A $B $S"; id -u; id -g; hostname
        cat /etc/app/config; echo
        (echo x > /etc/app/config) 2>/dev/null || echo read-only file
        (echo x > /x) 2>/dev/null || echo read-only root
        grep -c '10.1.2.3.*other' /etc/hosts; grep -c 10.9.9.9 /etc/resolv.conf
        df -k /memory | tail -1 | awk '{print $2}'
        echo > /memory/x; echo > /scratch/x; ls /memory/x /scratch/x
        test -d /data && test -f /file && echo mounts
        test -c /dev/nothing && echo device
        grep -E 'CapBnd|NoNewPrivs' /proc/1/status | awk '{print $2}'""",
    )
    assert told.split("\n") == [
        *("/tmp", "b c ö=ü secret", "7", "8", "box"),
        *(
            "content",
            "read-only file",
            "read-only root",
            "1",
            "1",
            "1024",
            "/memory/x",
            "/scratch/x",
        ),
        *("mounts", "device", "0000000000000400", "1"),
    ]
    assert new.is_dir()
    assert file.is_file()
    found = await inspection(podman, id)
    host, config = found["HostConfig"], found["Config"]
    assert host["RestartPolicy"]["Name"] == "no"
    assert (host["LogConfig"]["Type"], host["LogConfig"]["Size"]) == ("k8s-file", "10MB")
    assert (host["Memory"], host["MemorySwap"]) == (64 << 20, 64 << 20)
    assert (host["CpuQuota"], host["CpuPeriod"], host["PidsLimit"]) == (50_000, 100_000, 20)
    assert (config["StopSignal"], config["Healthcheck"]) == (signal.SIGUSR1, {"Test": ["NONE"]})
    await podman.remove(id)
    await podman.remove_volumes("web.0.")


async def test_command_and_arguments_as_in_kubernetes(
    podman: Podman, podman_world: PodmanWorld
) -> None:
    image = "localhost/entry:1"
    await podman_world.create("base")
    entry = 'ENTRYPOINT ["echo", "entry"]'
    options = ("--quiet", "--change", entry, "--change", 'CMD ["word"]')
    await podman_world.podman("commit", *options, "base", image)
    echo = ("echo", "command")
    for command, args, said in (
        ((), (), "entry word"),
        ((), ("args",), "entry args"),
        (echo, (), "command"),
        (echo, ("args",), "command args"),
    ):
        asked = Container("main", image, command=command, args=args)
        id = await podman.create(ContainerRequest("web.0.main", LABELS, asked, NONE))
        await podman.start(id)
        await until(podman, id, lambda d: d.state == "exited")
        assert await podman.tail(id, 9) == [said]
        await podman.remove(id)


async def test_a_container_that_uses_too_much_memory(podman: Podman) -> None:
    asked = Container(
        "main", HELLO, command=("tail", "/dev/zero"), resources=Resources(memory=16 << 20)
    )
    id = await podman.create(ContainerRequest("web.0.main", LABELS, asked, NONE))
    await podman.start(id)
    detail = await until(podman, id, lambda d: d.state == "exited")
    assert (detail.oom_killed, detail.exit_code) == (True, 137)


async def test_containers_of_a_pod_share_their_network(
    podman: Podman, podman_world: PodmanWorld
) -> None:
    port = Port(80, 18080)
    labels = {**LABELS, "a": "b"}
    network = Network(hostname="box", hosts={"other": "10.1.2.3"})
    await podman.create_pod(PodRequest("web.0", labels, network, (port,)))
    serve = "echo hello > /s/index.html; exec httpd -f -p 80 -h /s"
    fetch = "until wget -qO- http://127.0.0.1; do sleep 0.1; done; cat /s/index.html; hostname"
    mounts = (Mount("/s", MountKind.SCRATCH, "site"),)
    ids = []
    for name, script in (("server", serve), ("client", f"{fetch}; grep other /etc/hosts")):
        command = ("sh", "-c", script)
        asked = Container(name, HELLO, command=command, mounts=mounts)
        ids.append(
            await podman.create(
                ContainerRequest(f"web.0.{name}", labels, asked, None, "web.0", scratch="web.0.")
            )
        )
        await podman.start(ids[-1])
    await until(podman, ids[1], lambda d: d.state == "exited")
    told = [line for line in await podman.tail(ids[1], 9) if not line.startswith("wget:")]
    assert " ".join(told).split() == ["hello", "hello", "box", "10.1.2.3", "other"]
    server = await podman.inspect(ids[0])
    assert server is not None
    node = podman_world.node.host
    for address in (f"{server.address}:80", f"{node.ip}:18080"):
        argv = [*node.prefix(), "busybox", "wget", "-qO-", f"http://{address}"]
        got = await asyncio.to_thread(podman_world.node.site.run, argv)
        assert got.stdout == "hello\n"
    began = time.monotonic()
    await podman.remove_pod("web.0")  # httpd does not end when asked
    assert time.monotonic() - began < 5
    await podman.remove_volumes("web.0.")


async def test_networks(podman: Podman) -> None:
    for mode, address in ((NetworkMode.HOST, "127.0.0.1"), (NetworkMode.NONE, "")):
        network = Network(mode, hosts={"other": "10.1.2.3"})
        asked = Container("main", HELLO, command=IDLE, ports=(Port(80, 18080),))
        id = await podman.create(ContainerRequest("web.0.main", LABELS, asked, network))
        await podman.start(id)
        detail = await podman.inspect(id)
        assert detail is not None
        assert detail.address == address
        await podman.remove(id)
        await podman.create_pod(PodRequest("web.0", LABELS, network))
        id = await podman.create(ContainerRequest("web.0.main", LABELS, asked, None, "web.0"))
        await podman.start(id)
        detail = await podman.inspect(id)
        assert detail is not None
        assert detail.address == address
        await podman.remove_pod("web.0")
    asked = Container("main", HELLO, command=IDLE)
    request = ContainerRequest("web.0.main", LABELS, asked, Network(name="nowhere"))
    with pytest.raises(Refused, match="nowhere") as refused:
        await podman.create(request)
    assert refused.value.reason is Refusal.REFUSED


async def test_volumes_of_others_are_left_alone(podman: Podman, podman_world: PodmanWorld) -> None:
    await podman_world.podman("volume", "create", "web.0.theirs")
    mounts = (Mount("/s", MountKind.SCRATCH, "theirs"),)
    asked = Container("main", HELLO, command=IDLE, mounts=mounts)
    request = ContainerRequest("web.0.main", LABELS, asked, NONE, scratch="web.0.")
    with pytest.raises(Refused) as refused:
        await podman.create(request)
    assert refused.value.reason is Refusal.NAME_TAKEN
    await podman.remove_volumes("web.0.")
    assert await podman_world.podman("volume", "ls", "--quiet") == "web.0.theirs"
    await podman_world.podman("volume", "rm", "web.0.theirs")


async def test_what_a_killed_podman_left_of_a_container(
    podman: Podman, podman_world: PodmanWorld
) -> None:
    """A Podman with the same storage, but another database, makes the same as one that is killed
    before it has written to its own.
    """
    node = podman_world.node
    other = node.host.dir / "other.conf"
    conf = (node.host.dir / "containers.conf").read_text()
    other.write_text(conf.replace("[engine]", f'[engine]\nstatic_dir = "{node.host.dir}/other"'))
    command = [*node.command(), "create", "--network=none", "--name=web.0.main", HELLO]
    argv = [
        part if "CONTAINERS_CONF=" not in part else f"CONTAINERS_CONF={other}" for part in command
    ]
    await asyncio.to_thread(node.site.run, argv)
    asked = Container("main", HELLO, command=IDLE)
    id = await podman.create(ContainerRequest("web.0.main", LABELS, asked, NONE))
    await podman.start(id)
    assert [c.id for c in await podman.list()] == [id]


async def test_what_a_killed_podman_left_of_a_pod(
    podman: Podman, podman_world: PodmanWorld
) -> None:
    label = f"--label={LABEL_INSTANCE}=web.0"
    half = await podman_world.podman("pod", "create", "--infra=false", label, "--name=web.0")
    whole = await podman.create_pod(PodRequest("web.0", LABELS, NONE))
    assert whole != half
    assert await podman.create_pod(PodRequest("web.0", LABELS, NONE)) == whole


async def test_a_command_that_hangs_leaves_nothing_behind(podman: Podman) -> None:
    asked = Container("main", HELLO, command=IDLE)
    id = await podman.create(ContainerRequest("web.0.main", LABELS, asked, NONE))
    await podman.start(id)
    with pytest.raises(TimeoutError):
        await podman.exec(id, ("sh", "-c", "sleep 777; true"), 0.5)
    assert "777" not in await shell(podman, id, "ps | grep -v grep | grep sleep")


async def test_running_costs_no_more_than_podman_run(
    podman: Podman, podman_world: PodmanWorld
) -> None:
    """Half of what there is to measure: the agent and the master come on top of it."""
    asked = Container("main", HELLO, command=IDLE)
    ours, bare = [], []
    for number in range(5):
        began = time.monotonic()
        await podman.ensure_image(HELLO, asked.pull)
        id = await podman.create(ContainerRequest(f"a{number}", LABELS, asked, NONE))
        await podman.start(id)
        ours.append(time.monotonic() - began)
        began = time.monotonic()
        await podman_world.podman("run", "-d", "--network=none", HELLO, *IDLE)
        bare.append(time.monotonic() - began)
    assert statistics.median(ours) < 1.3 * statistics.median(bare), (ours, bare)


async def inspection(podman: Podman, id: str) -> Any:
    answer = await podman._http.request("GET", f"{API}/containers/{id}/json")
    return json.loads(answer.body)


async def test_nothing_is_left_of_a_command(podman: Podman, podman_world: PodmanWorld) -> None:
    id = await podman_world.run("web")
    for _ in range(2):
        assert (await podman.exec(id, ("true",), 10.0)).exit_code == 0
    with pytest.raises(TimeoutError):
        await podman.exec(id, ("sleep", "777"), 0.5)
    async with asyncio.timeout(5):
        while True:
            if _conmons(id) == 1:  # its own
                break
            await asyncio.sleep(0.05)
    inspected = podman_world.node.podman("inspect", id, "--format", "{{.ExecIDs}}").stdout
    assert inspected.strip() == "[]"


def _conmons(id: str) -> int:
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            found += words[0].endswith(b"conmon") and id.encode() in words
    return found
