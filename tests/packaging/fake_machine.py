"""A machine that the installers may change: a directory, and a PATH on which every command that
reaches beyond files is a stand-in.

The stand-ins record their arguments and keep a little state, in files: which units are active,
which ports are open. Only what the scripts are allowed to rely on is on the PATH besides.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"
MASTER = "127.0.0.2"
TOKEN = "piccolo1.k3vq7mza.c2VjcmV0.cGlu"

# As small systems have them, too (busybox).
TOOLS = """
    awk bash cat chmod cmp comm cp cut dirname env find flock getconf grep gzip head ln ls mkdir
    mktemp mv readlink rm rmdir sed sh sha256sum sleep sort stat tail tar tr wc
"""

PLACES = (
    "etc/systemd/system",
    "opt",
    "run/systemd/system",
    "usr/local/bin",
    "var/lib",
    "var/log",
    "var/run",
)

_RECORD = '#!/bin/sh\necho "${0##*/} $*" >>"$FAKE/calls"\n'
_STAND_INS = {
    "id": "echo ${FAKE_UID:-0}",
    "uname": "echo ${FAKE_PROCESSOR:-x86_64}",
    "hostname": "echo press-1",
    "ping": "exit ${FAKE_PING:-0}",
    "journalctl": "echo what the journal says",
    # Whether a port answers is asked in a shell with a time limit: the master's, when it is active.
    "timeout": """
case $* in
    *bash*/dev/tcp/*) [ -e "$FAKE/units/piccolo-master.service.active" ] ;;
    *) shift; exec "$@" ;;
esac
""",
    "podman": """
case "$*" in
    "ps --all"*) cat "$FAKE/containers" 2>/dev/null ;;
    rm*) rm -f "$FAKE/containers" ;;
    --version) echo podman version 4.3.1 ;;
esac
exit 0
""",
    # Started under a version that is said to be broken, a unit fails.
    "systemctl": """
units=$FAKE/units
verb=$1
while [ $# -gt 1 ]; do shift; done
unit=$1
case $verb in
    is-active) [ -e "$units/$unit.active" ] ;;
    is-enabled) [ -e "$units/$unit.enabled" ] ;;
    enable) : >"$units/$unit.enabled" ;;
    disable) rm -f "$units/$unit.enabled" ;;
    stop) rm -f "$units/$unit.active" ;;
    show) echo "${FAKE_RESULT:-success}" ;;
    start | restart)
        version=$(readlink "$PICCOLO_ROOT/opt/piccolo/current")
        rm -f "$units/$unit.active"
        [ "${version##*/}" != "${FAKE_BROKEN:-none}" ] || exit 1
        echo "$version" >"$units/$unit.active"
        if [ "$unit" = nodeagent.service ]; then
            /bin/mkdir -p "$PICCOLO_ROOT/var/lib/piccolo/pki"
            echo identity >"$PICCOLO_ROOT/var/lib/piccolo/pki/node.crt"
        fi
        ;;
esac
""",
    "firewall-cmd": """
ports=$FAKE/firewalld
case $* in
    --state) [ -d "$ports" ] ;;
    *--query-port=*) [ -e "$ports/$(echo "$*" | tr / _ | sed s/query/add/)" ] ;;
    *--add-port=*) : >"$ports/$(echo "$*" | tr / _)" ;;
    *--remove-port=*) rm "$ports/$(echo "$*" | tr / _ | sed s/remove/add/)" ;;
esac
""",
    "ufw": """
case $* in
    status)
        [ -e "$FAKE/ufw" ] || { echo Status: inactive; exit; }
        echo Status: active
        cat "$FAKE/ufw"
        ;;
    "allow "*) echo "$2                  ALLOW       Anywhere" >>"$FAKE/ufw" ;;
    "delete allow "*) sed -i "\\\\|^$3 |d" "$FAKE/ufw" ;;
esac
""",
}
# Where there is a network, they bring podman.
_PACKAGE_MANAGER = """
case $* in
    *install* | "-S "*)
        [ -z "${FAKE_OFFLINE:-}" ] || { echo no route to host; exit 1; }
        cp "$FAKE/podman" "$FAKE/bin/podman"
        ;;
    *check-update*) exit 100 ;;
    *) [ -z "${FAKE_OFFLINE:-}" ] ;;
esac
"""
MANAGERS = ("apt-get", "dnf", "yum", "zypper", "pacman")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run of a script ended."""

    code: int
    said: str  # both streams

    @property
    def last(self) -> str:
        return self.said.splitlines()[-1]


class FakeMachine:
    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.fake = directory / "fake"
        self.scratch = directory / "scratch"
        self.bin = self.fake / "bin"
        for made in (self.bin, self.fake / "units", self.scratch):
            made.mkdir(parents=True)
        for name in PLACES:
            (self.root / name).mkdir(parents=True)
        for name in TOOLS.split():
            (self.bin / name).symlink_to(shutil.which(name) or "/missing")
        for name in (
            "id",
            "uname",
            "hostname",
            "ping",
            "journalctl",
            "timeout",
            "podman",
            "systemctl",
        ):
            self.give(name)

    def give(self, name: str, body: str | None = None) -> None:
        """Puts a stand-in on the PATH."""
        text = _PACKAGE_MANAGER if name in MANAGERS else _STAND_INS.get(name, "")
        write_script(self.bin / name, _RECORD + (text if body is None else body))

    def take(self, name: str) -> None:
        shutil.move(self.bin / name, self.fake / name)

    def run(self, script: Path, *arguments: str | Path, **environ: str) -> Ended:
        done = subprocess.run(
            ["bash", script, *arguments],
            env={
                "PATH": str(self.bin),
                "FAKE": str(self.fake),
                "PICCOLO_ROOT": str(self.root),
                "TMPDIR": str(self.scratch),
                **environ,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )
        return Ended(done.returncode, done.stdout)

    def path(self, name: str) -> Path:
        """`name` is absolute, as on the machine."""
        return self.root / name.lstrip("/")

    def calls(self, *commands: str) -> list[str]:
        """What was asked of these stand-ins, oldest first."""
        file = self.fake / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if line.split()[0] in commands]

    def everything(self) -> dict[str, str]:
        """All files, links and modes of the machine, its units, and what is left of scratch."""
        places = (self.root, self.fake / "units", self.fake / "firewalld", self.scratch)
        found = {
            str(path.relative_to(self.root.parent)): _content(path)
            for place in places
            for path in place.rglob("*")
        }
        ufw = self.fake / "ufw"
        return {**found, "ufw": ufw.read_text() if ufw.exists() else ""}


def _content(path: Path) -> str:
    state = path.lstat()
    mode = f"{stat.S_IMODE(state.st_mode):o}"
    if path.is_symlink():
        return f"-> {os.readlink(path)}"
    return f"{mode} directory" if path.is_dir() else f"{mode} {path.read_bytes()!r}"


def write_script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # it may be a link to the real thing, which must not be written to
    path.write_text(text)
    path.chmod(0o755)
