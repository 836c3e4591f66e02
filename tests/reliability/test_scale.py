"""Simulated agents are agents to their master: a sample of the section that has a thousand."""

from __future__ import annotations

import pytest

from benchmarks.crowd import HOST, sources_of, start, wait_all
from benchmarks.fanout import fan_out
from tests.lab.cluster import LoopbackLab

pytestmark = pytest.mark.slow

AGENTS = 20


def test_twenty_simulated_agents_join_and_five_clients_see_a_change() -> None:
    with LoopbackLab(0) as lab:
        lab.start_master()
        host = lab.net.add_host(HOST)
        with lab.watch_nodes() as watch:
            _, begun = start(lab, host, AGENTS, sources_of(lab, host))
            wait_all(watch, AGENTS, "Ready", begun)
        assert len({node["ip"] for node in lab.get("nodes")}) == AGENTS
        assert len(fan_out(lab, "sim0007", watchers=5, trials=2)) == 2
