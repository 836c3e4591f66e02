"""Until when the certificates of a node or a master hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from piccolo.core.model import NodeRole
from piccolo.core.readiness.facts import Certificate

# By `agent.pki` written above it, so that no library is needed to read them.
_TIMES = re.compile(r"Made: (\S+)\nNot After: (\S+)\n")
_FILES = {NodeRole.SUB: ("node.crt",), NodeRole.MASTER: ("master.crt", "ca.crt")}


def certificates(root: Path, data_dir: str, role: NodeRole) -> tuple[Certificate, ...]:
    return tuple(_certificates(root, f"{data_dir}/pki", role))


def _certificates(root: Path, directory: str, role: NodeRole) -> Iterator[Certificate]:
    for name in _FILES[role]:
        path = f"{directory}/{name}"
        try:
            pem = (root / path.lstrip("/")).read_text(encoding="utf-8")
            made, not_after = _times(pem)
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            yield Certificate(path, None, None)
        else:
            yield Certificate(path, made, not_after)


def _times(pem: str) -> tuple[float, float]:
    """Raises `ValueError`."""
    if written := _TIMES.match(pem):
        made, not_after = map(datetime.fromisoformat, written.groups())
    else:
        from cryptography import x509

        certificate = x509.load_pem_x509_certificate(pem.encode())
        made, not_after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return made.timestamp(), not_after.timestamp()
