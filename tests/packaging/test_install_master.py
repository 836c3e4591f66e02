"""A machine becomes the master of a cluster."""

from __future__ import annotations

import os
import pty
import shutil
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from piccolo.config.master_file import MasterFile
from piccolo.config.settings import Discovery
from tests.packaging import fake_bundle
from tests.packaging.fake_bundle import TEMPLATES
from tests.packaging.fake_machine import MASTER, TOKEN, Ended, FakeMachine

SETTINGS = "/etc/piccolo/node.yaml"
slow = pytest.mark.slow


def install(machine: FakeMachine, bundle: Path, *words: str | Path, **environ: str) -> Ended:
    return machine.run(bundle / "install_master.sh", *words, **environ)


@pytest.fixture
def master(machine: FakeMachine, bundle: Path) -> FakeMachine:
    ended = install(machine, bundle)
    assert ended.code == 0, ended.said
    return machine


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["10.0.0.1"], "unknown: 10.0.0.1"),
        (["--cluster", "My Cluster"], "My Cluster is no name"),
        (["--listen", "10.0.0:50051"], "10.0.0:50051 is not ADDR:PORT"),
        (["--listen", "0.0.0.0:70000"], "is not ADDR:PORT"),
        (["--listen"], "--listen needs a value"),
    ],
)
def test_wrong_arguments(words: list[str], said: str, machine: FakeMachine, bundle: Path) -> None:
    ended = install(machine, bundle, *words)
    assert ended.code == 2
    assert said in ended.said


@slow
def test_what_a_master_has(machine: FakeMachine, bundle: Path) -> None:
    ended = install(machine, bundle, "--cluster=factory", "--listen", "[::]:50061")
    assert ended.code == 0, ended.said
    text = machine.path(SETTINGS).read_text()
    template = (TEMPLATES / "node.yaml").read_text()
    template = template.replace("  #name: piccolo\n", "  name: factory\n", 1)
    template = template.replace("#discovery: cloud", "discovery: any", 1)
    assert text == template.replace("#listen: 0.0.0.0:50051", 'listen: "[::]:50061"', 1)
    file = MasterFile.model_validate(yaml.safe_load(text))
    assert (file.cluster.name, file.listen) == ("factory", "[::]:50061")
    assert file.discovery is Discovery.ANY, "whoever has a token is let in"
    assert "node_ready_check.sh master ::1 50061" in machine.calls("node_ready_check.sh")
    kept = machine.path("/opt/piccolo/bundles/piccolo-1.0.0-linux-amd64.tar.gz")
    assert kept.read_bytes() == Path(f"{bundle}.tar.gz").read_bytes()  # it lies beside
    assert "the master listens on port 50061" in ended.said
    assert machine.path("/etc/systemd/system/piccolo-master.service").exists()


@slow
def test_a_second_run_changes_nothing(master: FakeMachine, bundle: Path) -> None:
    before = master.everything()
    ended = install(master, bundle)
    assert ended.code == 0, ended.said
    assert "nothing to change" in ended.last
    assert master.everything() == before


@slow
def test_a_dry_run_changes_nothing(machine: FakeMachine, bundle: Path) -> None:
    before = machine.everything()
    ended = install(machine, bundle, "--dry-run")
    assert ended.code == 0, ended.said
    assert "would be   /etc/piccolo/node.yaml, from the template" in ended.said
    assert machine.everything() == before


@slow
def test_an_unpacked_bundle_is_packed_for_the_nodes(
    machine: FakeMachine, bundle: Path, tmp_path: Path
) -> None:
    alone = Path(shutil.copytree(bundle, tmp_path / "alone/any-name", symlinks=True))
    assert install(machine, alone).code == 0
    packed = machine.path("/opt/piccolo/bundles/piccolo-1.0.0-linux-amd64.tar.gz")
    with tarfile.open(packed) as archive:
        tops = {name.split("/")[0] for name in archive.getnames()}
    assert tops == {"piccolo-1.0.0-linux-amd64"}
    assert "nothing to change" in install(machine, alone).last
    node = machine.run(
        bundle / "install_nodeagent.sh", MASTER, "--token", TOKEN, "--bundle", packed
    )
    assert node.code == 0, node.said


@slow
def test_an_upgrade_keeps_the_settings(master: FakeMachine, newer: Path, tmp_path: Path) -> None:
    own = "cluster: {name: factory}\n# mine\nlisten: 127.0.0.1:50051\n"
    master.path(SETTINGS).write_text(own)
    assert install(master, newer).code == 0
    assert install(master, fake_bundle.make(tmp_path, "1.2.0")).code == 0
    assert master.path(SETTINGS).read_text() == own
    assert sorted(os.listdir(master.path("/opt/piccolo/bundles"))) == [
        "piccolo-1.1.0-linux-amd64.tar.gz",
        "piccolo-1.2.0-linux-amd64.tar.gz",
    ]


@slow
def test_a_port_that_is_taken(machine: FakeMachine, bundle: Path) -> None:
    machine.give("timeout", 'shift; exec "$@"\n')
    before = machine.everything()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = install(machine, bundle, "--listen", f"127.0.0.1:{port}")
    assert ended.code == 1
    assert f"port {port} is taken by another program" in ended.said
    assert "ss -ltnp" in ended.said
    assert machine.everything() == before


@slow
def test_one_that_never_listens(machine: FakeMachine, bundle: Path) -> None:
    machine.give("timeout", 'case $* in *bash*/dev/tcp/*) exit 1;; esac\nshift; exec "$@"\n')
    (machine.bin / "sleep").unlink()
    machine.give("sleep")
    before = machine.everything()
    ended = install(machine, bundle)
    assert ended.code == 1
    assert "does not listen on 127.0.0.1 port 50051 after 30 s" in ended.said
    assert machine.everything() == before


@slow
def test_the_firewall_is_opened_and_closed(machine: FakeMachine, bundle: Path) -> None:
    machine.give("ufw")
    (machine.fake / "ufw").write_text("22/tcp                  ALLOW       Anywhere\n")
    assert install(machine, bundle).code == 0
    rules = (machine.fake / "ufw").read_text().split()[::3]
    assert rules == ["22/tcp", "50051/tcp", "50051/udp", "50052/tcp"]
    assert "nothing to change" in install(machine, bundle).last
    assert install(machine, bundle, "--uninstall").code == 0
    assert (machine.fake / "ufw").read_text().split()[::3] == ["22/tcp"]


@slow
def test_firewalld_is_never_reloaded(machine: FakeMachine, bundle: Path) -> None:
    """It would lose the rules of Podman's networks."""
    (machine.fake / "firewalld").mkdir()
    machine.give("firewall-cmd")
    assert install(machine, bundle).code == 0
    calls = machine.calls("firewall-cmd")
    assert "firewall-cmd --permanent --add-port=50051/udp" in calls
    assert "firewall-cmd --add-port=50051/udp" in calls
    assert "firewall-cmd --reload" not in calls


@slow
def test_the_join_command_is_for_a_terminal_only(machine: FakeMachine, bundle: Path) -> None:
    assert "piccolo1.secret" not in install(machine, bundle, "--dry-run").said
    ours, theirs = pty.openpty()
    subprocess.run(
        ["bash", bundle / "install_master.sh"],
        env={
            "PATH": str(machine.bin),
            "FAKE": str(machine.fake),
            "PICCOLO_ROOT": str(machine.root),
            "TMPDIR": str(machine.scratch),
        },
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        timeout=30,
        check=True,
    )
    os.close(theirs)
    said = b""
    while piece := _read(ours):
        said += piece
    os.close(ours)
    assert b"curl \xe2\x80\xa6 | sh -s -- --token piccolo1.secret" in said
    ended = install(machine, bundle)
    assert "piccolo1.secret" not in ended.said
    assert "piccolo token create --install" in ended.said


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: the other side is closed
        return b""
