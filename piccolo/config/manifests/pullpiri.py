"""Pullpiri's documents: a Scenario acts on a Package, a Package places Models, a Model is a pod.

What they mean here: a Model that a Package names is a workload, placed on the node that the Package
says, and held until a Scenario's action launches it. Conditions are not evaluated yet: a Scenario
acts at once, when it is applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from piccolo.config.fields import Labels, Name, reasoned
from piccolo.config.manifests.base import Ignored, Manifest, Report, key
from piccolo.config.manifests.pod import PodSpec
from piccolo.config.manifests.values import MAX_ITEMS, VolumeName
from piccolo.core.errors import InvalidSpec
from piccolo.core.workloads import workload as core


def _no_condition(value: Any) -> Any:
    raise InvalidSpec(
        "conditions are not evaluated yet: write condition: null, and apply the Scenario when it is"
        " to act"
    )


def _no_volume(value: Any) -> Any:
    raise InvalidSpec("name it in the Model: spec.volumes and volumeMounts say where it appears")


class Metadata(Manifest):
    name: Name = key("Lower-case letters, digits and -, at most 63.", ...)
    labels: Labels = key("For selecting.", {})
    label: Annotated[Any, Ignored("write labels")] = None
    annotations: Annotated[Any, Ignored("nothing here reads it")] = None
    namespace: Annotated[Any, Ignored("a cluster is one namespace")] = None


class ScenarioSpec(Manifest):
    condition: Annotated[Any, AfterValidator(reasoned(_no_condition))] = key(
        "When it acts: null, at once.", json_schema_extra={"type": "null"}
    )
    action: Annotated[core.ActionKind, Field(strict=False)] = key("What it does.", ...)
    target: Name = key("The Package that it is done to.", ...)


class Scenario(Manifest):
    """Something to be done to a Package, once."""

    api_version: Literal["v1"] = key("The version of this format.", ...)
    kind: Literal["Scenario"] = key("The kind of this document.", ...)
    metadata: Metadata = key("What it is called.", ...)
    spec: ScenarioSpec = key("What is to be done.", ...)

    def made(self, report: Report) -> core.Action:
        return core.Action(self.metadata.name, self.spec.action, self.spec.target)


class Pattern(Manifest):
    type: Literal["plain"] = key("The only one.", ...)


class ModelResources(Manifest):
    volume: Annotated[Any, AfterValidator(reasoned(_no_volume))] = key(
        "Null: a Model names its volumes itself.", json_schema_extra={"type": "null"}
    )
    network: VolumeName | None = key("Which of Podman's networks; the Model's otherwise.")
    realtime: Annotated[Any, Ignored("real-time schedules are not supported")] = None


class ModelInfo(Manifest):
    name: Name = key("The Model.", ...)
    node: Name | None = key("The node that it runs on; without it any.")
    resources: ModelResources = key("What it is given there.", ModelResources())


class PackageSpec(Manifest):
    REFUSED: ClassVar = {
        "policy": "there are no Policies",
        "schedule": "real-time schedules are not supported",
    }
    pattern: Annotated[list[Pattern], Field(max_length=MAX_ITEMS)] = key("How: plain.", [])
    models: Annotated[list[ModelInfo], Field(min_length=1, max_length=MAX_ITEMS)] = key(
        "What belongs to it, and where each runs.", ...
    )


@dataclass(frozen=True, slots=True)
class Packed:
    """A Package: its name, and what it says of each Model."""

    name: str
    models: tuple[ModelInfo, ...]


class Package(Manifest):
    """Models that belong together, and the nodes they run on."""

    api_version: Literal["v1"] = key("The version of this format.", ...)
    kind: Literal["Package"] = key("The kind of this document.", ...)
    metadata: Metadata = key("What it is called.", ...)
    spec: PackageSpec = key("What belongs to it.", ...)

    def made(self, report: Report) -> Packed:
        seen: dict[str, int] = {}
        for index, model in enumerate(self.spec.models):
            first = seen.setdefault(model.name, index)
            if first != index:
                path = ("spec", "models", index)
                report.problem(path, "this Model is named already", ("spec", "models", first))
        return Packed(self.metadata.name, tuple(self.spec.models))


class Model(Manifest):
    """A pod, in Kubernetes' words."""

    api_version: Literal["v1"] = key("The version of this format.", ...)
    kind: Literal["Model"] = key("The kind of this document.", ...)
    metadata: Metadata = key("What it is called.", ...)
    spec: PodSpec = key("What is to run.", ...)

    def made(self, report: Report) -> core.Workload:
        return self.spec.made(
            self.metadata.name, self.metadata.labels, report, ("spec",), held=True
        )
