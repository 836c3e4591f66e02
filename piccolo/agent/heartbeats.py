"""The part of a session that keeps it honest: a heartbeat every interval, to be acknowledged.

Each carries a digest of all that was told, so that the master finds out what was lost, and now and
then what is used. A stream on which they are not acknowledged makes no progress: that ends the
session.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from piccolo.agent.reporter import Reporter
from piccolo.agent.workload_sync import WorkloadSync
from piccolo.core.errors import Unavailable
from piccolo.core.model import Usage
from piccolo.core.nodes.pulse import Pacer
from piccolo.rpc import convert, wire

_PROMPT = 2.0  # s: after an outage, a stream that does not move within that is given up


class Heartbeats:
    """For one session. `queue` sends a message and returns its number."""

    def __init__(
        self,
        sample: Callable[[], Usage],
        metrics_interval: float,
        reporter: Reporter,
        workloads: WorkloadSync,
        queue: Callable[..., int],
    ) -> None:
        self.metrics_interval = metrics_interval  # s, at least so long between two samples
        self._sample = sample
        self._reporter = reporter
        self._workloads = workloads
        self._queue = queue
        self._acked = 0
        self._now = asyncio.Event()
        self._sampled_at = 0.0
        self._container_usage: list[wire.ContainerUsage] = []

    def at_once(self) -> None:
        """After an outage: see that the stream moves again."""
        self._now.set()

    def on_ack(self, ack: wire.HeartbeatAck) -> None:
        self._acked = ack.seq

    async def run(self, pacer: Pacer) -> None:
        """For ever, as often as `pacer`'s profile says. Raises `Unavailable` for a stuck stream."""
        oldest, since = 0, 0.0  # the first heartbeat that is not acknowledged, and its time
        while True:
            seq = await self._beat(pacer)
            if self._acked >= oldest:
                oldest, since = seq, time.monotonic()
            prompt = self._now.is_set()
            self._now.clear()
            patience = _PROMPT if prompt else pacer.profile.stream_stuck_after
            interval = pacer.profile.heartbeat_interval
            await self._sleep(min(patience, interval))
            stuck = self._acked < oldest and time.monotonic() - since >= 0.9 * patience
            if stuck and not self._now.is_set():
                raise Unavailable(f"the stream made no progress for {patience:g} s")
            await self._sleep(max(0.0, interval - patience))

    async def _sleep(self, seconds: float) -> None:
        """Sleep, unless a heartbeat is wanted at once."""
        try:
            async with asyncio.timeout(seconds):
                await self._now.wait()
        except TimeoutError:
            pass

    async def _beat(self, pacer: Pacer) -> int:
        now = time.monotonic()
        usage = None
        if not self._now.is_set() and now - self._sampled_at >= self.metrics_interval:
            self._sampled_at = now
            usage = convert.usage_to_wire(self._sample())
            self._container_usage = [
                convert.container_usage_to_wire(u) for u in await self._reporter.usage()
            ]
        report = self._reporter.report
        return self._queue(
            heartbeat=wire.Beat(
                usage=usage,
                digest=report.digest,
                containers=len(report.containers),
                unknown=not self._reporter.known,
                container_usage=self._container_usage,
                desired_digest=self._workloads.digest,
                round_trip_ms=(pacer.rtt or 0.0) * 1000,
            )
        )
