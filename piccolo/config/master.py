"""How the master's settings come about.

Precedence: defaults < file < environment < command line (see `origins`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from piccolo.config.document import Document
from piccolo.config.master_file import (
    DEFAULT,
    InstallSection,
    MasterFile,
    MasterFlags,
    SecuritySection,
)
from piccolo.config.origins import (
    BYTES,
    HIDDEN,
    SECONDS,
    Resolution,
    Resolved,
    Variable,
    variable,
)
from piccolo.config.settings import (
    AuditSettings,
    Discovery,
    InstallSettings,
    MasterSettings,
    Retention,
    SecuritySettings,
)
from piccolo.config.validation import validate_flags
from piccolo.config.yaml_file import load_file, source_name, validate
from piccolo.core.address import GRPC_PORT, INSTALL_PORT, parse_address, parse_port
from piccolo.core.nodes.shortage import Thresholds

_SPELLED = {"name": "--cluster-name"}
_UNITS = {
    "interval": SECONDS,
    "duration": SECONDS,
    "events_max_age": SECONDS,
    "certificate_lifetime": SECONDS,
    "expired_grace": SECONDS,
    "overlap": SECONDS,
    "max_file_size": BYTES,
}


def resolve_master_settings(
    file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, Any],
    *,
    root: bool | None = None,
) -> tuple[MasterSettings, list[str]]:
    """The settings, and notices for people: what was given and means less than it seems.

    As `resolve_master`.
    """
    resolved = resolve_master(file, environ, flags, root=root)
    return resolved.settings, resolved.notices


def resolve_master(
    file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, Any],
    *,
    root: bool | None = None,
) -> Resolved[MasterSettings]:
    """The settings, and where each value came from.

    `flags` has the fields of `MasterFlags`. Of the environment `GRPC_PORT` counts (and
    `XDG_DATA_HOME`, `HOME` for the default data directory); empty is not given. `root`, when not
    given, is whether this process runs as root. Reads the file: call it in a thread where an event
    loop runs. Raises `InvalidSpec`.
    """
    given = validate_flags(MasterFlags, flags, _SPELLED)
    notices = []
    document = Document("node.yaml", {}) if file is None else load_file(file)
    conf = validate(MasterFile, document)
    if file is None:
        conf = conf.model_copy(update={"discovery": Discovery.ANY})
        if given.discovery is None:
            notices.append("no node.yaml: any node with a token may join (discovery: any)")
    elif document.value is None:
        notices.append(
            f"{source_name(file)} is empty: defaults hold, no node is listed, and embedded"
            " nodes wait for approval (discovery: cloud)"
        )
    values = Resolution(document, "", _SPELLED)
    take, section = values.take, values.take_section
    settings = MasterSettings(
        cluster_name=take("cluster.name", conf.cluster.name, flag=given.cluster_name),
        discovery=take("discovery", conf.discovery, flag=given.discovery),
        listen=(listen := _listen(values, conf.listen, given.listen, environ)),
        data_dir=values.take_data_dir("master", conf.data_dir, given.data_dir, environ, root),
        store=take("store", conf.store, flag=given.store, shown=_without_password),
        encrypt=take("encrypt", conf.encrypt),
        heartbeat_interval=take("heartbeat.interval", conf.heartbeat.interval, unit=SECONDS),
        heartbeat_misses=take("heartbeat.misses", conf.heartbeat.misses),
        reconnect_grace=take("reconnect_grace", conf.reconnect_grace, unit=SECONDS),
        thresholds=Thresholds(**section("thresholds", conf.thresholds, _UNITS)),
        retention=Retention(**section("retention", conf.retention, _UNITS)),
        security=_security(values, conf.security, given.san),
        audit=AuditSettings(**section("audit", conf.audit, _UNITS)),
        install=_install(values, conf.install, listen),
        log_level=take("log_level", conf.log_level, flag=given.log_level),
        log_format=take("log_format", conf.log_format, flag=given.log_format),
        nodes=tuple(
            node.listed()
            for node in values.take_items("nodes", dict(enumerate(conf.nodes)), {}).values()
        ),
        rebuild=given.rebuild or 0.0,  # for one start, so not a key of the file
    )
    return Resolved(settings, notices, values.values)


def _listen(
    values: Resolution, in_file: str | None, flag: str | None, environ: Mapping[str, str]
) -> str:
    port = variable(environ, "GRPC_PORT", parse_port)
    text = in_file or parse_address(DEFAULT.listen, GRPC_PORT).host

    def whole(text: str) -> str:
        return str(parse_address(text, port.value if port else GRPC_PORT, lowest_port=0))

    portless = parse_address(text, -1, lowest_port=0).port == -1
    return values.take(
        "listen",
        whole(text),
        environ=Variable(port.name, whole(text)) if port and portless else None,
        flag=whole(flag) if flag is not None else None,
    )


def _security(values: Resolution, section: SecuritySection, given: list[str]) -> SecuritySettings:
    further = enumerate((name for name in given if name not in section.san), len(section.san))
    names = values.take_items("security.san", dict(enumerate(section.san)), dict(further))
    return SecuritySettings(
        san=tuple(dict.fromkeys(names.values())),
        **values.take_section("security", section, _UNITS, but={"san"}),
    )


def _install(values: Resolution, section: InstallSection, listen: str) -> InstallSettings:
    host = parse_address(listen, GRPC_PORT, lowest_port=0).host
    return InstallSettings(
        listen=values.take(
            "install.listen",
            str(parse_address(section.listen or host, INSTALL_PORT, lowest_port=0)),
        ),
        directory=values.take("install.directory", section.directory),
    )


def _without_password(store: str) -> str:
    scheme, separator, rest = store.partition("://")
    credentials, at, hosts = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    return f"{scheme}{separator}{user if colon else ''}{colon}{HIDDEN}@{hosts}" if at else store


def restart_needed(old: MasterSettings, new: MasterSettings) -> list[str]:
    """Keys that differ and take effect at the next start only; all others can be reloaded."""
    keys = ("listen", "data_dir", "store", "encrypt", "security", "install")
    return [key for key in keys if getattr(old, key) != getattr(new, key)]
