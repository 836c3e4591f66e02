from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from piccolo.config.agent import AgentFile, resolve_agent_settings
from piccolo.config.document import load_documents
from piccolo.config.names import name_of_host
from piccolo.config.settings import AgentSettings
from piccolo.config.yaml_file import validate
from piccolo.core.errors import InvalidSpec
from piccolo.core.model import NodeRole, NodeType
from piccolo.core.security.token import JoinToken

# As install_nodeagent.sh of LLD 3.2.2 writes it.
LEGACY = """\
nodeagent:
  node_type: "sub"
  master_ip: "10.0.0.1"
  grpc_port: 50051
  log_level: "info"
  metrics:
    collection_interval: 5
    batch_size: 50
  etcd:
    endpoint: "10.0.0.1:2379"
  system:
    hostname: "Edge-7"
    platform: "Linux"
    architecture: "aarch64"
"""

PIN = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
TOKEN = JoinToken.make(bytes(range(23)), PIN).text
OTHER_TOKEN = JoinToken.make(bytes(23), PIN).text

EVERYTHING = """\
nodeagent:
  name: gate
  node_type: master
  type: cloud
  masters: [10.0.0.1, "[2001:db8::1]:50061", master.example]
  grpc_port: 50060
  link: cellular
  labels: {zone: front, rack: "12"}
  data_dir: /data/agent
  podman_socket: unix:///run/podman/podman.sock
  ca_pin: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
  log_level: warn
  log_format: json
  metrics:
    collection_interval: 2500ms
"""


def resolve(
    text: str | None = None,
    tmp_path: Path | None = None,
    environ: dict[str, str] | None = None,
    /,
    **flags: Any,
) -> tuple[AgentSettings, list[str]]:
    file = None
    if text is not None:
        assert tmp_path is not None
        file = tmp_path / "nodeagent.yaml"
        file.write_text(text)
    return resolve_agent_settings(file, environ or {}, flags, hostname="host-1", root=True)


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidSpec) as caught:
        validate(AgentFile, load_documents(text, "nodeagent.yaml")[0])
    return str(caught.value).splitlines()


def test_a_file_of_an_existing_site(tmp_path: Path) -> None:
    settings, notices = resolve(LEGACY, tmp_path)
    assert settings == AgentSettings(
        masters=("10.0.0.1:50051",), name="edge-7", data_dir="/var/lib/piccolo"
    )
    file = f"{tmp_path}/nodeagent.yaml"
    assert notices == [
        f"{file}:10:5: nodeagent.etcd.endpoint has no effect: agents do not talk to etcd",
        f"{file}:8:5: nodeagent.metrics.batch_size has no effect: changes are sent at once, usage"
        " with the heartbeats",
        f"{file}:13:5: nodeagent.system.platform has no effect: the agent finds it out by itself",
        f"{file}:14:5: nodeagent.system.architecture has no effect: the agent finds it out by"
        " itself",
        'this node is named "edge-7", after the host name "Edge-7"',
    ]


def test_every_key(tmp_path: Path) -> None:
    settings, notices = resolve(EVERYTHING, tmp_path)
    assert notices == [
        f"{tmp_path}/nodeagent.yaml:15:5: nodeagent.metrics.collection_interval means no more than"
        " 5 s: usage goes with the heartbeats"
    ]
    assert settings == AgentSettings(
        masters=("10.0.0.1:50060", "[2001:db8::1]:50061", "master.example:50060"),
        name="gate",
        data_dir="/data/agent",
        role=NodeRole.MASTER,
        type=NodeType.CLOUD,
        link="cellular",
        labels={"zone": "front", "rack": "12"},
        podman_socket="/run/podman/podman.sock",
        ca_pin=PIN,
        collection_interval=2.5,
        log_level="warning",
        log_format="json",
    )
    assert AgentSettings.from_json(settings.to_json()) == settings


def test_nothing_but_a_master() -> None:
    settings, notices = resolve(masters=["10.0.0.1"])
    assert settings == AgentSettings(("10.0.0.1:50051",), "host-1", "/var/lib/piccolo")
    assert notices == []


def test_the_command_line_wins(tmp_path: Path) -> None:
    settings, _ = resolve(
        EVERYTHING,
        tmp_path,
        {"MASTER_NODE_IP": "10.9.9.9", "GRPC_PORT": "9999"},
        masters=("10.0.0.2", "10.0.0.3:1"),
        grpc_port=50070,
        name="other",
        role="sub",
        type="embedded",
        link="wired",
        labels={"zone": "back", "more": "x"},
        data_dir="/elsewhere",
        podman_socket="/x.sock",
        collection_interval="10s",
        log_level="error",
        log_format="text",
    )
    assert settings == AgentSettings(
        masters=("10.0.0.2:50070", "10.0.0.3:1"),
        name="other",
        data_dir="/elsewhere",
        labels={"zone": "back", "rack": "12", "more": "x"},
        ca_pin=PIN,
        podman_socket="/x.sock",
        collection_interval=10.0,
        log_level="error",
    )


@pytest.mark.parametrize(
    ("environ", "flags", "masters"),
    [
        ({}, {}, ("10.0.0.1:50051",)),
        ({"MASTER_NODE_IP": "10.0.0.9"}, {}, ("10.0.0.9:50051",)),
        ({"GRPC_PORT": "50099"}, {}, ("10.0.0.1:50099",)),
        ({"MASTER_NODE_IP": "10.0.0.9", "GRPC_PORT": "50099"}, {}, ("10.0.0.9:50099",)),
        ({"MASTER_NODE_IP": "10.0.0.9:1", "GRPC_PORT": "50099"}, {}, ("10.0.0.9:1",)),
        ({"MASTER_NODE_IP": "::1"}, {}, ("[::1]:50051",)),
        ({"MASTER_NODE_IP": "", "GRPC_PORT": " "}, {}, ("10.0.0.1:50051",)),
        ({"MASTER_NODE_IP": "10.0.0.9"}, {"masters": ["a"]}, ("a:50051",)),
        ({"GRPC_PORT": "50099"}, {"masters": ["a"]}, ("a:50099",)),
        ({"GRPC_PORT": "50099"}, {"grpc_port": 7}, ("10.0.0.1:7",)),
        ({"GRPC_PORT": "50099"}, {"grpc_port": "7", "masters": []}, ("10.0.0.1:7",)),
        ({}, {"masters": ["a", "b", "A:50051"]}, ("a:50051", "b:50051")),
    ],
)
def test_which_master(
    tmp_path: Path, environ: dict[str, str], flags: dict[str, Any], masters: tuple[str, ...]
) -> None:
    assert resolve(LEGACY, tmp_path, environ, **flags)[0].masters == masters


def test_environment_over_the_list_of_masters(tmp_path: Path) -> None:
    settings, _ = resolve(EVERYTHING, tmp_path, {"MASTER_NODE_IP": "10.0.0.9"})
    assert settings.masters == ("10.0.0.9:50060",)


def test_no_master_at_all(tmp_path: Path) -> None:
    for text in (None, "nodeagent: {name: a}\n"):
        with pytest.raises(InvalidSpec, match="no master is named: give --master"):
            resolve(text, tmp_path)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"GRPC_PORT": "fifty"}, 'environment variable GRPC_PORT: "fifty" is not a port'),
        ({"GRPC_PORT": "0"}, 'environment variable GRPC_PORT: "0" is not a port'),
        ({"MASTER_NODE_IP": "10.0.0"}, 'environment variable MASTER_NODE_IP: "10.0.0" is not'),
        ({"MASTER_NODE_IP": "http://x"}, "environment variable MASTER_NODE_IP: "),
    ],
)
def test_environment_that_is_wrong(environ: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        resolve(None, None, environ, masters=None)
    assert str(caught.value).startswith(message)


def test_flags_that_are_wrong() -> None:
    with pytest.raises(InvalidSpec) as caught:
        resolve(
            masters=["10.0.0.1", "10.0.0"],
            name="Edge 1",
            labels={"a b": "x"},
            collection_interval="0.5s",
            role="cloud",
            grpc_port="x",
        )
    lines = {line.partition(": ")[0]: line for line in str(caught.value).splitlines()}
    assert set(lines) == {
        "--master", "--name", "--label", "--collection-interval", "--role", "--grpc-port"
    }  # fmt: skip
    assert lines["--master"] == '--master: "10.0.0" is not an IPv4 address'
    assert "write type: cloud" in lines["--role"]


@pytest.mark.parametrize(
    ("text", "host", "name"),
    [
        (None, "host-1", "host-1"),
        (None, "Edge_1.factory.example", "edge-1"),
        (LEGACY, "host-1", "edge-7"),
        (LEGACY.replace("Edge-7", ""), "host-1", "host-1"),
        (LEGACY + "  name: n\n", "host-1", "n"),
    ],
)
def test_name(tmp_path: Path, text: str | None, host: str, name: str) -> None:
    file = None
    if text is not None:
        file = tmp_path / "nodeagent.yaml"
        file.write_text(text)
    flags = {"masters": ["a"]}
    settings, _ = resolve_agent_settings(file, {}, flags, hostname=host, root=True)
    assert settings.name == name


def token_of(tmp_path: Path, how: str) -> tuple[AgentSettings, list[str]]:
    """The settings with the token given in one of the four ways."""
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    match how:
        case "--token":
            return resolve(masters=["a"], token=TOKEN)
        case "--token-file":
            return resolve(masters=["a"], token_file=str(file))
        case "environment":
            return resolve(None, None, {"PICCOLO_TOKEN": TOKEN}, masters=["a"])
        case _:
            return resolve(f"nodeagent: {{token_file: {file}}}\n", tmp_path, masters=["a"])


@pytest.mark.parametrize("how", ["--token", "--token-file", "environment", "nodeagent.yaml"])
def test_the_join_token(tmp_path: Path, how: str) -> None:
    settings, notices = token_of(tmp_path, how)
    assert settings.token == TOKEN
    assert settings.ca_pin == ""
    assert notices == []
    assert TOKEN not in repr(settings)
    assert AgentSettings.from_json(settings.to_json()) == settings


def test_a_token_in_two_places_is_refused_and_both_are_named(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    named = f"nodeagent: {{token_file: {file}}}\n"
    environ = {"PICCOLO_TOKEN": TOKEN}
    for places, given, env, text in (
        ("--token and --token-file", {"token": TOKEN, "token_file": str(file)}, {}, None),
        ("--token and environment variable PICCOLO_TOKEN", {"token": TOKEN}, environ, None),
        ("--token-file and token_file in nodeagent.yaml", {"token_file": str(file)}, {}, named),
    ):
        with pytest.raises(InvalidSpec, match=places):
            resolve(text, tmp_path, env, masters=["a"], **given)


@pytest.mark.parametrize(
    ("content", "reason"), [("", "is empty"), (" \n", "is empty"), ("piccolo1.x", "no join token")]
)
def test_a_token_file_that_is_wrong(tmp_path: Path, content: str, reason: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(InvalidSpec, match=f"{file}: .*{reason}"):
        resolve(masters=["a"], token_file=str(file))
    with pytest.raises(InvalidSpec, match=reason):
        resolve(f"nodeagent: {{token_file: {file}}}\n", tmp_path, masters=["a"])


def test_a_token_file_that_is_not_there(tmp_path: Path) -> None:
    """The command line means it now; a configuration stays when the token has done its work."""
    with pytest.raises(InvalidSpec, match="cannot be read: No such file"):
        resolve(masters=["a"], token_file=str(tmp_path / "none"))
    text = f"nodeagent: {{token_file: {tmp_path}/none}}\n"
    settings, [notice] = resolve(text, tmp_path, masters=["a"])
    assert settings.token == ""
    assert f"{tmp_path}/none is not there" in notice


def test_a_token_file_that_others_can_read_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o644)
    settings, [notice] = resolve(masters=["a"], token_file=str(file))
    assert settings.token == TOKEN
    assert "other users can read the join token" in notice


def test_a_token_that_is_wrong_is_not_repeated() -> None:
    wrong = TOKEN[:-1]
    for environ, given, place in (
        ({}, {"token": wrong}, "--token: "),
        ({"PICCOLO_TOKEN": wrong}, {}, "environment variable PICCOLO_TOKEN: "),
    ):
        with pytest.raises(InvalidSpec, match=f"^{place}this is no join token") as caught:
            resolve(None, None, environ, masters=["a"], **given)
        assert wrong[10:30] not in str(caught.value)


def test_the_pin_of_the_authority() -> None:
    assert resolve(masters=["a"], ca_pin=PIN)[0].ca_pin == PIN
    assert resolve(masters=["a"], ca_pin=PIN, token=TOKEN)[0].ca_pin == PIN
    with pytest.raises(InvalidSpec, match="one of the two is of another cluster"):
        resolve(masters=["a"], ca_pin=f"SHA256:{'A' * 43}", token=TOKEN)
    with pytest.raises(InvalidSpec, match="--ca-pin: this is no fingerprint"):
        resolve(masters=["a"], ca_pin="x")


@pytest.mark.parametrize("host", ["localhost", "localhost.localdomain", "", "___"])
def test_a_host_without_a_name_of_its_own(host: str) -> None:
    with pytest.raises(InvalidSpec, match="give the node a name with --name"):
        resolve_agent_settings(None, {}, {"masters": ["a"]}, hostname=host, root=True)


@pytest.mark.skipif(not name_of_host(socket.gethostname()), reason="this machine has no name")
def test_this_machine(tmp_path: Path) -> None:
    flags = {"masters": ["a"]}
    settings, _ = resolve_agent_settings(None, {"HOME": str(tmp_path)}, flags)
    assert settings.name == name_of_host(socket.gethostname())
    assert settings.data_dir in (
        "/var/lib/piccolo",
        f"{tmp_path}/.local/share/piccolo",
    )


def test_data_dir_of_a_user() -> None:
    environ = {"HOME": "/home/u", "MASTER_NODE_IP": "10.0.0.1"}
    settings, _ = resolve_agent_settings(None, environ, {}, hostname="a", root=False)
    assert settings.data_dir == "/home/u/.local/share/piccolo"


def test_an_empty_file_says_what_it_means(tmp_path: Path) -> None:
    for text in ("", "---\n"):
        settings, notices = resolve(text, tmp_path, masters=["a"])
        assert settings == AgentSettings(("a:50051",), "host-1", "/var/lib/piccolo")
        assert notices == [
            f"{tmp_path}/nodeagent.yaml is empty: defaults, environment and command line hold"
        ]
    assert resolve("nodeagent:\n", tmp_path, masters=["a"])[1] == []


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("master_ip: 10.0.0.1\n", "1:1:", 'it belongs below "nodeagent"'),
        ("nodeagnt: {}\n", "1:1:", 'did you mean "nodeagent"? allowed here: nodeagent'),
        ("nodeagent: {masterip: x}\n", "1:13: nodeagent:", 'did you mean "master_ip"?'),
        ("nodeagent: {collection_interval: 5}\n", "1:13: nodeagent:", 'belongs below "metrics"'),
        ("nodeagent: {node_type: worker}\n", "1:13: nodeagent.node_type:", "write master or sub"),
        ("nodeagent: {node_type: cloud}\n", "1:13: nodeagent.node_type:", "write type: cloud"),
        ("nodeagent: {master_ip: 10.0.0}\n", "1:13: nodeagent.master_ip:", "IPv4"),
        ("nodeagent: {master_ip: ''}\n", "1:13: nodeagent.master_ip:", "a host is missing"),
        ("nodeagent: {master_ip: 10}\n", "1:13: nodeagent.master_ip:", "put it in quotes"),
        ("nodeagent: {grpc_port: 0}\n", "1:13: nodeagent.grpc_port:", "not a port"),
        ("nodeagent: {grpc_port: 70000}\n", "1:13: nodeagent.grpc_port:", "not a port"),
        ("nodeagent: {log_level: 'off'}\n", "1:13: nodeagent.log_level:", "write debug"),
        ("nodeagent: {masters: a}\n", "1:13: nodeagent.masters:", "must be a list"),
        ("nodeagent: {masters: []}\n", "1:13: nodeagent.masters:", "at least 1"),
        ("nodeagent: {masters: [a, 'b:x']}\n", "1:26: nodeagent.masters[1]:", '"x" is not a port'),
        ("nodeagent: {masters: [a], master_ip: b}\n", "1:13: nodeagent.masters:", "not both"),
        ("nodeagent: {metrics: {collection_interval: 0}}\n",
         "1:23: nodeagent.metrics.collection_interval:", "below the minimum of 1 s"),
        ("nodeagent: {metrics: {batch_size: 0}}\n", "1:23: nodeagent.metrics.batch_size:",
         "at least 1"),
        ("nodeagent: {metrics: {size: 0}}\n", "1:23: nodeagent.metrics:", "unknown key"),
        ("nodeagent: {etcd: {endpoints: x}}\n", "1:20: nodeagent.etcd:",
         'did you mean "endpoint"?'),
        ("nodeagent: {system: {hostname: 7}}\n", "1:22: nodeagent.system.hostname:", "in quotes"),
        ("nodeagent: {podman_socket: 'tcp://x'}\n", "1:13: nodeagent.podman_socket:", "unix:///"),
        ("nodeagent: {data_dir: ~/x}\n", "1:13: nodeagent.data_dir:", "not an absolute path"),
        ("nodeagent: {link: 5g}\n", "1:13: nodeagent.link:", "write wired, wireless or cellular"),
        ("nodeagent: {name: a.b}\n", "1:13: nodeagent.name:", '"a-b" would do'),
        ("nodeagent: {labels: {a: null}}\n", "1:22: nodeagent.labels.a:", "must be text"),
        ("nodeagent: []\n", "1:1: nodeagent:", "must hold keys"),
    ],
)  # fmt: skip
def test_bad_input(text: str, place: str, reason: str) -> None:
    [message] = problems(text)
    assert message.startswith(f"nodeagent.yaml:{place} ")
    assert reason in message


def test_the_port_may_be_quoted(tmp_path: Path) -> None:
    text = 'nodeagent: {master_ip: a, grpc_port: "50061"}\n'
    assert resolve(text, tmp_path)[0].masters == ("a:50061",)


@pytest.mark.parametrize(
    ("written", "meant"), [("trace", "debug"), ("WARN", "warning"), ("Error", "error")]
)
def test_names_of_log_levels(tmp_path: Path, written: str, meant: str) -> None:
    text = f"nodeagent: {{master_ip: a, log_level: {written}}}\n"
    assert resolve(text, tmp_path)[0].log_level == meant
