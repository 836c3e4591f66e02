"""Secrets: named sets of values that are kept encrypted, whatever else is (`store.seals`).

What they hold goes in and is replaced or deleted, and comes out for workloads only: no answer to a
client, no log, no event and no error ever has a value in it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

from piccolo.config.names import check_name
from piccolo.core.errors import Conflict, InvalidSpec, NotFound
from piccolo.core.model import Secret
from piccolo.master import keys
from piccolo.master.clock import Clock
from piccolo.master.state_manager import StateManager

MAX_BYTES = 256 * 1024  # of a secret: its keys and values together
MAX_KEYS = 128
MAX_SECRETS = 1000

# As in Kubernetes: a key can be the name of a file or of an environment variable.
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


class Secrets:
    def __init__(self, state: StateManager, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    def all(self) -> list[Secret]:
        """In the order of their names."""
        return sorted(self._state.group(keys.SECRET).values(), key=lambda s: s.name)

    def get(self, name: str) -> Secret | None:
        return self._state.get(keys.secret(name), Secret)

    def revision(self, name: str) -> int:
        return self._state.revision_of(keys.secret(name))

    async def put(self, name: str, data: Mapping[str, bytes], *, replace: bool) -> Secret:
        """The whole secret: a key that is not in `data` is gone.

        Raises `InvalidSpec`; `Conflict` when there is one already, unless it is to be replaced;
        `Unavailable`.
        """
        _check(check_name(name), data)
        key = keys.secret(name)
        old = self._state.get(key, Secret)
        if old is not None and not replace:
            raise Conflict(f'there is a secret "{name}" already; --replace puts this in its place')
        if old is None and len(self.all()) >= MAX_SECRETS:
            raise InvalidSpec(f"there are {MAX_SECRETS} secrets already; delete some")
        now = self._clock.utc()
        encoded = {k: base64.b64encode(v).decode() for k, v in sorted(data.items())}
        secret = Secret(name, encoded, old.created_at if old else now, now)
        await self._state.commit({key: secret}, {key: self._state.revision_of(key)})
        return secret

    async def delete(self, name: str) -> Secret:
        """Raises `NotFound`, `Conflict` when it was changed at the same time, `Unavailable`."""
        key = keys.secret(name)
        secret = self._state.get(key, Secret)
        if secret is None:
            raise NotFound(f'there is no secret "{name}"; `piccolo secret list` shows them')
        await self._state.commit({key: None}, {key: self._state.revision_of(key)})
        return secret


def _check(name: str, data: Mapping[str, bytes]) -> None:
    if not data:
        raise InvalidSpec(f'the secret "{name}" has no values: give at least one KEY=VALUE')
    if len(data) > MAX_KEYS:
        raise InvalidSpec(
            f'the secret "{name}" has {len(data)} keys, at most {MAX_KEYS} are possible'
        )
    for number, key in enumerate(data, 1):
        if not _KEY.fullmatch(key) or key in (".", ".."):
            # Not shown: somebody may have mixed up the key and the value.
            raise InvalidSpec(
                f'key {number} of the secret "{name}" is not valid: use letters, digits, "-", "_"'
                ' and ".", at most 253'
            )
    size = sum(len(key) + len(value) for key, value in data.items())
    if size > MAX_BYTES:
        raise InvalidSpec(
            f'the secret "{name}" has {size} bytes, at most {MAX_BYTES} are possible: keep large'
            " files elsewhere, and the key to them here"
        )
