"""Clocks that are wrong: stepped by a year while everything runs, or never set since the start."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from grpclib import GRPCError
from grpclib.exceptions import StreamTerminatedError

from piccolo.core.errors import PiccoloError
from tests.e2e.asking import eventually, node, nodes
from tests.e2e.secrets import assert_nothing_secret_was_written
from tests.e2e.stories import story
from tests.lab.clock import FAKETIME, RIGHT, Clock
from tests.lab.cluster import LoopbackLab
from tests.lab.watch import Change

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

NO_TOKEN = {"PICCOLO_TOKEN": ""}
GENTLE = 20.0  # s in which an agent that waits for something has tried again: its back-off


def ready(lab: LoopbackLab, name: str) -> bool:
    return nodes(lab).get(name, {}).get("status") == "Ready"


needs_faketime = (
    pytest.mark.skip(reason="needs faketime: ./dev setup says how to install")
    if FAKETIME is None
    else pytest.mark.timeout(150)
)
NEXT_YEAR, UNSET = "+366d", "@1970-01-01 00:10:00"


@dataclass
class Clocks:
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, list[Change]] = field(default_factory=dict)  # during each step
    said: dict[str, str] = field(default_factory=dict)
    log: str = ""


@story
def clocks() -> Clocks:
    told = Clocks()
    with LoopbackLab(["right", "wrong", "unset"]) as lab:
        clock = {name: Clock(lab.net.hosts[name].dir) for name in ("master", "wrong", "unset")}
        lab.start_master(env=clock["master"].env)
        with lab.watch_nodes() as watch:
            for name in ("right", "wrong"):
                env = {"PICCOLO_TOKEN": lab.join_token()}
                lab.start_agent(name, env=env | (clock[name].env if name in clock else {}))
                watch.wait_status(name, "Ready", 20)
            told.before = nodes(lab)
            for name in ("wrong", "master"):
                begun = time.monotonic()
                clock[name].set(NEXT_YEAR)
                time.sleep(12.0)  # more than any silence that is borne; the master notices it
                clock[name].set(RIGHT)
                eventually(lambda: _answers(lab), GENTLE)
                told.changes[name] = watch.since(begun)
            told.after = nodes(lab)

            # And programs that start by a wrong clock.
            lab.agents["wrong"].terminate()
            starts = {"wrong": NEXT_YEAR, "unset": UNSET}
            for name, time_of_day in starts.items():
                clock[name].set(time_of_day)
                token = {} if name == "wrong" else {"PICCOLO_TOKEN": lab.join_token()}
                lab.start_agent(name, env=NO_TOKEN | token | clock[name].env)
            for name in starts:
                lab.agents[name].wait_for_output("no session with the master", 10)
                told.said[name] = lab.agents[name].output()
                assert lab.agents[name].alive
                clock[name].set(RIGHT)
            for name in starts:
                eventually(lambda name=name: ready(lab, name), GENTLE)  # type: ignore[misc]
                told.after[name] = node(lab, name)
        assert_nothing_secret_was_written(lab)
    return told


def _answers(lab: LoopbackLab) -> bool:
    """Whether a client with the right time gets in."""
    try:
        return bool(nodes(lab))
    except (PiccoloError, GRPCError, StreamTerminatedError):
        return False


@needs_faketime
def test_a_step_of_a_year_cuts_nobody_off(clocks: Clocks) -> None:
    for name in ("wrong", "master"):
        seen = {(c.name, c.status) for c in clocks.changes[name] if c.name}
        assert {status for _, status in seen} <= {"Ready"}, (name, seen)
    for name in ("right", "wrong"):
        assert clocks.before[name]["generation"] <= clocks.after[name]["generation"]
        assert clocks.before[name]["id"] == clocks.after[name]["id"]
    assert clocks.before["right"]["generation"] == clocks.after["right"]["generation"]


@needs_faketime
def test_an_agent_by_a_wrong_clock_says_so_and_goes_on_when_it_is_right(clocks: Clocks) -> None:
    assert "not valid yet by this machine's clock, which says 1970-01-01" in clocks.said["unset"]
    assert "expired" in clocks.said["wrong"]
    assert "by this machine's clock" in clocks.said["wrong"]
    assert clocks.after["unset"]["status"] == clocks.after["wrong"]["status"] == "Ready"
    assert clocks.after["wrong"]["id"] == clocks.before["wrong"]["id"]
