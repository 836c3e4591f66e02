"""Backups for tests: a small state with everything that a restore looks at."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from piccolo.core.model import Authorities, Secret, Token
from piccolo.master import keys
from piccolo.master.backup import About, Backup, read, write
from piccolo.security.archive import Cost
from piccolo.security.authority import Authority
from piccolo.store.codec import encode
from piccolo.store.mirror.epoch import first_revision
from tests.core.workloads.filled import filled

PASSPHRASE = "correct horse battery staple"
MADE_AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
EPOCH, MIRROR_EPOCH = 7, 9


def backup(made_at: datetime = MADE_AT, *, cluster: str = "lab") -> Backup:
    authority = Authority.create(f"PICCOLO {cluster}", made_at)
    token = Token("open", "0" * 64, made_at, made_at + timedelta(days=1))
    values = {
        keys.MASTER: keys.MasterRecord(keys.FORMAT, f"id-of-{cluster}", EPOCH),
        keys.AUTHORITIES: Authorities(authority.fingerprint),
        keys.secret("wifi"): Secret("wifi", {"password": "Z2VoZWlt"}, made_at, made_at),
        keys.token("open"): token,
        keys.token("over"): replace(token, id="over", expires_at=made_at),
        keys.node("n1"): filled(keys.type_of("node/n1")),
        keys.workload("web"): filled(keys.type_of("workload/web")),
        keys.past("web", 1): filled(keys.type_of(keys.past("web", 1))),
    }
    about = About(made_at, cluster, f"id-of-{cluster}", "0.1.0", first_revision(MIRROR_EPOCH) + 5)
    pki = {"ca.key": authority.key_pem, "ca.crt": authority.pem, "cross.crt": ""}
    return Backup(about, pki, {key: encode(value) for key, value in values.items()})


def file_of(found: Backup) -> bytes:
    return b"".join(write(found, PASSPHRASE, Cost(2, 1, 1)))


def read_again(file: bytes) -> Backup:
    return read(io.BytesIO(file), PASSPHRASE)
