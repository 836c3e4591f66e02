"""Failed TLS handshakes: what they mean, and telling the peer.

Neither asyncio nor uvloop sends the alert (RFC 8446, 6.2) with which OpenSSL ends a handshake, so
that a peer would see a lost connection and no reason.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Any

_ALERT_TIME = 0.2  # s that a peer has to read it


def blame(error: ssl.SSLError) -> str:
    """What the peer has done wrong; empty: nothing that would be held against it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return ""
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if "alert" in reason:  # it does not trust us: nobody gains anything by that
        return ""
    return f"it does not speak TLS 1.3 properly: {reason}"


class TellingObject(ssl.SSLObject):
    """Hands out the alert of a failed handshake as `error.alert`: see `ssl.SSLContext`'s
    `sslobject_class`.
    """

    _out: ssl.MemoryBIO

    @classmethod
    def _create(cls, incoming: Any, outgoing: Any, *args: Any, **kwargs: Any) -> TellingObject:
        made: TellingObject = super()._create(  # type: ignore[misc]
            incoming, outgoing, *args, **kwargs
        )
        made._out = outgoing
        return made

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLSyscallError):
            raise
        except ssl.SSLError as error:
            error.alert = self._out.read()  # type: ignore[attr-defined]
            raise


async def tell(sock: socket.socket, error: ssl.SSLError) -> None:
    """Send the alert. `sock` is another one of the same connection: the transport has closed its
    own. Once it is closed too, data that was not read would reset the connection, and the alert
    would be lost: hence the pause.
    """
    with suppress(OSError):
        sock.send(getattr(error, "alert", b""))
        sock.shutdown(socket.SHUT_WR)
        await asyncio.sleep(_ALERT_TIME)
