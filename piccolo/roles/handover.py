"""From the command line to the lean agent, with the settings handed over in memory.

Apart from `piccolo.roles.agent`, which imports all that an agent needs: the process that reads the
settings is about to be replaced, and would pay for that twice, 0.1 s of each start.
"""

from __future__ import annotations

import os
import sys

from piccolo.config.settings import AgentSettings


def become(settings: AgentSettings) -> None:
    """Replace this process by the lean agent. Does not return."""
    handover = os.memfd_create("settings", 0)  # not close-on-exec: it is meant to be inherited
    os.write(handover, settings.to_json().encode())
    sys.stdout.flush()
    sys.stderr.flush()
    # One heap arena: the agent has one thread that allocates (mallopt(3)).
    environ = {"MALLOC_ARENA_MAX": "1", **os.environ}
    environ.pop("PICCOLO_TOKEN", None)  # it has been read; /proc/PID/environ need not show it
    if brought := getattr(sys, "_MEIPASS", None):  # the executable of packaging/piccolo.spec
        environ["LD_LIBRARY_PATH"] = brought
    os.execve(
        sys.executable,
        [sys.executable, "-P", "-m", "piccolo.roles.agent", str(handover)],
        environ,
    )


def take(argument: str) -> AgentSettings:
    """What `become` handed over: `argument` is the number of the file descriptor."""
    handover = int(argument)
    settings = AgentSettings.from_json(os.pread(handover, 1 << 20, 0).decode())
    os.close(handover)
    return settings
