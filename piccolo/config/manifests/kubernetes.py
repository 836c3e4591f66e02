"""Kubernetes' Pod and Deployment, as far as `podman kube play` understands them → a workload.

What is not understood is refused with the reason (`REFUSED`), never dropped in silence; what makes
no difference here is taken with a notice (`Ignored`). Source: podman-kube-play(1) of Podman 4.3,
and the Kubernetes API v1 and apps/v1.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from piccolo.config.fields import Labels, Name, raise_problems
from piccolo.config.manifests.base import Ignored, Manifest, Report, key, only_false
from piccolo.config.manifests.pod import PodSpec
from piccolo.config.manifests.values import CountOrPart
from piccolo.config.manifests.workload import MAX_REPLICAS
from piccolo.core.workloads import workload as core

_TOLD = Ignored("the cluster keeps its own")
_NO_USE = Ignored("nothing here reads it")


class ObjectMeta(Manifest):
    REFUSED: ClassVar = {"generateName": "write a name", "finalizers": "there are none"}
    name: Name = key("Lower-case letters, digits and -, at most 63.", ...)
    labels: Labels = key("For selecting.", {})
    namespace: Annotated[Any, Ignored("a cluster is one namespace")] = None
    annotations: Annotated[Any, _NO_USE] = None
    creation_timestamp: Annotated[Any, _TOLD] = None
    generation: Annotated[Any, _TOLD] = None
    managed_fields: Annotated[Any, _TOLD] = None
    resource_version: Annotated[Any, _TOLD] = None
    uid: Annotated[Any, _TOLD] = None


class Pod(Manifest):
    """A pod: containers that belong together, once."""

    api_version: Literal["v1"] = key("The version of this format.", ...)
    kind: Literal["Pod"] = key("The kind of this document.", ...)
    metadata: ObjectMeta = key("What it is called.", ...)
    spec: PodSpec = key("What is to run.", ...)
    status: Annotated[Any, _TOLD] = None

    def made(self, report: Report) -> core.Workload:
        """What is meant; `report` gets what is wrong beyond single keys."""
        return self.spec.made(self.metadata.name, self.metadata.labels, report, ("spec",))


class TemplateMeta(Manifest):
    name: Annotated[Any, Ignored("the Deployment's name counts")] = None
    labels: Labels = key("For selecting.", {})
    annotations: Annotated[Any, _NO_USE] = None
    namespace: Annotated[Any, Ignored("a cluster is one namespace")] = None
    creation_timestamp: Annotated[Any, _TOLD] = None


class Template(Manifest):
    metadata: TemplateMeta = key("Labels of the pods.", TemplateMeta())
    spec: PodSpec = key("What is to run.", ...)


class Selector(Manifest):
    REFUSED: ClassVar = {"matchExpressions": "use matchLabels"}
    match_labels: Labels = key("Must be among the template's labels.", ...)


class RollingUpdate(Manifest):
    max_unavailable: CountOrPart | None = key("How many may be away at a time, or which part.")
    max_surge: Annotated[Any, Ignored("no more copies are started than are asked for")] = None


class Strategy(Manifest):
    type: Literal["RollingUpdate", "Recreate"] = key("How a new version comes in.", "RollingUpdate")
    rolling_update: RollingUpdate = key("Of the type RollingUpdate.", RollingUpdate())


class DeploymentSpec(Manifest):
    replicas: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = key("How many.", 1)
    selector: Selector = key("Must select the template's pods.", ...)
    template: Template = key("What is to run.", ...)
    strategy: Strategy = key("How a new version comes in.", Strategy())
    min_ready_seconds: Annotated[int, Field(ge=0, le=86400)] = key("To count as well.", 0)
    progress_deadline_seconds: Annotated[int, Field(ge=1, le=86400)] = key("To be well.", 600)
    revision_history_limit: Annotated[Any, Ignored("the master's own limit counts")] = None
    paused: Annotated[bool, only_false("it would be kept and not run")] = key(
        "Must be false.", False
    )

    @model_validator(mode="after")
    def _selector_selects(self) -> DeploymentSpec:
        labels = self.template.metadata.labels
        wrong = [k for k, v in self.selector.match_labels.items() if labels.get(k) != v]
        message = "the template has no such label"
        raise_problems([(("selector", "matchLabels", k), message, None) for k in wrong])
        if self.template.spec.restart_policy is not core.RestartPolicy.ALWAYS:
            message = "a Deployment runs for ever: Always is the only policy"
            raise_problems([(("template", "spec", "restartPolicy"), message, None)])
        return self

    def unavailable(self) -> int:
        """At least one: nothing could ever be replaced without more copies."""
        wanted = self.strategy.rolling_update.max_unavailable
        if isinstance(wanted, str):
            wanted = self.replicas * int(wanted.removesuffix("%")) // 100
        return max(1, wanted or 1)


class Deployment(Manifest):
    """Copies of a pod, which are started elsewhere when their node is lost."""

    api_version: Literal["apps/v1"] = key("The version of this format.", ...)
    kind: Literal["Deployment"] = key("The kind of this document.", ...)
    metadata: ObjectMeta = key("What it is called.", ...)
    spec: DeploymentSpec = key("What is to run, and how often.", ...)
    status: Annotated[Any, _TOLD] = None

    def made(self, report: Report) -> core.Workload:
        """What is meant; `report` gets what is wrong beyond single keys."""
        spec = self.spec
        rolling = spec.strategy.type == "RollingUpdate"
        return spec.template.spec.made(
            self.metadata.name,
            {**spec.template.metadata.labels, **self.metadata.labels},
            report,
            ("spec", "template", "spec"),
            replicas=spec.replicas,
            update=core.Update(
                core.UpdateStrategy.ROLLING if rolling else core.UpdateStrategy.RECREATE,
                max_unavailable=spec.unavailable(),
                min_ready=float(spec.min_ready_seconds),
                deadline=float(spec.progress_deadline_seconds),
            ),
            on_node_loss=core.NodeLoss(core.OnNodeLoss.RELOCATE),
        )
