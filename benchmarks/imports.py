"""Where a process' memory goes before it does anything: what each import adds to its RSS.

One fresh interpreter per role imports step by step, as the agent runs: with one heap arena, and
with what was freed given back before each reading.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

AGENT = [
    "asyncio",
    "logging",
    "uvloop",
    "ssl",
    "h2.connection",
    "grpclib.client",
    "grpclib.server",
    "importlib.metadata",
    "dateutil.parser",
    "piccolo.core.model",
    "piccolo.rpc.wire",
    "h11",
    "piccolo.runtime.podman.client",
    "piccolo.agent.master_link",
    "piccolo.roles.agent",
]
MASTER = [
    "asyncio",
    "uvloop",
    "grpclib.server",
    "piccolo.rpc.wire",
    "pydantic",
    "yaml",
    "piccolo.config.master",
    "sqlite3",
    "piccolo.roles.master",
]
CLIENT = ["typer", "piccolo.cli.main", "asyncio", "grpclib.client", "piccolo.rpc.wire"]

_PROBE = """
import sys
def kb():
    trim()
    return int(open("/proc/self/statm").read().split()[1]) * PAGE
import ctypes, gc, importlib, json, os
PAGE = os.sysconf("SC_PAGE_SIZE") // 1024
libc = ctypes.CDLL(None)
def trim():
    gc.collect()
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
found = [("the interpreter", kb(), len(sys.modules))]
for name in sys.argv[1:]:
    importlib.import_module(name)
    found.append((name, kb(), len(sys.modules)))
print(json.dumps(found))
"""


def rows(modules: Sequence[str]) -> list[tuple[str, int, int]]:
    """(import, RSS in KiB after it, modules loaded by then)."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", _PROBE, *modules],
        env={"MALLOC_ARENA_MAX": "1", **os.environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return [(name, kb, count) for name, kb, count in json.loads(done.stdout)]


def show() -> None:
    """Print the tables."""
    for role, modules in (("agent", AGENT), ("master", MASTER), ("piccolo get", CLIENT)):
        print(f"\n{role:28} RSS, MB      adds   modules")
        before = 0
        for name, kb, count in rows(modules):
            print(f"  {name:26} {kb / 1024:7.1f} {(kb - before) / 1024:+9.1f} {count:9}")
            before = kb
