"""A machine becomes a node, stays one, and is upgraded."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
import yaml

from piccolo.config.agent import AgentFile
from tests.packaging import fake_bundle
from tests.packaging.fake_bundle import TEMPLATES
from tests.packaging.fake_machine import MASTER, TOKEN, Ended, FakeMachine

SETTINGS = "/etc/piccolo/nodeagent.yaml"
UNIT = "/etc/systemd/system/nodeagent.service"
slow = pytest.mark.slow


def install(
    machine: FakeMachine, bundle: Path, *words: str | Path, master: str = MASTER, **environ: str
) -> Ended:
    return machine.run(bundle / "install_nodeagent.sh", master, *words, **environ)


@pytest.fixture
def node(machine: FakeMachine, bundle: Path) -> FakeMachine:
    """It has joined already."""
    ended = install(machine, bundle, "--token", TOKEN)
    assert ended.code == 0, ended.said
    return machine


# ---- what is refused at once ----


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the master's address is missing"),
        (["10.0.0"], "10.0.0 is neither an IP address nor a host name"),
        (["10.0.0.256"], "10.0.0.256 is neither"),
        (["10.0.0.1/24"], "is neither"),
        (["10.0.0.1", "--token", "secret"], "no join token"),
        (["::zz"], "is neither"),
        (["-master"], "unknown option -master"),
        (["10.0.0.1", "slave"], "a node is sub or master, not slave"),
        (["10.0.0.1", "sub", "65536"], "65536 is not a port"),
        (["10.0.0.1", "sub", "0"], "0 is not a port"),
        (["10.0.0.1", "sub", "50051", "more"], "too much: more"),
        (["10.0.0.1", "--token-file", "/missing"], "the token file /missing cannot be read"),
        (["10.0.0.1", "--token-file", "/missing", "--token=x"], "not both"),
        (["10.0.0.1", "--bundle"], "--bundle needs a value"),
        (["10.0.0.1", "--sha256", "abc"], "64 hexadecimal digits"),
        (["10.0.0.1", "--name", "Press 1"], "Press 1 is no name of a node"),
        (["10.0.0.1", "--type", "edge"], "a node is embedded or cloud, not edge"),
        (["10.0.0.1", "--purge"], "--purge goes with --uninstall"),
    ],
)
def test_wrong_arguments(words: list[str], said: str, machine: FakeMachine, bundle: Path) -> None:
    before = machine.everything()
    ended = machine.run(bundle / "install_nodeagent.sh", *words)
    assert ended.code in (1, 2)
    assert said in ended.said
    assert "secret" not in ended.said
    assert machine.everything() == before


def test_help(machine: FakeMachine, bundle: Path) -> None:
    ended = machine.run(bundle / "install_nodeagent.sh", "--help", FAKE_UID="1000")
    assert ended.code == 0
    for option in ("--token", "--bundle", "--uninstall", "--dry-run", "--force"):
        assert option in ended.said


@slow
def test_without_root(machine: FakeMachine, bundle: Path) -> None:
    ended = install(machine, bundle, "--token", TOKEN, FAKE_UID="1000")
    assert ended.code == 1
    assert "this needs root" in ended.said
    assert "sudo" in ended.said


@slow
@pytest.mark.parametrize(
    ("processor", "name"), [("aarch64", "arm64"), ("armv7l", "arm"), ("armv6l", "arm")]
)
def test_other_processors(processor: str, name: str, machine: FakeMachine, tmp_path: Path) -> None:
    bundle = fake_bundle.make(tmp_path / "bundle", arch=name)
    ended = install(machine, bundle, "--token", TOKEN, FAKE_PROCESSOR=processor)
    assert ended.code == 0, ended.said
    assert f"piccolo 1.0.0 for {name}" in ended.said


@slow
def test_an_unknown_processor(machine: FakeMachine, bundle: Path) -> None:
    ended = install(machine, bundle, "--token", TOKEN, FAKE_PROCESSOR="riscv64")
    assert ended.code == 1
    assert "there is no program for the processor riscv64" in ended.said
    assert ended.last == "Nothing was changed."


@slow
def test_a_first_node_needs_a_token(machine: FakeMachine, bundle: Path) -> None:
    before = machine.everything()
    ended = install(machine, bundle)
    assert ended.code == 1
    assert "no token was given" in ended.said
    assert "piccolo token create" in ended.said
    assert machine.everything() == before


@slow
def test_a_read_only_opt(machine: FakeMachine, bundle: Path) -> None:
    mkdir = shutil.which("mkdir")
    machine.give(
        "mkdir",
        f'case $* in */opt/piccolo*) echo "mkdir: Read-only file system" >&2; exit 1;; esac\n'
        f'exec {mkdir} "$@"\n',
    )
    before = machine.everything()
    ended = install(machine, bundle, "--token", TOKEN)
    assert ended.code == 1
    assert "Read-only file system" in ended.said
    assert "this step failed: directories /opt/piccolo/versions" in ended.said
    assert machine.everything() == before


# ---- the first time ----


@slow
def test_what_a_node_has(node: FakeMachine) -> None:
    for link, target in {
        "/opt/piccolo/current": "versions/1.0.0",
        "/opt/piccolo/nodeagent": "current/piccolo",
        "/usr/local/bin/piccolo": "/opt/piccolo/current/piccolo",
    }.items():
        assert os.readlink(node.path(link)) == target
    assert node.path("/opt/piccolo/nodeagent").resolve().read_text().startswith("#!/bin/sh")
    assert os.access(node.path("/usr/local/bin/node_ready_check.sh"), os.X_OK)
    settings = node.path(SETTINGS).read_text()
    wanted = {
        "#master_ip: 10.0.0.1": f'master_ip: "{MASTER}"',
        "#grpc_port:": "grpc_port:",
        "#node_type: sub": 'node_type: "sub"',
        "#token_file:": "token_file:",
    }
    template = (TEMPLATES / "nodeagent.yaml").read_text()
    for before, after in wanted.items():
        assert template.count(f"  {before}") == 1
        template = template.replace(before, after)
    assert settings == template
    AgentFile.model_validate(yaml.safe_load(settings))
    assert "node_ready_check.sh sub\n" in node.path(UNIT).read_text()
    assert not node.path("/etc/piccolo/join.token").exists()  # it has joined
    verbs = [call.split()[1] for call in node.calls("systemctl")]
    assert [v for v in verbs if not v.startswith("is-")] == ["daemon-reload", "enable", "start"]
    assert f"node_ready_check.sh sub {MASTER} 50051" in node.calls("node_ready_check.sh")


@slow
def test_the_token_is_for_root_alone_and_is_not_shown(
    machine: FakeMachine, bundle: Path, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    machine.path("/run/systemd/system").rmdir()  # an image: nobody joins yet
    ended = install(machine, bundle, "--token-file", file)
    assert ended.code == 0
    kept = machine.path("/etc/piccolo/join.token")
    assert kept.read_text() == f"{TOKEN}\n"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert TOKEN not in ended.said
    assert "starts at the next boot" in ended.said
    assert [call for call in machine.calls("systemctl") if " start " in call] == []


@slow
def test_without_systemd(machine: FakeMachine, bundle: Path) -> None:
    machine.take("systemctl")
    ended = install(machine, bundle, "--token", TOKEN)
    assert ended.code == 0, ended.said
    assert "no systemd here: there is no service nodeagent.service" in ended.said
    assert "/opt/piccolo/nodeagent --config /etc/piccolo/nodeagent.yaml" in ended.said
    assert not machine.path(UNIT).exists()


@slow
def test_a_node_on_the_masters_machine(machine: FakeMachine, bundle: Path) -> None:
    (machine.fake / "firewalld").mkdir()
    machine.give("firewall-cmd")
    ended = install(machine, bundle, "master", "50061", "--token", TOKEN)
    assert ended.code == 0, ended.said
    assert "node_ready_check.sh master\n" in machine.path(UNIT).read_text()
    settings = machine.path(SETTINGS).read_text()
    assert "\n  grpc_port: 50061\n" in settings
    assert '\n  node_type: "master"\n' in settings
    assert "firewalld: 50061/udp is open" in ended.said


@slow
def test_a_nodes_firewall_stays_as_it_is(machine: FakeMachine, bundle: Path) -> None:
    (machine.fake / "firewalld").mkdir()
    machine.give("firewall-cmd")
    assert install(machine, bundle, "--token", TOKEN).code == 0
    assert machine.calls("firewall-cmd") == []


@slow
def test_its_name_and_type(machine: FakeMachine, bundle: Path) -> None:
    ended = install(machine, bundle, "--token", TOKEN, "--name", "press-1", "--type=cloud")
    assert ended.code == 0, ended.said
    text = machine.path(SETTINGS).read_text()
    file = AgentFile.model_validate(yaml.safe_load(text)).nodeagent
    assert (file.name, file.type) == ("press-1", "cloud")


# ---- the check ----


@slow
def test_a_machine_that_is_not_ready(machine: FakeMachine, bundle: Path) -> None:
    before = machine.everything()
    ended = install(machine, bundle, "--token", TOKEN, FAKE_CHECK="1")
    assert ended.code == 1
    assert "the check of 1.0.0 looked" in ended.said
    assert "this machine is not ready" in ended.said
    assert machine.everything() == before
    ended = install(machine, bundle, "--token", TOKEN, "--force", FAKE_CHECK="1")
    assert ended.code == 0
    assert "warning    this machine is not ready, see above" in ended.said


@slow
@pytest.mark.parametrize("podman", [True, False])
def test_a_check_that_cannot_run(podman: bool, machine: FakeMachine, bundle: Path) -> None:
    """What takes its place says honestly that it knows little."""
    if not podman:
        machine.take("podman")
    ended = install(machine, bundle, "--token", TOKEN, "--force", FAKE_CHECK="127")
    assert ended.code == 0, ended.said
    assert "the check of the bundle cannot run here (exit 127)" in ended.said
    status = machine.path("/var/run/piccolo/node_status").read_text()
    assert status == ("status=warning\n" if podman else "status=failed\n")
    check = machine.path("/usr/local/bin/node_ready_check.sh")
    assert "status=ready" not in check.read_text()


# ---- again ----


@slow
@pytest.mark.parametrize("words", [(), ("--token", TOKEN), ("sub", "50051")])
def test_a_second_run_changes_nothing(
    words: tuple[str, ...], node: FakeMachine, bundle: Path
) -> None:
    before = node.everything()
    ended = install(node, bundle, *words)
    assert ended.code == 0, ended.said
    assert "nothing to change, all" in ended.last
    assert "changed " not in ended.said.replace("unchanged ", "")
    assert node.everything() == before


@slow
def test_a_dry_run_says_all_and_changes_nothing(machine: FakeMachine, bundle: Path) -> None:
    before = machine.everything()
    ended = install(machine, bundle, "--token", TOKEN, "--dry-run")
    assert ended.code == 0, ended.said
    assert machine.everything() == before
    real = install(machine, bundle, "--token", TOKEN).said
    promised = {line[13:] for line in ended.said.splitlines() if line.startswith("  would be")}
    done = {line[13:] for line in real.splitlines() if line.startswith("  changed")}
    assert done - promised == {"no more: /etc/piccolo/join.token"}
    assert promised <= done
    assert machine.calls("node_ready_check.sh")[0].startswith("node_ready_check.sh sub --no-write")


@slow
def test_settings_belong_to_the_user(node: FakeMachine, bundle: Path) -> None:
    file = node.path(SETTINGS)
    own = file.read_text().replace("#name:", "name:") + "# mine\n"
    file.write_text(own)
    file.chmod(0o640)
    ended = install(node, bundle, master="127.0.0.3")
    assert ended.code == 0, ended.said
    assert f'{SETTINGS}: master_ip: "127.0.0.3" (before: nodeagent.yaml.bak)' in ended.said
    assert file.read_text() == own.replace(MASTER, "127.0.0.3")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert file.with_name("nodeagent.yaml.bak").read_text() == own
    assert "nodeagent.service is started again" in ended.said


@slow
def test_the_settings_of_the_original_go_on(machine: FakeMachine, bundle: Path) -> None:
    """As its script wrote them; its program is replaced by a link."""
    file = machine.path(SETTINGS)
    file.parent.mkdir(parents=True)
    own = f'nodeagent:\n  node_type: "sub"\n  master_ip: "{MASTER}"\n  grpc_port: 50051\n'
    rest = '  log_level: "info"\n  etcd:\n    endpoint: "10.0.0.1:2379"\n'
    file.write_text(own + rest)
    program = machine.path("/opt/piccolo/nodeagent")
    program.parent.mkdir()
    program.write_text("the original")
    before = machine.everything()
    assert install(machine, bundle, "--token", TOKEN, FAKE_BROKEN="1.0.0").code == 1
    assert machine.everything() == before
    assert install(machine, bundle, "--token", TOKEN).code == 0
    text = file.read_text()
    assert text.replace("  token_file: /etc/piccolo/join.token\n", "") == own + rest
    assert program.is_symlink()


@slow
def test_several_masters_are_left_alone(node: FakeMachine, bundle: Path) -> None:
    file = node.path(SETTINGS)
    own = "nodeagent:\n  masters: [10.0.0.1, 10.0.0.2]\n"
    file.write_text(own)
    ended = install(node, bundle)
    assert ended.code == 0
    assert "names several masters" in ended.said
    assert file.read_text() == own


# ---- upgrade ----


@slow
def test_an_upgrade_keeps_identity_settings_and_the_version_before(
    node: FakeMachine, newer: Path
) -> None:
    kept = (SETTINGS, "/var/lib/piccolo/pki/node.crt")
    before = [node.path(name).read_text() for name in kept]
    ended = install(node, newer)
    assert ended.code == 0, ended.said
    assert [node.path(name).read_text() for name in kept] == before
    assert os.readlink(node.path("/opt/piccolo/current")) == "versions/1.1.0"
    assert sorted(os.listdir(node.path("/opt/piccolo/versions"))) == ["1.0.0", "1.1.0"]
    assert (node.fake / "units/nodeagent.service.active").read_text() == "versions/1.1.0\n"


@slow
def test_older_versions_go_and_back_is_an_upgrade_too(
    node: FakeMachine, bundle: Path, newer: Path, tmp_path: Path
) -> None:
    assert install(node, newer).code == 0
    assert install(node, fake_bundle.make(tmp_path, "1.2.0")).code == 0
    assert sorted(os.listdir(node.path("/opt/piccolo/versions"))) == ["1.1.0", "1.2.0"]
    assert install(node, newer).code == 0
    assert (node.fake / "units/nodeagent.service.active").read_text() == "versions/1.1.0\n"


@slow
def test_the_same_version_made_anew(node: FakeMachine, bundle: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(bundle, tmp_path / bundle.name, symlinks=True))
    (other / "program/_internal/base.so").write_text("mended\n")
    fake_bundle.seal(other)
    before = node.everything()
    (node.fake / "online").write_text("7")
    assert install(node, other).code == 1
    assert node.everything() == before
    (node.fake / "online").unlink()
    ended = install(node, other)
    assert ended.code == 0, ended.said
    library = node.path("/opt/piccolo/versions/1.0.0/_internal/base.so")
    assert library.read_text() == "mended\n"
    assert os.listdir(node.path("/opt/piccolo/versions")) == ["1.0.0"]
    assert install(node, other).last.endswith("unchanged.")


@slow
@pytest.mark.parametrize("trouble", ["does not start", "does not come online"])
def test_a_new_version_that_fails_gives_way_to_the_old(
    trouble: str, node: FakeMachine, newer: Path
) -> None:
    before = node.everything()
    environ = {}
    if trouble == "does not start":
        environ = {"FAKE_BROKEN": "1.1.0"}
    else:
        (node.fake / "online").write_text("7")
    ended = install(node, newer, **environ)
    assert ended.code == 1
    assert "what the journal says" in ended.said
    assert ended.last == "What this run had changed was taken back."
    assert node.everything() == before  # with the unit that is active under the old version
    if trouble == "does not start":
        assert "The version before, 1.0.0, takes its place again." in ended.said


@slow
def test_the_master_of_the_same_machine_gets_the_program_too(
    node: FakeMachine, bundle: Path, newer: Path
) -> None:
    assert node.run(bundle / "install_master.sh").code == 0
    ended = install(node, newer)
    assert ended.code == 0, ended.said
    active = node.fake / "units/piccolo-master.service.active"
    assert active.read_text() == "versions/1.1.0\n"


# ---- joining ----


WAIT = "piccolo is-online --wait --timeout 4s"


@slow
def test_an_agent_that_cannot_reach_its_master_gets_a_minute(
    machine: FakeMachine, bundle: Path
) -> None:
    (machine.fake / "online").write_text("7")
    before = machine.everything()
    ended = install(machine, bundle, "--token", TOKEN)
    assert ended.code == 1
    assert "this node was not online after 60 s" in ended.said
    assert machine.everything() == before
    assert machine.calls("piccolo").count(WAIT) == 15


@slow
def test_a_wrong_token(machine: FakeMachine, bundle: Path) -> None:
    (machine.fake / "online").write_text("7")
    before = machine.everything()
    ended = install(machine, bundle, "--token", TOKEN, FAKE_RESULT="exit-code")
    assert ended.code == 1
    assert "the agent was not let in, or cannot run here" in ended.said
    assert "Is the token good for this node" in ended.said
    assert machine.everything() == before
    assert machine.calls("piccolo").count(WAIT) == 1


@slow
def test_by_force_it_goes_on_trying(machine: FakeMachine, bundle: Path) -> None:
    (machine.fake / "online").write_text("7")
    ended = install(machine, bundle, "--token", TOKEN, "--force")
    assert ended.code == 0, ended.said
    assert "the agent goes on trying (--force)" in ended.said
    assert machine.path("/etc/piccolo/join.token").exists()


@slow
def test_a_node_that_was_shut_out_joins_anew(node: FakeMachine, bundle: Path) -> None:
    (node.fake / "online").write_text("1")
    ended = install(node, bundle, "--token", TOKEN, "--force")
    assert ended.code == 0
    assert node.path("/etc/piccolo/join.token").exists()
    assert "nodeagent.service is started again" in ended.said


@slow
def test_two_installers_at_once(machine: FakeMachine, bundle: Path) -> None:
    machine.give("flock", "exit 1\n")
    ended = install(machine, bundle, "--token", TOKEN)
    assert ended.code == 1
    assert "another installer of PICCOLO is at work" in ended.said
