"""The call that makes a backup (docs/backup.md): encrypted here, so that only the file leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from piccolo import __version__
from piccolo.master import backup as backups
from piccolo.master import keys
from piccolo.master.backup import About, Backup
from piccolo.master.cluster import Cluster
from piccolo.rpc import wire
from piccolo.rpc.server import concerns
from piccolo.security.archive import check_passphrase

_CHUNK = 256 << 10  # bytes: a message is never larger than this and one frame


class BackupCalls:
    _c: Cluster

    async def backup(self, message: wire.BackupRequest) -> AsyncIterator[wire.BackupChunk]:
        """Each piece is made when the one before has left: a slow reader costs no memory."""
        check_passphrase(message.passphrase)
        found = await self._collect()
        concerns(f"backup at revision {found.about.revision}")
        yield wire.BackupChunk(info=self._info(found))
        pieces = backups.write(found, message.passphrase)
        while data := await asyncio.to_thread(_some, pieces):
            yield wire.BackupChunk(data=data)
        self._c.state.observe(keys.BACKED_UP, keys.BackedUp(found.about.made_at))

    async def _collect(self) -> Backup:
        """Everything at one moment: nothing else of the master runs in between."""
        c = self._c
        snapshot = await c.state.store.list("")  # which the mirror has at hand
        about = About(c.clock.utc(), c.name, c.id, __version__, snapshot.revision)
        kept = {e.key: e.value for e in snapshot.entries if backups.is_kept(e.key)}
        return Backup(about, c.certificates.trust.files(), kept)

    def _info(self, found: Backup) -> wire.BackupInfo:
        return wire.BackupInfo(
            made_at=found.about.made_at,
            cluster=self._c.info(),
            revision=found.about.revision,
            nodes=found.count(keys.NODE),
            workloads=found.count(keys.WORKLOAD),
            secrets=found.count(keys.SECRET),
            degraded=self._c.state.degraded or "",
        )


def _some(pieces: Iterator[bytes]) -> bytes:
    data = bytearray()
    for piece in pieces:
        data += piece
        if len(data) >= _CHUNK:
            break
    return bytes(data)
