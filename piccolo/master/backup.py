"""What a backup holds: the state of a master at one revision, and the authority of its cluster.

Not in it: what is in memory only (`keys`), changesets on their way (all of each is among the values
already, or nothing), when the last backup was taken, the audit trail, the store's key, and the
master's own certificate, which the next master makes itself. Values are in plain: the file around
them is encrypted as a whole (`security.archive`), whatever the store encrypts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO

from piccolo.core.errors import InvalidSpec
from piccolo.master import keys
from piccolo.master.keys import MasterRecord
from piccolo.security import archive
from piccolo.security.authority import Authority, load_certificates, to_pem
from piccolo.store import codec
from piccolo.store.base import Put
from piccolo.store.rules import check_operation

_PKI = ("ca.key", "ca.crt", "cross.crt")
_LEFT_OUT = (
    *(keys.LIVE, keys.USAGE, keys.UNPLACED, keys.CHANGESET),
    *(keys.AUDIT_HEAD, keys.BACKED_UP),
)
_DAMAGED = "the backup holds what no PICCOLO writes there"


@dataclass(frozen=True, slots=True)
class About:
    """What anybody may read of a backup."""

    made_at: datetime
    cluster: str  # its name
    cluster_id: str
    version: str  # of PICCOLO
    revision: int  # of the master's view of its store


@dataclass(frozen=True, slots=True)
class Backup:
    about: About
    pki: Mapping[str, str]  # files of that directory, by their names
    values: Mapping[str, bytes]  # of the store, by their keys

    def count(self, folder: str) -> int:
        return sum(key.startswith(folder) for key in self.values)

    @property
    def record(self) -> MasterRecord:
        found: MasterRecord = self.value(keys.MASTER)
        return found

    def value(self, key: str) -> Any:
        return codec.decode(keys.type_of(key), self.values[key], key)


def is_kept(key: str) -> bool:
    """Whether it belongs into a backup."""
    return keys.type_of(key) is not None and not key.startswith(_LEFT_OUT)


def write(backup: Backup, passphrase: str, cost: archive.Cost | None = None) -> Iterator[bytes]:
    """The file, piece by piece. Blocks. `cost`: of trying passphrases, if not the usual."""
    about = backup.about
    head = {
        "made_at": about.made_at.astimezone(UTC).isoformat(),
        "cluster": about.cluster,
        "cluster_id": about.cluster_id,
        "version": about.version,
        "revision": about.revision,
    }
    return archive.seal(head, passphrase, _lines(backup), cost)


def _lines(backup: Backup) -> Iterator[bytes]:
    for name, text in backup.pki.items():
        yield _line({"pki": name, "text": text})
    for key, value in backup.values.items():
        yield _line({"key": key, "value": value.decode()})


def _line(fields: dict[str, str]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def read(file: BinaryIO, passphrase: str) -> Backup:
    """A whole backup, everything in it checked. Raises as `archive.unseal`; `InvalidSpec`."""
    head, pieces = archive.unseal(file, passphrase)
    pki: dict[str, str] = {}
    values: dict[str, bytes] = {}
    for line in _split(pieces):
        try:
            fields = json.loads(line)
            if "pki" in fields:
                pki[fields["pki"]] = str(fields["text"])
            else:
                values[fields["key"]] = fields["value"].encode()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise InvalidSpec(_DAMAGED) from None
    backup = Backup(_about(head), pki, values)
    _check(backup)
    return backup


def _split(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    if rest:
        raise InvalidSpec(_DAMAGED)


def _about(head: Mapping[str, Any]) -> About:
    cluster, id, version = (str(head.get(n)) for n in ("cluster", "cluster_id", "version"))
    revision = head.get("revision")
    try:
        made_at = datetime.fromisoformat(head["made_at"])
    except (KeyError, TypeError, ValueError):
        made_at = datetime.min
    if made_at.tzinfo is None or type(revision) is not int:
        raise InvalidSpec(_DAMAGED)
    return About(made_at, cluster, id, version, revision)


def _check(backup: Backup) -> None:
    """Raises `InvalidSpec` for what a master could not start with, before anything is changed."""
    for key, value in backup.values.items():
        if not is_kept(key):
            raise InvalidSpec(f'the backup holds a "{key}", which this PICCOLO does not know')
        check_operation(Put(key, value))
        backup.value(key)
    if keys.MASTER not in backup.values:
        raise InvalidSpec("the backup is not of a master's store: it has no record of one")
    record = backup.record
    if record.format > keys.FORMAT:
        raise InvalidSpec(
            f"the backup is of a newer PICCOLO's store (format {record.format}, this one knows"
            f" {keys.FORMAT}): restore it with {backup.about.version}"
        )
    if record.cluster_id != backup.about.cluster_id or not set(backup.pki) <= set(_PKI):
        raise InvalidSpec(_DAMAGED)
    authority_of(backup)


def authority_of(backup: Backup) -> Authority:
    """Raises `InvalidSpec` when it is not in the backup, or damaged."""
    certificates = load_certificates(backup.pki.get("ca.crt", ""))
    return Authority.load(to_pem(certificates[0]), backup.pki.get("ca.key", ""))
