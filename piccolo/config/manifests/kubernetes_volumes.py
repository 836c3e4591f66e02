"""The volumes of Kubernetes' pods, and what their containers mount of them."""

from __future__ import annotations

import posixpath
from collections import Counter
from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from piccolo.config.document import Path
from piccolo.config.manifests.base import Manifest, Report, key, one_of
from piccolo.config.manifests.kubernetes_container import ContainerSpec, VolumeMount
from piccolo.config.manifests.values import Memory, VolumeName
from piccolo.config.paths import check_path
from piccolo.core.errors import InvalidSpec
from piccolo.core.words import show, suggest
from piccolo.core.workloads import containers
from piccolo.core.workloads.workload import Workload

_DEVICES = (containers.HostPathType.CHAR_DEVICE, containers.HostPathType.BLOCK_DEVICE)


class HostPathVolume(Manifest):
    path: Annotated[str, Field(min_length=1, max_length=4096)] = key(
        "A path of the node; without a / the name of a volume, as Podman takes it.", ...
    )
    type: Annotated[containers.HostPathType, Field(strict=False)] = key(
        "What must be there, or is to be made.", containers.HostPathType.ANY
    )


class EmptyDir(Manifest):
    medium: Annotated[str, Field(pattern="^(Memory)?$")] = key('"" or Memory.', "")
    size_limit: Memory | None = key("Of Memory.")


class Claim(Manifest):
    claim_name: VolumeName = key("Name of the volume on the node.", ...)
    read_only: bool = key("Whether it cannot be written.", False)


class Volume(Manifest):
    REFUSED: ClassVar = {
        "configMap": "there are no ConfigMaps: put the files into the image or a hostPath, or use"
        " the native Workload's files",
        "secret": "use env with secretKeyRef, or the native Workload's files",
        "projected": "use the native Workload's files",
        "downwardAPI": "write the values into env",
        "image": "put the files into the container's image",
        "nfs": "mount it on the node, and use hostPath",
        "csi": "mount it on the node, and use hostPath",
    }
    name: VolumeName = key("What volumeMounts call it.", ...)
    host_path: HostPathVolume | None = key("A path of the node.")
    empty_dir: EmptyDir | None = key("Shared by the containers of the pod, gone with it.")
    persistent_volume_claim: Claim | None = key("A named volume of the node.")

    @model_validator(mode="after")
    def _one_source(self) -> Volume:
        one_of(self, "host_path", "empty_dir", "persistent_volume_claim")
        return self


class Volumes:
    """Those of one pod, whose spec is at `path`. Tells `report` what is wrong with their use."""

    def __init__(self, volumes: list[Volume], report: Report, path: Path) -> None:
        self._report = report
        self._path = path
        self._memory: Counter[str] = Counter()  # mounts of each volume in memory
        self._volumes: dict[str, tuple[int, Volume]] = {}
        for index, volume in enumerate(volumes):
            here = (*path, "volumes", index)
            if volume.name in self._volumes:
                first = (*path, "volumes", self._volumes[volume.name][0])
                report.problem(here, f"{show(volume.name)} is another volume's name", first)
            self._volumes.setdefault(volume.name, (index, volume))

    def mounts(self, container: ContainerSpec, path: Path) -> tuple[containers.Mount, ...]:
        """One for each of the container's volumeMounts, in their order."""
        return tuple(
            self._mount(mount, (*path, "volumeMounts", i))
            for i, mount in enumerate(container.volume_mounts)
        )

    def check(self) -> None:
        """Once all is mounted."""
        for name, count in self._memory.items():
            if count > 1:
                self._report.problem(
                    (*self._path, "volumes", self._volumes[name][0]),
                    "memory cannot be shared by containers: leave medium out",
                )

    def _mount(self, mount: VolumeMount, path: Path) -> containers.Mount:
        kinds = containers.MountKind
        made = containers.Mount(mount.mount_path, kinds.TMPFS, read_only=mount.read_only)
        if mount.name not in self._volumes:
            guess = suggest(mount.name, self._volumes)
            self._report.problem(path, f"spec.volumes has no {show(mount.name)}{guess}")
            return made
        index, volume = self._volumes[mount.name]
        host, claim, empty = volume.host_path, volume.persistent_volume_claim, volume.empty_dir
        if host is not None and "/" in host.path:
            source = self._source(host.path, mount, (*self._path, "volumes", index), path)
            return replace(made, kind=kinds.HOST, source=source, host_type=host.type)
        if mount.sub_path:
            self._report.problem(path, '"subPath" is supported for paths of the node only')
        if host is not None:
            return replace(made, kind=kinds.VOLUME, source=host.path)
        if claim is not None:
            read_only = mount.read_only or claim.read_only
            return replace(made, kind=kinds.VOLUME, source=claim.claim_name, read_only=read_only)
        if empty is not None and empty.medium == "Memory":
            self._memory[mount.name] += 1
            return replace(made, size=empty.size_limit or 0)
        return replace(made, kind=kinds.SCRATCH, source=mount.name)

    def _source(self, host: str, mount: VolumeMount, volume: Path, path: Path) -> str:
        try:
            base = check_path(host)
        except InvalidSpec as error:
            self._report.problem((*volume, "hostPath", "path"), str(error))
            return host
        below = posixpath.normpath(mount.sub_path or ".")
        if below.startswith(("/", "../")) or below == "..":
            self._report.problem(path, f"subPath {show(mount.sub_path)} leads out of its volume")
        return posixpath.normpath(posixpath.join(base, below))


def devices_apart(workload: Workload) -> Workload:
    """With devices that were mounted as volumes given to the containers as what they are."""

    def of(container: containers.Container) -> containers.Container:
        found = [m for m in container.mounts if m.host_type in _DEVICES]
        devices = tuple(
            containers.Device(m.source, m.path, "r" if m.read_only else "rwm") for m in found
        )
        mounts = tuple(m for m in container.mounts if m not in found)
        return replace(container, mounts=mounts, devices=devices) if found else container

    return replace(
        workload,
        containers=tuple(map(of, workload.containers)),
        init_containers=tuple(map(of, workload.init_containers)),
    )
