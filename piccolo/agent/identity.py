"""What an agent keeps on disk: who it is, and the cluster that it joined (LLD 3.2.4).

The id is chosen here, once, and written before it is first used, so that a registration whose
reply was lost can be repeated without making a second node.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from piccolo.core.errors import Conflict, InvalidSpec, Unavailable


@dataclass(slots=True)
class Identity:
    """The identity in `directory`, locked for this process until `close`."""

    directory: Path
    node_id: str
    cluster_id: str  # empty: never joined
    _lock: int

    @classmethod
    def open(cls, directory: Path) -> Identity:
        """Read the identity, or make one.

        Raises `Conflict` when another agent runs on the directory, `InvalidSpec` when the file is
        damaged, `Unavailable` when the directory cannot be used.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o755)
            lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(
                f"cannot use the data directory {directory}: {error.strerror};"
                " choose another with --data-dir"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise Conflict(
                f"another agent runs on {directory}; give this one its own --data-dir"
            ) from None
        try:
            node_id, cluster_id = _read(directory / "identity.json")
            identity = cls(directory, node_id or uuid.uuid4().hex, cluster_id, lock)
            if not node_id:
                identity._write(cluster_id)
        except BaseException:
            os.close(lock)
            raise
        return identity

    def joined(self, cluster_id: str) -> None:
        """Remember the cluster. Blocking, but only when it is news."""
        if cluster_id != self.cluster_id:
            self._write(cluster_id)
            self.cluster_id = cluster_id

    def close(self) -> None:
        os.close(self._lock)

    def _write(self, cluster_id: str) -> None:
        path = self.directory / "identity.json"
        fresh = path.with_suffix(".new")
        try:
            with fresh.open("w", encoding="utf-8") as file:
                json.dump({"node_id": self.node_id, "cluster_id": cluster_id}, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            directory = os.open(self.directory, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise Unavailable(f"cannot write {path}: {error.strerror}") from error


def _read(path: Path) -> tuple[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        node_id, cluster_id = str(found["node_id"]), str(found["cluster_id"])
        f"{node_id}{cluster_id}".encode()  # JSON can say what no message can
        return node_id, cluster_id
    except FileNotFoundError:
        return "", ""
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidSpec(
            f"{path} is damaged ({error}); restore it, or delete it to join as a new node"
        ) from error
