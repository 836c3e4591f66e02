"""Keeps the node's certificate fresh while a session lasts, over the session's own connection."""

from __future__ import annotations

import asyncio
import logging
import time

from piccolo.agent.enrolment import Enrolment
from piccolo.agent.pki import Pki
from piccolo.core.backoff import pause
from piccolo.core.errors import PiccoloError
from piccolo.rpc import wire
from piccolo.rpc.client import Connection

log = logging.getLogger(__name__)

_LOOK_EVERY = 60.0  # s, or oftener for certificates with a short life


class Renewal:
    """For one session. `run` until cancelled."""

    def __init__(self, pki: Pki, enrolment: Enrolment, connection: Connection) -> None:
        self._pki = pki
        self._enrolment = enrolment
        self._connection = connection
        self._bundle: wire.TrustBundle | None = None
        self._told = asyncio.Event()

    def trust(self, bundle: wire.TrustBundle) -> None:
        """The master says whom to trust from now on, and whether to get a new certificate."""
        self._bundle = bundle
        self._told.set()

    async def run(self) -> None:
        held = self._pki.certificate
        # Both clocks count: one that is stepped, or wrong at first, must not make us late.
        due = time.monotonic() + held.due(self._pki.jitter) - time.time()
        quiet = 0.0  # monotonic: until then only because the master wants it
        failures = 0
        while True:
            life = held.not_after - held.made
            await self._sleep(min(_LOOK_EVERY, life / 30))
            wanted = await self._take_bundle()
            now = time.monotonic()
            late = now >= due or time.time() >= held.due(self._pki.jitter)
            if not wanted and (now < quiet or not late):
                continue
            try:
                await self._enrolment.renew(self._connection)
            except PiccoloError as error:
                failures += 1
                log.warning("the certificate was not renewed: %s; trying again", error)
                chance = (self._pki.jitter + 1) / 2
                due, quiet = now, now + pause(failures, chance, base=life / 200, cap=life / 50)
                continue
            failures = 0
            held = self._pki.certificate
            life = held.not_after - held.made  # the master may give shorter ones now
            # From now, not by the clock: if that is wrong, the master's was used for the dates.
            due = time.monotonic() + held.due(self._pki.jitter) - held.made
            quiet = time.monotonic() + life / 30  # a clock that stays wrong must not make a storm

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._told.wait()
        except TimeoutError:
            pass

    async def _take_bundle(self) -> bool:
        """Trust what the master told us to; True: and get a new certificate."""
        bundle, self._bundle = self._bundle, None
        self._told.clear()
        if bundle is None:
            return False
        try:
            await asyncio.to_thread(self._pki.trust, bundle.ca_pem)
        except PiccoloError as error:
            log.error("the cluster's new authorities could not be taken over: %s", error)
            return False
        log.info("took over whom the cluster trusts")
        return bundle.renew
