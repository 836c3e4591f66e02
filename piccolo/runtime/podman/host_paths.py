"""What a container needs of its node: that paths are there, and are what they are said to be.

Podman would find out too, for some of them, in words that nobody understands. Follows Kubernetes
(HostPathVolumeSource); what is to be created is created here, before the container.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from piccolo.core.workloads.containers import HostPathType, MountKind
from piccolo.runtime.base import ContainerRequest, Refusal, Refused

_KINDS: dict[HostPathType, tuple[str, Callable[[int], bool]]] = {
    HostPathType.DIRECTORY_OR_CREATE: ("directory", stat.S_ISDIR),
    HostPathType.DIRECTORY: ("directory", stat.S_ISDIR),
    HostPathType.FILE_OR_CREATE: ("file", stat.S_ISREG),
    HostPathType.FILE: ("file", stat.S_ISREG),
    HostPathType.SOCKET: ("socket", stat.S_ISSOCK),
    HostPathType.CHAR_DEVICE: ("character device", stat.S_ISCHR),
    HostPathType.BLOCK_DEVICE: ("block device", stat.S_ISBLK),
}


def needed(request: ContainerRequest) -> list[tuple[str, HostPathType]]:
    """The paths of the node that are mounted."""
    mounts = [(m.source, m.host_type) for m in request.container.mounts if m.kind is MountKind.HOST]
    return [*mounts, *((bind.source, HostPathType.ANY) for bind in request.binds)]


def prepare(paths: Sequence[tuple[str, HostPathType]], devices: Sequence[str] = ()) -> None:
    """Create what is to be created. Raises `Refused` for what is not as it has to be.

    Blocks as long as a file system does: not for the loop of events.
    """
    for device in devices:
        if not os.path.exists(device):
            raise Refused(
                Refusal.MOUNT_MISSING,
                f"device {device} is not there; connect it to this node, or load its driver",
            )
    for path, kind in paths:
        try:
            _prepare(Path(path), kind)
        except OSError as error:
            raise Refused(
                Refusal.MOUNT_MISSING,
                f"{path} cannot be mounted from this node: {error.strerror or error};"
                " make it there, or mount something else",
            ) from error


def _prepare(path: Path, kind: HostPathType) -> None:
    if not path.exists():
        if kind is HostPathType.DIRECTORY_OR_CREATE:
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        elif kind is HostPathType.FILE_OR_CREATE:
            path.touch(mode=0o644)
    mode = path.stat().st_mode
    if kind in _KINDS:
        word, is_so = _KINDS[kind]
        if not is_so(mode):
            raise Refused(
                Refusal.MOUNT_MISSING,
                f"{path} of this node is not a {word}: see what is there, or mount something else",
            )
