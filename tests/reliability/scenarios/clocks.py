"""Clocks that are set while everything runs."""

from __future__ import annotations

from functools import partial

from tests.e2e.asking import BACK
from tests.reliability.scenarios.scenario import Scenario
from tests.reliability.scenarios.stage import NODE, Stage

WATCHED = 6.0  # s: longer than any silence that is borne
STEPS = {"+1h": "one hour on", "-1h": "one hour back", "+3650d": "ten years on"}


def _step(stage: Stage, host: str, to: str) -> str:
    """A workload is asked for before, and starts by the wrong clock."""
    stage.declare("timeless")
    stage.begin().clock(host, to)
    return stage.stays_ready(WATCHED)


SCENARIOS = tuple(
    Scenario(
        f"step the clock of {whose}, {how}",
        "all nodes Ready and connected throughout",
        BACK,
        partial(_step, host=host, to=to),
        quick=(host, to) == ("master", "+1h"),
    )
    for host, whose in (("master", "the master"), (NODE, "a node"))
    for to, how in STEPS.items()
)
