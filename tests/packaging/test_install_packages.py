"""Podman by each distribution's package manager, and only where it is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.fake_machine import MANAGERS, MASTER, TOKEN, Ended, FakeMachine

pytestmark = pytest.mark.slow

CALLS = {
    "apt-get": ["-o DPkg::Lock::Timeout=120 update", "install -y podman iptables catatonit"],
    "dnf": ["check-update", "install -y podman"],
    "yum": ["check-update", "install -y podman"],
    "zypper": ["--non-interactive refresh", "--non-interactive install podman"],
    "pacman": ["-Sy --noconfirm", "-S --noconfirm --needed podman"],
}


def install(machine: FakeMachine, bundle: Path, *options: str, **environ: str) -> Ended:
    script = bundle / "install_nodeagent.sh"
    return machine.run(script, MASTER, "--token", TOKEN, *options, **environ)


@pytest.mark.parametrize("manager", MANAGERS)
def test_it_is_installed(manager: str, machine: FakeMachine, bundle: Path) -> None:
    machine.take("podman")
    machine.give(manager)
    ended = install(machine, bundle)
    assert ended.code == 0, ended.said
    assert f"changed    package podman, by {manager}" in ended.said
    calls = machine.calls(manager)
    assert len(calls) == 2
    for call, wanted in zip(calls, CALLS[manager], strict=True):
        assert call.endswith(wanted)


@pytest.mark.parametrize("manager", MANAGERS)
def test_without_a_network_it_says_what_to_do(
    manager: str, machine: FakeMachine, bundle: Path
) -> None:
    machine.take("podman")
    machine.give(manager)
    before = machine.everything()
    ended = install(machine, bundle, FAKE_OFFLINE="yes")
    assert ended.code == 1
    assert f"podman could not be installed by {manager}" in ended.said
    assert "no route to host" in ended.said
    assert "install podman by hand" in ended.said
    assert machine.everything() == before


def test_podman_and_no_network_needs_no_package_manager(machine: FakeMachine, bundle: Path) -> None:
    for manager in MANAGERS:
        machine.give(manager)
    ended = install(machine, bundle, FAKE_OFFLINE="yes")
    assert ended.code == 0, ended.said
    assert machine.calls(*MANAGERS) == []


def test_the_distributions_own_one_comes_first(machine: FakeMachine, bundle: Path) -> None:
    machine.take("podman")
    for manager in ("yum", "dnf"):  # Fedora has both
        machine.give(manager)
    assert install(machine, bundle).code == 0
    assert machine.calls("yum") == []


def test_no_package_manager(machine: FakeMachine, bundle: Path) -> None:
    machine.take("podman")
    ended = install(machine, bundle)
    assert ended.code == 1
    assert "none of apt-get, dnf, yum, zypper and pacman" in ended.said
    ended = install(machine, bundle, "--force")
    assert ended.code == 0
    assert "no container will run (--force)" in ended.said


def test_what_a_package_manager_did_is_not_taken_back_but_said(
    machine: FakeMachine, bundle: Path
) -> None:
    machine.take("podman")
    machine.give("dnf")
    ended = install(machine, bundle, FAKE_CHECK="1")
    assert ended.code == 1
    assert ended.last.startswith("Not taken back: podman, which dnf installed")
