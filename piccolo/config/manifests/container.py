"""The keys of one container in the native format, and what they mean.

What is unsafe has to be written out: capabilities, privileges from set-user-id programs, devices.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from typing import Annotated

from pydantic import Discriminator, Field, Tag, model_validator

from piccolo.config.fields import Name, raise_problems
from piccolo.config.manifests.base import Manifest, key, one_of
from piccolo.config.manifests.probes import ProbesSpec
from piccolo.config.manifests.values import (
    MAX_ITEMS,
    Capability,
    ContainerPath,
    Cpu,
    DeviceText,
    EnvName,
    HostPath,
    Image,
    Ip,
    Memory,
    Mode,
    PortName,
    PortNumber,
    ProtocolName,
    SecretKeyName,
    UserName,
    VolumeName,
    Words,
)
from piccolo.core.workloads import containers as core


class SecretRef(Manifest):
    secret: Name = key("Name of the secret (piccolo secret set).", ...)
    key: SecretKeyName = key("Which of its values.", ...)

    def made(self) -> core.SecretKey:
        return core.SecretKey(self.secret, self.key)


EnvValue = Annotated[
    Annotated[str, Tag("text")] | Annotated[SecretRef, Tag("a reference")],
    Discriminator(lambda v: "a reference" if isinstance(v, dict) else "text"),
]


class PortSpec(Manifest):
    container_port: PortNumber = key("The port that the program listens on.", ...)
    host_port: PortNumber | None = key("The port of the node that leads to it.")
    protocol: ProtocolName = key("TCP, UDP or SCTP.", core.Protocol.TCP)
    host_ip: Ip | None = key("Only on this address of the node.", alias="hostIP")
    name: PortName | None = key("A name for it.")

    def made(self) -> core.Port:
        return core.Port(
            self.container_port,
            self.host_port or 0,
            self.protocol,
            self.host_ip or "",
            self.name or "",
        )


class MountSpec(Manifest):
    path: ContainerPath = key("Where it appears in the container.", ...)
    host_path: HostPath | None = key("A path of the node.")
    host_path_type: Annotated[core.HostPathType, Field(strict=False)] = key(
        "What must be at hostPath, or is to be made there.", core.HostPathType.ANY
    )
    volume: VolumeName | None = key("A named volume of the node; it outlives the workload.")
    scratch: VolumeName | None = key("Shared by the containers of the workload, gone with it.")
    tmpfs: Memory | None = key("Memory, up to this size.")
    read_only: bool = key("Whether the container may not write there.", False)

    @model_validator(mode="after")
    def _one_source(self) -> MountSpec:
        one_of(self, "host_path", "volume", "scratch", "tmpfs")
        if self.host_path_type and self.host_path is None:
            raise_problems([(("hostPathType",), "only with hostPath", None)])
        return self

    def made(self) -> core.Mount:
        kinds = core.MountKind
        mount = core.Mount(self.path, kinds.TMPFS, read_only=self.read_only, size=self.tmpfs or 0)
        if self.host_path is not None:
            kind, source = kinds.HOST, self.host_path
            return replace(mount, kind=kind, source=source, host_type=self.host_path_type)
        if self.volume is not None:
            return replace(mount, kind=kinds.VOLUME, source=self.volume)
        return replace(mount, kind=kinds.SCRATCH, source=self.scratch) if self.scratch else mount


class FileSpec(Manifest):
    path: ContainerPath = key("Where it appears in the container.", ...)
    content: str | None = key("The text in it.")
    base64: str | None = key("The bytes in it, in base64 (RFC 4648).")
    secret: SecretRef | None = key("The value of a secret as its content.")
    mode: Mode | None = key('Permissions, octal, in quotes; without it "0444", for secrets "0400".')

    @model_validator(mode="after")
    def _one_source(self) -> FileSpec:
        one_of(self, "content", "base64", "secret")
        try:
            base64.b64decode(self.base64 or "", validate=True)
        except (binascii.Error, ValueError):
            raise_problems([(("base64",), "this is not base64 (RFC 4648)", None)])
        return self

    def made(self) -> core.File:
        secret = self.secret.made() if self.secret else None
        mode = self.mode if self.mode is not None else (0o400 if secret else 0o444)
        binary = self.base64 is not None
        return core.File(self.path, self.content or self.base64 or "", binary, secret, mode)


class ReserveSpec(Manifest):
    cpu: Cpu | None = key("Cores.")
    memory: Memory | None = key("Bytes, with a unit such as Mi.")


class ResourcesSpec(Manifest):
    cpu: Cpu | None = key("Cores at most: 2, 0.5, 500m.")
    memory: Memory | None = key("Memory at most: 64Mi, 1Gi.")
    pids: Annotated[int, Field(ge=1, le=1 << 22)] | None = key("Processes and threads at most.")
    reserve: ReserveSpec = key("Set aside by placement; without it the limits are.", ReserveSpec())

    def made(self) -> core.Resources:
        cpu, memory = self.cpu or 0.0, self.memory or 0
        reserved_cpu, reserved_memory = self.reserve.cpu or cpu, self.reserve.memory or memory
        return core.Resources(cpu, memory, self.pids or 0, reserved_cpu, reserved_memory)


class SecuritySpec(Manifest):
    user: UserName | None = key("USER or USER:GROUP, names or numbers, in quotes.")
    read_only_root: bool = key("Whether the image's file system cannot be written.", False)
    capabilities: Annotated[list[Capability], Field(max_length=64)] = key(
        "Those of capabilities(7) that it keeps: without them none.", []
    )
    allow_privilege_escalation: bool = key("Whether set-user-id programs work (unsafe).", False)
    privileged: bool = key("Whether it may do everything to its node (unsafe).", False)

    def made(self) -> core.Security:
        return core.Security(
            user=self.user or "",
            privileged=self.privileged,
            new_privileges=self.allow_privilege_escalation or self.privileged,
            read_only_root=self.read_only_root,
            add=tuple(sorted(set(self.capabilities))),
        )


class ContainerKeys(Manifest):
    """What can be said of a container, wherever it stands."""

    image: Image | None = key("[REGISTRY/]NAME[:TAG][@sha256:…]")
    image_pull_policy: Annotated[core.PullPolicy, Field(strict=False)] = key(
        "When the image is fetched.", core.PullPolicy.IF_NOT_PRESENT
    )
    command: Words = key("Instead of the image's entry point.", [])
    args: Words = key("Instead of the image's arguments.", [])
    working_dir: ContainerPath | None = key("Instead of the image's.")
    env: Annotated[dict[EnvName, EnvValue], Field(max_length=MAX_ITEMS)] = key(
        "Environment variables: text, or {secret: NAME, key: KEY}.", {}
    )
    ports: Annotated[list[PortSpec], Field(max_length=MAX_ITEMS)] = key("Where it listens.", [])
    mounts: Annotated[list[MountSpec], Field(max_length=MAX_ITEMS)] = key("Storage.", [])
    devices: Annotated[list[DeviceText], Field(max_length=MAX_ITEMS)] = key(
        "Devices of the node: PATH[:PATH-IN-CONTAINER[:rwm]].", []
    )
    files: Annotated[list[FileSpec], Field(max_length=MAX_ITEMS)] = key(
        "Files that are put into the container, such as configuration.", []
    )
    resources: ResourcesSpec = key("What it may use.", ResourcesSpec())
    security: SecuritySpec = key("What it may do: by default very little.", SecuritySpec())
    probes: ProbesSpec = key("How to ask it whether it is well.", ProbesSpec())

    def container(self, name: str, stop_signal: str) -> core.Container:
        assert self.image is not None  # checked by the one who has the whole
        return core.Container(
            name=name,
            image=self.image,
            pull=self.image_pull_policy,
            command=tuple(self.command),
            args=tuple(self.args),
            working_dir=self.working_dir or "",
            env={k: v for k, v in self.env.items() if isinstance(v, str)},
            secret_env={k: v.made() for k, v in self.env.items() if isinstance(v, SecretRef)},
            ports=tuple(p.made() for p in self.ports),
            mounts=tuple(m.made() for m in self.mounts),
            devices=tuple(self.devices),
            files=tuple(f.made() for f in self.files),
            resources=self.resources.made(),
            security=self.security.made(),
            probes=self.probes.made(),
            stop_signal=stop_signal,
        )


class NamedContainer(ContainerKeys):
    name: Name = key("Tells the containers of the workload apart.", ...)
    image: Image = key("[REGISTRY/]NAME[:TAG][@sha256:…]", ...)
