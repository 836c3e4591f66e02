"""Pulses: what is accepted as one, and when the agent sends them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from piccolo.core.nodes.liveness import PROFILES, LinkProfile
from piccolo.core.nodes.pulse import (
    ANSWER,
    KEY_BYTES,
    NEVER,
    PULSE,
    SIZE,
    Pacer,
    Pulse,
    decode,
    encode,
    ms_ago,
    session_of,
)

quick = settings(derandomize=True, deadline=None, max_examples=100)

WIRED = PROFILES["wired"]
keys = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
pulses = st.builds(
    Pulse,
    st.sampled_from([PULSE, ANSWER]),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, NEVER),
)

# ---- the format ----


@quick
@given(pulses, keys)
def test_a_pulse_comes_back_as_it_was(pulse: Pulse, key: bytes) -> None:
    datagram = encode(pulse, key)
    assert len(datagram) == SIZE == 34
    assert session_of(datagram) == pulse.session_id
    assert decode(datagram, key, pulse.kind) == pulse


def test_the_layout_is_the_documented_one() -> None:
    datagram = encode(Pulse(PULSE, 0x0102030405060708, 9, 10), bytes(KEY_BYTES))
    assert datagram[:18].hex() == "50010102030405060708000000090000000a"


@quick
@given(pulses, keys)
def test_no_flipped_bit_gets_through(pulse: Pulse, key: bytes) -> None:
    datagram = encode(pulse, key)
    for bit in range(SIZE * 8):
        forged = bytearray(datagram)
        forged[bit // 8] ^= 1 << bit % 8
        assert all(decode(bytes(forged), key, kind) is None for kind in (PULSE, ANSWER))


@quick
@given(pulses, keys, keys)
def test_another_key_does_not_get_through(pulse: Pulse, key: bytes, other: bytes) -> None:
    if key != other:
        assert decode(encode(pulse, other), key, pulse.kind) is None


@quick
@given(pulses, keys)
def test_an_answer_is_no_pulse_nor_the_reverse(pulse: Pulse, key: bytes) -> None:
    """A pulse reflected to its sender means nothing to it."""
    assert decode(encode(pulse, key), key, PULSE + ANSWER - pulse.kind) is None


@quick
@given(pulses, keys, st.integers(0, 2**64 - 1))
def test_a_pulse_cannot_be_moved_to_another_session(
    pulse: Pulse, key: bytes, session_id: int
) -> None:
    if session_id == pulse.session_id:
        return
    moved = bytearray(encode(pulse, key))
    moved[2:10] = session_id.to_bytes(8, "big")
    assert session_of(bytes(moved)) == session_id
    assert decode(bytes(moved), key, pulse.kind) is None


@quick
@given(pulses, keys, st.integers(0, 80))
def test_only_the_exact_length_is_a_pulse(pulse: Pulse, key: bytes, length: int) -> None:
    datagram = (encode(pulse, key) + bytes(80))[:length]
    assert (session_of(datagram) is None) is (length != SIZE)
    assert (decode(datagram, key, pulse.kind) is None) is (length != SIZE)


@quick
@given(st.binary(max_size=100) | st.binary(min_size=SIZE - 1, max_size=SIZE - 1), keys)
def test_noise_is_dropped_without_a_word(noise: bytes, key: bytes) -> None:
    for datagram in (noise, b"P" + noise):
        session_of(datagram)
        assert decode(datagram, key, PULSE) is None
        assert decode(datagram, key, ANSWER) is None


@quick
@given(st.none() | st.floats(0, 1e12), st.floats(0, 1e12))
def test_every_age_has_a_place_on_the_wire(then: float | None, now: float) -> None:
    age = ms_ago(then, now)
    assert 0 <= age <= NEVER
    assert (age == NEVER) is (then is None)
    if then is not None and 0 <= now - then < 1e6:
        assert now - then - 0.0011 <= age / 1000 <= now - then


# ---- pacing ----


class Pacing(RuleBasedStateMachine):
    """Answers that come late, twice, never or out of thin air."""

    pacer: Pacer

    @initialize(profile=st.sampled_from(list(PROFILES.values())))
    def begin(self, profile: LinkProfile) -> None:
        self.profile = profile
        self.now = 500.0
        self.pacer = Pacer(profile, self.now)
        self.answered: set[int] = set()
        self.heard_at = self.now

    @rule(late=st.floats(0, 0.2))
    def pulse_goes_out(self, late: float) -> None:
        self.now = max(self.now, self.pacer.next_pulse()) + late
        seq = self.pacer.send(self.now)
        assert seq == self.pacer.seq
        assert self.pacer.sent_at() == self.now
        gap = self.pacer.next_pulse() - self.now
        retry, interval = self.profile.pulse_retry, self.profile.pulse_interval
        assert retry - 1e-9 <= gap <= max(retry, 1.5 * interval) + 1e-9

    @rule(back=st.integers(0, 4), after=st.floats(0, 3))
    def answer_comes(self, back: int, after: float) -> None:
        seq = self.pacer.seq - back
        self.now += after
        fresh = seq > max(self.answered, default=0)
        assert self.pacer.answered(seq, self.now) is fresh
        assert self.pacer.answered(seq, self.now) is False, "answered twice"
        if fresh:
            self.answered.add(seq)
            silent, self.heard_at = self.now - self.heard_at, self.now
            gap = self.pacer.next_pulse() - self.pacer.sent_at()
            if silent < self.pacer.fallback_after - 1e-6:
                assert gap == pytest.approx(self.profile.pulse_interval)
        if fresh and back == 0:
            assert self.pacer.rtt == pytest.approx(self.now - self.pacer.sent_at())

    @rule(ahead=st.integers(1, 1000))
    def answer_to_nothing_comes(self, ahead: int) -> None:
        before = (self.pacer.next_pulse(), self.pacer.heard_at(), self.pacer.rtt)
        assert self.pacer.answered(self.pacer.seq + ahead, self.now) is False
        assert (self.pacer.next_pulse(), self.pacer.heard_at(), self.pacer.rtt) == before

    @rule()
    def message_comes(self) -> None:
        self.pacer.heard(self.now)
        self.heard_at = self.now
        assert not self.pacer.lost(self.now)

    @invariant()
    def silence_is_measured_from_the_last_sign(self) -> None:
        silent = self.now - self.heard_at
        assert self.pacer.silent_for(self.now) == pytest.approx(silent)
        if abs(silent - self.profile.stream_silent_after) > 1e-6:
            assert self.pacer.lost(self.now) is (silent > self.profile.stream_silent_after)


TestPacing = Pacing.TestCase
TestPacing.settings = settings(quick, max_examples=60, stateful_step_count=30)


def test_the_first_pulse_is_due_at_once() -> None:
    pacer = Pacer(WIRED, 100.0)
    assert pacer.next_pulse() <= 100.0
    assert pacer.sent_at() == 0.0


def test_while_answered_one_an_interval_else_repeated() -> None:
    pacer = Pacer(WIRED, 100.0)
    seq = pacer.send(100.0)
    assert pacer.next_pulse() == pytest.approx(100.0 + WIRED.pulse_retry)
    assert pacer.answered(seq, 100.01)
    assert pacer.next_pulse() == pytest.approx(100.0 + WIRED.pulse_interval)


def test_after_an_outage_the_master_is_told_at_once_that_it_is_heard() -> None:
    pacer = Pacer(WIRED, 100.0)
    pacer.answered(pacer.send(100.0), 100.01)
    pacer.send(103.0)
    assert pacer.answered(pacer.seq, 103.01)
    assert pacer.next_pulse() == pytest.approx(103.0 + WIRED.pulse_retry)
    pacer.answered(pacer.send(103.15), 103.16)
    assert pacer.next_pulse() == pytest.approx(103.15 + WIRED.pulse_interval), "only once"


def test_a_slow_way_is_not_taken_for_a_lossy_one() -> None:
    """With a long round trip, the repetition waits until the answer is really late."""
    pacer = Pacer(WIRED, 100.0)
    pacer.answered(pacer.send(100.0), 100.3)
    pacer.send(101.0)
    assert pacer.next_pulse() == pytest.approx(101.45)
    pacer.answered(pacer.seq, 111.0)  # an absurd one must not stop the pulses
    pacer.send(112.0)
    assert pacer.next_pulse() == pytest.approx(112.0 + 1.5 * WIRED.pulse_interval)


def test_silence_sends_pulses_by_the_stream_before_the_master_is_suspicious() -> None:
    for profile in PROFILES.values():
        pacer = Pacer(profile, 0.0)
        assert profile.pulse_interval < pacer.fallback_after
        assert pacer.fallback_after + profile.pulse_retry < profile.silent_after


def test_a_frozen_agent_does_not_blame_the_master() -> None:
    pacer = Pacer(WIRED, 100.0)
    pacer.send(100.0)
    pacer.forgive(60.0)
    assert not pacer.lost(160.0)
    assert pacer.silent_for(161.0) == pytest.approx(1.0)


def test_forgiving_gives_no_credit_for_what_was_read_before() -> None:
    """An answer that waited in the socket is read first; the sleep must not come on top: the
    agent would tell for a minute that it hears a master which it does not."""
    pacer = Pacer(WIRED, 100.0)
    seq = pacer.send(100.0)
    assert pacer.answered(seq, 160.0)
    pacer.forgive(60.0)
    pacer.send(160.0)
    assert ms_ago(pacer.heard_at(), 163.0) == 3000
    assert pacer.lost(160.01 + WIRED.stream_silent_after)


def test_a_new_profile_counts_from_the_next_pulse() -> None:
    pacer = Pacer(WIRED, 100.0)
    pacer.answered(pacer.send(100.0), 100.01)
    pacer.profile = replace(WIRED, pulse_interval=7.0)
    assert pacer.next_pulse() == pytest.approx(107.0)
