"""The bundle that is installed: the one `./dev build` made, and the same as if it were newer."""

from __future__ import annotations

import hashlib
import py_compile
import tarfile
import tempfile
from pathlib import Path

from piccolo import __version__
from tests.lab.errors import LabError
from tools.bundle import BUNDLE, HERE

DIST = Path(__file__).parents[2] / "dist"


def find_bundle() -> Path:
    """Raises `LabError` when there is none of this version."""
    bundle = DIST / f"{BUNDLE}.tar.gz"
    if not bundle.exists():
        raise LabError(f"there is no {bundle}: ./dev build")
    return bundle


def newer(bundle: Path, version: str, into: Path) -> Path:
    """The same bundle under another version, which its program tells too."""
    with tempfile.TemporaryDirectory(dir=into) as scratch:
        with tarfile.open(bundle) as archive:
            archive.extractall(scratch, filter="fully_trusted")
        top = next(Path(scratch).iterdir()).rename(
            Path(scratch) / f"piccolo-{version}-linux-{HERE}"
        )
        (top / "VERSION").write_text(f"{version}\n")
        _change_program(top / "program", version)
        _sum_up(top)
        made = into / f"{top.name}.tar.gz"
        with tarfile.open(made, "w:gz", compresslevel=1) as archive:
            archive.add(top, top.name)
    return made


def _change_program(program: Path, version: str) -> None:
    """The one module that knows the version is compiled anew, beside its former place."""
    module = program / "_internal/piccolo/__init__.pyc"
    source = Path(__file__).parents[2] / "piccolo/__init__.py"
    text = source.read_text().replace(f'"{__version__}"', f'"{version}"')
    assert version in text
    changed = program.parent / "version.py"
    changed.write_text(text)
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH  # there is no source to look at
    py_compile.compile(str(changed), str(module), doraise=True, invalidation_mode=unchecked)
    changed.unlink()


def _sum_up(top: Path) -> None:
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(top)}\n"
        for path in sorted(top.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.name != "SHA256SUMS"
    ]
    (top / "SHA256SUMS").write_text("".join(lines))
