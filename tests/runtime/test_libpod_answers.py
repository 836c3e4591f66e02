"""What Podman answers to verbs: as it really said it, and as nobody should say it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piccolo.core.errors import Unavailable
from piccolo.runtime.base import Detail
from piccolo.runtime.podman import libpod_answers
from tests.runtime.recorded import dump
from tests.runtime.spoilt import anything, sound, spoilt

# Of Podman 4.3.1, cut to what matters.
INSPECTION: dict[str, Any] = {
    "Id": "799262baa94c",
    "State": {
        "Status": "exited",
        "ExitCode": 137,
        "OOMKilled": True,
        "Error": "cannot  listen",
        "StartedAt": "2026-11-21T15:55:21.9Z",
        "FinishedAt": "2026-11-21T15:55:22.1+00:00",
    },
    "Config": {"Labels": {"a": "b"}},
    "HostConfig": {"NetworkMode": "bridge"},
    "NetworkSettings": {
        "IPAddress": "",
        "GlobalIPv6Address": "",
        "Networks": {"mine": {"IPAddress": "10.89.0.2", "GlobalIPv6Address": "fd00::2"}},
    },
}


def test_an_inspection() -> None:
    found = libpod_answers.inspection(dump(INSPECTION))
    assert found.detail == Detail(
        id="799262baa94c",
        state="exited",
        exit_code=137,
        oom_killed=True,
        error="cannot listen",
        address="10.89.0.2",
        started_at=datetime(2026, 11, 21, 15, 55, 21, 900_000, UTC),
        finished_at=datetime(2026, 11, 21, 15, 55, 22, 100_000, UTC),
    )
    assert (found.labels, found.network) == ({"a": "b"}, "bridge")


def test_the_file_that_each_start_writes_anew() -> None:
    assert libpod_answers.spec_path(dump(INSPECTION)) == ""
    assert libpod_answers.spec_path(dump({**INSPECTION, "OCIConfigPath": "/a/b"})) == "/a/b"


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({"IPAddress": "10.88.0.2", "Networks": {}}, "10.88.0.2"),
        ({"Networks": {"six": {"IPAddress": "", "GlobalIPv6Address": "fd00::2"}}}, "fd00::2"),
        ({"Networks": None}, ""),
        (None, ""),
    ],
)
def test_addresses(settings: object, address: str) -> None:
    body = dump({**INSPECTION, "NetworkSettings": settings})
    assert libpod_answers.inspection(body).detail.address == address


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        (b"", None),
        (b'{"stream":"Trying to pull a...\\n"}', None),
        (b'{"images":["1a"],"id":"1a"}', ""),
        (b'{"error":"connection refused"}', "connection refused"),
    ],
)
def test_lines_of_a_fetch(line: bytes, meaning: str | None) -> None:
    assert libpod_answers.pulled(line) == meaning


def test_a_command_that_ended_has_no_process() -> None:
    body = {"ExitCode": 3, "Pid": 7, "Running": True}
    assert libpod_answers.command(dump(body)) == (3, 7)
    assert libpod_answers.command(dump({**body, "Running": False})) == (3, 0)


POD = {
    "Id": "f22c",
    "Name": "web.0",
    "Labels": {"a": "b"},
    "InfraContainerID": "c9d5",
    "Containers": [{"Id": "c9d5"}, {"Id": "e556"}],
}
IMAGE = {"Id": "c9a7", "Architecture": "amd64"}


def test_pods_volumes_and_images() -> None:
    assert libpod_answers.pods(dump([POD])) == {"web.0": {"a": "b"}}
    assert libpod_answers.pods(b"null") == {}
    assert libpod_answers.pod(dump(POD)) == ("f22c", {"a": "b"}, "c9d5", ["e556"])
    assert libpod_answers.volumes(dump([{"Name": "v", "Labels": None}])) == ["v"]
    assert libpod_answers.volume_labels(dump({"Name": "v", "Labels": None})) == {}
    assert libpod_answers.image(dump(IMAGE)) == ("c9a7", "amd64")
    assert libpod_answers.made(b'{"Id":"1"}') == "1"


def test_leftovers() -> None:
    """Podman 4.3.1, which had been killed in the midst of a creation."""
    row = {"Names": ["web.0.main"], "Command": ["storage"], "State": "storage", "Labels": None}
    command = {**row, "Names": ["a"], "State": "running"}
    buildah = {**row, "Names": ["b"], "Command": ["buildah"]}
    assert libpod_answers.leftovers(dump([row, command, buildah])) == {"web.0.main"}


@given(
    spoilt(INSPECTION)
    | spoilt([POD])
    | spoilt(IMAGE)
    | anything.map(lambda v: json.dumps(v).encode())
    | st.binary()
)
def test_any_answer_is_understood_or_unavailable(body: bytes) -> None:
    for decode in (
        libpod_answers.inspection,
        libpod_answers.leftovers,
        libpod_answers.made,
        libpod_answers.image,
        libpod_answers.pulled,
        libpod_answers.pods,
        libpod_answers.pod,
        libpod_answers.volumes,
        libpod_answers.volume_labels,
        libpod_answers.command,
    ):
        try:
            sound(repr(decode(body)))
        except Unavailable as error:
            sound(str(error))
