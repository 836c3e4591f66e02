from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piccolo.config.settings import AgentSettings, MasterSettings
from piccolo.core.errors import InvalidSpec
from piccolo.core.model import NodeRole, NodeType

ROOT = Path(__file__).parents[2]

FULL = AgentSettings(
    masters=("10.0.0.1:50051", "[::1]:50051"),
    name="edge-1",
    data_dir="/var/lib/piccolo",
    role=NodeRole.MASTER,
    type=NodeType.CLOUD,
    link="cellular",
    labels={"zone": "앞", "empty": ""},
    podman_socket="/run/podman/podman.sock",
    collection_interval=2.5,
    log_level="debug",
    log_format="json",
)


def test_json_round_trip() -> None:
    for settings in (FULL, AgentSettings(("a:1",), "n", "/d")):
        again = AgentSettings.from_json(settings.to_json())
        assert again == settings
        assert type(again.role) is NodeRole
        assert type(again.type) is NodeType
        assert type(again.masters) is tuple


@given(st.lists(st.text()), st.text(), st.dictionaries(st.text(), st.text()), st.none() | st.text())
def test_any_text_survives_the_json(
    masters: list[str], name: str, labels: dict[str, str], sock: str | None
) -> None:
    settings = AgentSettings(tuple(masters), name, "/", labels=labels, podman_socket=sock)
    assert AgentSettings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    "text",
    ["", "null", "3", "[]", "{}", "{", "[" * 100_000,
     json.dumps(json.loads(FULL.to_json()) | {"more": 1}),
     json.dumps(json.loads(FULL.to_json()) | {"role": "king"}),
     json.dumps(json.loads(FULL.to_json()) | {"masters": 3})],
)  # fmt: skip
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec, match="not the settings of an agent of this version"):
        AgentSettings.from_json(text)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.name = "x"  # type: ignore[misc]


def test_a_password_in_the_store_is_not_shown() -> None:
    assert "hunter2" not in repr(MasterSettings("/d", store="etcd://root:hunter2@h"))


@pytest.mark.parametrize("module", ["piccolo.config", "piccolo.config.settings",
                                    "piccolo.core.address"])  # fmt: skip
def test_the_lean_part_imports_neither_pydantic_nor_yaml(module: str) -> None:
    code = f"import {module}, sys; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {m.partition(".")[0] for m in done.stdout.split()}
    assert "piccolo" in loaded
    assert not loaded & {"pydantic", "pydantic_core", "yaml", "typer", "asyncio", "socket"}
    if module == "piccolo.config":
        inside = {m for m in done.stdout.split() if m.startswith("piccolo")}
        assert inside == {"piccolo", "piccolo.config"}
