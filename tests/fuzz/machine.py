"""What the agent reads of its machine: /proc, /etc, the kernel's log."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path

from hypothesis import strategies as st

from piccolo.agent.facts import read_facts
from piccolo.agent.usage import UsageSampler
from piccolo.rpc import convert
from piccolo.runtime.podman import oom
from tests.agent.test_facts import FILES
from tests.agent.test_usage import LOADAVG, MEMINFO, NET_DEV, STAT
from tests.fuzz.inputs import any_bytes, spoilt_bytes
from tests.fuzz.target import target

_PROC = {"stat": STAT, "meminfo": MEMINFO, "loadavg": LOADAVG, "net/dev": NET_DEV}


def _spoilt(seed: str) -> st.SearchStrategy[bytes]:
    return spoilt_bytes([seed.encode()]) | any_bytes


def _write(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


_tree = st.fixed_dictionaries({name: _spoilt(seed) for name, seed in _PROC.items()})


@target(st.lists(_tree, min_size=1, max_size=2), quick=30)
def proc_usage(trees: list[dict[str, bytes]]) -> None:
    """What is used now, from any /proc: figures that can be said, one after the other."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        sampler = UsageSampler(root, root)
        for tree in trees:
            _write(root, tree)
            usage = sampler.sample()
            assert 0 <= usage.cpu_percent <= 100
            assert 0 <= usage.memory_available_percent <= 100
            assert isfinite(usage.load_per_core)
            bytes(convert.usage_to_wire(usage))


@target(st.fixed_dictionaries({n: _spoilt(f) for n, f in FILES.items()}), quick=30)
def machine_facts(tree: dict[str, bytes]) -> None:
    """What the machine is, from any files."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        _write(root, tree)
        facts, resources = read_facts(root, root)
        bytes(convert.facts_to_wire(facts))
        bytes(convert.resources_to_wire(resources))


_KMSG = b"6,1234,5678901,-;oom-kill:constraint=C,oom_memcg=/libpod-abc,task=x\n"


@target(
    spoilt_bytes([_KMSG]),
    found=[_KMSG.replace(b",5", b",?"), _KMSG.replace(b",5", b",9" * 2 + b"9" * 20)],
)
def kernel_log(data: bytes) -> None:
    """Records of the kernel's log."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        oom.killed("abc", datetime.now(UTC), file.name)
