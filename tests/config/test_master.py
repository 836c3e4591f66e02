from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from piccolo.config.document import load_documents
from piccolo.config.fields import Link
from piccolo.config.master import resolve_master_settings, restart_needed
from piccolo.config.master_file import MasterFile
from piccolo.config.settings import (
    AuditSettings,
    Discovery,
    InstallSettings,
    ListedNode,
    MasterSettings,
    Retention,
    SecuritySettings,
)
from piccolo.config.yaml_file import validate
from piccolo.core.errors import InvalidSpec
from piccolo.core.model import NodeRole, NodeType
from piccolo.core.nodes.liveness import PROFILES
from piccolo.core.nodes.shortage import Thresholds

FINGERPRINT = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
EVERYTHING = """\
cluster:
  name: factory
discovery: listed
listen: "[::]:50061"
data_dir: /data/piccolo
store: etcd://user:pass@10.0.0.9:2379,[::1]:2379?ca=/etc/ca.pem
heartbeat:
  interval: 20
  misses: 4
reconnect_grace: 500ms
thresholds:
  memory_available_percent: 7.5
  disk_used_percent: 90
  duration: 1m
retention:
  events_max: 200
  events_max_age: 2d
audit:
  max_file_size: 256KiB
  files: 20
  reads: true
install:
  listen: 10.0.0.1
  directory: /data//bundles
security:
  san: [master.example, "2001:DB8::0:9"]
  certificate_lifetime: 12h
  expired_grace: 0
  overlap: 2d
log_level: DEBUG
log_format: json
nodes:
  - name: master
    ip: 10.0.0.1
    role: master
  - name: gate
    ip: 2001:DB8::0:1
    type: cloud
    link: cellular
    labels:
      zone: front
      example.com/rack: "12"
      seldom: ""
    credentials:
      key: SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU
  - name: roaming
    type: cloud
    credentials: {token: k3vq7mza}
"""


def resolve(
    text: str | None = None, tmp_path: Path | None = None, /, **flags: Any
) -> tuple[MasterSettings, list[str]]:
    file = None
    if text is not None:
        assert tmp_path is not None
        file = tmp_path / "node.yaml"
        file.write_text(text)
    return resolve_master_settings(file, {"HOME": "/home/u"}, flags, root=True)


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidSpec) as caught:
        validate(MasterFile, load_documents(text, "node.yaml")[0])
    return str(caught.value).splitlines()


def test_every_key(tmp_path: Path) -> None:
    settings, notices = resolve(EVERYTHING, tmp_path)
    assert notices == []
    assert settings == MasterSettings(
        data_dir="/data/piccolo",
        cluster_name="factory",
        discovery=Discovery.LISTED,
        listen="[::]:50061",
        store="etcd://user:pass@10.0.0.9:2379,[::1]:2379?ca=/etc/ca.pem",
        heartbeat_interval=20.0,
        heartbeat_misses=4,
        reconnect_grace=0.5,
        thresholds=Thresholds(7.5, 90.0, 60.0),
        retention=Retention(200, 172_800.0),
        audit=AuditSettings(max_file_size=256 << 10, files=20, reads=True),
        install=InstallSettings("10.0.0.1:50052", "/data/bundles"),
        security=SecuritySettings(
            ("master.example", "2001:db8::9"),
            certificate_lifetime=43_200.0,
            expired_grace=0.0,
            overlap=172_800.0,
        ),
        nodes=(
            ListedNode("master", "10.0.0.1", NodeRole.MASTER),
            ListedNode(
                "gate",
                "2001:db8::1",
                type=NodeType.CLOUD,
                link="cellular",
                labels={"zone": "front", "example.com/rack": "12", "seldom": ""},
                key_fingerprint=FINGERPRINT,
            ),
            ListedNode("roaming", type=NodeType.CLOUD, token_id="k3vq7mza"),
        ),
        log_level="debug",
        log_format="json",
    )
    assert all(type(n) is ListedNode for n in settings.nodes)


def test_without_a_file_any_node_may_join() -> None:
    settings, notices = resolve()
    assert settings == MasterSettings(data_dir="/var/lib/piccolo/master")
    assert settings.discovery is Discovery.ANY
    assert notices == ["no node.yaml: any node with a token may join (discovery: any)"]
    assert resolve(discovery="listed") == (
        MasterSettings(data_dir="/var/lib/piccolo/master", discovery=Discovery.LISTED),
        [],
    )


def test_an_empty_file_says_what_it_means(tmp_path: Path) -> None:
    settings, [notice] = resolve("# nothing yet\n", tmp_path)
    assert settings.discovery is Discovery.CLOUD
    assert settings.nodes == ()
    assert notice.startswith(f"{tmp_path}/node.yaml is empty: defaults hold, no node is listed")


def test_defaults_of_the_file_are_those_of_the_settings() -> None:
    settings, _ = resolve()
    names = {f.name for f in dataclasses.fields(MasterSettings)} - {"data_dir"}
    plain = MasterSettings(data_dir="")
    assert all(getattr(settings, n) == getattr(plain, n) for n in names)


def test_the_command_line_wins(tmp_path: Path) -> None:
    settings, _ = resolve(
        EVERYTHING,
        tmp_path,
        listen="127.0.0.1:0",
        data_dir=Path("/elsewhere"),
        store="sqlite",
        discovery=Discovery.ANY,
        cluster_name="lab",
        log_level="error",
        log_format="text",
    )
    assert settings.listen == "127.0.0.1:0"
    assert settings.data_dir == "/elsewhere"
    assert settings.store == "sqlite"
    assert settings.discovery is Discovery.ANY
    assert settings.cluster_name == "lab"
    assert settings.log_level == "error"
    assert settings.log_format == "text"
    assert settings.heartbeat_interval == 20.0


def test_flags_that_are_wrong() -> None:
    with pytest.raises(InvalidSpec) as caught:
        resolve(listen="1.2.3:4", store="redis://x", cluster_name=None)
    assert str(caught.value).splitlines() == [
        '--listen: "1.2.3" is not an IPv4 address',
        "--store: not a store; write sqlite, or etcd://host:port[,host:port…]",
    ]


def test_data_dir_of_a_user() -> None:
    settings, _ = resolve_master_settings(None, {"HOME": "/home/u"}, {}, root=False)
    assert settings.data_dir == "/home/u/.local/share/piccolo/master"


def test_listen_may_leave_out_the_port(tmp_path: Path) -> None:
    assert resolve("listen: 10.0.0.1\n", tmp_path)[0].listen == "10.0.0.1:50051"
    assert resolve("listen: '::1'\n", tmp_path)[0].listen == "[::1]:50051"


@pytest.mark.parametrize(
    ("text", "flags", "address"),
    [
        ("{}\n", {}, "0.0.0.0:50052"),
        ("listen: '[fd00::1]:50061'\n", {}, "[fd00::1]:50052"),
        ("listen: 10.0.0.1\n", {"listen": "127.0.0.1:0"}, "127.0.0.1:50052"),
        ("listen: 10.0.0.1\ninstall: {listen: 10.0.0.2}\n", {}, "10.0.0.2:50052"),
        ("install: {listen: '[::1]:0'}\n", {"listen": "10.0.0.1"}, "[::1]:0"),
    ],
)
def test_where_machines_that_join_get_the_program(
    tmp_path: Path, text: str, flags: dict[str, str], address: str
) -> None:
    assert resolve(text, tmp_path, **flags)[0].install.listen == address


@pytest.mark.parametrize(
    ("text", "variable", "flags", "address"),
    [
        (None, "50099", {}, "0.0.0.0:50099"),
        ("listen: '::1'\n", " 50099 ", {}, "[::1]:50099"),
        ("listen: 10.0.0.1:50061\n", "50099", {}, "10.0.0.1:50061"),
        ("listen: 10.0.0.1:50061\n", "50099", {"listen": "10.0.0.2"}, "10.0.0.2:50099"),
        (None, "50099", {"listen": "10.0.0.2:7"}, "10.0.0.2:7"),
        (None, "", {}, "0.0.0.0:50051"),
    ],
)
def test_the_port_from_the_environment(
    tmp_path: Path, text: str | None, variable: str, flags: dict[str, str], address: str
) -> None:
    file = tmp_path / "node.yaml" if text is not None else None
    if file is not None and text is not None:
        file.write_text(text)
    settings, _ = resolve_master_settings(file, {"GRPC_PORT": variable}, flags, root=True)
    assert settings.listen == address
    with pytest.raises(InvalidSpec, match=r"^environment variable GRPC_PORT: .0. is"):
        resolve_master_settings(file, {"GRPC_PORT": "0"}, flags, root=True)


NODE = "nodes:\n  - name: a\n    ip: 10.0.0.1\n"


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        (NODE + "    rol: sub\n", "4:5: nodes[0]:",
         'unknown key "rol"; did you mean "role"? allowed here: name, ip, role, type, link,'
         " labels, credentials"),
        (NODE + "    credentials: x\n", "4:5: nodes[0].credentials:", "must hold keys"),
        (NODE + "    credentials: {}\n", "4:5: nodes[0].credentials:",
         'give either "token" or "key"'),
        (NODE + f"    credentials: {{token: k3vq7mza, key: '{FINGERPRINT}'}}\n",
         "4:5: nodes[0].credentials:", "not both"),
        (NODE + "    credentials: {token: 7}\n", "4:19: nodes[0].credentials.token:", "text"),
        (NODE + "    credentials: {token: K3}\n", "4:19: nodes[0].credentials.token:", "8 letters"),
        (NODE + "    credentials: {key: 'SHA256:x'}\n", "4:19: nodes[0].credentials.key:",
         "no fingerprint"),
        (NODE + "    credentials: {password: x}\n", "4:19: nodes[0].credentials:",
         "allowed here: token, key"),
        ("security: {san: ['a:5']}\n", "1:18: security.san[0]:", "without a port"),
        ("security: {san: ['*.example']}\n", "1:18: security.san[0]:", "not a host name"),
        ("security: {san: a}\n", "1:12: security.san:", "must be a list"),
        ("security: {certificate_lifetime: 1s}\n", "1:12: security.certificate_lifetime:",
         "below the minimum of 10 s"),
        ("security: {overlap: 0}\n", "1:12: security.overlap:", "below the minimum"),
        ("san: [a]\n", "1:1:", 'it belongs below "security"'),
        (NODE + "    hostname: x\n", "4:5: nodes[0]:", 'unknown key "hostname"'),
        (NODE + "    role: embedded\n", "4:5: nodes[0].role:", "write type: embedded"),
        (NODE + "    role: slave\n", "4:5: nodes[0].role:", "write master or sub"),
        (NODE + "    role: [sub]\n", "4:5: nodes[0].role:", "write master or sub"),
        (NODE + "    type: claud\n", "4:5: nodes[0].type:", 'did you mean "cloud"?'),
        (NODE + "    link: wifi\n", "4:5: nodes[0].link:", "write wired, wireless or cellular"),
        (NODE + "    labels: [a]\n", "4:5: nodes[0].labels:", "must hold keys"),
        (NODE + "    labels: {a: 1}\n", "4:14: nodes[0].labels.a:", "put it in quotes"),
        (NODE + "    labels: {a b: x}\n", '4:14: nodes[0].labels["a b"]:', "not valid"),
        (NODE + "    labels: {a: 'x y'}\n", "4:14: nodes[0].labels.a:", "not valid"),
        (NODE + "    labels: {" + ", ".join(f"k{i}: x" for i in range(65)) + "}\n",
         "4:5: nodes[0].labels:", "65 labels are too many: at most 64"),
        ("nodes:\n  - name: Node1\n    ip: 10.0.0.1\n", "2:5: nodes[0].name:",
         '"node1" would do'),
        ("nodes:\n  - name: 7\n    ip: 10.0.0.1\n", "2:5: nodes[0].name:", 'in quotes, "7"'),
        ("nodes:\n  - ip: 10.0.0.1\n", "2:5: nodes[0]:", '"name" is missing'),
        ("nodes:\n  - name: a\n", "2:5: nodes[0]:", '"ip" is missing: only cloud nodes'),
        ("nodes:\n  - name: a\n    ip: 10.0.0\n", "3:5: nodes[0].ip:",
         '"10.0.0" is not an IPv4 or IPv6 address'),
        ("nodes:\n  - name: a\n    ip: 10.0.0.1/24\n", "3:5: nodes[0].ip:", "without"),
        ("nodes:\n  - name: a\n    ip: 0.0.0.0\n", "3:5: nodes[0].ip:", "of a machine"),
        ("nodes: {a: 10.0.0.1}\n", "1:1: nodes:", "must be a list"),
        ("nodes:\n  - a\n", "2:5: nodes[0]:", "must hold keys"),
        ("nodes:\n  -\n", "2:4: nodes[0]:", "must hold keys"),
        ("discovery: all\n", "1:1: discovery:", "write listed, cloud or any"),
        ("discovery: false\n", "1:1: discovery:", "write listed, cloud or any"),
        ("listen: 50051\n", "1:1: listen:", "put it in quotes"),
        ("listen: ':50051'\n", "1:1: listen:", "a host is missing"),
        ("listen: ::1:x\n", "1:1: listen:", "[address]:port"),
        ("install: {listen: 50052}\n", "1:11: install.listen:", "put it in quotes"),
        ("install: {directory: bundles}\n", "1:11: install.directory:", "not an absolute path"),
        ("data_dir: data\n", "1:1: data_dir:", "not an absolute path"),
        ("data_dir: 3\n", "1:1: data_dir:", "not a path"),
        ("store: mysql://x\n", "1:1: store:", "write sqlite, or etcd://"),
        ("store: etcd\n", "1:1: store:", "write sqlite, or etcd://"),
        ("store: etcd://\n", "1:1: store:", "hosts of the etcd store"),
        ("store: etcd://a,,b\n", "1:1: store:", "hosts of the etcd store"),
        ("store: etcd://a:99999\n", "1:1: store:", "hosts of the etcd store"),
        ("store: sqlite:///x.db\n", "1:1: store:", "lies in the data directory"),
        ("store: [sqlite]\n", "1:1: store:", "must be text"),
        ("heartbeat: {interval: 4.9}\n", "1:13: heartbeat.interval:",
         "4.9 s is below the minimum of 5 s: the load of the nodes would grow (HLD 8.1)"),
        ("heartbeat: {interval: 2h}\n", "1:13: heartbeat.interval:", "above the maximum of 1 h"),
        ("heartbeat: {interval: fast}\n", "1:13: heartbeat.interval:", "is not a duration"),
        ("heartbeat: {interval: -5}\n", "1:13: heartbeat.interval:", "is not a duration"),
        ("heartbeat: {misses: 0}\n", "1:13: heartbeat.misses:", "at least 1"),
        ("heartbeat: {misses: '3'}\n", "1:13: heartbeat.misses:", "must be a whole number"),
        ("heartbeat: 10\n", "1:1: heartbeat:", "must hold keys"),
        ("interval: 10\n", "1:1:", 'it belongs below "heartbeat"'),
        ("reconnect_grace: 2m\n", "1:1: reconnect_grace:", "above the maximum of 1 m"),
        ("thresholds: {disk_used_percent: 101}\n", "1:14: thresholds.disk_used_percent:",
         "at most 100"),
        ("thresholds: {memory_available_percent: -1}\n",
         "1:14: thresholds.memory_available_percent:", "at least 0"),
        ("thresholds: {disk_used_percent: 95%}\n", "1:14: thresholds.disk_used_percent:",
         "must be a number"),
        ("thresholds: {disk_used_percent: .nan}\n", "1:14: thresholds.disk_used_percent:",
         "must be a number"),
        ("retention: {events_max: 0}\n", "1:13: retention.events_max:", "at least 1"),
        ("retention: {events_max_age: 1s}\n", "1:13: retention.events_max_age:", "below the"),
        ("cluster: {name: My Cluster}\n", "1:11: cluster.name:", '"my-cluster" would do'),
        ("cluster: {title: x}\n", "1:11: cluster:", "allowed here: name"),
        ("log_level: loud\n", "1:1: log_level:", "write debug, info, warning or error"),
        ("log_level: 3\n", "1:1: log_level:", "write debug, info, warning or error"),
        ("log_format: xml\n", "1:1: log_format:", "write text or json"),
        ("link_profiles: {}\n", "1:1:", "unknown key"),
    ],
)  # fmt: skip
def test_bad_input(text: str, place: str, reason: str) -> None:
    [message] = problems(text)
    assert message.startswith(f"node.yaml:{place} ")
    assert reason in message


def test_duplicates_name_the_first_one() -> None:
    text = (
        "nodes:\n"
        "  - {name: a, ip: 10.0.0.1}\n"
        "  - {name: b, ip: '2001:db8::1'}\n"
        "  - {name: a, ip: '2001:DB8:0:0:0:0:0:1'}\n"
        "  - {name: c, ip: '::ffff:10.0.0.1'}\n"
        "  - {name: a, ip: 10.0.0.5}\n"
        "  - {name: d, type: cloud}\n"
        "  - {name: e, type: cloud}\n"
    )
    assert problems(text) == [
        'node.yaml:4:6: nodes[2].name: "a" is the name of another node already (first on line 2)',
        'node.yaml:4:15: nodes[2].ip: "2001:db8::1" is the ip of another node already (first on'
        " line 3)",
        'node.yaml:5:15: nodes[3].ip: "10.0.0.1" is the ip of another node already (first on'
        " line 2)",
        'node.yaml:6:6: nodes[4].name: "a" is the name of another node already (first on line 2)',
    ]


def test_several_masters_may_be_listed(tmp_path: Path) -> None:
    text = "nodes:\n" + "".join(
        f"  - {{name: m{i}, ip: 10.0.0.{i}, role: master}}\n" for i in (1, 2)
    )
    assert [n.role for n in resolve(text, tmp_path)[0].nodes] == [NodeRole.MASTER] * 2


@pytest.mark.parametrize(
    "store", ["redis://root:s3cret@h", "etcd://root:s3cret@h:0", "etcd://root:s/3cret@-", "s3cret"]
)
def test_a_store_that_is_refused_is_not_repeated(store: str) -> None:
    assert "3cret" not in "".join(problems(f"store: {store}\n"))


def test_bounds_are_inclusive(tmp_path: Path) -> None:
    text = "heartbeat: {interval: 5, misses: 1}\nthresholds: {disk_used_percent: 100}\n"
    settings, _ = resolve(text, tmp_path)
    assert (settings.heartbeat_interval, settings.heartbeat_misses) == (5.0, 1)
    assert settings.thresholds.disk_used_percent == 100.0


def test_a_thousand_nodes(tmp_path: Path) -> None:
    text = "nodes:\n" + "".join(
        f"  - name: node-{i}\n    ip: 10.{i // 250}.{i % 250}.1\n    role: sub\n"
        f"    type: embedded\n    link: wireless\n    labels: {{zone: z{i}, line: l{i}, x: y}}\n"
        for i in range(1000)
    )
    assert len(resolve(text, tmp_path)[0].nodes) == 1000


def test_links_are_the_profiles_there_are() -> None:
    assert set(Link.__args__) == set(PROFILES)  # type: ignore[attr-defined]


def test_what_needs_a_restart(tmp_path: Path) -> None:
    old, _ = resolve(EVERYTHING, tmp_path)
    assert restart_needed(old, old) == []
    reloadable = dataclasses.replace(
        old, nodes=(), heartbeat_interval=10.0, discovery=Discovery.ANY, log_level="info"
    )
    assert restart_needed(old, reloadable) == []
    other = dataclasses.replace(old, store="sqlite", listen="10.0.0.1:1", data_dir="/x")
    assert restart_needed(old, other) == ["listen", "data_dir", "store"]
    assert restart_needed(old, dataclasses.replace(old, store="sqlite")) == ["store"]
    elsewhere = dataclasses.replace(old, install=InstallSettings())
    assert restart_needed(old, elsewhere) == ["install"]
    shorter = dataclasses.replace(old, security=SecuritySettings())
    assert restart_needed(old, shorter) == ["security"]


def test_names_of_the_command_line_are_added_to_the_files(tmp_path: Path) -> None:
    settings, _ = resolve(EVERYTHING, tmp_path, san=["10.0.0.7", "Master.Example"])
    assert settings.security.san == ("master.example", "2001:db8::9", "10.0.0.7")
    with pytest.raises(InvalidSpec, match=r"^--san: "):
        resolve(san=["http://x"])


def test_how_long_nodes_have_time_to_bring_what_they_hold() -> None:
    assert resolve()[0].rebuild == 0
    assert resolve(rebuild="10m")[0].rebuild == 600
    for wrong in ("1s", "2d", "soon"):
        with pytest.raises(InvalidSpec, match=r"^--rebuild: "):
            resolve(rebuild=wrong)


def test_a_whole_token_in_the_file_is_refused_and_not_repeated() -> None:
    token = f"piccolo1.k3vq7mza.{'s' * 24}.{'p' * 43}"
    [message] = problems(NODE + f"    credentials: {{token: {token}}}\n")
    assert "the secret does not belong here" in message
    assert "ssss" not in message
