"""A small disk of its own for a directory, which can be full, slow, or fail.

A file with an ext4 in it, mounted by a loop device. What is done to it is what happens to real
disks: `fill` leaves no block; `fail` makes the kernel find an error, so that it turns the file
system read-only under the feet of those who write (`errors=remount-ro`), and only `repair` brings
it back, with everybody off it; `slow` limits how often a second it may be written to.

Both mount and loop device are gone with the lab: the reaper unmounts what is mounted below the
lab's directory, and the kernel then frees the device. What outlives a mount is its speed limit, so
that has an entry in the lab's `undo.jsonl`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from tests.lab.cgroup import ROOT
from tests.lab.errors import LabError
from tests.lab.site import Site

LEAST_MB = 8  # ext4 with a journal
_FILLER = ".filler"
_PIECES = (1 << 20, 1 << 16, 1 << 12)  # bytes: what is left is less than the last one
_THROTTLE = "blkio.throttle.write_iops_device"


class Disk:
    """The file system that is mounted at `directory`. Raises `LabError` where there can be none."""

    def __init__(self, site: Site, directory: Path, mb: int) -> None:
        if mb < LEAST_MB:
            raise LabError(f"a disk of {mb} MiB cannot be: choose {LEAST_MB} or more")
        self.directory = directory
        self._site = site
        self._mb = mb
        self._image = directory.with_name(f"{directory.name}.img")
        self._limits: set[str] = set()  # devices whose speed is limited, or was
        directory.mkdir(mode=0o700)
        try:
            self._make()
            self._mount()
        except LabError as error:
            raise LabError(f"{error} (a lab without disks: --disk 0)") from error

    @property
    def free_bytes(self) -> int:
        found = os.statvfs(self.directory)
        return found.f_bavail * found.f_frsize

    # ---- full ----

    def fill(self, leave: int = 0) -> None:
        """Leave so many bytes of it free. Files that are there keep the blocks they have."""
        self.free()
        file = os.open(self.directory / _FILLER, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            for piece in _PIECES:
                while self.free_bytes >= leave + piece and self._grow(file, piece):
                    pass
            if leave == 0:  # what the kernel keeps back, and does not count as free
                while self._grow(file, _PIECES[-1]):
                    pass
        finally:
            os.close(file)

    @staticmethod
    def _grow(file: int, piece: int) -> bool:
        try:
            os.posix_fallocate(file, os.fstat(file).st_size, piece)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise LabError(f"the disk cannot be filled: {error.strerror}") from error
            return False
        return True

    def free(self) -> None:
        """Undo `fill`."""
        (self.directory / _FILLER).unlink(missing_ok=True)

    # ---- slow ----

    def slow(self, writes: int) -> None:
        """Let it be written to so many times a second; one fsync is two or three writes.

        Raises `LabError` where the kernel offers no such limit: this takes control groups v1, as
        those of v2 do not hold for the root group, in which the file system's journal is written.
        """
        groups = _blkio_groups()
        if not groups:
            raise LabError("no disk can be made slow here: that needs the blkio groups of v1")
        device = self._device()
        for group in groups:
            file = group / _THROTTLE
            if f"{device} {file}" not in self._limits:
                self._limits.add(f"{device} {file}")
                self._site.undo("sh", "-c", f'echo "{device} 0" > "{file}"')
            file.write_text(f"{device} {writes}")

    def fast(self) -> None:
        """Undo `slow`."""
        for limit in self._limits:
            device, _, file = limit.partition(" ")
            Path(file).write_text(f"{device} 0")

    # ---- failing ----

    def fail(self) -> None:
        """The kernel finds an error: from now on nothing can be written."""
        with contextlib.suppress(OSError):  # it may have failed before
            self._sysfs("trigger_fs_error").write_text("lab")
        try:
            (self.directory / _FILLER).open("ab").close()
        except OSError:
            return
        raise LabError("this kernel does not turn a file system read-only on an error")

    def repair(self) -> None:
        """Undo `fail`. Nobody may have a file of it open. Raises `LabError` when somebody has."""
        self._unmount()
        checked = self._site.run(["e2fsck", "-fy", str(self._image)], check=False)
        if checked.returncode > 1:  # e2fsck(8): 1 is "errors corrected"
            raise LabError(f"e2fsck cannot repair {self._image}: {checked.stdout.strip()}")
        self._mount()
        self.free()

    # ---- another one ----

    def exchange(self) -> None:
        """Take it out and put an empty one in. Nobody may have a file of it open."""
        self._unmount()
        if not self._taken_out.exists():  # the first one is what comes back
            self._image.replace(self._taken_out)
        self._make()
        self._mount()

    def put_back(self) -> None:
        """Undo `exchange`: the new one is gone, the old one as it was."""
        self._unmount()
        self._taken_out.replace(self._image)
        self._mount()

    @property
    def _taken_out(self) -> Path:
        return self._image.with_suffix(".old.img")

    # ---- the file system ----

    def _make(self) -> None:
        with self._image.open("wb") as file:
            file.truncate(self._mb << 20)
        options = ["-E", "lazy_itable_init=1,lazy_journal_init=1", "-m", "0", "-F", "-q"]
        self._site.run(["mkfs.ext4", *options, str(self._image)])

    def _mount(self) -> None:
        options = "loop,errors=remount-ro"
        self._site.run(["mount", "-o", options, str(self._image), str(self.directory)])
        self.directory.chmod(0o700)
        with contextlib.suppress(OSError):
            (self.directory / "lost+found").rmdir()

    def _unmount(self) -> None:
        self.fast()  # or it takes as long
        self._site.run(["umount", str(self.directory)])

    def _device(self) -> str:
        """ "major:minor" of the loop device."""
        number = os.stat(self.directory).st_dev
        return f"{os.major(number)}:{os.minor(number)}"

    def _sysfs(self, name: str) -> Path:
        block = (Path("/sys/dev/block") / self._device()).resolve().name
        return Path("/sys/fs/ext4") / block / name


def _blkio_groups() -> list[Path]:
    """The groups in which writing is limited: all that what we start can be in."""
    found = set(_own_groups())
    return sorted(group for group in found if (group / _THROTTLE).exists())


def _own_groups() -> Iterator[Path]:
    root = ROOT / "blkio"
    yield root
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if "blkio" in controllers.split(","):
            yield root / group.lstrip("/")


def backing_files() -> list[str]:
    """What the machine's loop devices stand for."""
    found = []
    for file in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            found.append(file.read_text().strip())
    return found
