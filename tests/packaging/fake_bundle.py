"""A bundle as `tools.bundle` makes it: all of it is real but a tiny program and its check."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path

from tests.packaging.fake_machine import PACKAGING, write_script

TEMPLATES = PACKAGING.parent / "piccolo/config/templates"
# `is-online` says what the file `online` says; without it, whether the agent is active.
PROGRAM = """#!/bin/sh
echo "piccolo $*" >>"$FAKE/calls"
case $1 in
    --version) echo "piccolo {version} (Python 3.11.2)" ;;
    is-online)
        if [ -e "$FAKE/online" ]; then exit "$(cat "$FAKE/online")"; fi
        [ -e "$FAKE/units/nodeagent.service.active" ]
        ;;
    token) echo "curl … | sh -s -- --token piccolo1.secret" ;;
esac
"""
CHECK = """#!/bin/sh
echo "node_ready_check.sh $* $MASTER_NODE_IP $GRPC_PORT" >>"$FAKE/calls"
echo "the check of {version} looked"
exit "${{FAKE_CHECK:-0}}"
"""


def make(place: Path, version: str = "1.0.0", arch: str = "amd64") -> Path:
    """An unpacked one below `place`."""
    bundle = place / f"piccolo-{version}-linux-{arch}"
    shutil.copytree(PACKAGING / "systemd", bundle / "systemd")
    shutil.copytree(PACKAGING / "lib", bundle / "lib")
    for name in ("install_nodeagent.sh", "install_master.sh"):
        shutil.copy(PACKAGING / name, bundle / name)
    write_script(bundle / "program/piccolo", PROGRAM.format(version=version))
    (bundle / "program/_internal").mkdir()
    (bundle / "program/_internal/base.so").write_text(f"library of {version}\n")
    (bundle / "program/_internal/base.so.1").symlink_to("base.so")
    write_script(bundle / "node_ready_check.sh", CHECK.format(version=version))
    shutil.copytree(TEMPLATES, bundle / "templates")
    (bundle / "VERSION").write_text(f"{version}\n")
    seal(bundle)
    return bundle


def seal(bundle: Path) -> None:
    """Writes its SHA256SUMS."""
    files = sorted(p for p in bundle.rglob("*") if not p.is_dir() and p.name != "SHA256SUMS")
    lines = [f"{digest(path)}  {path.relative_to(bundle)}\n" for path in files]
    (bundle / "SHA256SUMS").write_text("".join(lines))


def pack(bundle: Path) -> Path:
    """Puts the packed one beside it."""
    file = bundle.parent / f"{bundle.name}.tar.gz"
    with tarfile.open(file, "w:gz", compresslevel=1) as archive:
        archive.add(bundle, bundle.name)
    return file


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
