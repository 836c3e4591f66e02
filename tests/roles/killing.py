"""A restore that is killed at every instant: `python -m tests.roles.killing BACKUP PRISTINE OUT`.

For each step a child of its own restores into a copy of PRISTINE, OUT/1, OUT/2, …, and is gone, as
by `kill -9`, just before it does so many things to the file system. The last one is not killed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from itertools import count
from pathlib import Path

from piccolo.config.settings import MasterSettings
from piccolo.roles.restore import restore
from tests.master.backups import read_again

STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.chmod"}


def main(file: Path, pristine: Path, out: Path) -> None:
    backup = read_again(file.read_bytes())
    for steps in count(1):
        directory = out / str(steps)
        shutil.copytree(pristine, directory)
        child = os.fork()
        if child == 0:
            _die_after(steps, str(directory))
            settings = MasterSettings(data_dir=str(directory))
            asyncio.run(restore(settings, backup, replace=True))
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            return


def _die_after(steps: int, directory: str) -> None:
    """PEP 578: every call that changes a file, or opens one."""
    left = steps

    def note(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in STEPS and str(arguments[0]).startswith(directory):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(note)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
