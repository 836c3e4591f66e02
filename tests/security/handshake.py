"""TLS handshakes in memory: no sockets, no waiting."""

from __future__ import annotations

import ssl
from typing import Any

from piccolo.core.security.access import MASTER_NAME


def shake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str = MASTER_NAME
) -> dict[str, Any] | None:
    """The client's certificate as the server sees it. Raises `ssl.SSLError` on either side's no."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname=name)
    done = {"ours": False, "theirs": False}
    for _ in range(10):
        for side, end in (("theirs", theirs), ("ours", ours)):
            if not done[side]:
                try:
                    end.do_handshake()
                    done[side] = True
                except ssl.SSLWantReadError:
                    pass
    assert all(done.values())
    return ours.getpeercert()
