"""What time it is at the master, by the `date` that it sends with every answer (RFC 9110, 6.6.1).

One request that needs no certificate, spoken with h2 itself: gRPC's libraries take longer to load
than the whole check may take on a small board. The answer is not verified, and only a time is
taken from it.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from piccolo.core.address import Address

_HALF = 0.5  # s: what is told is cut to whole seconds
_REQUEST = b"\0\0\0\0\0"  # a gRPC message: not compressed, 0 bytes


def ahead(address: Address, tls: ssl.SSLContext, seconds: float) -> float | None:
    """By how many seconds this machine's clock is ahead; None: the master does not tell.

    Raises `OSError`. `seconds` is for each step; the caller bounds the whole.
    """
    begun = time.time()
    date = _date(address, tls, seconds)
    if date is None:
        return None
    return (begun + time.time()) / 2 - (date + _HALF)


def _date(address: Address, tls: ssl.SSLContext, seconds: float) -> float | None:
    raw = socket.create_connection((address.host, address.port), seconds)
    with tls.wrap_socket(raw) as connection:
        for name, value in _answer(connection, str(address)):
            if name == b"date":
                try:
                    return parsedate_to_datetime(value.decode()).timestamp()
                except ValueError:
                    return None
    return None


def _answer(connection: ssl.SSLSocket, authority: str) -> Iterator[tuple[bytes, bytes]]:
    """The headers of the first answer."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import ResponseReceived
    from h2.exceptions import ProtocolError

    http = H2Connection(H2Configuration(header_encoding=None))
    http.initiate_connection()
    http.send_headers(
        1,
        [
            (":method", "POST"),
            (":scheme", "https"),
            (":path", "/piccolo.v1.NodeAgentService/GetTrustBundle"),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ],
    )
    http.send_data(1, _REQUEST, end_stream=True)
    connection.sendall(http.data_to_send())
    while data := connection.recv(65536):
        try:
            events = http.receive_data(data)
        except ProtocolError:
            return  # it is not what we take it for
        for event in events:
            if isinstance(event, ResponseReceived):
                yield from event.headers or ()
                return
