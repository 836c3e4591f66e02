"""`docs/configuration.md` is kept true by the models it describes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from piccolo.config.agent import AgentFile, resolve_agent_settings
from piccolo.config.document import load_documents
from piccolo.config.master import resolve_master_settings
from piccolo.config.master_file import MasterFile
from piccolo.config.validation import validate

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
MASTER, AGENT = PAGE.split("## `nodeagent.yaml`: the agent")


def keys(annotation: Any, prefix: str = "") -> Iterator[str]:
    """Every key that ends in a value, as the page writes it."""
    models = [a for a in (annotation, *get_args(annotation)) if is_model(a)]
    for model in models:
        for name, field in model.model_fields.items():
            path = f"{prefix}{name}"
            inner = [a for a in (field.annotation, *get_args(field.annotation)) if is_model(a)]
            if not inner:
                yield path
            elif inner[0] is field.annotation:
                yield from keys(field.annotation, f"{path}.")
            else:
                yield path
                yield from keys(inner[0], f"{path}[].")


def is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


@pytest.mark.parametrize(("model", "text"), [(MasterFile, MASTER), (AgentFile, AGENT)])
def test_the_example_is_valid(model: type[BaseModel], text: str) -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    validate(model, load_documents(example, "example")[0])


@pytest.mark.parametrize(
    ("model", "prefix", "text"), [(MasterFile, "", MASTER), (AgentFile, "nodeagent.", AGENT)]
)
def test_the_tables_have_exactly_the_keys(model: type, prefix: str, text: str) -> None:
    documented = re.findall(r"^\| `([a-z_.\[\]]+)` \|", text, re.MULTILINE)
    assert sorted(documented) == sorted(k.removeprefix(prefix) for k in keys(model))


def defaults(text: str) -> list[tuple[str, str]]:
    row = r"^\| `([a-z_.]+)` \| (?:[^|]|\\\|)* \| `([^`]+)` \|"
    return [(k, v) for k, v in re.findall(row, text, re.MULTILINE) if k != "data_dir"]


def nested(path: str, value: str) -> str:
    steps = path.split(".")
    lines = [f"{'  ' * i}{step}:" for i, step in enumerate(steps)]
    return "\n".join(lines) + f" {value}\n"


@pytest.mark.parametrize(("key", "default"), defaults(MASTER))
def test_the_defaults_of_the_master_are_true(tmp_path: Path, key: str, default: str) -> None:
    """Giving the default as the page writes it is the same as giving nothing."""
    file = tmp_path / "node.yaml"
    found = []
    for text in ("nodes: []\n", nested(key, default)):
        file.write_text(text)
        found.append(resolve_master_settings(file, {}, {}, root=True))
    assert found[0] == found[1]


@pytest.mark.parametrize(("key", "default"), defaults(AGENT))
def test_the_defaults_of_the_agent_are_true(tmp_path: Path, key: str, default: str) -> None:
    file = tmp_path / "nodeagent.yaml"
    file.write_text(nested(f"nodeagent.{key}", default))
    flags = {"masters": ["a"]}
    given, plain = (
        resolve_agent_settings(f, {}, flags, hostname="h", root=True) for f in (file, None)
    )
    assert given == plain


def test_enough_defaults_were_found() -> None:
    assert len(defaults(MASTER)) >= 12
    assert len(defaults(AGENT)) >= 7


def test_the_default_data_directories_are_true() -> None:
    master, _ = resolve_master_settings(None, {}, {}, root=True)
    agent, _ = resolve_agent_settings(None, {}, {"masters": ["a"]}, hostname="h", root=True)
    assert f"| `{master.data_dir}` |" in MASTER
    assert f"| `{agent.data_dir}` |" in AGENT
