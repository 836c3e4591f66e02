"""Each node's own Podman, with real containers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import podman
from tests.lab.cgroup import ROOT
from tests.lab.errors import LabError
from tests.lab.leftovers import leftovers
from tests.lab.net import Network
from tests.lab.podman import PodmanNode

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_podman]


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[PodmanNode]]:
    with Network() as net:
        made = [PodmanNode(net.site, net.add_host(name)) for name in ("a", "b")]
        for node in made:
            node.start_service()
            node.import_image()
        yield made
    assert leftovers(net.site.id) == []


@pytest.fixture
def node(nodes: list[PodmanNode]) -> Iterator[PodmanNode]:
    """The first of them; without containers again afterwards."""
    yield nodes[0]
    nodes[0].podman("rm", "--force", "--all", "--time", "0")


def states(node: PodmanNode) -> dict[str, str]:
    return {found["Names"][0]: found["State"] for found in node.containers()}


def eventually(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_containers_are_seen_on_their_own_node_only(nodes: list[PodmanNode]) -> None:
    for node in nodes:
        node.run("hello")
        node.run(f"only-{node.host.name}")
    for node in nodes:
        assert states(node) == {"hello": "running", f"only-{node.host.name}": "running"}
    for node in nodes:
        node.rm("hello")
        node.rm(f"only-{node.host.name}")
        assert states(node) == {}


def test_the_host_network_is_the_nodes(node: PodmanNode) -> None:
    node.run("hello")
    eventually(lambda: "hello" in node.podman("logs", "hello").stdout)
    assert f"inet {node.host.ip}/" in node.podman("exec", "hello", "ip", "address").stdout


def test_stop_start_kill(node: PodmanNode) -> None:
    node.run("hello")
    begun = time.monotonic()
    node.stop("hello")
    assert time.monotonic() - begun < 4, "it did not heed SIGTERM"
    assert states(node) == {"hello": "exited"}
    node.start("hello")
    assert states(node) == {"hello": "running"}
    node.kill("hello")
    eventually(lambda: states(node) == {"hello": "exited"})


def test_failing_container_tells_its_exit_code(node: PodmanNode) -> None:
    node.run("broken", "sh", "-c", "exit 7")
    eventually(lambda: states(node) == {"broken": "exited"})
    assert node.containers()[0]["ExitCode"] == 7


def test_a_paused_service_does_not_answer(node: PodmanNode) -> None:
    node.run("hello")
    node.pause_service()
    with pytest.raises(TimeoutError):
        node.api("GET", "/_ping", timeout=0.2)
    assert "hello" in node.podman("ps").stdout  # the node itself is well
    node.resume_service()
    assert states(node) == {"hello": "running"}


@pytest.mark.parametrize("end", [PodmanNode.stop_service, PodmanNode.kill_service])
def test_containers_outlive_the_service(
    node: PodmanNode, end: Callable[[PodmanNode], None]
) -> None:
    node.run("hello")
    end(node)
    with pytest.raises(OSError, match=r"refused|No such file"):
        node.api("GET", "/_ping")
    node.start_service()
    assert states(node) == {"hello": "running"}


def test_errors_carry_podmans_words(node: PodmanNode) -> None:
    with pytest.raises(LabError, match="no container with name or ID"):
        node.stop("nobody")
    with pytest.raises(LabError, match="404"):
        node.api("GET", f"{podman.API}/containers/nobody/json")


def test_another_image_with_its_own_command(node: PodmanNode) -> None:
    node.import_image("localhost/once:latest", ["echo", "just once"])
    node.run("once", image="localhost/once:latest")
    eventually(lambda: "just once" in node.podman("logs", "once").stdout)


def test_conmon_tidies_up_after_the_end(node: PodmanNode) -> None:
    container = node.run("brief", "true")
    eventually(lambda: states(node) == {"brief": "exited"})
    eventually(lambda: not (Path("/run/runc") / container).exists())
    assert list(ROOT.glob(f"*/libpod_parent/libpod-{container}")) == []


def test_storage_falls_back(tmp_path: Path, node: PodmanNode) -> None:
    assert podman.storage_driver(tmp_path) in ("overlay", "vfs")
