"""YAML and JSON that people write: node.yaml, nodeagent.yaml, manifests, contexts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from piccolo.config.agent import AgentFile
from piccolo.config.document import MAX_ALIAS_EXPANSION, load_documents
from piccolo.config.manifests.reading import read
from piccolo.config.master_file import MasterFile
from piccolo.config.settings import AgentSettings
from piccolo.config.text_file import to_text
from piccolo.config.validation import validate
from piccolo.core.plain import decode, encode
from piccolo.core.workloads.instances import Instance
from piccolo.security import context
from tests.config.test_master import EVERYTHING
from tests.fuzz.inputs import DEEP, any_bytes, any_text, spoilt_bytes, spoilt_text
from tests.fuzz.target import target
from tests.security.test_context import TEXT

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = [path.read_bytes() for path in sorted((ROOT / "examples").glob("*.yaml"))]
AGENT = b"""\
nodeagent:
  master_ip: 10.0.0.1
  grpc_port: 50051
  node_type: sub_node
  name: n1
  labels: {zone: front}
  metrics: {collection_interval: 5}
  system: {hostname: h, platform: Linux, architecture: arm64}
"""
BOMB = (
    b"a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (n, n, b",".join([b"*%c" % (n - 1)] * 10)) for n in b"bcdefghi")
    + b"z: *i\n"
)


def _size(value: object) -> int:
    """Values and characters, shared ones counted as often as they are met."""
    total, open_ = 0, [value]
    while open_:
        found = open_.pop()
        total += 1 + (len(found) if isinstance(found, str) else 0)
        if isinstance(found, Mapping):
            open_ += [*found.keys(), *found.values()]
        elif isinstance(found, list):
            open_ += found
    return total


@target(spoilt_bytes([EVERYTHING.encode(), AGENT, BOMB, *MANIFESTS]) | any_bytes, quick=50)
def yaml(data: bytes) -> None:
    """Any bytes as YAML: values of bounded size, each with its place."""
    for document in load_documents(to_text(data, "a.yaml"), "a.yaml"):
        assert _size(document.value) <= MAX_ALIAS_EXPANSION + 2 * len(data) + 2
        for line, column in document.positions.values():
            assert line >= 1
            assert column >= 1


@target(spoilt_bytes([EVERYTHING.encode()]), quick=15)
def node_yaml(data: bytes) -> None:
    """The master's configuration file."""
    for document in load_documents(to_text(data, "node.yaml"), "node.yaml"):
        validate(MasterFile, document)


@target(spoilt_bytes([AGENT]), quick=15)
def nodeagent_yaml(data: bytes) -> None:
    """The agent's configuration file."""
    for document in load_documents(to_text(data, "nodeagent.yaml"), "nodeagent.yaml"):
        validate(AgentFile, document)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@st.composite
def _misused(draw: st.DrawFn) -> bytes:
    """A manifest in which some values are of another type."""
    value: Any = load_documents(draw(st.sampled_from(MANIFESTS)).decode(), "m")[0].value
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        here = value
        while isinstance(here, dict | list) and here:
            keys = list(here) if isinstance(here, dict) else range(len(here))
            key: Any = draw(st.sampled_from(keys))
            if not isinstance(here[key], dict | list) or draw(st.integers(0, 3)) == 0:
                here[key] = draw(_JSON)
                break
            here = here[key]
    return json.dumps(value).encode()


@target(spoilt_bytes(MANIFESTS) | _misused(), quick=25)
def manifests(data: bytes) -> None:
    """What `piccolo apply` sends: workloads that an agent can read, or problems with places."""
    reading = read([("m.yaml", to_text(data, "m.yaml"))])
    for finding in (*reading.problems, *reading.notices):
        str(finding).encode()
    for workload in reading.manifests().workloads:
        instance = Instance(workload, 0, 1, "hash")
        assert decode(Instance, encode(instance), "it") == instance


@target(
    spoilt_text([TEXT]) | any_text | _JSON.map(json.dumps),
    quick=30,
    found=[
        "[" * DEEP,
        TEXT.replace("masters: [", "masters: " + "[" * DEEP),
        BOMB.decode(),
        TEXT.partition("\n")[0],
    ],
)
def contexts(text: str) -> None:
    """A client's context file; one that is read is written as it was."""
    found = context.parse(text, "context.yaml")
    assert context.parse(context.to_text(found), "context.yaml") == found


_CONTEXT = {line.partition(":")[0] for line in TEXT.splitlines() if line[:1].isalpha()}
_YAML = ["2020-01-01 10:00:00", "2020-01-01", "!!binary aGk=", "!!set {a}", "1.5", "~", "[a, b]"]


@target(
    st.tuples(st.sampled_from(sorted(_CONTEXT)), st.sampled_from(_YAML) | any_text),
    quick=30,
    found=[("name", _YAML[0]), ("not_after", "0001-01-01T00:00:00+14:00")],
)
def edited_contexts(given: tuple[str, str]) -> None:
    """A context in which somebody wrote something else behind a key."""
    key, value = given
    lines = [line for line in TEXT.splitlines() if not line.startswith(f"{key}:")]
    found = context.parse("\n".join([*lines, f"{key}: {value}"]) + "\n", "context.yaml")
    assert context.parse(context.to_text(found), "context.yaml") == found


_SETTINGS = AgentSettings(("10.0.0.1:50051",), "n1", "/data").to_json()


@target(spoilt_text([_SETTINGS]) | _JSON.map(json.dumps))
def handed_over_settings(text: str) -> None:
    """The settings that `piccolo agent` hands to the agent's process."""
    AgentSettings.from_json(text)
