"""The JSON Schemas say what the models say, and the examples fit both."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from piccolo.config.document import load_documents
from piccolo.config.manifests.kinds import KINDS
from piccolo.config.manifests.loading import read_all
from piccolo.config.manifests.reading import read
from piccolo.config.manifests.schema import schema_of as made
from piccolo.core.errors import NotFound
from tests.config.manifests.documents import model, native, package, pod, scenario
from tests.config.manifests.schema_check import errors
from tests.config.manifests.test_kubernetes import CONTAINER, POD
from tests.config.manifests.test_native import EVERYTHING
from tests.config.manifests.test_pullpiri import HELLO

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
PAGE = (ROOT / "docs" / "workloads.md").read_text()
IN_PAGE = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
schema_of = functools.cache(made)  # each takes 0.1 s


def misfits(value: Any, kind: str | None = None) -> list[str]:
    schema = schema_of(kind)
    return list(errors(schema, value, schema))


def documents(text: str) -> list[Any]:
    return [d.value for d in load_documents(text, "example")]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5
    assert len(IN_PAGE) >= 3
    kinds = {d["kind"] for path in EXAMPLES for d in documents(path.read_text())}
    assert kinds == KINDS.keys()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_each_example_is_valid_by_itself(path: Path) -> None:
    found = read(read_all([str(path)], lambda limit: b""))
    assert found.problems == found.notices == []


def test_all_examples_are_valid_together() -> None:
    assert read(read_all([str(ROOT / "examples")], lambda limit: b"")).problems == []


@pytest.mark.parametrize("text", IN_PAGE)
def test_what_the_page_shows_is_valid(text: str) -> None:
    assert read([("page", text)]).problems == []
    for value in documents(text):
        assert misfits(value) == []


GOOD = [
    *(d for path in EXAMPLES for d in documents(path.read_text())),
    *documents(HELLO),
    native(**EVERYTHING),
    native(ports=None, env=None, restart=None),
    pod(container=CONTAINER, **POD),
]


@pytest.mark.parametrize("value", GOOD, ids=lambda v: f"{v['kind']}-{v['metadata']['name']}")
def test_what_is_valid_fits_its_schema_and_that_of_all(value: Any) -> None:
    assert misfits(value, value["kind"]) == []
    assert misfits(value) == []


@pytest.mark.parametrize(
    "value",
    [
        native(imagee="x"),
        native(replicas=-1),
        native(replicas="2"),
        native(env={"A": 5}),
        native(ports=[{"containerPort": 70000}]),
        native(stop={"grace": "soon"}),
        native(resources={"memory": "64MB/s"}),
        native(mounts=[{"volume": "a"}]),
        native(restart={"policy": "always"}),
        pod(affinity={}),
        pod(container={"livenessProbe": {"httpGet": {"port": 0}}}),
        scenario(condition={"express": "eq"}),
        scenario(action="lunch"),
        package(models=[]),
        {**model(), "metadata": {}},
    ],
)
def test_what_the_models_refuse_is_refused(value: Any) -> None:
    assert misfits(value, value["kind"]) != []
    assert misfits(value) != []


def test_of_all_there_must_be_a_known_kind() -> None:
    assert misfits({"apiVersion": "v1", "kind": "Podd"}) != []
    assert misfits({}) != []


def keys(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {}).items()
        for inner in schema.values():
            yield from keys(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from keys(inner)


@pytest.mark.parametrize("kind", KINDS)
def test_each_key_has_a_description(kind: str) -> None:
    found = dict(keys(schema_of(kind)))
    assert len(found) > 5
    assert [name for name, schema in found.items() if not schema.get("description")] == []
    assert schema_of(kind)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_name_of_a_kind_in_any_case() -> None:
    assert schema_of("workload") == schema_of("Workload")
    with pytest.raises(NotFound, match=r'no kind "workloads"; did you mean "Workload"\? there are'):
        schema_of("workloads")
