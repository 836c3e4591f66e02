"""Files in the data directories, corrupt or cut off, found by a program that starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from tests.e2e.asking import BACK, RETURNED
from tests.lab.faults import Faults
from tests.reliability.scenarios.scenario import Scenario
from tests.reliability.scenarios.stage import NODE, Stage

Damage = Literal["corrupt", "cut off"]
SERVES = RETURNED + 5.0  # s
SAYS_WITHIN = 10.0  # s
LINES = 3  # of a journal
CRASHED = 30.0  # s for a container to have crashed so often


def _stop_and_spoil(stage: Stage, host: str, file: str, damage: Damage) -> Faults:
    faults = stage.begin()
    faults.stop(host)
    if host == NODE:
        stage.may_be_lost(NODE)
    if damage == "cut off":
        faults.truncate(host, file)
    else:  # what is in the middle of a database may be unused
        faults.corrupt(host, file, at=0 if file == "store.db" else None)
    return faults


def _agent_ends(stage: Stage, file: str, damage: Damage) -> str:
    _stop_and_spoil(stage, NODE, file, damage)
    return stage.ends(stage.lab.start_again(NODE), Path(file).name)


def _agent_says(stage: Stage, file: str, damage: Damage) -> str:
    """It runs, for its containers' sake. When the file is put back it has to be started again."""
    faults = _stop_and_spoil(stage, NODE, file, damage)
    agent = stage.lab.start_again(NODE)
    agent.wait_for_output("no session with the master", SAYS_WITHIN)
    seen = f"it says so after {time.monotonic() - agent.started_at:.1f} s, and runs on"
    assert Path(file).name in agent.output(), "it does not name the file"
    faults.stop(NODE)
    return seen


def _agent_mends(stage: Stage, file: str, damage: Damage) -> str:
    """The master has all that was in it."""
    _stop_and_spoil(stage, NODE, file, damage)
    stage.lab.start_again(NODE)
    return stage.event("DesiredStateDamaged", NODE, BACK)


def _agent_loses_events(stage: Stage, file: str, damage: Damage) -> str:
    """Events are on the disk while there is no master to have them."""
    stage.declare("crashing")
    stage.cluster.wait_settled("crashing")
    stage.begin().cut(NODE)
    stage.lost([NODE], "Silent")
    podman, journal = stage.lab.podman[NODE], stage.lab.nodes[NODE].dir / "data" / file

    def is_long() -> bool:  # enough for the first line to survive what happens to the middle
        podman.podman("kill", "crashing.0.crashing", check=False)
        return journal.exists() and len(journal.read_bytes().splitlines()) >= LINES

    stage.until(is_long, CRASHED, "there are no events on the disk")
    _stop_and_spoil(stage, NODE, file, damage)
    stage.lab.start_again(NODE)
    stage.lab.faults.heal(NODE, "cable")
    return stage.event("Crashed", NODE, BACK)


def _master_ends(stage: Stage, file: str, damage: Damage) -> str:
    _stop_and_spoil(stage, "master", file, damage)
    return stage.ends(stage.lab.start_master(wait=False), file)


MENDS = "its containers run on, an event tells; the master sends everything anew"
RENEWED = "it serves, with a new one"
TRAIL = "it serves; `piccolo audit verify` tells of the damage"
LOSES = "the agent goes on; the events that can be read are told later"


def _of(play: Play, file: str, damage: Damage) -> Callable[[Stage], str]:
    return lambda stage: play(stage, file, damage)


ENDS = "it does not start, and names the file; as before when that is put back"
SAYS = "it runs without a session, and names the file; as before when that is put back"


def _master_renews(stage: Stage, file: str, damage: Damage) -> str:
    _stop_and_spoil(stage, "master", file, damage)
    path = stage.lab.master.dir / "data" / file
    spoilt = path.read_bytes()
    stage.lab.start_again("master")
    stage.until(lambda: path.read_bytes() != spoilt, SERVES, "it is as damaged as before")
    return f"renewed after {stage.took:.1f} s"


def _trail(stage: Stage, file: str, damage: Damage) -> str:
    _stop_and_spoil(stage, "master", file, damage)
    stage.lab.start_again("master")
    seen = f"serves again after {stage.took:.1f} s"
    verified = stage.lab.piccolo("audit", "verify", check=False)
    assert verified.returncode != 0, "the trail counts as whole"
    assert Path(file).name in verified.stdout + verified.stderr, verified.stderr.strip()
    return f"{seen}; `piccolo audit verify` says where"


Play = Callable[[Stage, str, Damage], str]
# Whose, which file, how it is damaged; what is expected, and in how many seconds it is whole again.
TABLE: Sequence[tuple[str, str, Damage, str, float, Play]] = (
    ("agent", "identity.json", "corrupt", ENDS, BACK, _agent_ends),
    ("agent", "identity.json", "cut off", ENDS, BACK, _agent_ends),
    ("agent", "pki/node.key", "corrupt", ENDS, BACK, _agent_ends),
    ("agent", "pki/node.key", "cut off", SAYS, BACK, _agent_says),
    ("agent", "pki/node.crt", "corrupt", ENDS, BACK, _agent_ends),
    ("agent", "pki/node.crt", "cut off", SAYS, BACK, _agent_says),
    ("agent", "pki/ca.crt", "corrupt", ENDS, BACK, _agent_ends),
    ("agent", "pki/ca.crt", "cut off", SAYS, BACK, _agent_says),
    ("agent", "workloads/desired", "corrupt", MENDS, BACK, _agent_mends),
    ("agent", "workloads/desired", "cut off", MENDS, BACK, _agent_mends),
    ("agent", "events.jsonl", "corrupt", LOSES, BACK, _agent_loses_events),
    ("agent", "events.jsonl", "cut off", LOSES, BACK, _agent_loses_events),
    ("master", "store.db", "corrupt", ENDS, SERVES, _master_ends),
    ("master", "store.db", "cut off", ENDS, SERVES, _master_ends),
    ("master", "pki/store.key", "corrupt", ENDS, SERVES, _master_ends),
    ("master", "pki/store.key", "cut off", ENDS, SERVES, _master_ends),
    ("master", "pki/ca.key", "corrupt", ENDS, SERVES, _master_ends),
    ("master", "pki/ca.key", "cut off", ENDS, SERVES, _master_ends),
    ("master", "pki/master.crt", "corrupt", ENDS, SERVES, _master_ends),
    ("master", "pki/master.crt", "cut off", RENEWED, SERVES, _master_renews),
    ("master", "audit/audit-000001.jsonl", "corrupt", TRAIL, SERVES, _trail),
    ("master", "audit/audit-000001.jsonl", "cut off", TRAIL, SERVES, _trail),
    ("master", "admin.yaml", "cut off", RENEWED, SERVES, _master_renews),
)

SCENARIOS = tuple(
    Scenario(
        f"{whose}'s {file} {damage}, restart",
        expected,
        within,
        _of(play, file, damage),
        quick=(file, damage) == ("workloads/desired", "corrupt"),
    )
    for whose, file, damage, expected, within, play in TABLE
)
