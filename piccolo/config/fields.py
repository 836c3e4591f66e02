"""What the configuration models have in common: strictness and the kinds of their values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from piccolo.config.document import Path
from piccolo.config.names import check_name
from piccolo.config.paths import check_path, check_socket_path, local_path
from piccolo.config.units import format_duration, format_size, parse_duration, parse_size
from piccolo.core.address import ETCD_PORT, GRPC_PORT, parse_address, parse_ip, parse_port
from piccolo.core.errors import InvalidSpec
from piccolo.core.model import NodeRole, NodeType
from piccolo.core.security.token import JoinToken, parse_fingerprint, parse_id
from piccolo.core.selectors import check_labels
from piccolo.core.words import kind, show

MAX_LABELS = 64

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Strict(BaseModel):
    """Unknown keys are refused, values are not converted; a key without a value is not given."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )
    REFUSED: ClassVar[Mapping[str, str]] = {}  # keys that people know from elsewhere → what to do

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known = {f.alias or name for name, f in cls.model_fields.items()} | cls.REFUSED.keys()
        return {k: v for k, v in data.items() if v is not None or k not in known}


def reasoned(function: Callable[[_In], _Out]) -> Callable[[_In], _Out]:
    """`function` as a pydantic validator: its `InvalidSpec` becomes the problem's message."""

    def validator(value: _In) -> _Out:
        try:
            return function(value)
        except InvalidSpec as error:
            raise PydanticCustomError("reason", "{reason}", {"reason": str(error)}) from None

    return validator


def raise_problems(problems: Iterable[tuple[Path, str, Path | None]]) -> None:
    """In a validator: raise all of (path below the field, message, where the first one is)."""
    errors = [
        InitErrorDetails(
            type=PydanticCustomError("reason", "{reason}", {"reason": message, "first": first}),
            loc=path,
            input=None,
        )
        for path, message, first in problems
    ]
    if errors:
        raise ValidationError.from_exception_data("configuration", errors)


def between(low: float, high: float, why: str = "") -> BeforeValidator:
    """A duration within bounds, in seconds; `why` explains the lower one."""

    def check(value: object) -> float:
        seconds = parse_duration(value)
        if low <= seconds <= high:
            return seconds
        limit = f"below the minimum of {format_duration(low)}"
        if seconds > high:
            limit = f"above the maximum of {format_duration(high)}"
        reason = f": {why}" if why and seconds < low else ""
        raise InvalidSpec(f"{format_duration(seconds)} is {limit}{reason}")

    return BeforeValidator(reasoned(check))


def sized(low: int, high: int) -> BeforeValidator:
    """A size within bounds, in bytes."""

    def check(value: object) -> int:
        size = parse_size(value)
        if low <= size <= high:
            return size
        side, limit = ("below", "minimum") if size < low else ("above", "maximum")
        bound = format_size(low if size < low else high)
        raise InvalidSpec(f"{format_size(size)} is {side} the {limit} of {bound}")

    return BeforeValidator(reasoned(check))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidSpec(f"{_described(value)} must be text: put it in quotes")
    return value


def _described(value: object) -> str:
    return show(value) if isinstance(value, int | float) else kind(value)


def _master_address(value: object) -> str:
    """As it is written: which port it gets by default depends on other settings."""
    text = _text(value)
    parse_address(text, GRPC_PORT)
    return text


def _listen(value: object) -> str:
    """As it is written, likewise."""
    text = _text(value)
    parse_address(text, GRPC_PORT, lowest_port=0)
    return text


def _san(value: object) -> str:
    text = _text(value)
    address = parse_address(text, default_port=-1)
    if address.port != -1:
        raise InvalidSpec(f"{show(text)}: write it without a port")
    return address.host


def _role(value: object) -> object:
    # LLD 3.2.1 calls the type a role.
    if isinstance(value, str) and value in set(NodeType):
        raise InvalidSpec(
            f"{show(value)} is a type of node, not a role: write type: {value}; roles are"
            f" {' and '.join(NodeRole)}"
        )
    return value


def _log_level(value: object) -> object:
    if not isinstance(value, str):
        return value
    level = value.lower()
    return {"warn": "warning", "trace": "debug"}.get(level, level)  # the names of Rust's loggers


def _labels(labels: dict[str, str]) -> dict[str, str]:
    if len(labels) > MAX_LABELS:
        raise_problems([((), f"{len(labels)} labels are too many: at most {MAX_LABELS}", None)])
    problems: list[tuple[Path, str, Path | None]] = []
    for key, value in labels.items():
        try:
            check_labels({key: value})
        except InvalidSpec as error:
            problems.append(((key,), str(error), None))
    raise_problems(problems)
    return labels


def _store(value: object) -> str:
    """No part of the value appears in a message: it may hold a password."""
    forms = "write sqlite, or etcd://host:port[,host:port…]"
    text = _text(value)
    if text == "sqlite":
        return text
    scheme, separator, rest = text.partition("://")
    if scheme == "sqlite":
        raise InvalidSpec(
            f"SQLite has no address: its database lies in the data directory; {forms}"
        )
    if scheme != "etcd" or not separator:
        raise InvalidSpec(f"not a store; {forms}")
    hosts = rest.rpartition("@")[2].partition("?")[0].partition("/")[0]
    for host in hosts.split(","):
        try:
            parse_address(host, ETCD_PORT)
        except InvalidSpec:
            raise InvalidSpec(f"the hosts of the etcd store are not understood; {forms}") from None
    return text


Name = Annotated[str, AfterValidator(reasoned(check_name))]
Ip = Annotated[str, AfterValidator(reasoned(parse_ip))]
Port = Annotated[int, BeforeValidator(reasoned(parse_port))]
MasterAddress = Annotated[str, BeforeValidator(reasoned(_master_address))]
Listen = Annotated[str, BeforeValidator(reasoned(_listen))]
San = Annotated[str, BeforeValidator(reasoned(_san))]
TokenId = Annotated[str, BeforeValidator(reasoned(lambda v: parse_id(_text(v))))]
JoinTokenText = Annotated[str, BeforeValidator(reasoned(lambda v: JoinToken.parse(_text(v)).text))]
Fingerprint = Annotated[str, BeforeValidator(reasoned(lambda v: parse_fingerprint(_text(v))))]
LocalPath = Annotated[str, BeforeValidator(reasoned(local_path))]
AbsolutePath = Annotated[str, BeforeValidator(reasoned(check_path))]
SocketPath = Annotated[str, BeforeValidator(reasoned(check_socket_path))]
Store = Annotated[str, BeforeValidator(reasoned(_store))]
Percent = Annotated[float, Field(ge=0, le=100)]
Labels = Annotated[dict[str, str], AfterValidator(_labels)]
Role = Annotated[NodeRole, Field(strict=False), BeforeValidator(reasoned(_role))]
Type = Annotated[NodeType, Field(strict=False)]
Link = Literal["wired", "wireless", "cellular"]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_log_level)]
LogFormat = Literal["text", "json"]
Encrypt = Literal["secrets", "all"]
