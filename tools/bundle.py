"""Packs what a site installs: one archive that needs neither Python nor the internet.

`python -m tools.bundle dist` takes the program that PyInstaller made (dist/piccolo) and what lies
in packaging/, and writes dist/piccolo-VERSION-linux-ARCH.tar.gz and dist/SHA256SUMS. The same input
gives the same bytes: entries are sorted, belong to root, and have the time of SOURCE_DATE_EPOCH.
Where something is missing that an installer relies on, nothing is written.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import platform
import re
import struct
import sys
import tarfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from piccolo import __version__

ROOT = Path(__file__).resolve().parent.parent
SUMS = "SHA256SUMS"

# As Debian and Go call them, and so the installers.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm"}
# Of packaging/, what is only there to build.
_NOT_SHIPPED = ("piccolo.spec", "entry.py", "__pycache__")
REQUIRED = (
    "install_master.sh",
    "install_nodeagent.sh",
    "lib/all.sh",
    "node_ready_check.sh",
    "program/piccolo",
    "systemd/nodeagent.service",
    "systemd/piccolo-master.service",
    "templates/node.yaml",
    "templates/nodeagent.yaml",
)


class Incomplete(Exception):
    """Something is missing, or leads astray."""


def architecture(machine: str, bits: int) -> str:
    """Of a program: with 32 bits it may run on a kernel that has 64."""
    if machine == "aarch64" and bits == 32:
        machine = "armv7l"
    return _ARCHITECTURES.get(machine, machine)


HERE = architecture(platform.machine(), 8 * struct.calcsize("P"))
SINGLE_FILE = f"nodeagent-{HERE}"
BUNDLE = f"piccolo-{__version__}-linux-{HERE}"


# ---- what goes in ----


def contents(root: Path, program: Path) -> dict[str, Path | bytes]:
    """Name in the bundle → the file, link or text that it is made of."""
    found: dict[str, Path | bytes] = {
        **dict(_below(root / "packaging")),
        **dict(_below(program, "program/")),
        **dict(_below(root / "piccolo" / "config" / "templates", "templates/")),
        **dict(_licences(root / "requirements.lock")),
        "LICENSE": root / "LICENSE",
        "VERSION": f"{__version__}\n".encode(),
    }
    if missing := [name for name in REQUIRED if name not in found]:
        raise Incomplete(f"the bundle would lack {', '.join(missing)}")
    return found


def _below(directory: Path, prefix: str = "") -> Iterator[tuple[str, Path]]:
    for path in directory.rglob("*"):
        name = path.relative_to(directory)
        if name.parts[0] in _NOT_SHIPPED:
            continue
        if path.is_symlink():
            if not (path.exists() and path.resolve().is_relative_to(directory.resolve())):
                raise Incomplete(f"the link {path} leads nowhere, or out of the bundle")
        elif not path.is_file():
            continue
        yield prefix + name.as_posix(), path


def _licences(lock: Path) -> Iterator[tuple[str, Path]]:
    """Of the packages that are part of the program: they ask for it."""
    for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock.read_text(), re.MULTILINE):
        try:
            files = metadata.files(name) or []
        except metadata.PackageNotFoundError:
            continue  # it is not for this architecture
        for file in files:
            if re.match(r"licen[cs]e|copying|notice|authors", file.name, re.IGNORECASE):
                yield f"licenses/{name}/{file.name}", Path(str(file.locate()))


# ---- how it is packed ----


def sums(files: Mapping[str, Path | bytes]) -> bytes:
    """As sha256sum(1) writes and checks them, sorted by name."""
    lines = []
    for name, source in sorted(files.items()):
        content = source if isinstance(source, bytes) else source.read_bytes()
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    return "".join(lines).encode()


def pack(top: str, files: Mapping[str, Path | bytes], epoch: int) -> bytes:
    """A tar.gz with the one directory `top`."""
    packed = io.BytesIO()
    folders = {parent for name in files for parent in Path(top, name).parents} - {Path(".")}
    with (
        gzip.GzipFile("", "wb", compresslevel=9, fileobj=packed, mtime=epoch) as stream,
        tarfile.open(mode="w", fileobj=stream, format=tarfile.PAX_FORMAT) as archive,
    ):
        for folder in sorted(folders):
            entry = _entry(str(folder), epoch, 0o755)
            entry.type = tarfile.DIRTYPE
            archive.addfile(entry)
        for name, source in sorted(files.items()):
            _add(archive, f"{top}/{name}", source, epoch)
    return packed.getvalue()


def _add(archive: tarfile.TarFile, name: str, source: Path | bytes, epoch: int) -> None:
    if isinstance(source, Path) and source.is_symlink():
        entry = _entry(name, epoch, 0o777)
        entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(source)
        archive.addfile(entry)
        return
    content, mode = source, 0o644
    if isinstance(content, Path):
        mode = 0o755 if content.stat().st_mode & 0o100 else 0o644
        content = content.read_bytes()
    entry = _entry(name, epoch, mode)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _entry(name: str, epoch: int, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mtime, entry.mode = epoch, mode
    return entry


def make(root: Path, dist: Path, epoch: int) -> Path:
    """Writes the bundle, and the checksums of all that is given away. Raises `Incomplete`."""
    files = contents(root, dist / "piccolo")
    files[SUMS] = sums(files)
    others = [*dist.glob(f"*-{__version__}-*.whl"), *dist.glob(SINGLE_FILE)]
    if len(others) != 2:
        raise Incomplete(f"{dist} has to hold one wheel of {__version__}, and {SINGLE_FILE}")
    bundle = dist / f"{BUNDLE}.tar.gz"
    bundle.write_bytes(pack(BUNDLE, files, epoch))
    (dist / SUMS).write_bytes(sums({path.name: path for path in (bundle, *others)}))
    return bundle


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools.bundle", description=__doc__)
    parser.add_argument("dist", type=Path, help="holds the program, the single file and the wheel")
    dist = parser.parse_args().dist
    try:
        bundle = make(ROOT, dist, int(os.environ.get("SOURCE_DATE_EPOCH", "315532800")))
    except Incomplete as problem:
        print(f"tools.bundle: {problem}", file=sys.stderr)
        return 1
    print(bundle)
    return 0


if __name__ == "__main__":
    sys.exit(main())
