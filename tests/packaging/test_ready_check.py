"""`node_ready_check.sh` and `piccolo check` on the same machine: the same levels, the same verdict.

The machine is a directory, see `fake_root`; the sockets are real, on loopback.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli import warm
from tests.host import fake_root
from tests.host.fake_root import listener, program, write

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "packaging/node_ready_check.sh"
LEVELS = ("ok", "warning", "error")
W, E = "warning", "error"
CLOSED = 9  # at which nobody listens
PROBES = "case $* in *-M*)"  # asks for packets that must not be taken apart
Broken = Callable[[Path, Path], None]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """At which a master seems to be."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def root(tmp_path: Path, port: int) -> Path:
    root = fake_root.make(tmp_path / "root")
    write(root, "etc/piccolo/nodeagent.yaml", config(port))
    write(root, "etc/piccolo/node.yaml", "listen: 127.0.0.1:50051\n")
    return root


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return fake_root.tools(tmp_path / "bin")


def config(port: int) -> str:
    return f'nodeagent:\n  node_type: "sub"\n  master_ip: "127.0.0.1"  # it\n  grpc_port: {port}\n'


def environ(root: Path, path: Path, **more: str) -> dict[str, str]:
    return {"PATH": str(path), "HOME": "/root", "PICCOLO_ROOT": str(root), **more}


Answer = tuple[int, str, dict[str, str]]  # the exit code, the verdict, what is not well


def by_script(env: dict[str, str], *args: str, shell: tuple[str, ...] = ("dash",)) -> Answer:
    interpreter = shutil.which(shell[0])
    assert interpreter is not None
    command = [interpreter, *shell[1:], str(SCRIPT), *args]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=20)
    assert not done.stderr
    *lines, last = done.stdout.splitlines()
    found = {}
    for line in lines:
        level, _, rest = line.partition(" ")
        assert level in LEVELS
        assert (level == "ok") == (" -> " not in rest)
        found[rest.partition(":")[0]] = level
    return done.returncode, last.removeprefix("status="), not_well(found)


def by_program(env: dict[str, str], *args: str) -> Answer:
    import json

    done = warm.run("check", *args, "-o", "json", env=env)
    answer = json.loads(done.stdout)
    found = {finding["id"]: finding["level"] for finding in answer["findings"]}
    return done.returncode, answer["verdict"], not_well(found)


def not_well(found: dict[str, str]) -> dict[str, str]:
    return {id: level for id, level in found.items() if level != "ok"}


def certificate(root: Path, begun: int, ends: int) -> None:
    now = datetime.now(UTC)
    made, end = (now + timedelta(days=days) for days in (begun, ends))
    text = f"Made: {made.isoformat()}\nNot After: {end.isoformat()}\n-----BEGIN"
    write(root, "var/lib/piccolo/pki/node.crt", text)


def broken_machine(root: Path, path: Path) -> None:
    write(root, "proc/loadavg", "3.21 1.00 1.00 1/200 999\n")
    write(root, "proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 199999 kB\n")
    write(root, "proc/filesystems", "\text4\n")
    write(root, "proc/self/status", "Name:\tx\n")
    write(root, "proc/net/unix", "Num RefCount Protocol Flags Type St Inode Path\n")
    (root / "sys/fs/cgroup/cgroup.controllers").write_text("cpu io\n")
    certificate(root, -28, 2)
    program(path, "ping", f"{PROBES} echo '1 sent, 100% packet loss'; exit 1 ;; esac")  # black hole


def hopeless_machine(root: Path, path: Path) -> None:
    write(root, "proc/mounts", "/dev/a / ext4 rw 0 0\n/dev/b /var ext4 ro,noatime 0 0\n")
    (root / "sys/fs/cgroup/cgroup.controllers").unlink()
    (root / "proc/self/ns/net").unlink()
    (path / "podman").unlink()
    certificate(root, -90, -31)
    write(root, "etc/piccolo/nodeagent.yaml", config(CLOSED))


def at_its_limits(root: Path, path: Path) -> None:
    write(root, "proc/loadavg", "3.20 1.00 1.00 1/200 999\n")
    write(root, "proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 200000 kB\n")
    write(root, "proc/filesystems", "\text4\n")
    write(root, "lib/modules/6.1.0-rpi/modules.dep", "kernel/fs/overlayfs/overlay.ko.xz:\n")
    write(root, "proc/net/unix", fake_root.FILES["proc/net/unix"].replace("/run", "/var/run"))
    certificate(root, -10, 20)
    two_addresses(root)
    program(path, "ping", f"{PROBES} echo 'ping: invalid option -- M'; exit 1 ;; esac")


def spoilt_files(root: Path, path: Path) -> None:
    for name in ("loadavg", "stat", "meminfo", "mounts", "net/tcp"):
        (root / "proc" / name).write_text("")
    told = "ping: local error: message too long, mtu=1200; 100% packet loss"
    program(path, "ping", f"{PROBES} echo '{told}'; exit 1 ;; esac")


def old_kernel_and_podman(root: Path, path: Path) -> None:
    (root / "sys/fs/cgroup/cgroup.controllers").unlink()
    rows = "".join(f"{name}\t1\t2\t1\n" for name in ("cpu", "memory", "pids"))
    write(root, "proc/cgroups", f"#subsys_name\thierarchy\tnum_cgroups\tenabled\n{rows}")
    program(path, "podman", "echo podman version 3.0.1")
    certificate(root, -40, -1)
    program(path, "ping", "exit 1")


def no_master(root: Path, path: Path) -> None:
    write(root, "etc/piccolo/nodeagent.yaml", "nodeagent:\n  log_level: info\n")


def wrong_port(root: Path, path: Path) -> None:
    write(root, "etc/piccolo/nodeagent.yaml", config(99999))


def two_addresses(root: Path) -> None:
    file = root / "etc/piccolo/nodeagent.yaml"
    port = file.read_text().split()[-1]
    text = f"nodeagent:\n  masters:\n    - '127.0.0.1:{CLOSED}'\n    - 127.0.0.1:{port}\n"
    file.write_text(text)


WEAK = dict.fromkeys(
    ("cpu", "memory", "overlay", "seccomp", "podman-socket", "cgroup", "certificate", "mtu"), W
)
LOST = dict.fromkeys(("disk", "cgroup", "namespaces", "podman", "certificate", "grpc-port"), E)
MACHINES = [
    (lambda root, path: None, {}),
    (broken_machine, WEAK),
    (hopeless_machine, LOST),
    (at_its_limits, {}),
    (spoilt_files, {"mtu": W}),
    (old_kernel_and_podman, {"cgroup": W, "podman": E, "certificate": W, "ping": W}),
    (no_master, {"config": E}),
    (wrong_port, {"config": E}),
]


def verdict_of(found: dict[str, str]) -> tuple[int, str]:
    if E in found.values():
        return 1, "failed"
    return 0, "warning" if found else "ready"


@pytest.mark.parametrize(("broken", "found"), MACHINES)
def test_a_sub_node(root: Path, path: Path, broken: Broken, found: dict[str, str]) -> None:
    broken(root, path)
    env = environ(root, path)
    expected = (*verdict_of(found), found)
    assert by_program(env) == expected
    assert (root / "var/run/piccolo/node_status").read_text() == f"status={expected[1]}\n"
    (root / "var/run/piccolo/node_status").unlink()
    assert by_script(env) == expected
    assert (root / "var/run/piccolo/node_status").read_text() == f"status={expected[1]}\n"
    log = (root / "var/log/piccolo/system_check.log").read_text().splitlines()
    assert [line[22:] for line in log if "status=" in line] == [f"status={expected[1]}"] * 2


@pytest.mark.parametrize("shell", [("bash", "--posix"), ("busybox", "sh")])
def test_other_shells(root: Path, path: Path, shell: tuple[str, ...]) -> None:
    broken_machine(root, path)
    env = environ(root, path)
    assert by_script(env, shell=shell)[:2] == (0, "warning")
    hopeless_machine(root, path)
    found = by_script(env, shell=shell)[2]
    assert found | LOST == found


def test_busybox_alone_is_enough(root: Path, tmp_path: Path, port: int) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    busybox = shutil.which("busybox")
    assert busybox is not None
    for name in (*fake_root.TOOLS.split()[:-3], "nc"):
        (bare / name).symlink_to(busybox)
    program(bare, "podman", "echo podman version 4.9.3")
    assert by_script(environ(root, bare), shell=("busybox", "sh")) == (0, "ready", {})
    write(root, "etc/piccolo/nodeagent.yaml", config(CLOSED))
    code, _, found = by_script(environ(root, bare), shell=("busybox", "sh"))
    assert (code, found) == (1, {"grpc-port": E})


@pytest.mark.parametrize(
    ("command", "table", "found"),
    [
        (["/usr/bin/python3", "/usr/local/bin/piccolo", "master", "--config", "x"], "tcp6", {}),
        (["/usr/sbin/nginx", "-g", "piccolo master"], "tcp", {"listen-port": E}),
        (["piccolo", "agent"], "udp", {"listen-port": E}),
    ],
)
def test_the_port_of_a_master(
    root: Path, path: Path, command: list[str], table: str, found: dict[str, str]
) -> None:
    listener(root, 50051, command, table)
    for check in (by_program, by_script):
        assert check(environ(root, path), "master") == (*verdict_of(found), found)


def test_the_store_of_a_master(root: Path, path: Path, port: int) -> None:
    for hosts, found in (
        (f"127.0.0.1:{port}", {}),
        (f"127.0.0.1:9,127.0.0.1:{port}", {"etcd-port": W}),
        ("127.0.0.1:9", {"etcd-port": E}),
    ):
        write(root, "etc/piccolo/node.yaml", f"store: etcd://u:p@{hosts}/piccolo\n")
        for check in (by_program, by_script):
            assert check(environ(root, path), "master") == (*verdict_of(found), found)


def test_the_environment_and_the_option_win(root: Path, path: Path, port: int) -> None:
    no_master(root, path)
    env = environ(root, path, MASTER_NODE_IP="127.0.0.1", GRPC_PORT=str(port))
    for check in (by_program, by_script):
        assert check(env) == (0, "ready", {})
        assert check(env, "--master", "127.0.0.1:9")[2] == {"grpc-port": E}


def test_programs_that_hang_do_not_hold_it_up(root: Path, path: Path) -> None:
    for name in ("podman", "ping"):
        program(path, name, "exec sleep 30")
    for check, most in ((by_program, 2.0), (by_script, 4.5)):
        begun = time.monotonic()
        assert check(environ(root, path))[:2] == (0, "ready")
        assert time.monotonic() - begun < most


def test_files_that_cannot_be_written_spoil_nothing(root: Path, path: Path) -> None:
    for directory in ("run", "log"):
        write(root, f"var/{directory}/piccolo", "a file where a directory should be")
    env = environ(root, path)
    done = warm.run("check", env=env)
    assert (done.returncode, done.stderr.count("was not written")) == (0, 2)
    command = ["sh", str(SCRIPT)]
    script = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (script.returncode, script.stderr.count("was not written")) == (0, 2)
    assert script.stderr.count("\n") == 2


def test_the_log_stays_small(root: Path, path: Path) -> None:
    log = root / "var/log/piccolo/system_check.log"
    for check in (by_program, by_script):
        write(root, "var/log/piccolo/system_check.log", "x" * (128 << 10))
        check(environ(root, path))
        assert 0 < log.stat().st_size < 8192
        assert log.with_name("system_check.log.1").stat().st_size == 128 << 10


@pytest.mark.needs_root
def test_full_disks(root: Path, path: Path) -> None:
    data = root / "var/lib/piccolo"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=100", "x", data], check=True)
    try:
        for fill, files, found in (
            (850, 85, {"disk": W, "inodes": W}),
            (950, 95, {"disk": E, "inodes": E}),
        ):
            (data / "big").write_bytes(b"x" * (fill << 10))
            for number in range(files):
                (data / str(number)).touch()
            for check in (by_program, by_script):
                assert check(environ(root, path), "--no-write")[2] == found, (fill, files)
    finally:
        subprocess.run(["umount", data], check=True)


@pytest.mark.parametrize(
    "args", [("other",), ("--bogus",), ("--master",), ("master", "--master", "127.0.0.1")]
)
def test_wrong_usage(root: Path, path: Path, args: tuple[str, ...]) -> None:
    env = environ(root, path)
    command = ["sh", str(SCRIPT), *args]
    assert subprocess.run(command, env=env, capture_output=True, check=False).returncode == 2
    assert warm.run("check", *args, env=env).returncode == 2


def test_shellcheck_has_nothing_to_say() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed: ./dev setup")
    done = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert os.access(SCRIPT, os.X_OK)
