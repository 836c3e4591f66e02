"""Pullpiri's documents: a Scenario acts on a Package, a Package places Models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from piccolo.config.manifests.loading import read_all
from piccolo.config.manifests.reading import read
from piccolo.core.workloads.workload import Action, ActionKind, NetworkMode, Placement
from tests.config.manifests.documents import model, notices, package, problems, reading, scenario

HELLO = """\
apiVersion: v1
kind: Scenario
metadata:
  name: hello
spec:
  condition: null
  action: launch
  target: hello
---
apiVersion: v1
kind: Package
metadata:
  label: null
  name: hello
spec:
  pattern:
    - type: plain
  models:
    - name: hello
      node: node1
      resources:
        volume:
        network:
---
apiVersion: v1
kind: Model
metadata:
  name: hello
  annotations:
    io.piccolo.annotations.package-type: hello
spec:
  hostNetwork: true
  restartPolicy: Always
  terminationGracePeriodSeconds: 0
  containers:
    - name: hello
      image: localhost/hello:latest
"""


def test_the_shape_of_the_original() -> None:
    found = reading(HELLO).manifests()
    assert found.actions == (Action("hello", ActionKind.LAUNCH, "hello"),)
    [workload] = found.workloads
    assert workload.package == "hello"
    assert workload.placement == Placement(("node1",))
    assert workload.network.mode is NetworkMode.HOST
    assert workload.stop_grace == 0
    assert workload.held
    assert [n.partition(": ")[2] for n in found.notices] == [
        "document 3, Model hello: metadata.annotations: has no effect: nothing here reads it"
    ]


def test_over_several_files(tmp_path: Path) -> None:
    for number, text in enumerate(HELLO.split("---\n")):
        (tmp_path / f"{number}.yaml").write_text(text)
    found = read(read_all([str(tmp_path)], lambda limit: b"")).manifests()
    assert found.workloads == reading(HELLO).manifests().workloads
    assert found.actions == reading(HELLO).manifests().actions


@pytest.mark.parametrize("action", list(ActionKind))
def test_the_actions(action: ActionKind) -> None:
    found = reading(scenario(action=str(action)), package(), model()).manifests()
    assert found.actions == (Action("s", action, "p"),)
    assert found.notices == ()


def test_a_network_from_the_package() -> None:
    given = {"name": "m", "resources": {"network": "plant"}}
    [workload] = reading(scenario(), package("p", given), model()).manifests().workloads
    assert workload.network.name == "plant"
    [problem] = problems(scenario(), package("p", given), model(hostNetwork=True))
    assert 'spec.hostNetwork: the Package "p" gives it the network "plant"' in problem


def test_what_is_not_given_may_be_in_the_cluster() -> None:
    assert notices(scenario()) == [
        'Scenario s: spec.target: the Package "p" is not in these documents: it must be in the'
        " cluster"
    ]
    assert notices(package(), model()) == [
        "document 1, Package p: it is declared only: a Scenario with action: launch starts it"
    ]
    assert notices(model()) == ["Model m: no Package names this Model: nothing can launch it"]


CONDITION = {"express": "eq", "value": "true", "operands": {"type": "DDS"}}


@pytest.mark.parametrize(
    ("documents", "reason"),
    [
        ([scenario(condition=CONDITION)], "spec.condition: conditions are not evaluated yet"),
        ([scenario(condition="")], "spec.condition: conditions are not evaluated yet"),
        ([scenario(action="lunch")], 'did you mean "launch"?'),
        ([scenario(target="P")], '"p" would do'),
        ([scenario(), package()], 'there is no Model "m" in these documents'),
        (
            [scenario(), package("p", {"name": "mm"}, {"name": "m"}), model()],
            'spec.models[0].name: there is no Model "mm" in these documents; did you mean "m"?',
        ),
        (
            [scenario(), package("p", {"name": "m"}, {"name": "m"}), model()],
            "spec.models[1]: this Model is named already (first on line",
        ),
        (
            [scenario(), package("p"), package("q"), scenario("t", target="q"), model()],
            'the Model "m" is in another Package: f.yaml:',
        ),
        ([package("p", policy="x"), model()], '"policy" is not supported: there are no Policies'),
        ([package("p", models=[]), model()], "too few items"),
        (
            [package("p", {"name": "m", "resources": {"volume": "v"}}), model()],
            "spec.models[0].resources.volume: name it in the Model",
        ),
        (
            [scenario(), scenario("t", action="terminate"), package(), model()],
            'launch and terminate cannot both be done to the Package "p" at once: f.yaml:7:3',
        ),
    ],
)
def test_what_is_refused(documents: list[Any], reason: str) -> None:
    found = problems(*documents)
    assert any(reason in p for p in found), found
    assert len(found) == 1


def test_a_model_with_problems_of_its_own_is_not_said_to_be_missing() -> None:
    [problem] = problems(scenario(), package(), model(restartPolicy="x"))
    assert "restartPolicy" in problem
