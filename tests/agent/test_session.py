"""One session after the other, with masters that misbehave."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpclib import GRPCError, Status

from piccolo.core.errors import Conflict, InvalidSpec, PermissionDenied, PiccoloError, Unavailable
from piccolo.core.report import Delta, Report
from piccolo.rpc import convert, wire
from tests.agent.world import (
    CONFIG,
    SETTLE,
    Conversation,
    Known,
    Script,
    agent,
    scripted,
    until,
)
from tests.master.virtual_time import now, virtual_time
from tests.runtime.fake import FakeRuntime


async def good(c: Conversation) -> None:
    await c.welcome()
    await c.serve()


def then(*scripts: Script) -> Script:
    """Each session by its own script; all further ones by the last."""
    left = list(scripts)

    async def script(c: Conversation) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(c)

    return script


# ---- beginning ----


@virtual_time(settle=SETTLE)
async def test_hello_says_who_and_what() -> None:
    async with scripted(good) as master:
        runtime = FakeRuntime()
        runtime.run("web")
        async with agent(master.port, runtime=runtime) as a:
            await until(lambda: master.conversations)
            (registration,) = master.registrations
            hello = master.conversations[0].hello
            assert registration.node_id == hello.node_id == "id-n1"
            assert registration.instance_id == hello.instance_id
            assert registration.labels == {"zone": "front"}
            assert registration.ip_address == "127.0.0.1"
            assert (hello.protocol, hello.containers) == (1, 1)
            assert hello.digest == a.reporter.report.digest
            assert hello.facts is not None
            assert hello.facts.runtime_version == "4.3.1"
            await asyncio.sleep(20)
            assert len(master.conversations) == 1
            assert a.identity.cluster_id == "cluster-1"


@virtual_time(settle=SETTLE)
async def test_messages_are_numbered_without_gap_and_beats_come_in_time() -> None:
    async with scripted(good) as master, agent(master.port):
        await until(lambda: master.conversations)
        await asyncio.sleep(35)
        heard = master.conversations[0].heard
        assert [m.seq for m in heard] == list(range(2, len(heard) + 2))
        beats = [m.heartbeat for m in heard if m.heartbeat is not None]
        assert 3 <= len(beats) <= 5
        assert all(b.usage is not None for b in beats)


async def silent(c: Conversation) -> None:
    await asyncio.sleep(3600)


async def late(c: Conversation) -> None:
    await asyncio.sleep(8)
    await good(c)


async def odd(c: Conversation) -> None:
    """Something else than Welcome, and the stream stays open."""
    await c.say(heartbeat_ack=wire.HeartbeatAck(seq=1))
    await asyncio.sleep(3600)


async def without_config(c: Conversation) -> None:
    await c.welcome(config=None)
    await asyncio.sleep(3600)


async def garbage_first(c: Conversation) -> None:
    await c.garbage()
    await asyncio.sleep(3600)


async def garbage_later(c: Conversation) -> None:
    await c.welcome(cluster_info=None)
    await asyncio.sleep(1)
    await c.garbage()
    await asyncio.sleep(3600)


async def closes(c: Conversation) -> None:
    await c.welcome()
    await asyncio.sleep(1)


async def closes_at_once(c: Conversation) -> None:
    pass


async def fails(c: Conversation) -> None:
    await c.welcome()
    await asyncio.sleep(1)
    raise GRPCError(Status.INTERNAL, "the master's own fault")


async def goodbye(c: Conversation) -> None:
    await c.welcome()
    await c.say(goodbye=wire.Goodbye(reason="MasterStopping", message="back soon"))
    await asyncio.sleep(3600)


async def never_acks(c: Conversation) -> None:
    """The stream is stuck one way; pulses on it pass."""
    await c.welcome()
    await c.serve(acks=False)


async def says_nothing_more(c: Conversation) -> None:
    await c.welcome()
    await c.serve(acks=False, answers=False)


@pytest.mark.parametrize(
    ("script", "least", "most"),
    [
        (silent, 10, 11),
        (odd, 0, 11),
        (without_config, 0, 11),
        (garbage_first, 0, 1),
        (garbage_later, 1, 2),
        (closes, 1, 2),
        (closes_at_once, 0, 1),
        (fails, 1, 2),
        (goodbye, 0, 1),
        (never_acks, 10, 11),
        (says_nothing_more, 3, 7),
    ],
)
@virtual_time(settle=SETTLE)
async def test_an_agent_gives_up_a_bad_session_in_time_and_has_a_good_one_next(
    script: Script, least: float, most: float
) -> None:
    async with scripted(then(script, good)) as master, agent(master.port) as a:
        await until(lambda: len(master.conversations) == 2, 30)
        bad, well = master.conversations
        pause = well.opened_at - bad.opened_at
        assert least <= pause <= most + 0.5, "and half a second of back-off"
        await asyncio.sleep(15)
        assert len(master.conversations) == 2
        assert not a.run.done()
        assert a.identity.cluster_id == "cluster-1"


@virtual_time(settle=SETTLE)
async def test_a_late_welcome_is_as_good_as_any() -> None:
    async with scripted(late) as master, agent(master.port):
        await asyncio.sleep(25)
        assert len(master.conversations) == 1


@virtual_time(settle=SETTLE)
async def test_a_final_goodbye_ends_the_agent() -> None:
    async def removed(c: Conversation) -> None:
        await c.welcome()
        await c.say(goodbye=wire.Goodbye(reason="Removed", message="out", final=True))

    async with scripted(removed) as master, agent(master.port) as a:
        async with asyncio.timeout(5):
            await a.run
        await asyncio.sleep(20)
        assert len(master.conversations) == 1


@virtual_time(settle=SETTLE)
async def test_why_a_session_ended_is_told_to_people(caplog: pytest.LogCaptureFixture) -> None:
    async def replaced(c: Conversation) -> None:
        await c.welcome()
        await asyncio.sleep(1)
        raise GRPCError(Status.FAILED_PRECONDITION, "this session was replaced by a newer one")

    async with scripted(then(replaced, good)) as master, agent(master.port):
        await until(lambda: len(master.conversations) == 2)
    assert "this session was replaced by a newer one" in caplog.text


# ---- registering ----


REFUSALS = [Conflict("the name is taken"), InvalidSpec("no such link"), PermissionDenied("no")]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda e: type(e).__name__)
@virtual_time(settle=SETTLE)
async def test_a_refusal_ends_a_node_that_never_joined(refusal: PiccoloError) -> None:
    async with scripted(good) as master:
        master.refusal = refusal
        async with agent(master.port) as a:
            with pytest.raises(type(refusal), match=str(refusal)):
                async with asyncio.timeout(5):
                    await a.run
        assert len(master.registrations) == 1


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda e: type(e).__name__)
@virtual_time(settle=SETTLE)
async def test_a_refusal_does_not_end_a_node_that_joined(
    refusal: PiccoloError, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted(good) as master:
        master.refusal = refusal
        async with agent(master.port, identity=Known(cluster_id="cluster-1")) as a:
            await asyncio.sleep(60)
            early = len(master.registrations)
            assert 5 < early < 12
            await asyncio.sleep(600)
            assert not a.run.done()
            assert 10 <= len(master.registrations) - early <= 20, "only a person can help"
            assert caplog.text.count(f"no session with the master: {refusal}") == 1, "said once"
            master.refusal = None
            await until(lambda: master.conversations, 61)


@virtual_time(settle=SETTLE)
async def test_a_master_that_cannot_take_it_now_is_asked_again() -> None:
    async with scripted(good) as master:
        master.refusal = Unavailable("the store is away")
        async with agent(master.port) as a:
            await asyncio.sleep(30)
            assert not a.run.done()
            master.refusal = None
            await until(lambda: master.conversations, 6)
            assert {r.node_id for r in master.registrations} == {"id-n1"}


@virtual_time(settle=SETTLE)
async def test_a_master_that_does_not_know_it_any_more_is_joined_anew() -> None:
    async def unknown(c: Conversation) -> None:
        raise GRPCError(Status.NOT_FOUND, "register it first")

    async with scripted(then(good, unknown, good)) as master, agent(master.port):
        await until(lambda: master.conversations)
        assert len(master.registrations) == 1
        await master.conversations[0].say(goodbye=wire.Goodbye(message="restart"))
        await until(lambda: len(master.conversations) == 3)
        assert len(master.registrations) == 2


# ---- reporting ----


class Ledger:
    """What a master has taken in of an agent's report."""

    def __init__(self) -> None:
        self.report = Report()
        self.snapshots = 0
        self.conditions: list[wire.Condition] = []
        self.loses_deltas = False

    async def keep(self, c: Conversation) -> None:
        await c.welcome(need_snapshot=c.hello.digest != self.report.digest)
        while (message := await c.hear()) is not None:
            if (snapshot := message.snapshot) is not None:
                self.snapshots += 1
                self.report = Report(convert.containers_from_wire(snapshot.containers))
                self.conditions += snapshot.conditions
            elif (delta := message.delta) is not None:
                self.conditions += delta.conditions
                if not self.loses_deltas:
                    changed = convert.containers_from_wire(delta.containers)
                    self.report.apply(Delta(changed, tuple(delta.removed)))
            elif message.heartbeat and message.heartbeat.digest != self.report.digest:
                await c.say(resync=wire.ResyncRequest(reason="the digests differ"))

    def states(self) -> dict[str, str]:
        return {c.name: c.state for c in self.report.containers.values()}


@virtual_time(settle=SETTLE)
async def test_changes_are_told_and_lost_ones_repaired() -> None:
    ledger = Ledger()
    async with scripted(ledger.keep) as master, agent(master.port) as a:
        await until(lambda: ledger.conditions)
        assert ledger.conditions[0].type == "RuntimeReady"
        a.runtime.run("web")
        a.runtime.run("db")
        await asyncio.sleep(0.5)
        assert ledger.states() == {"web": "running", "db": "running"}
        assert ledger.snapshots == 0

        ledger.loses_deltas = True
        a.runtime.end("web")
        a.runtime.remove_by_hand("db")
        await asyncio.sleep(0.5)
        ledger.loses_deltas = False
        assert ledger.states() == {"web": "running", "db": "running"}
        await asyncio.sleep(10)
        assert ledger.states() == {"web": "exited"}
        assert ledger.snapshots == 1

        a.runtime.go_away("no Podman")
        await asyncio.sleep(2)
        assert [c.status for c in ledger.conditions][-1] is False


@virtual_time(settle=SETTLE)
async def test_a_snapshot_is_sent_only_where_something_changed_meanwhile() -> None:
    ledger = Ledger()
    async with scripted(ledger.keep) as master, agent(master.port) as a:
        a.runtime.run("web")
        await until(lambda: ledger.states())
        before = ledger.snapshots
        await master.conversations[-1].say(goodbye=wire.Goodbye(message="again"))
        await until(lambda: len(master.conversations) == 2)
        await asyncio.sleep(1)
        assert ledger.snapshots == before
        assert len(ledger.conditions) >= 2, "the condition is told in each session"

        await master.conversations[-1].say(goodbye=wire.Goodbye(message="again"))
        await asyncio.sleep(0.01)
        a.runtime.end("web")
        await until(lambda: ledger.states() == {"web": "exited"})


# ---- being told ----


@virtual_time(settle=SETTLE)
async def test_calls_are_answered() -> None:
    results: list[wire.CallResult] = []

    async def calls(c: Conversation) -> None:
        await c.welcome()
        await c.say(call=wire.Call(call_id=1, health=wire.HealthCheck()))
        await c.say(call=wire.Call(call_id=2))  # of a newer master
        await c.say()  # and a message that is not known at all
        results.extend([await c.hear_until("result") for _ in range(2)])
        await c.serve()

    async with scripted(calls) as master, agent(master.port) as a:
        a.runtime.run("web")
        await until(lambda: len(results) == 2)
        assert [r.call_id for r in results] == [1, 2]
        health = results[0].health
        assert health is not None
        assert (health.runtime_ready, health.containers) == (True, 1)
        assert health.usage is not None
        assert health.resident_kb > 1000
        assert results[0].error == ""
        assert "upgrade" in results[1].error
        await asyncio.sleep(30)
        assert len(master.conversations) == 1


@virtual_time(settle=SETTLE)
async def test_a_new_configuration_is_applied_and_acknowledged() -> None:
    acks: list[wire.ConfigAck] = []

    async def configures(c: Conversation) -> None:
        await c.welcome()
        for config in (
            CONFIG,  # is known already
            wire.NodeConfig(version=2, link_profile="wireless", heartbeat_interval_ms=20_000),
            wire.NodeConfig(version=3, link_profile="pigeon", heartbeat_interval_ms=5_000),
        ):
            await asyncio.sleep(1)
            await c.say(config=config)
            if config is not CONFIG:
                acks.append(await c.hear_until("config_ack"))
        await c.serve()

    async with scripted(configures) as master, agent(master.port) as a:
        await until(lambda: len(acks) == 1)
        assert a.pulser.pacer is not None
        assert a.pulser.pacer.profile.name == "wireless"
        assert a.pulser.pacer.profile.heartbeat_interval == 20
        await until(lambda: len(acks) == 2)
        assert [(k.version, bool(k.error)) for k in acks] == [(2, False), (3, True)]
        assert '"pigeon" is not known here' in acks[1].error
        assert a.pulser.pacer.profile.name == "wireless", "what is not known changes nothing"
        began, heard = now(), len(master.conversations[0].heard)
        await asyncio.sleep(32)
        beats = [m for m in master.conversations[0].heard[heard:] if m.heartbeat is not None]
        assert 5 <= len(beats) <= 7, f"every 5 s in {now() - began}"


@virtual_time(settle=SETTLE)
async def test_an_agent_that_stops_says_goodbye() -> None:
    heard: list[Any] = []

    async def listens(c: Conversation) -> None:
        await c.welcome()
        heard.append(await c.hear_until("goodbye"))

    async with scripted(listens) as master, agent(master.port) as a:
        await until(lambda: a.identity.cluster_id)
        await a.link.say_goodbye()
        await until(lambda: heard)
        assert heard[0].reason == "AgentStopping"
        await until(a.run.done)
        assert len(master.conversations) == 1, "it does not come back to a master it has left"


@virtual_time(settle=SETTLE)
async def test_an_agent_that_stops_without_a_master_just_stops() -> None:
    async with agent(1) as a:
        await asyncio.sleep(1)
        await a.link.say_goodbye()
        await until(a.run.done)
