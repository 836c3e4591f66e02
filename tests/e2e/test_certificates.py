"""Certificates through their lives: made by a token or a key, renewed, expired, replaced with their
authority; and what changed files and addresses do to them."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from piccolo.cli import exit_codes
from piccolo.core.security.token import fingerprint
from piccolo.security.authority import Authority, load_certificate, serial_of
from piccolo.security.tls import certificates_in
from tests.e2e.asking import RETURNED, eventually, node, nodes, reasons
from tests.e2e.secrets import assert_nothing_secret_was_written
from tests.e2e.stories import story
from tests.lab.cluster import LoopbackLab
from tests.lab.process import Proc
from tests.lab.watch import Change

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

NO_TOKEN = {"PICCOLO_TOKEN": ""}


def held(lab: LoopbackLab, name: str) -> str:
    """The serial number of the certificate that a node has."""
    return serial_of(load_certificate(pki(lab, name, "node.crt").read_text()))


def pki(lab: LoopbackLab, name: str, file: str) -> Path:
    host = lab.master if name == "master" else lab.nodes[name]
    return host.dir / "data" / "pki" / file


def new_token(lab: LoopbackLab, *options: str) -> dict[str, Any]:
    """As `piccolo token create -o json` shows it."""
    made: dict[str, Any] = json.loads(lab.piccolo("token", "create", "-o", "json", *options).stdout)
    return made


def another_authority() -> str:
    return Authority.create("PICCOLO piccolo", datetime.now(UTC)).pem


def ready(lab: LoopbackLab, name: str) -> bool:
    return nodes(lab).get(name, {}).get("status") == "Ready"


# ---- short lives ----

LIFE, GRACE = 20.0, 10.0  # s
SHORT = f"""\
discovery: any
security: {{certificate_lifetime: {LIFE:g}s, expired_grace: {GRACE:g}s}}
"""


@dataclass
class Short:
    changes: list[Change] = field(default_factory=list)  # of the node that stays
    serials: dict[str, list[str]] = field(default_factory=dict)  # node → its certificates
    generations: list[int] = field(default_factory=list)  # of the node that stays
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)  # reasons of the events of who napped
    refused: str = ""  # what the agent said that slept too long
    slept_alive: bool = False
    used: int = 0


@story
def short_lives() -> Short:
    """One node stays for more than two lives of its certificate; one is away until its certificate
    has expired, one until the grace is over too."""
    told = Short(serials={"stays": [], "master": []})
    with LoopbackLab(["stays", "naps", "sleeps"]) as lab:
        lab.start_master(config=SHORT)
        lab.start_agents()
        for name in ("naps", "sleeps"):
            lab.agents[name].terminate()
        begun = time.monotonic()
        told.before = nodes(lab)
        with lab.watch_nodes() as watch:
            _live(lab, told, begun + LIFE + 3)
            naps = lab.start_agent("naps", env=NO_TOKEN)
            eventually(lambda: ready(lab, "naps"), 5)
            naps.terminate()
            told.late = reasons(lab, "naps")
            _live(lab, told, begun + LIFE + GRACE + 4)
            sleeps = lab.start_agent("sleeps", env=NO_TOKEN)
            sleeps.wait_for_output("no session with the master", 10)
            told.refused, told.slept_alive = sleeps.output(), sleeps.alive
            sleeps.terminate()
            token = new_token(lab, "--node", "sleeps")
            lab.start_agent("sleeps", env={"PICCOLO_TOKEN": token["token"]})
            eventually(lambda: ready(lab, "sleeps"), 5)
            _live(lab, told, begun + 2 * LIFE + 6)
            told.changes = [c for c in watch.since(begun) if c.name == "stays"]
            told.after = nodes(lab)
        assert_nothing_secret_was_written(lab, token["token"])
    return told


def _live(lab: LoopbackLab, told: Short, until: float) -> None:
    """Look at the cluster from time to time; that this can be done is a test of its own."""
    while time.monotonic() < until:
        files = {"stays": "node.crt", "master": "master.crt"}
        for name, serials in told.serials.items():
            now = serial_of(load_certificate(pki(lab, name, files[name]).read_text()))
            if now not in serials:
                serials.append(now)
        told.generations.append(node(lab, "stays")["generation"])
        time.sleep(0.5)


def test_certificates_renew_themselves_in_one_session(short_lives: Short) -> None:
    assert len(short_lives.serials["stays"]) >= 3
    assert len(short_lives.serials["master"]) >= 3
    assert len(set(short_lives.generations)) == 1
    assert {(c.status, c.object["link"]["suspect"]) for c in short_lives.changes} <= {
        ("Ready", False)
    }


def test_who_overslept_is_let_in_by_its_old_certificate(short_lives: Short) -> None:
    assert "CertificateRenewedLate" in short_lives.late
    assert short_lives.after["naps"]["id"] == short_lives.before["naps"]["id"]


def test_who_slept_too_long_is_told_what_to_do_and_needs_a_token(short_lives: Short) -> None:
    assert "the certificate of this node has expired" in short_lives.refused
    assert "more than the" in short_lives.refused
    assert "piccolo token create" in short_lives.refused
    assert short_lives.slept_alive
    assert short_lives.after["sleeps"]["id"] == short_lives.before["sleeps"]["id"]


# ---- a cluster that is moved about ----


@pytest.fixture(scope="module")
def lab() -> Iterator[LoopbackLab]:
    with LoopbackLab(["stays", "away"]) as cluster:
        cluster.start_master()
        cluster.start_agents()
        yield cluster
        assert_nothing_secret_was_written(cluster)


def restarted(lab: LoopbackLab, name: str, env: dict[str, str]) -> Proc:
    lab.agents[name].terminate()
    eventually(lambda: node(lab, name)["status"] == "NotReady", 3)
    return lab.start_agent(name, env=env)


def test_a_token_is_not_to_be_seen_in_the_list_of_processes(lab: LoopbackLab) -> None:
    lab.agents["away"].terminate()
    agent = lab.start_agent("away", "--token", lab.token, env=NO_TOKEN)
    eventually(lambda: node(lab, "away")["status"] == "Ready", RETURNED)
    shown = Path(f"/proc/{agent.pid}/cmdline").read_bytes()
    assert b"piccolo" in shown
    assert b"piccolo1." not in shown


def test_without_a_token_a_new_node_is_told_where_to_get_one(lab: LoopbackLab) -> None:
    lab.nodes["fresh"] = lab.net.add_host("fresh")
    agent = lab.start_agent("fresh", env=NO_TOKEN)
    assert agent.wait(10) == exit_codes.FAILED
    assert "start it with --token" in agent.output()
    assert "piccolo token create" in agent.output()
    assert "fresh" not in nodes(lab)


def test_an_authority_that_was_swapped_under_an_agent(lab: LoopbackLab) -> None:
    """Somebody, or a restored backup, puts another file there."""
    file, serial = pki(lab, "stays", "ca.crt"), held(lab, "stays")
    ours, before = file.read_text(), node(lab, "stays")
    file.write_text(
        Authority.create("PICCOLO other", load_certificate(ours).not_valid_before_utc).pem
    )
    time.sleep(1.0)
    assert node(lab, "stays")["generation"] == before["generation"]  # nobody is cut off

    agent = restarted(lab, "stays", NO_TOKEN)
    agent.wait_for_output("the master of another cluster", 10)
    assert agent.alive
    assert node(lab, "stays")["status"] == "NotReady"
    file.write_text(ours)
    agent.terminate()
    lab.start_agent("stays", env=NO_TOKEN)
    eventually(lambda: ready(lab, "stays"), RETURNED)
    assert held(lab, "stays") == serial


def test_with_a_token_a_swapped_authority_is_no_trouble(lab: LoopbackLab) -> None:
    file = pki(lab, "stays", "ca.crt")
    ours = file.read_text()
    lab.agents["stays"].terminate()
    file.write_text(
        Authority.create("PICCOLO other", load_certificate(ours).not_valid_before_utc).pem
    )
    lab.start_agent("stays")
    eventually(lambda: ready(lab, "stays"), RETURNED)
    assert file.read_text() == ours


def test_a_new_authority_while_everybody_works(lab: LoopbackLab, tmp_path: Path) -> None:
    old = fingerprint(certificates_in(pki(lab, "master", "ca.crt").read_text())[0])
    viewer = tmp_path / "viewer.yaml"
    lab.piccolo("context", "create", "--role", "viewer", "--name", "wall", "--out", str(viewer))
    eventually(lambda: ready(lab, "away") and ready(lab, "stays"), RETURNED)
    lab.agents["away"].terminate()
    before, serials = nodes(lab), {name: held(lab, name) for name in ("stays", "away")}

    with lab.watch_nodes() as watch:
        begun = time.monotonic()
        shown = json.loads(lab.piccolo("ca", "rotate", "-o", "json").stdout)
        assert [a["fingerprint"] == old for a in shown] == [False, True]
        eventually(lambda: held(lab, "stays") != serials["stays"], 5)
        changed = [c for c in watch.since(begun) if c.name == "stays"]
        assert {(c.status, c.object["generation"]) for c in changed} <= {
            ("Ready", before["stays"]["generation"])
        }
    early = lab.piccolo("ca", "retire", check=False)
    assert early.returncode == exit_codes.CONFLICT
    assert "away" in early.stderr

    assert "stays" in lab.piccolo("get", "nodes", "--context", str(viewer)).stdout
    lab.start_agent("away", env=NO_TOKEN)
    eventually(lambda: ready(lab, "away"), RETURNED)
    eventually(lambda: held(lab, "away") != serials["away"], 5)
    assert len(certificates_in(pki(lab, "away", "ca.crt").read_text())) == 2

    lab.piccolo("context", "renew", "--context", str(viewer))
    lab.piccolo("ca", "retire")
    assert "stays" in lab.piccolo("get", "nodes", "--context", str(viewer)).stdout
    eventually(lambda: len(certificates_in(pki(lab, "away", "ca.crt").read_text())) == 1, 5)
    for name in ("stays", "away"):
        agent = restarted(lab, name, NO_TOKEN)
        eventually(lambda name=name: ready(lab, name), RETURNED)  # type: ignore[misc]
        assert agent.alive
    told = reasons(lab)
    assert "AuthorityRotated" in told
    assert "AuthorityRetired" in told


def test_a_master_that_moves_is_found_again_without_a_new_join(lab: LoopbackLab) -> None:
    before, serial = node(lab, "stays"), held(lab, "stays")
    assert lab.master_proc is not None
    lab.master_proc.terminate()
    lab.master = replace(lab.master, ip=lab.net.add_host("elsewhere").ip)
    lab.start_master()
    lab.agents["stays"].terminate()
    lab.start_agent("stays", env=NO_TOKEN)
    eventually(lambda: ready(lab, "stays"), RETURNED)
    assert held(lab, "stays") == serial
    assert node(lab, "stays")["id"] == before["id"]


# ---- node.yaml ----

LISTED = """\
discovery: listed
nodes:
  - {{name: by-key, ip: 127.0.0.1, credentials: {{key: "{key}"}}}}
"""
BY_TOKEN = """\
  - {{name: by-token, ip: 127.0.0.2, credentials: {{token: {id}}}}}
"""


def test_credentials_in_node_yaml() -> None:
    with LoopbackLab(["by-key", "by-token", "thief"]) as lab:
        data = lab.nodes["by-key"].dir / "data"
        key = lab.piccolo("agent", "--show-key", "--data-dir", str(data)).stdout.strip()
        assert key.startswith("SHA256:")
        master = lab.start_master(config=LISTED.format(key=key))
        token = new_token(lab)
        file = lab.master.dir / "node.yaml"
        file.write_text(LISTED.format(key=key) + BY_TOKEN.format(id=token["id"]))
        master.kill(signal.SIGHUP)
        master.wait_for_output("the configuration was reread")

        pin = json.loads(lab.piccolo("ca", "show", "-o", "json").stdout)[0]["fingerprint"]
        lab.start_agent("by-key", "--ca-pin", pin, env=NO_TOKEN)
        eventually(lambda: ready(lab, "by-key"), 10)

        for name in ("by-key", "by-token"):  # with a token that is good for others
            thief = lab.start_agent("thief", "--name", name)
            assert thief.wait(10) == exit_codes.FAILED
            assert "the join token is not valid" in thief.output()
        lab.start_agent("by-token", env={"PICCOLO_TOKEN": token["token"]})
        eventually(lambda: ready(lab, "by-token"), 10)
        assert set(nodes(lab)) == {"by-key", "by-token"}
        why = [r["reason"] for r in json.loads(lab.piccolo("audit", "-o", "json").stdout)]
        assert any("node.yaml has another key for by-key" in reason for reason in why)
        assert any(f"node.yaml wants token {token['id']} of by-token" in reason for reason in why)
        assert_nothing_secret_was_written(lab, token["token"])
