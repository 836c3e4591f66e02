"""What must not be read anywhere: looks for it in everything that a lab's programs have written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from piccolo.core.security.token import JoinToken
from tests.lab.cluster import Lab

_INVITATION = re.compile(rb"^    piccolo agent --master \S+ --token \S+$", re.M)


def assert_nothing_secret_was_written(lab: Lab, *tokens: str) -> None:
    """No key and no secret of a token in any log, audit trail or store of the lab, no private key
    at all, and no traceback. `tokens`: those that the test made besides the lab's.

    The one exception is the invitation of the master's first start, which is on its standard
    output, and in the lab that is a file.
    """
    secrets = {*_key_lines(lab.site.dir)}
    for token in filter(None, (lab.token, *tokens)):
        secrets.add(JoinToken.parse(token).secret.encode())
    looked = 0
    for file in _written(lab.site.dir):
        text = file.read_bytes()
        for match in _INVITATION.finditer(text) if file.name == "master.log" else ():
            secrets.add(JoinToken.parse(match[0].split()[-1].decode()).secret.encode())
    for file in _written(lab.site.dir):
        text = file.read_bytes()
        if file.name == "master.log":
            text = _INVITATION.sub(b"", text)
        looked += len(text)
        assert b"PRIVATE KEY" not in text, file
        assert b"Traceback" not in text, file
        found = [secret for secret in secrets if secret in text]
        assert not found, f"{file} has {len(found)} secrets in it"
    assert looked > 1000
    assert len(secrets) > 1


def _written(directory: Path) -> Iterator[Path]:
    """Logs, audit trails and stores."""
    for file in directory.rglob("*"):
        if file.is_file() and "pki" not in file.parts and file.name != "admin.yaml":
            yield file


def _key_lines(directory: Path) -> Iterator[bytes]:
    """The lines of all private keys; each is secret enough to be looked for."""
    for file in directory.rglob("*"):
        if file.name.endswith(".key") or file.name == "admin.yaml":
            text = file.read_bytes()
            for block in re.findall(rb"BEGIN PRIVATE KEY-----(.*?)-----END", text, re.S):
                yield from re.findall(rb"[A-Za-z0-9+/=]{40,}", block)
