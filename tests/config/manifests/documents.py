"""Documents for tests, and what reading them says."""

from __future__ import annotations

from typing import Any

import yaml

from piccolo.config.manifests.reading import Reading, read
from piccolo.core.workloads.workload import Workload


def reading(*documents: object, source: str = "f.yaml") -> Reading:
    """Of one file; documents are texts, or values to be written."""
    texts = [d if isinstance(d, str) else yaml.safe_dump(d, sort_keys=False) for d in documents]
    return read([(source, "---\n".join(texts))])


def one(document: object) -> Workload:
    """The only workload of a document without problems."""
    [workload] = reading(document).manifests().workloads
    return workload


def problems(*documents: object) -> list[str]:
    """Without their places."""
    return [p.message for p in reading(*documents).problems]


def notices(*documents: object) -> list[str]:
    found = reading(*documents)
    assert found.problems == []
    return [n.message for n in found.notices]


def native(name: str = "web", **spec: Any) -> dict[str, Any]:
    kind = {"apiVersion": "piccolo.io/v1", "kind": "Workload"}
    given = spec if "containers" in spec else {"image": "nginx", **spec}
    return {**kind, "metadata": {"name": name}, "spec": given}


def pod(name: str = "web", *, container: dict[str, Any] | None = None, **spec: Any) -> Any:
    containers = [{"name": "c", "image": "nginx:1", **(container or {})}]
    spec = {"containers": containers, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def deployment(name: str = "web", pod_spec: dict[str, Any] | None = None, **spec: Any) -> Any:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {**pod()["spec"], **(pod_spec or {})}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


def scenario(name: str = "s", **spec: Any) -> Any:
    spec = {"condition": None, "action": "launch", "target": "p", **spec}
    return {"apiVersion": "v1", "kind": "Scenario", "metadata": {"name": name}, "spec": spec}


def package(name: str = "p", *models: Any, **spec: Any) -> Any:
    spec = {"pattern": [{"type": "plain"}], "models": list(models) or [{"name": "m"}], **spec}
    return {"apiVersion": "v1", "kind": "Package", "metadata": {"name": name}, "spec": spec}


def model(name: str = "m", **spec: Any) -> Any:
    return {**pod(name, **spec), "kind": "Model"}
