"""Two masters where there can be one: on the same data, and on the same address."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from piccolo.cli import exit_codes
from tests.e2e.asking import nodes
from tests.lab.cluster import LoopbackLab
from tests.lab.net import Host
from tests.lab.process import Proc

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lab() -> Iterator[LoopbackLab]:
    with LoopbackLab(["n1"]) as cluster:
        cluster.start_master()
        cluster.start_agents()
        yield cluster


def second_master(lab: LoopbackLab, host: Host, listen: str, data_of: Host) -> Proc:
    argv = [str(lab.program), "master", "--listen", listen]
    return Proc(lab.site, host, "second", [*argv, "--data-dir", str(data_of.dir / "data")])


def test_on_the_same_data_directory(lab: LoopbackLab) -> None:
    second = second_master(lab, lab.master, f"{lab.master.ip}:50099", lab.master)
    assert second.wait() == exit_codes.CONFLICT
    assert lab.master_proc is not None
    said = second.output()
    assert f"is in use by process {lab.master_proc.pid}" in said
    assert "stop that master first, or give this one a directory of its own" in said
    assert "Traceback" not in said
    assert nodes(lab)["n1"]["status"] == "Ready"


def test_on_the_same_address(lab: LoopbackLab) -> None:
    elsewhere = lab.net.add_host("elsewhere")
    second = second_master(lab, elsewhere, lab.address, elsewhere)
    assert second.wait() in (exit_codes.FAILED, exit_codes.UNREACHABLE)
    said = second.output()
    assert f"cannot listen on {lab.address}: " in said
    assert "--listen" in said
    assert "Traceback" not in said
    assert nodes(lab)["n1"]["status"] == "Ready"
