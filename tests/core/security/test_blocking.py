"""Blocking: a few failures are free, many are not, and time alone forgives."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piccolo.core.security.blocking import (
    FREE,
    LONGEST,
    MEMORY,
    SOURCES,
    Block,
    Blocklist,
    source_of,
)


def free(blocks: Blocklist, source: str = "a", now: float = 0.0) -> None:
    for _ in range(FREE):
        assert blocks.failed(source, now) is None


def test_the_first_failures_are_free_and_the_next_is_not() -> None:
    blocks = Blocklist()
    free(blocks)
    assert blocks.blocked_for("a", 0.0) == 0
    assert blocks.failed("a", 1.0) == Block("a", 6, 1.0)
    assert blocks.blocked_for("a", 1.25) == 0.75
    assert blocks.blocked_for("a", 2.0) == 0
    assert blocks.blocked_for("b", 1.25) == 0


def test_pauses_double_up_to_a_limit() -> None:
    blocks, now, seconds = Blocklist(), 0.0, []
    free(blocks)
    for _ in range(11):
        block = blocks.failed("a", now)
        assert block is not None
        seconds.append(block.seconds)
        now += block.seconds
    assert seconds == [1, 2, 4, 8, 16, 32, 64, 128, 256, LONGEST, LONGEST]


def test_failures_during_a_block_are_counted_but_do_not_prolong_it() -> None:
    blocks = Blocklist()
    free(blocks)
    blocks.failed("a", 0.0)
    assert all(blocks.failed("a", 0.5) is None for _ in range(100))
    assert blocks.blocked_for("a", 0.5) == 0.5
    assert blocks.failed("a", 1.0) == Block("a", 107, 2.0)


def test_a_failure_now_and_then_is_free_for_ever() -> None:
    blocks = Blocklist()
    assert not any(blocks.failed("a", n * (MEMORY / FREE + 1)) for n in range(100))


def test_a_source_is_forgotten_after_a_while_without_failure() -> None:
    blocks = Blocklist()
    free(blocks)
    blocks.failed("a", 0.0)
    again = MEMORY - 1
    assert blocks.failed("a", again) == Block("a", 7, 2.0)
    free(blocks, now=again + MEMORY)
    assert blocks.failed("a", again + MEMORY) == Block("a", 6, 1.0)


def test_sources_are_bounded_and_the_oldest_unblocked_makes_room() -> None:
    blocks = Blocklist()
    free(blocks, "blocked")
    for _ in range(12):
        blocks.failed("blocked", blocks.blocked_for("blocked", 0.0))
    for n in range(2 * SOURCES):
        blocks.failed(f"s{n}", 1.0)
    assert len(blocks) == SOURCES
    assert blocks.blocked_for("blocked", 1.0) > 0


def test_when_all_are_blocked_the_one_that_is_free_soonest_makes_room() -> None:
    blocks = Blocklist()
    for n in range(SOURCES + 1):
        now = n / SOURCES / 10
        free(blocks, f"s{n}", now)
        assert blocks.failed(f"s{n}", now) is not None
    assert len(blocks) == SOURCES
    assert [n for n in range(SOURCES + 1) if not blocks.blocked_for(f"s{n}", 0.2)] == [0]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 400)), max_size=60))
def test_blocks_never_overlap_and_never_last_too_long(steps: list[tuple[str, float]]) -> None:
    blocks, now = Blocklist(), 0.0
    for source, pause in steps:
        now += pause
        left = blocks.blocked_for(source, now)
        block = blocks.failed(source, now)
        assert block is None or left == 0
        assert blocks.blocked_for(source, now) <= LONGEST
        assert block is None or blocks.blocked_for(source, now) == pytest.approx(block.seconds)


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("10.0.0.2", "10.0.0.2"),
        ("::ffff:10.0.0.2", "10.0.0.2"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("2001:db8:1:2::/64", "2001:db8:1:2::/64"),
        ("?", "?"),
        ("", ""),
    ],
)
def test_what_counts_as_one_source(host: str, source: str) -> None:
    assert source_of(host) == source
    assert source_of(source) == source
