"""What every test may rely on.

- A test that needs root, Podman or etcd says so by a marker. Where that is missing it is skipped,
  and the end of the report says loudly what was not tested. In CI (`CI=true`), as root, everything
  can be installed: there it fails instead.
- No task outlives its test: see `no_leaked_tasks`.
- With `--dist loadfile` the tests of a file stay together, in its order: they share a lab. So do
  all that tell stories, see `tests.e2e.stories`.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.e2e.stories import tells_stories

# Here, because other suites import them before the conftest.py beside them is read.
pytest.register_assert_rewrite(
    "tests.agent.world",
    "tests.master.virtual_time",
    "tests.master.world",
    "tests.store.contract",
)

# Marker → the commands that it stands for, besides what `_why_not` asks the kernel.
COMMANDS = {
    "needs_root": ("ip", "nft", "mount", "nsenter"),
    "needs_podman": ("podman", "conmon", "runc", "catatonit", "busybox"),
    "needs_etcd": ("etcd", "etcdctl"),
}

# Linux capabilities (capabilities(7)) without which root can make no network namespaces.
CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21


def _has_capabilities(*numbers: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
            return all(effective >> number & 1 for number in numbers)
    return False


def _why_not(marker: str) -> str | None:
    """Why tests with this marker cannot run here; None: they can."""
    if marker == "needs_root":
        if os.geteuid() != 0:
            return "needs root"
        if not _has_capabilities(CAP_NET_ADMIN, CAP_SYS_ADMIN):
            return "needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN (an unprivileged container?)"
    missing = [command for command in COMMANDS[marker] if shutil.which(command) is None]
    return f"needs {', '.join(missing)}: ./dev setup says how to install" if missing else None


def pytest_configure() -> None:
    """Programs that a shell starts in the background ignore Ctrl-C, and so do their children: those
    that are interrupted by a test would not notice."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names long binary parameters by their length: readable, and the same in all of xdist."""
    if isinstance(val, bytes) and len(val) > 24:
        return f"{argname}-{len(val)}-bytes"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    strict = os.environ.get("CI") == "true" and os.geteuid() == 0
    reasons = {marker: _why_not(marker) for marker in COMMANDS}
    for item in items:
        for marker, reason in reasons.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(
                    pytest.mark.usefixtures("_missing_in_ci")
                    if strict
                    else pytest.mark.skip(reason=reason)
                )


def pytest_collection_finish() -> None:
    """What there is by now stays until the end: a twentieth of all time went into looking at it."""
    gc.freeze()


@pytest.fixture
def _missing_in_ci(request: pytest.FixtureRequest) -> None:
    reasons = [
        reason
        for marker in COMMANDS
        if request.node.get_closest_marker(marker) and (reason := _why_not(marker))
    ]
    pytest.fail(f"CI must be able to run this, but it {'; '.join(reasons)}", pytrace=False)


class ByFiles(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "stories" if tells_stories(self.config.rootpath / file) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFiles | None:
    return ByFiles(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Groups what was skipped by its reason, so that a green report hides nothing."""
    skipped = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    if skipped:
        terminalreporter.section("NOT TESTED HERE", yellow=True, bold=True)
        for reason, count in skipped.most_common():
            terminalreporter.line(f"{count:4} skipped: {reason}", yellow=True)


@pytest.fixture(autouse=True)
def _guard_tasks(request: pytest.FixtureRequest) -> None:
    """Puts `no_leaked_tasks` around every asynchronous test, without a loop for the others."""
    if isinstance(request.node, pytest.Function) and inspect.iscoroutinefunction(
        request.node.function
    ):
        request.getfixturevalue("no_leaked_tasks")


@pytest.fixture
async def no_leaked_tasks() -> AsyncIterator[None]:
    """Fails a test that leaves asyncio tasks behind: every task has an owner who waits for it."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)  # a task cancelled by the last line of the test may still end
    leaked = asyncio.all_tasks() - before - {asyncio.current_task()}
    for task in leaked:
        task.cancel()
    await asyncio.gather(*leaked, return_exceptions=True)
    if leaked:
        names = ", ".join(sorted(f"{task.get_name()} ({task.get_coro()})" for task in leaked))
        pytest.fail(f"the test left tasks behind: {names}", pytrace=False)
