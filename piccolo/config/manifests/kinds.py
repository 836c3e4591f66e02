"""Which model belongs to a document: one table, and what to say of the kinds that are not in it."""

from __future__ import annotations

from typing import Protocol

from pydantic import BaseModel

from piccolo.config.document import Path
from piccolo.config.manifests.base import Report
from piccolo.config.manifests.kubernetes import Deployment, Pod
from piccolo.config.manifests.pullpiri import Model, Package, Packed, Scenario
from piccolo.config.manifests.workload import Workload
from piccolo.core.words import choices, kind, show, suggest
from piccolo.core.workloads.workload import Action
from piccolo.core.workloads.workload import Workload as CoreWorkload

Made = CoreWorkload | Action | Packed


class Kind(Protocol):
    """What the models of whole documents have besides their keys."""

    def made(self, report: Report) -> Made:
        """What the document means."""


KINDS: dict[str, tuple[str, type[BaseModel]]] = {
    "Workload": ("piccolo.io/v1", Workload),
    "Pod": ("v1", Pod),
    "Deployment": ("apps/v1", Deployment),
    "Scenario": ("v1", Scenario),
    "Package": ("v1", Package),
    "Model": ("v1", Model),
}

INSTEAD = {
    "ConfigMap": "write the values into env, or the files into files of a Workload",
    "Secret": "piccolo secret set NAME KEY=VALUE",
    "PersistentVolumeClaim": "a named volume is made where it is first mounted",
    "DaemonSet": "a Workload with onePerNode: true",
    "StatefulSet": "a Workload for each, with volumes",
    "ReplicaSet": "a Deployment, or a Workload with replicas",
    "Job": "a Workload with restart: {policy: Never}",
    "Service": "publish ports by hostPort",
    "Namespace": "a cluster is one namespace",
    "List": "write its items as documents, separated by ---",
    "Volume": "named volumes are made where they are first mounted",
    "Network": "make it on the nodes: podman network create",
    "Policy": "there are no Policies",
    "Schedule": "real-time schedules are not supported",
}


def model_of(value: object) -> type[BaseModel] | tuple[Path, str]:
    """The model for a document, or where and why there is none."""
    if not isinstance(value, dict):
        return (), f"a document must hold keys such as apiVersion and kind, not {kind(value)}"
    name, version = value.get("kind"), value.get("apiVersion")
    if not isinstance(name, str):
        if name is None:
            return (), f'"kind" is missing: write {choices(_written())}'
        return ("kind",), f"must be text, not {kind(name)}"
    if name not in KINDS:
        text = f"{show(name)} is not supported"
        if name in INSTEAD:
            return ("kind",), f"{text}; instead: {INSTEAD[name]}"
        return ("kind",), f"{text}{suggest(name, KINDS) or ':'} there are {', '.join(_written())}"
    wanted, model = KINDS[name]
    if version != wanted:
        found = "" if version is None else f", not {show(version)}"
        path = () if version is None else ("apiVersion",)
        return path, f"for {name} write apiVersion: {wanted}{found}"
    return model


def _written() -> list[str]:
    return [f"{name} ({version})" for name, (version, _) in KINDS.items()]
