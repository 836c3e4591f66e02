"""The kinds of values that documents hold, each with its part of the JSON Schema."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import GroupedMetadata
from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, WithJsonSchema

from piccolo.config.fields import between, reasoned
from piccolo.config.manifests.quantities import CPU, MEMORY, parse_cpu, parse_memory
from piccolo.config.paths import check_path
from piccolo.core.address import parse_ip
from piccolo.core.errors import InvalidSpec
from piccolo.core.words import kind, show, suggest
from piccolo.core.workloads.containers import Device, Protocol

MAX_ITEMS = 256  # of any list or mapping in a container
DAY = 86400.0


def matching(pattern: str, what: str, *, longest: int = 253) -> AfterValidator:
    """Text of a form; `what` completes the sentence "… is not"."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if len(text) > longest:
            raise InvalidSpec(f"{show(text)} is too long: at most {longest} characters")
        if not compiled.fullmatch(text):
            raise InvalidSpec(f"{show(text)} is not {what}")
        return text

    return AfterValidator(reasoned(check))


def _words(parse: Callable[[str], Any]) -> BeforeValidator:
    def check(value: object) -> Any:
        if not isinstance(value, str):
            thing = show(value) if isinstance(value, int | float) else kind(value)
            raise InvalidSpec(f"must be text, not {thing}")
        return parse(value)

    return BeforeValidator(reasoned(check))


_REPOSITORY = r"[a-z0-9]+(?:[._-]{1,8}[a-z0-9]+)*"
_IMAGE = (
    r"(?:[A-Za-z0-9](?:[-A-Za-z0-9.]{0,252}[A-Za-z0-9])?(?::[0-9]{1,5})?/)?"
    rf"{_REPOSITORY}(?:/{_REPOSITORY})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_CAPABILITIES = re.findall(
    "[A-Z_]+",
    """AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN
DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN
MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP
SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO
SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM ALL""",
)


def _capability(text: str) -> str:
    name = text.upper().removeprefix("CAP_")
    if name not in _CAPABILITIES:
        raise InvalidSpec(
            f"{show(text)} is not a capability of capabilities(7){suggest(name, _CAPABILITIES)}"
        )
    return name


def _signal(text: str) -> str:
    name = "SIG" + text.upper().removeprefix("SIG")
    known = [s.name for s in signal.Signals]
    if name not in known and not re.fullmatch(r"SIGRTMIN\+[0-9]{1,2}", name):
        raise InvalidSpec(f"{show(text)} is not a signal of signal(7){suggest(name, known)}")
    return name


def _device(text: str) -> Device:
    source, *rest = text.split(":")
    permissions = rest.pop() if rest and not rest[-1].startswith("/") else "rwm"
    path = rest.pop() if rest else source
    if rest or not re.fullmatch(r"r?w?m?", permissions) or not permissions:
        raise InvalidSpec(
            f"{show(text)} is not a device: write PATH, PATH:PATH-IN-CONTAINER or"
            " PATH:PATH-IN-CONTAINER:rwm"
        )
    return Device(check_path(source), check_path(path), permissions)


def _mode(text: str) -> int:
    if not re.fullmatch(r"[0-7]{3,4}", text):
        raise InvalidSpec(f'{show(text)} is not a mode: write octal digits, such as "0644"')
    return int(text, 8)


def _container_path(text: str) -> str:
    if (path := check_path(text)) == "/":
        raise InvalidSpec('"/" is the whole container: name a path below it')
    return path


def _port(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535:
        return value
    thing = show(value) if isinstance(value, int | float | str) else kind(value)
    raise InvalidSpec(f"{thing} is not a port: write a number from 1 to 65535")


def _schema(*types: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema(types[0] if len(types) == 1 else {"anyOf": list(types)})


@dataclass(frozen=True, slots=True)
class Duration(GroupedMetadata):
    """Seconds within bounds, written as `config.units` takes them."""

    low: float
    high: float

    def __iter__(self) -> Iterator[object]:
        written = {"type": "string", "pattern": r"^ *[0-9]+(\.[0-9]+)? ?(ms|s|m|h|d)? *$"}
        yield between(self.low, self.high)
        yield _schema({"type": "number", "minimum": self.low, "maximum": self.high}, written)


_TEXT = {"type": "string"}
_PATH_SCHEMA = _schema({"type": "string", "pattern": "^/"})
Memory = Annotated[
    int,
    BeforeValidator(reasoned(parse_memory)),
    _schema({"type": "integer", "minimum": 1}, {"type": "string", "pattern": f"^({MEMORY})$"}),
]
Cpu = Annotated[
    float,
    BeforeValidator(reasoned(parse_cpu)),
    _schema({"type": "number", "minimum": 0.001}, {"type": "string", "pattern": f"^({CPU})$"}),
]
PortNumber = Annotated[
    int,
    BeforeValidator(reasoned(_port)),
    _schema({"type": "integer", "minimum": 1, "maximum": 65535}),
]
ProtocolName = Annotated[
    Protocol,
    Field(strict=False),
    BeforeValidator(lambda v: v.lower() if isinstance(v, str) else v),
    _schema({"enum": [*Protocol, *(p.upper() for p in Protocol)]}),
]
Image = Annotated[
    str,
    matching(
        _IMAGE,
        "the name of an image: write [REGISTRY/]NAME[:TAG][@sha256:…], the name in lower case",
        longest=512,
    ),
]
EnvName = Annotated[
    str, matching(r"[A-Za-z_.-][A-Za-z0-9_.-]*", "the name of an environment variable")
]
VolumeName = Annotated[
    str,
    matching(
        r"[A-Za-z0-9][A-Za-z0-9_.-]*",
        'the name of a volume: letters, digits, "_", "." and "-"; a path begins with "/"',
        longest=128,
    ),
]
PortName = Annotated[
    str, matching(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", "the name of a port", longest=15)
]
UserName = Annotated[
    str, matching(r"[A-Za-z0-9_.-]+(?::[A-Za-z0-9_.-]+)?", "USER or USER:GROUP", longest=64)
]
HostName = Annotated[
    str,
    matching(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?", "a host name"),
]
HttpPath = Annotated[
    str, matching("/[!-~]*", "a path of an HTTP request: / and printable ASCII", longest=1024)
]
HttpHeaderName = Annotated[str, matching(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "the name of a header")]
HttpHeaderValue = Annotated[
    str, matching(r"(?:[!-~](?:[ -~\t]*[!-~])?)?", "the value of a header: ASCII", longest=4096)
]
Percentage = Annotated[str, matching(r"(?:[0-9]{1,2}|100)%", "a percentage such as 25%")]
SecretKeyName = Annotated[str, matching(r"[A-Za-z0-9._-]+", "a key of a secret")]
Ip = Annotated[str, _words(parse_ip), _schema(_TEXT)]
Capability = Annotated[str, _words(_capability), _schema(_TEXT)]
SignalName = Annotated[str, _words(_signal), _schema(_TEXT)]
DeviceText = Annotated[Device, _words(_device), _schema(_TEXT)]
Mode = Annotated[int, _words(_mode), _schema({"type": "string", "pattern": "^[0-7]{3,4}$"})]
ContainerPath = Annotated[str, _words(_container_path), _PATH_SCHEMA]
HostPath = Annotated[str, _words(check_path), _PATH_SCHEMA]
Words = Annotated[list[str], Field(max_length=MAX_ITEMS)]
Id = Annotated[int, Field(ge=0, le=(1 << 32) - 2)]


def _tag(value: object) -> str:
    return "as text" if isinstance(value, str) else "as a number"


PortReference = Annotated[
    Annotated[PortNumber, Tag("as a number")] | Annotated[PortName, Tag("as text")],
    Discriminator(_tag),
]
CountOrPart = Annotated[
    Annotated[int, Field(ge=0, le=1000), Tag("as a number")]
    | Annotated[Percentage, Tag("as text")],
    Discriminator(_tag),
]
