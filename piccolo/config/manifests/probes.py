"""How a container is asked whether it is well, in the native format."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from piccolo.config.manifests.base import Manifest, key, one_of
from piccolo.config.manifests.values import (
    DAY,
    MAX_ITEMS,
    Duration,
    HostName,
    HttpHeaderName,
    HttpHeaderValue,
    HttpPath,
    PortNumber,
)
from piccolo.core.workloads import containers as core


class HttpSpec(Manifest):
    port: PortNumber = key("Where it listens.", ...)
    path: HttpPath = key("Begins with /.", "/")
    host: HostName | None = key("Without it the workload's own address.")
    scheme: Literal["HTTP", "HTTPS"] = key("HTTPS: the certificate is not verified.", "HTTP")
    headers: Annotated[dict[HttpHeaderName, HttpHeaderValue], Field(max_length=MAX_ITEMS)] = key(
        "Sent along.", {}
    )

    def made(self) -> core.HttpCheck:
        tls = self.scheme == "HTTPS"
        return core.HttpCheck(self.port, self.path, self.host or "", tls, self.headers)


class TcpSpec(Manifest):
    port: PortNumber = key("Where it listens.", ...)
    host: HostName | None = key("Without it the workload's own address.")


class ExecSpec(Manifest):
    command: Annotated[list[str], Field(min_length=1, max_length=MAX_ITEMS)] = key(
        "Run in the container, without a shell; exit code 0 is well.", ...
    )


_PROBE = core.Probe()


class ProbeSpec(Manifest):
    http: HttpSpec | None = key("Well: an answer from 200 to 399.")
    tcp: TcpSpec | None = key("Well: the connection is accepted.")
    exec: ExecSpec | None = key("Well: the command ends with 0.")
    delay: Annotated[float, Duration(0, DAY)] = key("Before the first.", _PROBE.delay)
    interval: Annotated[float, Duration(0.5, DAY)] = key("From one to the next.", _PROBE.interval)
    timeout: Annotated[float, Duration(0.1, 3600)] = key(
        "An answer that takes longer is none.", _PROBE.timeout
    )
    failures: Annotated[int, Field(ge=1, le=1000)] = key(
        "So many in a row: it is not well.", _PROBE.failures
    )
    successes: Annotated[int, Field(ge=1, le=1000)] = key(
        "So many in a row: it is well again.", _PROBE.successes
    )

    @model_validator(mode="after")
    def _one_check(self) -> ProbeSpec:
        one_of(self, "http", "tcp", "exec")
        return self

    def made(self) -> core.Probe:
        return core.Probe(
            http=self.http.made() if self.http else None,
            tcp=core.TcpCheck(self.tcp.port, self.tcp.host or "") if self.tcp else None,
            exec=core.ExecCheck(tuple(self.exec.command)) if self.exec else None,
            delay=self.delay,
            interval=self.interval,
            timeout=self.timeout,
            failures=self.failures,
            successes=self.successes,
        )


class ProbesSpec(Manifest):
    liveness: ProbeSpec | None = key("Not well: the container is restarted.")
    readiness: ProbeSpec | None = key("Not well: the workload does not count as healthy.")
    startup: ProbeSpec | None = key("Until it is well, the other probes wait.")

    def made(self) -> core.Probes:
        kinds = (self.liveness, self.readiness, self.startup)
        return core.Probes(*(p.made() if p else None for p in kinds))
