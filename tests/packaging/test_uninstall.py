"""What was installed goes; what is somebody's stays, until he says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.fake_machine import MASTER, TOKEN, FakeMachine

pytestmark = pytest.mark.slow

NODE, CLUSTER = "install_nodeagent.sh", "install_master.sh"


def put_on(machine: FakeMachine, bundle: Path, *scripts: str) -> None:
    for script in scripts:
        words = [MASTER, "--token", TOKEN] if script == NODE else []
        ended = machine.run(bundle / script, *words)
        assert ended.code == 0, ended.said


def left(machine: FakeMachine, before: dict[str, str]) -> set[str]:
    return {name.removeprefix("root") for name in machine.everything().keys() - before.keys()}


@pytest.mark.parametrize("script", [NODE, CLUSTER])
def test_nothing_is_left_but_what_it_says(script: str, machine: FakeMachine, bundle: Path) -> None:
    before = machine.everything()
    put_on(machine, bundle, script)
    dry = machine.run(bundle / script, "--uninstall", "--dry-run")
    assert dry.code == 0
    assert "nothing was done" in dry.last
    ended = machine.run(bundle / script, "--uninstall")
    assert ended.code == 0, ended.said
    kept = {"/etc/piccolo", "/var/lib/piccolo", "/var/log/piccolo"}
    assert "kept: /etc/piccolo /var/lib/piccolo /var/log/piccolo" in ended.said
    assert {
        name for name in left(machine, before) if "/".join(name.split("/")[:4]) not in kept
    } <= {f"/etc/piccolo/{file}" for file in ("nodeagent.yaml", "node.yaml")}
    again = machine.run(bundle / script, "--uninstall")
    assert "nothing to change" in again.last
    ended = machine.run(bundle / script, "--uninstall", "--purge", "--yes")
    assert ended.code == 0, ended.said
    assert machine.everything() == before


@pytest.mark.parametrize(("goes", "stays"), [(NODE, CLUSTER), (CLUSTER, NODE)])
def test_the_other_role_of_the_machine_keeps_its_files(
    goes: str, stays: str, machine: FakeMachine, bundle: Path
) -> None:
    put_on(machine, bundle, stays)
    state = machine.path("/var/lib/piccolo/master/pki")
    if stays == CLUSTER:
        state.mkdir(parents=True)
    before = machine.everything()
    put_on(machine, bundle, goes)
    ended = machine.run(bundle / goes, "--uninstall", "--purge", "--yes")
    assert ended.code == 0, ended.said
    assert "keeps the program and its files" in ended.said
    assert machine.everything() == before
    assert (
        "nothing to change"
        in machine.run(bundle / stays, *([MASTER] if stays == NODE else [])).last
    )


def test_containers_go_on_unless_all_is_purged(machine: FakeMachine, bundle: Path) -> None:
    put_on(machine, bundle, NODE)
    containers = machine.fake / "containers"
    containers.write_text("0123456789ab\nba9876543210\n")
    ended = machine.run(bundle / NODE, "--uninstall")
    assert "containers of workloads go on running: 2" in ended.said
    assert "podman rm --force $(podman ps -aq --filter label=io.piccolo.instance)" in ended.said
    assert containers.exists()
    ended = machine.run(bundle / NODE, "--uninstall", "--purge", "--yes")
    assert ended.code == 0, ended.said
    assert "no more: containers, pods and volumes of workloads" in ended.said
    assert "podman rm --force 0123456789ab ba9876543210" in machine.calls("podman")


def test_a_purge_is_confirmed(machine: FakeMachine, bundle: Path) -> None:
    put_on(machine, bundle, NODE)
    before = machine.everything()
    ended = machine.run(bundle / NODE, "--uninstall", "--purge")
    assert ended.code == 1
    assert "say --yes as well" in ended.said
    assert machine.everything() == before


def test_somebody_elses_data_directory_stays(machine: FakeMachine, bundle: Path) -> None:
    put_on(machine, bundle, NODE)
    settings = machine.path("/etc/piccolo/nodeagent.yaml")
    settings.write_text(settings.read_text() + "  data_dir: /srv/piccolo\n")
    ended = machine.run(bundle / NODE, "--uninstall", "--purge", "--yes")
    assert ended.code == 0
    assert "kept: /srv/piccolo" in ended.said


def test_without_root(machine: FakeMachine, bundle: Path) -> None:
    for script in (NODE, CLUSTER):
        assert machine.run(bundle / script, "--uninstall", FAKE_UID="1000").code == 1
