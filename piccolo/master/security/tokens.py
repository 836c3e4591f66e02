"""Join tokens: made, listed, revoked, and checked when a node shows one (`core.security.token`).

What is wrong with a token is for the audit trail; whoever shows it learns only that it is not
valid, or an attacker would learn which of his guesses was nearly right.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from piccolo.core.errors import InvalidSpec, NotFound, PermissionDenied
from piccolo.core.model import NodeType, Token, TokenUse
from piccolo.core.security.token import ID_BYTES, SECRET_BYTES, JoinToken
from piccolo.master import keys
from piccolo.master.clock import Clock
from piccolo.master.registration import check_name
from piccolo.master.state_manager import StateManager

DEFAULT_TTL = timedelta(days=1)
MAX_TTL = timedelta(days=366)
MAX_USES = 10_000
MAX_TOKENS = 1000  # that are kept
_KEPT = timedelta(days=7)  # after the end of a token: for `piccolo token list`

REFUSED = (
    "the join token is not valid: it may have been used or revoked, have expired, or be meant for"
    " another node; make a new one on the master with: piccolo token create"
)


class Tokens:
    def __init__(self, state: StateManager, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    def all(self) -> list[Token]:
        """Oldest first."""
        return sorted(self._state.group(keys.TOKEN).values(), key=lambda t: t.created_at)

    async def create(
        self,
        pin: str,
        *,
        ttl: timedelta = DEFAULT_TTL,
        uses: int = 1,
        node: str = "",
        type: NodeType | None = None,
        by: str = "",
    ) -> tuple[Token, JoinToken]:
        """The token as it is kept, and with its secret, which is known only now.

        Raises `InvalidSpec`, `Unavailable`.
        """
        if not timedelta(0) < ttl <= MAX_TTL:
            raise InvalidSpec(f"a token lives for at most {MAX_TTL.days} days")
        if not 1 <= uses <= MAX_USES:
            raise InvalidSpec(f"a token has 1 to {MAX_USES} uses")
        if node:
            check_name(node)
        if node and uses > 1:
            raise InvalidSpec("a token for one node has one use")
        now = self._clock.utc()
        old = [t.id for t in self.all() if self._is_old(t, now)]
        if len(self.all()) - len(old) >= MAX_TOKENS:
            raise InvalidSpec(f"there are {MAX_TOKENS} tokens already; revoke some")
        text = JoinToken.make(secrets.token_bytes(ID_BYTES + SECRET_BYTES), pin)
        token = Token(text.id, text.hash, now, now + ttl, uses, node, type, by, pin=pin)
        gone = {key: None for old_id in old for key in (keys.token(old_id), *self._used(old_id))}
        await self._state.commit({keys.token(token.id): token, **gone})
        return token, text

    def uses(self, token: Token) -> list[TokenUse]:
        """The nodes that joined by it, in that order."""
        return [use for _, use in sorted(self._used(token.id).items())]

    def _used(self, token_id: str) -> Mapping[str, TokenUse]:
        return self._state.group(keys.token_uses(token_id))

    def _is_old(self, token: Token, now: datetime) -> bool:
        return min(token.expires_at, token.revoked_at or token.expires_at) + _KEPT < now

    async def revoke(self, token_id: str) -> Token:
        """Raises `NotFound`, `Unavailable`. Nodes that joined by it stay."""
        token = self._state.get(keys.token(token_id), Token)
        if token is None:
            raise NotFound(f'there is no token "{token_id}"; `piccolo token list` shows them')
        if token.revoked_at is None:
            token = replace(token, revoked_at=self._clock.utc())
            await self._state.commit({keys.token(token_id): token})
        return token

    def check(
        self, text: str, *, use: TokenUse, type: NodeType, removed: bool = False
    ) -> tuple[Token, dict[str, TokenUse]]:
        """The token, and what is to be kept of this use, by its key.

        A node that used it already may do so again with the same key, should the reply have been
        lost; but not if it was `removed` since: then it counts as another. Raises
        `PermissionDenied`: the same words for everything, the truth in `why`.
        """
        try:
            shown = JoinToken.parse(text)
        except InvalidSpec:
            raise PermissionDenied(REFUSED, "malformed token") from None
        token = self._state.get(keys.token(shown.id), Token)
        # Compared in any case, so that the time taken does not tell whether there is such an id.
        same = hmac.compare_digest(token.hash if token else "0" * 64, shown.hash)
        if token is None or not same:
            why = f"token {shown.id}: wrong secret" if token else f"unknown token {shown.id}"
            raise PermissionDenied(REFUSED, why)
        uses = self.uses(token)
        again = use in uses and not removed
        if reason := self._unfit(token, uses, use, type, again):
            raise PermissionDenied(REFUSED, f"token {token.id}: {reason}")
        return token, {} if again else {keys.token_use(token.id, len(uses)): use}

    def _unfit(
        self, token: Token, uses: list[TokenUse], use: TokenUse, type: NodeType, again: bool
    ) -> str:
        if token.revoked_at is not None:
            return "revoked"
        if self._clock.utc() >= token.expires_at:
            return "expired"
        if token.node and token.node != use.node_name:
            return f"made for node {token.node}, shown by {use.node_name}"
        if token.type is not None and token.type is not type:
            return f"made for {token.type} nodes, shown by a node of type {type}"
        if not again and len(uses) >= token.uses:
            return f"used up, by {_names(uses)}"
        return ""


def _names(uses: Sequence[TokenUse]) -> str:
    return ", ".join(use.node_name for use in uses[-5:])
