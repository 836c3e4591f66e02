"""What has to be changed in a backup, so that a master can go on from it: pure, but for the codec.

Agents and clients live on while their master is gone, and remember more of it than the backup does.
Nothing that the new master hands out may be mistaken for something older than what they have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from piccolo.core.errors import InvalidSpec
from piccolo.core.model import Token
from piccolo.master import keys
from piccolo.master.backup import Backup
from piccolo.store import codec
from piccolo.store.mirror.epoch import EPOCH_BITS, stamp

# The upper parts of numbers that are sent as 64 bits.
_EPOCHS, _MIRROR_EPOCHS = 1 << 32, 1 << (64 - EPOCH_BITS)
_SKEW = timedelta(minutes=10)  # between the clocks of two machines that are both right


@dataclass(frozen=True, slots=True)
class Restoration:
    values: Mapping[str, bytes]  # for an empty store, with the mirror's own key
    revoked: int  # join tokens


def restoration(backup: Backup, now: datetime) -> Restoration:
    """Raises `InvalidSpec` when this machine's clock cannot be right."""
    made_at = backup.about.made_at
    if now < made_at - _SKEW:
        raise InvalidSpec(
            f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC, but the backup was made at"
            f" {made_at:%Y-%m-%d %H:%M} UTC: set the clock, then restore it"
        )
    # Both count the starts of masters. There was less than one a second since the backup, so the
    # seconds lie above all that was given out, and above what an earlier restore of the same
    # backup led to. Of the mirror's there are only 2^24: one for 8 s, and some to spare for a
    # master that started over and over. They last for four years of lost time.
    lost = max(0, int((now - made_at).total_seconds()))
    epoch = backup.record.epoch + 1 + lost
    mirror = (backup.about.revision >> EPOCH_BITS) + 1000 + lost // 8
    if epoch >= _EPOCHS - 1 or mirror >= _MIRROR_EPOCHS - 1:
        raise InvalidSpec("the numbers of this backup's cluster are used up: start a new cluster")
    own = stamp(mirror)
    record = replace(backup.record, epoch=epoch, restored=keys.Restored(backup_at=made_at, at=now))
    revoked = _revoked(backup, now)
    return Restoration(
        {
            **backup.values,
            keys.MASTER: codec.encode(record),
            **{key: codec.encode(token) for key, token in revoked.items()},
            own.key: own.value,
        },
        len(revoked),
    )


def _revoked(backup: Backup, now: datetime) -> dict[str, Token]:
    """Tokens that could still be used: they may have been, since, and nobody here would know."""
    tokens = {key: backup.value(key) for key in backup.values if key.startswith(keys.TOKEN)}
    return {
        key: replace(token, revoked_at=now)
        for key, token in tokens.items()
        if token.revoked_at is None and token.expires_at > now
    }
