"""Whether the engine can be used, as far as that was tried: by writing, watching or reading."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Literal

from piccolo.core.errors import PiccoloError, StaleGeneration
from piccolo.store.base import Store
from piccolo.store.mirror.epoch import EPOCH_KEY

PROBE_SECONDS = 10.0  # how often an engine that nothing is asked of is asked something

log = logging.getLogger(__name__)

Use = Literal["write", "watch", "read"]


class Health:
    def __init__(self, on_degraded: Callable[[str | None], None]) -> None:
        """`on_degraded` is called whenever `degraded` changes, with its new value."""
        self._on_degraded = on_degraded
        self._errors: dict[Use, str] = {}  # why a use failed last

    @property
    def degraded(self) -> str | None:
        """Why the engine could not be used when that was last tried; None: it could."""
        return next(iter(self._errors.values()), None)

    def fails(self, use: Use) -> bool:
        return use in self._errors

    def report(self, use: Use, error: PiccoloError | None) -> None:
        """Take in how it went."""
        before = self.degraded
        if error is None:
            self._errors.pop(use, None)
        else:
            self._errors[use] = str(error)
        if self.degraded != before:
            if before is None or self.degraded is None:
                log.warning("the store: %s", self.degraded or "all is well again")
            self._on_degraded(self.degraded)

    async def probe(self, engine: Store) -> None:
        """Notice, for ever, an engine that goes away while nothing is to be written."""
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                await engine.get(EPOCH_KEY)
            except StaleGeneration:
                raise
            except PiccoloError as error:
                self.report("read", error)
            else:
                self.report("read", None)
