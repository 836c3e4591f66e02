"""What the program is, by the name it is started under: `piccolo`, or `nodeagent`.

Sites that used the original have a program `nodeagent` in their units and scripts. Here it is
`piccolo agent` with the same arguments, under every name that begins so: the single file is called
`nodeagent-arm64`.
"""

from __future__ import annotations

import sys
from pathlib import PurePath
from typing import NoReturn

AGENT = "nodeagent"


def words(argv: list[str]) -> list[str]:
    """The command line of `piccolo` that `argv` stands for."""
    name, *arguments = argv
    if not PurePath(name).name.startswith(AGENT):
        return argv
    # The one thing that is asked of every program, also by installers.
    return ["piccolo", *([] if arguments == ["--version"] else ["agent"]), *arguments]


def main() -> NoReturn:
    from piccolo.cli.main import main as piccolo

    sys.argv = words(sys.argv)
    piccolo()
