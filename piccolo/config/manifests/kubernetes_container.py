"""Kubernetes' Container, as far as it can be kept here (Kubernetes API v1, Container).

The meaning stays Kubernetes': what PICCOLO's own format forbids by default (capabilities,
set-user-id programs) is allowed here by default, as Podman does it (podman-kube-play(1)).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from piccolo.config.document import Path
from piccolo.config.fields import Name, raise_problems
from piccolo.config.manifests.base import Ignored, Manifest, Report, key, only_false
from piccolo.config.manifests.container import PortSpec
from piccolo.config.manifests.kubernetes_probes import ProbeSpec
from piccolo.config.manifests.values import (
    MAX_ITEMS,
    Capability,
    ContainerPath,
    Cpu,
    EnvName,
    Id,
    Image,
    Memory,
    SecretKeyName,
    SignalName,
    VolumeName,
    Words,
)
from piccolo.core.words import show
from piccolo.core.workloads import containers as core


class SecretKeyRef(Manifest):
    REFUSED: ClassVar = {"optional": "the secret and its key must be there"}
    name: Name = key("Name of the secret (piccolo secret set).", ...)
    key: SecretKeyName = key("Which of its values.", ...)


class EnvSource(Manifest):
    REFUSED: ClassVar = {
        "configMapKeyRef": "there are no ConfigMaps: write the value here",
        "fieldRef": "write the value here",
        "resourceFieldRef": "write the value here",
    }
    secret_key_ref: SecretKeyRef | None = key("A value of a secret.")

    @model_validator(mode="after")
    def _from_a_secret(self) -> EnvSource:
        if self.secret_key_ref is None:
            raise_problems([((), '"secretKeyRef" is missing', None)])
        return self


class EnvVar(Manifest):
    name: EnvName = key("Its name.", ...)
    value: str | None = key("Its value.")
    value_from: EnvSource | None = key("Where its value comes from.")

    @model_validator(mode="after")
    def _one_value(self) -> EnvVar:
        if self.value is not None and self.value_from is not None:
            raise_problems([((), 'give either "value" or "valueFrom", not both', None)])
        return self


class VolumeMount(Manifest):
    REFUSED: ClassVar = {
        "mountPropagation": "mounts made later do not appear on the other side",
        "subPathExpr": "write subPath",
        "recursiveReadOnly": "write readOnly",
    }
    name: VolumeName = key("Which of spec.volumes.", ...)
    mount_path: ContainerPath = key("Where it appears in the container.", ...)
    read_only: bool = key("Whether the container may not write there.", False)
    sub_path: str | None = key("Only this path below it; of hostPath volumes.")


class Amounts(Manifest):
    REFUSED: ClassVar = {
        "ephemeral-storage": "disk space is not limited",
        "nvidia.com/gpu": "see devices",
    }
    cpu: Cpu | None = key("Cores: 2, 0.5, 500m.")
    memory: Memory | None = key("Bytes, with a unit such as Mi.")


class ResourceRequirements(Manifest):
    REFUSED: ClassVar = {"claims": "there are no resource claims"}
    limits: Amounts = key("What it may use.", Amounts())
    requests: Amounts = key("What placement sets aside.", Amounts())

    def made(self) -> core.Resources:
        cpu, memory = self.limits.cpu or 0.0, self.limits.memory or 0
        reserved = self.requests.cpu or cpu, self.requests.memory or memory
        return core.Resources(cpu, memory, 0, *reserved)


class Capabilities(Manifest):
    add: Annotated[list[Capability], Field(max_length=64)] = key("Beyond Podman's own.", [])
    drop: Annotated[list[Capability], Field(max_length=64)] = key("Of Podman's own.", [])


class SecurityContext(Manifest):
    REFUSED: ClassVar = {
        "procMount": "/proc is always masked",
        "seLinuxOptions": "Podman's own label is used",
        "windowsOptions": "there is no Windows here",
        "appArmorProfile": "Podman's own profile is used",
    }
    run_as_user: Id | None = key("Number of the user; without it the image's.")
    run_as_group: Id | None = key("Number of the group.")
    run_as_non_root: bool | None = key("True: it must have a runAsUser that is not root.")
    seccomp_profile: Annotated[Any, Ignored("Podman's own profile is used")] = None
    read_only_root_filesystem: bool = key("Whether the image cannot be written.", False)
    privileged: bool = key("Whether it may do everything to its node (unsafe).", False)
    allow_privilege_escalation: bool = key("Whether set-user-id programs work.", True)
    capabilities: Capabilities = key("Of capabilities(7).", Capabilities())

    def made(self, pod_user: str) -> core.Security:
        user = "" if self.run_as_user is None else str(self.run_as_user)
        if self.run_as_group is not None:
            user = f"{user or '0'}:{self.run_as_group}"
        return core.Security(
            user=user or pod_user,
            privileged=self.privileged,
            new_privileges=self.allow_privilege_escalation,
            read_only_root=self.read_only_root_filesystem,
            drop=tuple(sorted(set(self.capabilities.drop))),
            add=tuple(sorted(set(self.capabilities.add))),
        )


class Lifecycle(Manifest):
    REFUSED: ClassVar = {
        "postStart": "start it from the command",
        "preStop": "handle the stop signal",
    }
    stop_signal: SignalName | None = key("Asks the program to end.")


class ContainerSpec(Manifest):
    """One container of a pod."""

    REFUSED: ClassVar = {
        "envFrom": "name the variables in env",
        "volumeDevices": "use a hostPath volume of type CharDevice or BlockDevice",
        "resizePolicy": "a changed container is replaced",
        "restartPolicy": "side-car containers belong into containers",
    }
    name: Name = key("Tells the containers of the pod apart.", ...)
    image: Image = key("[REGISTRY/]NAME[:TAG][@sha256:…]", ...)
    image_pull_policy: Annotated[core.PullPolicy, Field(strict=False)] | None = key(
        "When the image is fetched; without it Always for the tag latest, else IfNotPresent."
    )
    command: Words = key("Instead of the image's entry point.", [])
    args: Words = key("Instead of the image's arguments.", [])
    working_dir: ContainerPath | None = key("Instead of the image's.")
    ports: Annotated[list[PortSpec], Field(max_length=MAX_ITEMS)] = key("Where it listens.", [])
    env: Annotated[list[EnvVar], Field(max_length=MAX_ITEMS)] = key("Environment variables.", [])
    resources: ResourceRequirements = key("What it may use.", ResourceRequirements())
    volume_mounts: Annotated[list[VolumeMount], Field(max_length=MAX_ITEMS)] = key("Storage.", [])
    liveness_probe: ProbeSpec | None = key("Not well: the container is restarted.")
    readiness_probe: ProbeSpec | None = key("Not well: it does not count as healthy.")
    startup_probe: ProbeSpec | None = key("Until it is well, the others wait.")
    security_context: SecurityContext = key("What it may do.", SecurityContext())
    lifecycle: Lifecycle = key("How it is stopped.", Lifecycle())
    stdin: Annotated[bool, only_false("nobody is at the other end")] = key("Must be false.", False)
    tty: Annotated[bool, only_false("nobody is at the other end")] = key("Must be false.", False)
    termination_message_path: Annotated[Any, Ignored("the last lines of its log are kept")] = None
    termination_message_policy: Annotated[Any, Ignored("the last lines of its log are kept")] = None

    def pull(self) -> core.PullPolicy:
        """Kubernetes' default; images of `localhost` cannot be fetched (podman-kube-play(1))."""
        if self.image_pull_policy is not None:
            return self.image_pull_policy
        last = self.image.rpartition("/")[2]
        latest = "@" not in last and last.partition(":")[2] in ("", "latest")
        if latest and not self.image.startswith("localhost/"):
            return core.PullPolicy.ALWAYS
        return core.PullPolicy.IF_NOT_PRESENT

    def made(
        self,
        mounts: tuple[core.Mount, ...],
        user: str,
        path: Path,
        report: Report,
        *,
        not_root: bool,
    ) -> core.Container:
        """`user` and `not_root`: the pod's; `path`: where this is in the document."""
        security = self.security_context.made(user)
        own = self.security_context.run_as_non_root
        if (not_root if own is None else own) and security.user.partition(":")[0] in ("", "0"):
            message = "runAsNonRoot asks for a runAsUser that is not root: the image's is not known"
            report.problem((*path, "securityContext"), message)
        for index, env in enumerate(self.env):
            first = next(i for i, e in enumerate(self.env) if e.name == env.name)
            if first != index:
                here = (*path, "env", index)
                report.problem(here, f"{show(env.name)} is given twice", (*path, "env", first))
        ports = {p.name: p.container_port for p in self.ports if p.name}
        probes = {
            where: spec.made(ports, (*path, f"{where}Probe"), report)
            for where, spec in (
                ("liveness", self.liveness_probe),
                ("readiness", self.readiness_probe),
                ("startup", self.startup_probe),
            )
            if spec is not None
        }
        sources = {e.name: e.value_from.secret_key_ref for e in self.env if e.value_from}
        return core.Container(
            name=self.name,
            image=self.image,
            pull=self.pull(),
            command=tuple(self.command),
            args=tuple(self.args),
            working_dir=self.working_dir or "",
            env={e.name: e.value or "" for e in self.env if e.value_from is None},
            secret_env={k: core.SecretKey(s.name, s.key) for k, s in sources.items() if s},
            ports=tuple(p.made() for p in self.ports),
            mounts=mounts,
            resources=self.resources.made(),
            security=security,
            probes=core.Probes(**probes),
            stop_signal=self.lifecycle.stop_signal or "",
        )
