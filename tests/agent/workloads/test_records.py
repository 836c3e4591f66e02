"""The record that keeps a job from being run twice."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from piccolo.agent.workloads import records
from piccolo.core.pods.restarts import End, Record

RECORD = Record("h", ("main",), {"main": End(1, "Crashed", "ended with exit code 1")})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


def test_what_was_saved_is_loaded(directory: Path) -> None:
    assert records.load(directory) == Record()
    records.save(directory, RECORD)
    assert records.load(directory) == RECORD
    assert (directory / "record.json").stat().st_mode & 0o777 == 0o600
    records.remove(directory)
    records.remove(directory)
    assert list(directory.iterdir()) == []


def test_a_save_that_was_cut_short_leaves_the_old_one(directory: Path) -> None:
    records.save(directory, RECORD)
    (directory / "record.json.new").write_text('{"hash')
    assert records.load(directory) == RECORD
    records.save(directory, Record("h2"))
    assert records.load(directory) == Record("h2")


def test_a_damaged_one_is_told_and_counts_as_empty(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records.save(directory, RECORD)
    (directory / "record.json").write_text("{")
    with caplog.at_level(logging.ERROR):
        assert records.load(directory) == Record()
    assert "record.json" in caplog.text
