"""Where Podman listens: the lean agent process uses this too."""

from __future__ import annotations

from collections.abc import Mapping

ROOTFUL = "/run/podman/podman.sock"


def usual(environ: Mapping[str, str], uid: int) -> tuple[str, str]:
    """The system's socket, and the user's own."""
    own = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    return ROOTFUL, f"{own}/podman/podman.sock"
