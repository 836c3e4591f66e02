"""What a scenario is, and how one is tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.reliability.outcome import Row
from tests.reliability.scenarios.stage import Stage

Store = Literal["sqlite", "etcd"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`play` breaks a cluster that is whole, and leaves it broken: it returns in a few words what
    was seen, and raises `AssertionError` or `LabError` when that is not as expected.
    """

    what: str
    expected: str
    within: float  # s from the end of the fault until the cluster is whole again
    play: Callable[[Stage], str]
    store: Store = "sqlite"
    fresh: bool = False  # the broken node's containers are new ones afterwards
    for_good: bool = False  # what was done is not undone: the lab cannot be used again
    quick: bool = False  # part of the short run

    def row(self, seen: str, broken: bool = False) -> Row:
        whole = "whole" if self.for_good else "then whole"
        expected = f"{self.expected}; {whole} within {self.within:g} s"
        return Row(self.what, expected, seen, broken)


def tried(stage: Stage, scenario: Scenario) -> Row:
    """Break, look, heal, and see that the cluster is whole again and nothing was lost."""
    try:
        stage.prepare()
        seen = scenario.play(stage)
        stage.check_containers(scenario.fresh)
        took = stage.heal(scenario.within, fresh=scenario.fresh, undo=not scenario.for_good)
    except Exception as error:  # whatever it is, the next scenario is tried all the same
        said = str(error).partition("\n")[0].removesuffix("; its log ends:").replace("|", "/")
        return scenario.row(said or repr(error), broken=True)
    return scenario.row(f"{seen}; whole {took:.1f} s later")
