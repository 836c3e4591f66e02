"""`piccolo status`: what it says of workloads."""

from __future__ import annotations

import json

import pytest

from piccolo.cli.options import Output
from piccolo.cli.show.status import show_status
from piccolo.rpc import wire
from tests.cli.workloads.served import failed


def shown(
    capsys: pytest.CaptureFixture[str],
    total: int,
    *troubled: wire.Workload,
    output: Output = Output.TABLE,
) -> str:
    cluster = wire.ClusterInfo(name="car", master_version="1")
    reply = wire.GetClusterStatusResponse(
        cluster=cluster, workloads_total=total, workloads_in_trouble=list(troubled)
    )
    show_status(reply, output)
    return capsys.readouterr().out


def test_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\nworkloads: 17 of 17 as asked or on the way\n" in shown(capsys, 17)


def test_a_cluster_without_workloads(capsys: pytest.CaptureFixture[str]) -> None:
    assert "workloads" not in shown(capsys, 0)


def test_what_is_in_trouble_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    many = [failed(f"w{n}", message="no image\x1b[2J") for n in range(7)]
    lines = shown(capsys, 17, *many).splitlines()
    begin = lines.index("workloads: 10 of 17 as asked or on the way")
    assert lines[begin + 1] == "  w0: Failed, 0/1 ready: no image�[2J"
    assert lines[begin + 5].startswith("  w4: ")
    assert lines[begin + 6] == "  and 2 more: piccolo get workloads -l .failed=true"


def test_a_rebuild_says_for_whom_it_waits(capsys: pytest.CaptureFixture[str]) -> None:
    text = "rebuilding from the backup of 2026-05-01 12:00:00 UTC: waiting for n2, 70 s at most"
    reply = wire.GetClusterStatusResponse(rebuilding=text)
    show_status(reply, Output.TABLE)
    assert f"\n{text}\n" in capsys.readouterr().out
    show_status(reply, Output.JSON)
    assert json.loads(capsys.readouterr().out)["master"]["rebuilding"] == text


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(shown(capsys, 3, failed("db"), output=Output.JSON))["workloads"]
    assert found["total"] == 3
    [db] = found["inTrouble"]
    assert (db["name"], db["state"], db["reason"]) == ("db", "Failed", "ImageMissing")
    assert "instances" not in db
