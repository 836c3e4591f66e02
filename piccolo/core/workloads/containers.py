"""What is asked of one container, as immutable values: the smaller part of `workload`.

Values are normalised: seconds, bytes, cores. What is empty is left to the image. The defaults are
the safe side; a document has to ask for anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Protocol(StrEnum):
    TCP = "tcp"
    UDP = "udp"
    SCTP = "sctp"


class PullPolicy(StrEnum):
    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class MountKind(StrEnum):
    HOST = "host"  # a path of the node
    VOLUME = "volume"  # a named volume, which outlives the workload
    SCRATCH = "scratch"  # shared by the containers of the workload, and gone with it
    TMPFS = "tmpfs"  # memory of one container


class HostPathType(StrEnum):
    """What must be at a path of the node (Kubernetes API, HostPathVolumeSource)."""

    ANY = ""
    DIRECTORY_OR_CREATE = "DirectoryOrCreate"
    DIRECTORY = "Directory"
    FILE_OR_CREATE = "FileOrCreate"
    FILE = "File"
    SOCKET = "Socket"
    CHAR_DEVICE = "CharDevice"
    BLOCK_DEVICE = "BlockDevice"


@dataclass(frozen=True, slots=True)
class SecretKey:
    """One value of a secret, by name: never the value itself."""

    secret: str
    key: str


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a container listens on; published on its node where `host_port` is not 0."""

    container_port: int
    host_port: int = 0
    protocol: Protocol = Protocol.TCP
    host_ip: str = ""  # empty: all addresses of the node
    name: str = ""


@dataclass(frozen=True, slots=True)
class Mount:
    path: str  # in the container
    kind: MountKind
    source: str = ""  # path on the node, or name of the volume
    host_type: HostPathType = HostPathType.ANY
    read_only: bool = False
    size: int = 0  # bytes, of a tmpfs; 0: no limit of its own


@dataclass(frozen=True, slots=True)
class Device:
    source: str  # on the node
    path: str  # in the container
    permissions: str = "rwm"  # of read, write, mknod


@dataclass(frozen=True, slots=True)
class File:
    """A file that is put into a container; from `secret`, or else `content`."""

    path: str
    content: str = ""  # text, or base64 (RFC 4648) of bytes
    base64: bool = False
    secret: SecretKey | None = None
    mode: int = 0o444


@dataclass(frozen=True, slots=True)
class Resources:
    """What a container may use, and what placement sets aside for it; 0: no limit, nothing."""

    cpu: float = 0.0  # cores
    memory: int = 0  # bytes
    pids: int = 0
    reserved_cpu: float = 0.0
    reserved_memory: int = 0


@dataclass(frozen=True, slots=True)
class Security:
    """The safe side; a document has to ask for anything else."""

    user: str = ""  # USER[:GROUP], names or numbers; empty: the image's
    privileged: bool = False
    new_privileges: bool = False  # by set-user-id programs (prctl(2), PR_SET_NO_NEW_PRIVS)
    read_only_root: bool = False
    drop: tuple[str, ...] = ("ALL",)  # capabilities(7), without CAP_
    add: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """Well: an answer from 200 to 399."""

    port: int
    path: str = "/"
    host: str = ""  # empty: the workload's address
    tls: bool = False  # the certificate is not verified
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """Well: the connection is accepted."""

    port: int
    host: str = ""


@dataclass(frozen=True, slots=True)
class ExecCheck:
    """Well: exit code 0 of a command in the container."""

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """Asks again and again whether a container is well: exactly one of the checks."""

    http: HttpCheck | None = None
    tcp: TcpCheck | None = None
    exec: ExecCheck | None = None
    delay: float = 0.0  # s, before the first
    interval: float = 10.0  # s
    timeout: float = 3.0  # s; Podman alone may take one for a command, on a busy machine
    failures: int = 3  # in a row, until it is not well
    successes: int = 1  # in a row, until it is well again


@dataclass(frozen=True, slots=True)
class Probes:
    liveness: Probe | None = None  # not well: it is restarted
    readiness: Probe | None = None  # not well: it does not count as healthy
    startup: Probe | None = None  # until it is well, the others wait


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a workload. Empty: the image decides."""

    name: str
    image: str
    pull: PullPolicy = PullPolicy.IF_NOT_PRESENT
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, SecretKey] = field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    files: tuple[File, ...] = ()
    resources: Resources = field(default_factory=Resources)
    security: Security = field(default_factory=Security)
    probes: Probes = field(default_factory=Probes)
    stop_signal: str = ""  # e.g. SIGTERM
