"""What the link profiles promise (X2): calm while packets are lost, quick when the link is.

Virtual time and fixed seeds: a failure here is a change of behaviour, not bad luck.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import replace
from statistics import median

import pytest

from piccolo.core.nodes.liveness import PROFILES, Link, LinkProfile
from piccolo.core.nodes.pulse import Pacer, ms_ago
from piccolo.core.nodes.states import Fault
from tests.core.nodes.link_simulation import SEED, TROUBLES, Network, Outcome, detection, simulate
from tools.docs import false_losses_per_hour, longest_harmless_outage

QUICK = ("wired", "wireless")
HOUR = 3600.0
IDLE_LIMIT = 1000  # bytes per second


def run(profile: LinkProfile, loss: float, hours: float) -> Outcome:
    return simulate(profile, Network(loss), random.Random(SEED), hours * HOUR)


@pytest.mark.parametrize("name", QUICK)
def test_no_false_alarm_at_20_percent_loss(name: str) -> None:
    assert not run(PROFILES[name], 0.2, hours=15).losses


@pytest.mark.parametrize("name", QUICK)
def test_few_false_alarms_at_30_percent_loss(name: str) -> None:
    """In 50 agent-minutes none, with at least 95 % probability."""
    assert run(PROFILES[name], 0.3, hours=5).losses.total() <= 1
    assert false_losses_per_hour(PROFILES[name], 0.3) * 50 / 60 < 0.05


@pytest.mark.parametrize("name", QUICK)
def test_the_simulation_agrees_with_the_calculation(name: str) -> None:
    """Where false alarms are frequent enough to be counted; so it can see them at all."""
    profile, hours = replace(PROFILES[name], pulse_retry=0.15), 10
    network = Network(loss=0.5, round_trip=(0.001, 0.001))
    counted = simulate(profile, network, random.Random(SEED), hours * HOUR).losses.total()
    expected = false_losses_per_hour(profile, 0.5) * hours
    assert expected > 30
    assert counted == pytest.approx(expected, rel=0.3)


def test_repeating_is_what_keeps_calm() -> None:
    impatient = replace(PROFILES["wired"], pulse_retry=PROFILES["wired"].pulse_interval)
    assert run(impatient, 0.2, hours=2).losses.total() > 5


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_a_link_without_loss_is_calm_and_costs_little(profile: LinkProfile) -> None:
    outcome = run(profile, 0.0, hours=1)
    assert not outcome.losses
    assert outcome.suspected == 0
    assert outcome.bytes_sent / HOUR < IDLE_LIMIT


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("name", QUICK)
def test_a_lost_link_is_noticed_within_5_seconds(name: str, trouble: str, loss: float) -> None:
    profile = PROFILES[name]
    delays = detection(profile, trouble, loss, 150, random.Random(SEED))
    bound = profile.deaf_after if trouble == "cut master → agent" else profile.silent_after
    assert delays[0] > 0
    assert delays[-1] <= bound + 0.1, "longer than the figures promise"
    assert delays[-1] < 4.6, "5 s must also hold for the master's own delays"
    if trouble != "cut master → agent":
        assert median(delays) <= {"wired": 3.0, "wireless": 3.6}[name]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_slow_link_is_noticed_within_its_own_bound(trouble: str) -> None:
    profile = PROFILES["cellular"]
    delays = detection(profile, trouble, 0.0, 50, random.Random(SEED))
    assert delays[-1] <= max(profile.silent_after, profile.deaf_after) + 0.1


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_fault_names_the_trouble(trouble: str, loss: float) -> None:
    wanted = Fault.DEAF if trouble == "cut master → agent" else Fault.SILENT
    for seed in range(60):
        network = TROUBLES[trouble](5 + seed / 60, loss)
        outcome = simulate(PROFILES["wired"], network, random.Random(seed), 60, until_lost=True)
        assert set(outcome.losses) == {wanted}


@pytest.mark.parametrize("name", QUICK)
def test_a_short_outage_is_harmless_and_a_long_one_is_not(name: str) -> None:
    profile = PROFILES[name]
    harmless = longest_harmless_outage(profile)
    for phase in range(50):
        begin = 10 + phase / 50
        for length, harm in ((harmless, False), (profile.silent_after + 0.1, True)):
            network = Network(outage=(begin, begin + length))
            outcome = simulate(profile, network, random.Random(phase), 30)
            assert bool(outcome.losses) is harm, (begin, length)


@pytest.mark.parametrize("frozen_for", [0.5, 2.0, 3.9, 20.0, 300.0])
def test_a_frozen_master_blames_nobody_and_judges_as_before(frozen_for: float) -> None:
    """What arrived meanwhile is read first, then the master forgives; later a cut is noticed."""
    profile, delay = PROFILES["wired"], 0.001
    freeze, wake = 10.03, 10.03 + frozen_for
    for cut in (wake + 0.2, wake + 5.0):
        link, pacer = Link(profile, 0.0), Pacer(profile, 0.0)
        link.opened(1, 0.0)
        waiting: deque[tuple[int, float]] = deque(maxlen=200)  # the socket's buffer
        forgiven = False
        now = pacer.next_pulse()
        while now < cut:
            if now >= wake and not forgiven:
                forgiven = True
                for seq, heard in waiting:
                    link.heard(1, wake, heard_us_ago=heard, datagram=True)
                    pacer.answered(seq, wake + delay)
                planned = freeze + 0.3  # the judge meant to wake up then
                link.forgive(max(0.0, wake - planned), wake)
                assert link.fault(wake) is None
            heard = ms_ago(pacer.heard_at(), now) / 1000
            seq = pacer.send(now)
            if freeze <= now < wake:
                waiting.append((seq, heard))
            else:
                assert link.fault(now) is None
                link.heard(1, now + delay, heard_us_ago=heard, datagram=True, heartbeat=True)
                pacer.answered(seq, now + 2 * delay)
            now = pacer.next_pulse()
        assert link.fault(cut) is None
        assert link.fault(cut + profile.silent_after + 0.1) is Fault.SILENT
