"""Messages ↔ bytes, for both ends: what cannot be decoded is the sender's fault, and said so."""

from __future__ import annotations

from typing import Any

from grpclib.encoding.base import CodecBase

from piccolo.core.errors import InvalidSpec


class Codec(CodecBase):
    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        """Raises `InvalidSpec`: the decoder raises whatever it stumbles over."""
        try:
            return message_type.FromString(data)
        except Exception as error:
            raise InvalidSpec(
                f"a {message_type.__name__} of {len(data)} bytes cannot be decoded: {error}"
            ) from None
