"""Kubernetes' Probe (Kubernetes API v1), in its own words."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from piccolo.config.document import Path
from piccolo.config.manifests.base import Manifest, Report, key, one_of
from piccolo.config.manifests.values import (
    MAX_ITEMS,
    HostName,
    HttpHeaderName,
    HttpHeaderValue,
    HttpPath,
    PortReference,
)
from piccolo.core.workloads import containers as core

_Count = Annotated[int, Field(ge=1, le=1000)]
_Seconds = Annotated[int, Field(ge=0, le=86400)]


class HttpHeader(Manifest):
    name: HttpHeaderName = key("Its name.", ...)
    value: HttpHeaderValue = key("Its value.", ...)


class HttpGet(Manifest):
    path: HttpPath = key("Begins with /.", "/")
    port: PortReference = key("Where it listens: a number, or the name of a port.", ...)
    host: HostName | None = key("Without it the pod's own address.")
    scheme: Literal["HTTP", "HTTPS"] = key("HTTPS: the certificate is not verified.", "HTTP")
    http_headers: Annotated[list[HttpHeader], Field(max_length=MAX_ITEMS)] = key("Sent along.", [])


class TcpSocket(Manifest):
    port: PortReference = key("Where it listens: a number, or the name of a port.", ...)
    host: HostName | None = key("Without it the pod's own address.")


class ExecAction(Manifest):
    command: Annotated[list[str], Field(min_length=1, max_length=MAX_ITEMS)] = key(
        "Run in the container, without a shell.", ...
    )


class ProbeSpec(Manifest):
    REFUSED: ClassVar = {
        "grpc": "use httpGet, tcpSocket or exec",
        "terminationGracePeriodSeconds": "give the pod one",
    }
    http_get: HttpGet | None = key("Well: an answer from 200 to 399.")
    tcp_socket: TcpSocket | None = key("Well: the connection is accepted.")
    exec: ExecAction | None = key("Well: the command ends with 0.")
    initial_delay_seconds: _Seconds = key("Before the first.", 0)
    period_seconds: Annotated[int, Field(ge=1, le=86400)] = key("From one to the next.", 10)
    timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = key("For an answer.", 1)
    failure_threshold: _Count = key("So many in a row: it is not well.", 3)
    success_threshold: _Count = key("So many in a row: it is well again.", 1)

    @model_validator(mode="after")
    def _one_check(self) -> ProbeSpec:
        one_of(self, "http_get", "tcp_socket", "exec")
        return self

    def made(self, ports: dict[str, int], path: Path, report: Report) -> core.Probe:
        def number(port: int | str, where: str) -> int:
            if isinstance(port, str) and port not in ports:
                report.problem(
                    (*path, where, "port"), f'no port of this container is named "{port}"'
                )
            return port if isinstance(port, int) else ports.get(port, 0)

        checks: dict[str, Any] = {}
        if self.http_get is not None:
            http = self.http_get
            headers = {h.name: h.value for h in http.http_headers}
            tls, port = http.scheme == "HTTPS", number(http.port, "httpGet")
            checks["http"] = core.HttpCheck(port, http.path, http.host or "", tls, headers)
        elif self.tcp_socket is not None:
            port = number(self.tcp_socket.port, "tcpSocket")
            checks["tcp"] = core.TcpCheck(port, self.tcp_socket.host or "")
        elif self.exec is not None:
            checks["exec"] = core.ExecCheck(tuple(self.exec.command))
        return core.Probe(
            **checks,
            delay=float(self.initial_delay_seconds),
            interval=float(self.period_seconds),
            timeout=float(self.timeout_seconds),
            failures=self.failure_threshold,
            successes=self.success_threshold,
        )
