"""Listening sockets: all addresses of a host, and why one cannot be had."""

from __future__ import annotations

import asyncio
import errno
import os
import socket


async def bind(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Listening sockets for all addresses of `host`, on the same port."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    both = {info[0] for info in found} == {socket.AF_INET, socket.AF_INET6}
    sockets: list[socket.socket] = []
    try:
        for family, kind, proto, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, proto)
            sockets.append(sock)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(both))
            sock.bind((address[0], port, *address[2:]))
            sock.listen(backlog)
            port = int(sock.getsockname()[1])
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def explain(error: OSError, host: str, port: int, setting: str = "--listen") -> str:
    """Why `bind` failed, and what to do; `setting` says where it is told."""
    if isinstance(error, socket.gaierror):
        reason, taken = error.strerror or str(error), False
    else:
        reason, taken = os.strerror(error.errno or 0), error.errno == errno.EADDRINUSE
    return (
        f"cannot listen on {host}:{port}: {reason.lower()};"
        f"{' is another master running?' if taken else ''} choose another address with {setting}"
    )
