"""The judgement of one link under every order of evidence, in virtual time."""

from __future__ import annotations

from math import inf, nextafter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from piccolo.core.nodes.liveness import PROFILES, Link, LinkProfile
from piccolo.core.nodes.states import LINK_FAULTS, Fault

quick = settings(derandomize=True, deadline=None, max_examples=60)
WIRED = PROFILES["wired"]
profiles = st.sampled_from(list(PROFILES.values()))
# Thresholds of all profiles are near some of these, so that both of their sides are visited.
seconds = st.one_of(
    st.floats(0, 2), st.floats(0, 40), st.sampled_from([0.5, 1.2, 2.8, 3.8, 4.2, 20.0, 30.0, 90.0])
)
OFFSETS = (0.0, 0.4, 1.0, 2.0, 3.0, 4.0, 5.0, 11.0, 25.0, 45.0, 100.0)


def verdict(link: Link, now: float) -> tuple[Fault | None, bool]:
    return link.fault(now), link.suspect(now)


def outlook(link: Link, now: float) -> list[Any]:
    """All that can be asked of a link, now and later."""
    return [link.generation, link.open] + [
        (verdict(link, t), link.datagrams(t), link.alive(t), link.next_deadline(t))
        for t in (now + offset for offset in OFFSETS)
    ]


class LinkUnderFire(RuleBasedStateMachine):
    """Arbitrary evidence, from present and former sessions, and a judge that oversleeps."""

    link: Link
    profile: LinkProfile

    @initialize(profile=profiles, grace=seconds)
    def begin(self, profile: LinkProfile, grace: float) -> None:
        self.now = 1000.0
        self.profile = profile
        self.link = Link(profile, self.now, grace=grace)
        self.heard_at = self.now
        self.by_datagram = False  # what came last
        self.said_goodbye = False

    @rule(step=seconds)
    def time_passes(self, step: float) -> None:
        self.now += step

    @rule(step=st.integers(1, 3))
    def opened(self, step: int) -> None:
        self.link.opened(self.link.generation + step, self.now)
        self.heard_at, self.by_datagram, self.said_goodbye = self.now, False, False
        assert self.link.open
        assert verdict(self.link, self.now) == (None, False)
        assert not self.link.datagrams(self.now), "those of the last session count no more"

    @precondition(lambda self: self.link.open)
    @rule(
        ago=st.none() | st.floats(0, 60),
        datagram=st.booleans(),
        heartbeat=st.booleans(),
    )
    def heard(self, ago: float | None, datagram: bool, heartbeat: bool) -> None:
        self.link.heard(
            self.link.generation,
            self.now,
            heard_us_ago=ago,
            datagram=datagram,
            heartbeat=heartbeat,
        )
        self.heard_at, self.by_datagram = self.now, datagram
        assert not datagram or self.link.datagrams(self.now)

    @precondition(lambda self: self.link.open)
    @rule(goodbye=st.booleans())
    def closed(self, goodbye: bool) -> None:
        self.link.closed(self.link.generation, self.now, said_goodbye=goodbye)
        self.said_goodbye = goodbye

    @rule(step=st.floats(0.3, 200))
    def the_judge_oversleeps(self, step: float) -> None:
        before = {self.link.fault(self.now + rounding) for rounding in (-1e-6, 1e-6)}
        self.now += step
        self.link.forgive(step, self.now)
        self.heard_at = min(self.now, self.heard_at + step)
        assert self.link.fault(self.now) in before, "blamed for the sleep, or revived by it"

    @rule(
        what=st.sampled_from(["opened", "heard", "closed", "goodbye"]),
        behind=st.integers(0, 5),
        early=st.booleans(),
    )
    def another_session_speaks(self, what: str, behind: int, early: bool) -> None:
        """One that is over, or one that was never opened here: it changes nothing at all."""
        generation = self.link.generation - behind
        if what != "opened":  # the present one may speak, but not open again
            generation += 9 if early else -1
        before = outlook(self.link, self.now)
        match what:
            case "opened":
                self.link.opened(generation, self.now)
            case "heard":
                self.link.heard(
                    generation, self.now, heard_us_ago=0.0, datagram=True, heartbeat=True
                )
            case _:
                self.link.closed(generation, self.now, said_goodbye=what == "goodbye")
        assert outlook(self.link, self.now) == before

    @precondition(lambda self: not self.link.open)
    @rule(ago=st.floats(0, 60), goodbye=st.booleans())
    def a_closed_session_speaks(self, ago: float, goodbye: bool) -> None:
        before = outlook(self.link, self.now)
        self.link.heard(self.link.generation, self.now, heard_us_ago=ago, datagram=True)
        self.link.closed(self.link.generation, self.now, said_goodbye=goodbye)
        assert outlook(self.link, self.now) == before

    @invariant()
    def the_fault_fits_the_link(self) -> None:
        fault = self.link.fault(self.now)
        if fault is None:
            return
        closing = {Fault.CONNECTION_CLOSED, Fault.AGENT_STOPPED}
        assert fault in (LINK_FAULTS - closing if self.link.open else closing)
        assert (fault is Fault.AGENT_STOPPED) is (self.said_goodbye and not self.link.open)
        assert self.link.explain(fault, self.now)

    @invariant()
    def silence_is_judged_by_the_clock(self) -> None:
        if not self.link.open:
            return
        p, now = self.profile, self.now
        if now < self.heard_at + p.suspect_after:
            assert self.link.fault(now) is not Fault.SILENT
        if now >= self.heard_at + p.stream_silent_after:
            assert self.link.fault(now) is not None
        if self.by_datagram and now >= self.heard_at + p.silent_after:
            assert self.link.fault(now) is not None

    @invariant()
    def only_the_next_deadline_changes_the_verdict(self) -> None:
        present, at = verdict(self.link, self.now), self.link.next_deadline(self.now)
        if present[0] is not None:
            return  # see the next
        assert at is not None, "a link that nobody will judge"
        assert at > self.now
        assert verdict(self.link, max(self.now, nextafter(at, -inf))) == present
        if present == (None, False) or not self.link.open:
            assert verdict(self.link, at) != present, "woken for nothing"
        while self.link.fault(at) is None:
            following = self.link.next_deadline(at)
            assert following is not None, "waits for ever"
            at = following

    @invariant()
    def what_is_lost_stays_lost_until_it_is_heard(self) -> None:
        """Only its name may change: a deaf node that falls silent afterwards is silent."""
        fault = self.link.fault(self.now)
        if fault is not None:
            later = {self.link.fault(self.now + offset) for offset in OFFSETS}
            assert later <= {fault, Fault.SILENT if fault is Fault.DEAF else fault}

    @invariant()
    def alive_is_heard_over_an_open_stream(self) -> None:
        heard = self.now < self.heard_at + self.profile.silent_after
        assert self.link.alive(self.now) is (self.link.open and heard)


TestLinkUnderFire = LinkUnderFire.TestCase
TestLinkUnderFire.settings = settings(quick, max_examples=80, stateful_step_count=30)


def connected(profile: LinkProfile = WIRED, now: float = 0.0, *, datagrams: bool = True) -> Link:
    link = Link(profile, now)
    link.opened(1, now)
    if datagrams:
        link.heard(1, now, heard_us_ago=0.0, datagram=True)
    return link


# ---- a living node ----


@quick
@given(
    profile=profiles,
    gaps=st.lists(st.floats(0, 1), max_size=60),
    ages=st.lists(st.floats(0, 0.99), min_size=60, max_size=60),
    datagrams=st.booleans(),
)
def test_a_node_that_is_heard_often_enough_is_never_faulted(
    profile: LinkProfile, gaps: list[float], ages: list[float], datagrams: bool
) -> None:
    """Heard at least every `suspect_after`, and hearing the master not much less often."""
    link, now = connected(profile, datagrams=datagrams), 0.0
    for gap, age in zip(gaps, ages, strict=False):
        now += gap * profile.suspect_after
        assert link.fault(now) is None
        ago = age * (profile.deaf_after - profile.suspect_after)
        link.heard(1, now, heard_us_ago=ago, datagram=datagrams, heartbeat=True)
        assert link.fault(now) is None


@quick
@given(st.floats(0, 10_000))
def test_datagrams_that_stop_leave_the_stream_in_charge(stop: float) -> None:
    """A firewall that shuts in mid-session: the stream's pulses, about one a second, must do."""
    link = connected(now=stop)
    now = stop
    for _ in range(20):
        now += 1.0
        assert link.fault(now) is None
        link.heard(1, now, heard_us_ago=0.0, heartbeat=True)
    assert not link.datagrams(now)
    assert link.fault(now + WIRED.stream_silent_after - 0.01) is None
    assert link.fault(now + WIRED.stream_silent_after) is Fault.SILENT


# ---- each fault ----


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_silent(profile: LinkProfile) -> None:
    link = connected(profile)
    link.heard(1, 0.0, heard_us_ago=0.0, datagram=True, heartbeat=True)
    assert link.fault(profile.silent_after - 0.001) is None
    assert link.fault(profile.silent_after) is Fault.SILENT
    assert f"{profile.silent_after:.1f} s" in link.explain(Fault.SILENT, profile.silent_after)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_silent_without_datagrams(profile: LinkProfile) -> None:
    link = connected(profile, datagrams=False)
    assert link.fault(profile.stream_silent_after - 0.001) is None
    assert link.fault(profile.stream_silent_after) is Fault.SILENT


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_deaf(profile: LinkProfile) -> None:
    """Heard all the time, but with an ever older sign of the master."""
    link, now = connected(profile), 0.0
    while link.fault(now) is None:
        now += profile.pulse_retry
        assert now < profile.deaf_after + profile.pulse_interval
        link.heard(1, now, heard_us_ago=now, datagram=True, heartbeat=True)
    assert link.fault(now) is Fault.DEAF
    assert now >= profile.deaf_after
    link.heard(1, now, heard_us_ago=0.1, datagram=True)
    assert link.fault(now) is None


def test_old_news_is_no_news() -> None:
    """A pulse that was overtaken, on the slower way, tells of an earlier time."""
    link = connected()
    link.heard(1, 5.0, heard_us_ago=0.1, datagram=True)
    link.heard(1, 5.0, heard_us_ago=4.0)
    assert verdict(link, 5.0) == (None, False)


def test_deaf_and_late_is_silent() -> None:
    """Without datagrams, both are due at almost the same time when nothing comes any more."""
    link = connected(datagrams=False)
    link.heard(1, 1.0, heard_us_ago=0.5)
    due = 0.5 + WIRED.stream_silent_after
    assert due < 1.0 + WIRED.stream_silent_after
    assert link.fault(due) is Fault.SILENT
    link.heard(1, due - 1.0)
    assert link.fault(due) is Fault.DEAF


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_three_heartbeats_missed_in_spite_of_pulses(profile: LinkProfile) -> None:
    link, now = connected(profile), 0.0
    while link.fault(now) is None:
        now += profile.pulse_interval
        link.heard(1, now, heard_us_ago=0.0, datagram=True)
    assert link.fault(now) is Fault.HEARTBEAT_TIMEOUT
    assert 0 <= now - profile.heartbeat_timeout < profile.pulse_interval
    assert profile.heartbeat_timeout == 3 * profile.heartbeat_interval


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_a_closed_connection_has_a_moment_to_come_back(profile: LinkProfile) -> None:
    link = connected(profile)
    link.closed(1, 1.0)
    assert link.fault(1.0 + profile.reconnect_grace - 0.001) is None
    assert link.suspect(1.0)
    assert link.fault(1.0 + profile.reconnect_grace) is Fault.CONNECTION_CLOSED
    link.opened(2, 50.0)
    assert verdict(link, 50.0) == (None, False)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_who_still_pulses_has_longer_to_come_back_but_not_for_ever(profile: LinkProfile) -> None:
    link = connected(profile)
    link.closed(1, 1.0)
    now, step = 1.0, profile.reconnect_grace / 3
    while link.fault(now) is None:
        now += step
        link.probed(1, now)
    latest = 1.0 + max(profile.reconnect_grace, profile.stream_stuck_after)
    assert latest <= now < latest + step
    link.probed(1, now)
    assert link.fault(now) is Fault.CONNECTION_CLOSED, "what was judged stays so"


def test_pulses_of_other_sessions_or_after_a_goodbye_put_nothing_off() -> None:
    link = connected()
    link.closed(1, 1.0)
    link.probed(2, 2.0)
    link.probed(0, 2.0)
    assert link.fault(1.0 + WIRED.reconnect_grace) is Fault.CONNECTION_CLOSED
    left = connected()
    left.closed(1, 1.0, said_goodbye=True)
    left.probed(1, 1.0)
    assert left.fault(1.0) is Fault.AGENT_STOPPED


def test_a_goodbye_needs_no_waiting() -> None:
    link = connected()
    link.closed(1, 1.0, said_goodbye=True)
    assert link.fault(1.0) is Fault.AGENT_STOPPED
    link.opened(2, 2.0)
    link.closed(2, 3.0)
    assert link.fault(60.0) is Fault.CONNECTION_CLOSED, "the old goodbye is forgotten"


def test_a_restarted_master_waits_before_it_judges() -> None:
    grace = WIRED.backoff_cap + WIRED.reconnect_grace
    link = Link(WIRED, 100.0, grace=grace)
    assert link.fault(100.0 + grace - 0.001) is None
    assert link.next_deadline(100.0) == 100.0 + grace
    assert link.fault(100.0 + grace) is Fault.CONNECTION_CLOSED


def test_alive_means_heard_just_now() -> None:
    link = connected()
    assert link.alive(WIRED.silent_after - 0.1)
    assert not link.alive(WIRED.silent_after)
    link.closed(1, 0.5)
    assert not link.alive(0.5)


# ---- a judge that slept ----

ticks = st.integers(0, 3000).map(lambda n: n / 1024)  # so that sums are exact


@quick
@given(
    profile=profiles,
    before=st.lists(st.tuples(ticks, st.booleans(), st.none() | ticks), min_size=1, max_size=8),
    sleep=st.integers(1, 300_000).map(lambda n: n / 1024),
    later=st.lists(ticks, max_size=6),
)
def test_a_sleep_shifts_everything_by_its_length(
    profile: LinkProfile,
    before: list[tuple[float, bool, float | None]],
    sleep: float,
    later: list[float],
) -> None:
    """The link of a judge that slept is judged as that of one that did not, later by the sleep."""
    awake, slept = connected(profile), connected(profile)
    now = 0.0
    for step, datagram, ago in before:
        now += step
        for link in (awake, slept):
            link.heard(1, now, heard_us_ago=ago, datagram=datagram)
    slept.forgive(sleep, now + sleep)
    for offset in (0.0, *later, *OFFSETS):
        at = now + offset
        assert verdict(slept, at + sleep) == verdict(awake, at)


@quick
@given(sleep=st.floats(5, 3600), cut=st.floats(0.0, 60.0))
def test_what_was_read_before_forgiving_gives_no_credit(sleep: float, cut: float) -> None:
    """Datagrams that waited in the socket are read first; the sleep must not come on top."""
    link = connected()
    wake = 1.0 + sleep
    link.heard(1, wake, heard_us_ago=0.0, datagram=True, heartbeat=True)
    link.forgive(sleep, wake)
    assert link.fault(wake + WIRED.silent_after) is Fault.SILENT


def test_after_a_sleep_a_node_that_gave_up_has_time_to_come_back() -> None:
    patience = WIRED.reconnect_grace + WIRED.backoff_cap
    link = connected()
    link.forgive(20.0, 20.5)
    link.closed(1, 21.0)
    assert link.fault(21.0 + patience - 0.01) is None
    assert link.fault(21.0 + patience) is Fault.CONNECTION_CLOSED


def test_so_has_one_whose_end_was_read_before_forgiving() -> None:
    patience = WIRED.reconnect_grace + WIRED.backoff_cap
    link = connected()
    link.closed(1, 20.5)
    link.forgive(20.0, 20.5)
    assert link.fault(20.5 + patience - 0.01) is None
    assert link.fault(20.5 + patience) is Fault.CONNECTION_CLOSED


def test_what_was_lost_before_the_sleep_stays_lost() -> None:
    link = connected()
    link.closed(1, 1.0)
    assert link.fault(3.0) is Fault.CONNECTION_CLOSED
    link.forgive(1.0, 4.0)
    assert link.fault(4.0) is Fault.CONNECTION_CLOSED


def test_a_goodbye_is_not_forgiven() -> None:
    link = connected()
    link.closed(1, 20.5, said_goodbye=True)
    link.forgive(20.0, 20.5)
    assert link.fault(20.5) is Fault.AGENT_STOPPED


def test_leniency_ends() -> None:
    link = connected()
    link.forgive(20.0, 20.5)
    later = 20.5 + WIRED.stream_silent_after
    link.heard(1, later, heard_us_ago=0.0, datagram=True)
    link.closed(1, later)
    assert link.fault(later + WIRED.reconnect_grace) is Fault.CONNECTION_CLOSED


# ---- the figures ----


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_the_figures_of_a_profile_fit_together(profile: LinkProfile) -> None:
    p = profile
    assert 0 < p.pulse_retry < p.pulse_interval
    # A healthy node's sign of having heard the master is up to two intervals old.
    assert 2 * p.pulse_interval < p.suspect_after < p.silent_after
    assert p.silent_after < p.deaf_after
    assert p.silent_after < p.stream_silent_after < p.heartbeat_timeout
    assert p.heartbeat_interval >= 5.0  # HLD 8.1
    # An agent that gives up a stream only after that does so before the heartbeats are missed.
    assert p.stream_stuck_after < p.heartbeat_timeout


@pytest.mark.parametrize("name", ["wired", "wireless"])
def test_the_quick_profiles_keep_the_bound_of_5_seconds(name: str) -> None:
    p = PROFILES[name]
    assert max(p.silent_after, p.stream_silent_after, p.deaf_after, p.reconnect_grace) <= 4.6
