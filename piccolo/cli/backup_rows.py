"""How the content of a backup is shown, when it is made and when it is restored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from piccolo.cli.output import size

if TYPE_CHECKING:
    from piccolo.master.backup import Backup


def contents(found: Mapping[str, Any]) -> str:
    kinds = (("node", "nodes"), ("workload", "workloads"), ("secret", "secrets"))
    counts = [(found[many], one, many) for one, many in kinds]
    return ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts)


def size_text(bytes: int) -> str:
    return f"{size(bytes)}B" if bytes >= 1024 else f"{bytes} B"


def backup_dict(backup: Backup) -> dict[str, Any]:
    from piccolo.cli.show.rows import time_text
    from piccolo.master import keys
    from piccolo.master.backup import authority_of

    about = backup.about
    return {
        "cluster": about.cluster,
        "clusterId": about.cluster_id,
        "madeAt": time_text(about.made_at),
        "version": about.version,
        "revision": about.revision,
        "nodes": backup.count(keys.NODE),
        "workloads": backup.count(keys.WORKLOAD),
        "secrets": backup.count(keys.SECRET),
        "authority": authority_of(backup).fingerprint,
    }
