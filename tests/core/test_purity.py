"""The core decides and does nothing else: no I/O, no clock, no chance.

import-linter checks what the modules import; here it is checked what a process has loaded in the
end, and that the clock is not asked by way of `datetime`.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import piccolo.core

FOLDER = Path(piccolo.core.__file__).parent
MODULES = sorted(FOLDER.rglob("*.py"))
NAMES = [
    ".".join(module.relative_to(FOLDER.parent.parent).with_suffix("").parts).removesuffix(
        ".__init__"
    )
    for module in MODULES
]
# Not `os`, `time` and `threading`: the interpreter and the standard library load them themselves.
FORBIDDEN = {
    "asyncio",
    "betterproto2",
    "grpclib",
    "logging",
    "random",
    "secrets",
    "selectors",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "uuid",
}
IMPURE_CALLS = {"now", "utcnow", "today", "open", "print", "input", "exec", "eval"}


def test_importing_all_of_it_loads_nothing_impure() -> None:
    imports = "\n".join(f"import {name}" for name in NAMES)
    program = f"import sys\n{imports}\nprint(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=FOLDER.parent.parent,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert "piccolo.core.nodes.liveness" in loaded
    assert not FORBIDDEN & set(loaded)
    assert {m for m in loaded if m.startswith("piccolo.")} == {*NAMES}


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_a_module_asks_no_clock_and_touches_no_file(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = node.func
            name = getattr(called, "attr", None) or getattr(called, "id", "")
            assert name not in IMPURE_CALLS, f"{module.name}:{node.lineno} calls {name}()"
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert (node.module or "").split(".")[0] not in FORBIDDEN | {"os", "time"}
        elif isinstance(node, ast.Import):
            assert not {a.name.split(".")[0] for a in node.names} & (FORBIDDEN | {"os", "time"})
