"""Messages ↔ bytes, for both ends: what cannot be decoded is the sender's fault, and said so."""

from __future__ import annotations

from typing import Any

from grpclib.encoding.base import CodecBase

from piccolo.core.errors import InvalidSpec, PiccoloError
from piccolo.rpc.strict import check


class Codec(CodecBase):
    __content_subtype__ = "proto"

    def __init__(self, error: type[PiccoloError] = InvalidSpec) -> None:
        """`error`: what is raised for bytes that are no message; see `decode`."""
        self._error = error

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        """A server blames its caller's input; a client's master is just not to be used now."""
        try:
            message = message_type.FromString(data)
            check(message)
            return message
        except Exception as error:  # the decoder raises whatever it stumbles over
            raise self._error(
                f"a {message_type.__name__} of {len(data)} bytes cannot be decoded: {error}"
            ) from None
