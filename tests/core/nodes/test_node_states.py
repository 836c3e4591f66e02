"""The table of node states, and `settle` under every order of faults and commands."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from piccolo.core.errors import Conflict
from piccolo.core.model import NodeState
from piccolo.core.nodes.states import (
    LINK_FAULTS,
    TRANSITIONS,
    Fault,
    Health,
    Trigger,
    diagram,
    settle,
    step,
)

quick = settings(derandomize=True, deadline=None, max_examples=60)

FOLLOWS_HEALTH = {NodeState.INITIALIZING, NodeState.READY, NodeState.NOT_READY}
EDGES = {(source, target) for (source, _), target in TRANSITIONS.items()}


# ---- the table ----


def test_every_state_can_be_reached() -> None:
    reached = {NodeState.PENDING}
    while more := {target for source, target in EDGES if source in reached} - reached:
        reached |= more
    assert reached == set(NodeState)


def test_every_trigger_has_a_use() -> None:
    assert {trigger for _, trigger in TRANSITIONS} == set(Trigger)


def test_terminating_is_final_and_all_others_lead_there() -> None:
    assert not [edge for edge in EDGES if edge[0] is NodeState.TERMINATING]
    for state in set(NodeState) - {NodeState.TERMINATING}:
        assert step(state, Trigger.REMOVED) is NodeState.TERMINATING


def test_ready_is_only_reached_by_being_fit() -> None:
    ways = {key for key, target in TRANSITIONS.items() if target is NodeState.READY}
    assert ways == {
        (NodeState.INITIALIZING, Trigger.SYNCED),
        (NodeState.NOT_READY, Trigger.RECOVERED),
    }


def test_health_alone_moves_no_node_out_of_pending_or_maintenance() -> None:
    health = {Trigger.SYNCED, Trigger.FAULT, Trigger.RECOVERED}
    for source, trigger in TRANSITIONS:
        assert source in FOLLOWS_HEALTH or trigger not in health


@pytest.mark.parametrize(("state", "trigger"), list(product(NodeState, Trigger)))
def test_a_step_is_in_the_table_or_a_conflict(state: NodeState, trigger: Trigger) -> None:
    if (state, trigger) in TRANSITIONS:
        assert step(state, trigger) is TRANSITIONS[state, trigger]
        return
    with pytest.raises(Conflict) as caught:
        step(state, trigger)
    said, legal = str(caught.value).split("; it can take: ")
    assert state in said
    assert f'"{trigger}"' in said
    assert legal == (", ".join(sorted(t for s, t in TRANSITIONS if s is state)) or "nothing")


def test_the_diagram_shows_the_whole_table() -> None:
    lines = diagram().splitlines()
    assert lines[0] == "stateDiagram-v2"
    drawn = {line.strip() for line in lines[1:]}
    assert drawn == {
        "[*] --> Pending: registered",
        "Terminating --> [*]: cleaned up",
        *(f"{source} --> {target}: {trigger}" for (source, trigger), target in TRANSITIONS.items()),
    }


# ---- health ----


@given(st.lists(st.sampled_from(sorted(LINK_FAULTS)), min_size=1))
def test_a_lost_link_keeps_the_fault_it_was_lost_by(faults: list[Fault]) -> None:
    health = Health(synced=True)
    for fault in faults:
        health = health.with_fault(fault, f"by {fault}")
    assert health.faults == {faults[0]: f"by {faults[0]}"}
    assert health.link_lost
    assert health.with_link() == Health(synced=True)


@quick
@given(
    arrivals=st.permutations(list(Fault)),
    departures=st.permutations(list(Fault)),
    count=st.integers(2, len(Fault)),
)
def test_a_node_is_ready_only_after_its_last_fault_is_gone(
    arrivals: list[Fault], departures: list[Fault], count: int
) -> None:
    state, reason, health = NodeState.READY, "Synced", Health(synced=True)
    for fault in arrivals[:count]:
        health = health.with_fault(fault, "here")
    present = set(health.faults)
    for fault in departures:
        if transition := settle(state, reason, health):
            state, reason = transition.state, transition.reason
        assert (state is NodeState.READY) is (not present)
        assert not present or reason in present
        health = health.without(fault)
        present.discard(fault)
    transition = settle(state, reason, health)
    assert state is NodeState.READY or (transition and transition.state is NodeState.READY)


def test_a_node_in_trouble_tells_what_is_left_of_it() -> None:
    health = Health({Fault.SILENT: "cut", Fault.DISK_SHORTAGE: "full"}, synced=True)
    first = settle(NodeState.READY, "Synced", health)
    assert first is not None
    assert (first.state, first.reason, first.message) == (NodeState.NOT_READY, "Silent", "cut")
    second = settle(first.state, first.reason, health.with_link())
    assert second is not None
    assert (second.state, second.reason) == (NodeState.NOT_READY, "DiskShortage")
    assert second.message == "full"


def test_a_node_that_is_not_synced_is_not_ready_yet() -> None:
    assert settle(NodeState.INITIALIZING, "Admitted", Health()) is None
    assert settle(NodeState.NOT_READY, "Silent", Health()) is None


def test_a_node_that_reconnects_within_its_grace_stays_ready() -> None:
    """No fault came, so that the moment without a session is nobody's business."""
    assert settle(NodeState.READY, "Recovered", Health(synced=False)) is None


class NodeLife(RuleBasedStateMachine):
    """A node as the node manager keeps it: whatever happens, it is settled afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.reason, self.health = NodeState.PENDING, "NotListed", Health()
        self.was_ready = False

    def _settle(self) -> None:
        transition = settle(self.state, self.reason, self.health)
        if transition is None:
            return
        assert transition.reason
        assert transition.message
        if transition.state is self.state:
            assert self.state is NodeState.NOT_READY
            assert transition.reason != self.reason
        else:
            assert (self.state, transition.state) in EDGES
            assert self.state in FOLLOWS_HEALTH
        if transition.state is NodeState.READY:
            assert self.health.fit
        self.state, self.reason = transition.state, transition.reason

    @rule(fault=st.sampled_from(Fault))
    def fault_begins(self, fault: Fault) -> None:
        self.health = self.health.with_fault(fault, f"{fault} is here")
        self._settle()
        assert self.state is not NodeState.READY

    @rule(fault=st.sampled_from(Fault))
    def fault_ends(self, fault: Fault) -> None:
        self.health = self.health.without(fault)
        self._settle()

    @rule()
    def link_comes_back(self) -> None:
        self.health = self.health.with_link()
        self._settle()
        assert not self.health.link_lost

    @rule(synced=st.booleans())
    def sync(self, synced: bool) -> None:
        self.health = Health(self.health.faults, synced)
        self._settle()

    @rule(trigger=st.sampled_from([t for t in Trigger if t is not Trigger.REMOVED]))
    def command(self, trigger: Trigger) -> None:
        """An administrator, or a bug: triggers that belong to health come from `settle` alone."""
        if (self.state, trigger) not in TRANSITIONS:
            with pytest.raises(Conflict):
                step(self.state, trigger)
        elif trigger not in {Trigger.FAULT, Trigger.SYNCED, Trigger.RECOVERED}:
            self.state, self.reason = step(self.state, trigger), "Command"
            self._settle()

    @rule(really=st.integers(0, 9))
    def remove(self, really: int) -> None:
        if really == 0 and self.state is not NodeState.TERMINATING:  # rarely: it ends the story
            self.state, self.reason = step(self.state, Trigger.REMOVED), "Removed"
            self._settle()
            assert self.state is NodeState.TERMINATING

    @invariant()
    def settled_is_settled(self) -> None:
        assert settle(self.state, self.reason, self.health) is None

    @invariant()
    def the_state_fits_the_health(self) -> None:
        match self.state:
            case NodeState.READY:
                assert not self.health.faults
            case NodeState.NOT_READY:
                assert self.reason in self.health.faults or not (
                    self.health.faults or self.health.synced
                )
            case NodeState.INITIALIZING:
                assert not self.health.faults
                assert not self.health.synced

    @invariant()
    def a_link_is_lost_by_one_fault(self) -> None:
        assert len(LINK_FAULTS & set(self.health.faults)) <= 1


TestNodeLife = NodeLife.TestCase
TestNodeLife.settings = settings(quick, max_examples=80, stateful_step_count=40)
