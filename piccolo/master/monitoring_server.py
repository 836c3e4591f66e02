"""MonitoringServer (LLD 4.1): who is alive, and who has enough to live on.

Evidence comes in through `opened`, `heard`, `heartbeat` and `closed`; the judge, `run`, sleeps
until the next moment at which a verdict can change by itself (`core.nodes.liveness`). When the
master itself was asleep (frozen, starved of CPU), it forgives everyone that time before it judges.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from piccolo.core.deadlines import Deadlines
from piccolo.core.model import Condition, Node, NodeLive, Usage
from piccolo.core.nodes.liveness import PROFILES, Link, LinkProfile
from piccolo.core.nodes.shortage import ShortageDetector, Thresholds
from piccolo.core.nodes.states import LINK_FAULTS
from piccolo.master import keys
from piccolo.master.clock import Clock
from piccolo.master.node_manager import NodeManager
from piccolo.master.state_manager import StateManager

log = logging.getLogger(__name__)

_OVERSLEPT = 0.3  # s: a wake-up later than that means that the master itself was held up
_JUDGE_AT_MOST_EVERY = 0.1  # s: with hundreds of nodes some deadline is always near
_DATAGRAMS_DUE = 5.0  # s into a session: without datagrams until then they are blocked
_HEARTBEATS_KEPT_EVERY = 900.0  # s between two writes of the times of the last heartbeats
_HISTORY = 360  # usage samples kept per node: an hour at the default heartbeat


class MonitoringServer:
    def __init__(
        self,
        state: StateManager,
        nodes: NodeManager,
        clock: Clock,
        thresholds: Thresholds,
        heartbeat_interval: float,
        heartbeat_misses: int,
        reconnect_grace: float,
    ) -> None:
        self._state = state
        self._nodes = nodes
        self._clock = clock
        self._links: dict[str, Link] = {}
        # When each is to be judged next: never later than its verdict can change.
        self._due = Deadlines()
        self._opened_at: dict[str, float] = {}
        self._datagrams: dict[str, bool] = {}  # the verdict on each open session, once there is one
        self._suspects: set[str] = set()
        self._lost = False  # some node was lost since the heartbeats were written
        self._shortages: dict[str, ShortageDetector] = {}
        self._history: dict[str, deque[tuple[datetime, Usage]]] = {}
        self._wake = asyncio.Event()
        self.configure(thresholds, heartbeat_interval, heartbeat_misses, reconnect_grace)
        kept = state.group("").get(keys.HEARTBEATS)
        last: Mapping[str, datetime] = kept if isinstance(kept, Mapping) else {}
        for node in state.nodes():
            self.expect(node)
            if node.id in last:
                self._set_live(node.id, last_heartbeat=last[node.id])

    def configure(
        self,
        thresholds: Thresholds,
        heartbeat_interval: float,
        heartbeat_misses: int,
        reconnect_grace: float,
    ) -> None:
        """Take over the settings; links that are known are judged by them from now on."""
        self._thresholds = thresholds
        self._heartbeat = (heartbeat_interval, heartbeat_misses)
        self._reconnect_grace = reconnect_grace
        for detector in self._shortages.values():
            detector.thresholds = thresholds
        for node_id, link in self._links.items():
            node = self._state.node(node_id)
            if node is not None:
                link.profile = self.profile(node)
                self._judge_now(node_id)

    def profile(self, node: Node) -> LinkProfile:
        """The node's link profile with the cluster's heartbeat settings in it."""
        profile = PROFILES.get(node.link_profile, PROFILES["wired"])
        interval, misses = self._heartbeat
        if profile.heartbeat_interval > PROFILES["wired"].heartbeat_interval:  # a link that costs
            interval = max(interval, profile.heartbeat_interval)
        return replace(
            profile,
            heartbeat_interval=interval,
            heartbeat_misses=misses,
            reconnect_grace=self._reconnect_grace
            if profile.name == "wired"
            else max(self._reconnect_grace, profile.reconnect_grace),
        )

    # ---- evidence ----

    def expect(self, node: Node) -> None:
        """A node that should come: after a restart of the master, or just registered."""
        profile = self.profile(node)
        grace = profile.backoff_cap + profile.reconnect_grace
        self._links[node.id] = Link(profile, self._clock.monotonic(), grace=grace)
        self._judge_now(node.id)

    def forget(self, node_id: str) -> None:
        for table in (
            self._links,
            self._opened_at,
            self._datagrams,
            self._shortages,
            self._history,
        ):
            table.pop(node_id, None)
        self._suspects.discard(node_id)
        self._due.drop(node_id)

    def alive(self, node_id: str) -> bool:
        """Whether the node's current session is known to live right now."""
        link = self._links.get(node_id)
        return link is not None and link.alive(self._clock.monotonic())

    def opened(self, node: Node, generation: int, peer: str) -> None:
        link = self._links.get(node.id)
        if link is None:
            self.expect(node)
            link = self._links[node.id]
        now = self._clock.monotonic()
        link.profile = self.profile(node)
        link.opened(generation, now)
        self._opened_at[node.id] = now
        self._datagrams.pop(node.id, None)
        self._set_live(
            node.id,
            connected=True,
            suspect=False,
            generation=generation,
            peer=peer,
            last_heartbeat=self._clock.utc(),
        )
        self._suspects.discard(node.id)
        self._nodes.link_restored(node.id)
        self._judge_now(node.id)

    def heard(
        self,
        node_id: str,
        generation: int,
        *,
        heard_us_ago: float | None = None,
        datagram: bool = False,
        heartbeat: bool = False,
    ) -> None:
        link = self._links.get(node_id)
        if link is None:
            return
        now = self._clock.monotonic()
        if not link.open:
            link.probed(generation, now)
            return
        if datagram and not link.datagrams(now):  # they are judged by shorter silences
            self._judge_now(node_id)
        link.heard(
            generation, now, heard_us_ago=heard_us_ago, datagram=datagram, heartbeat=heartbeat
        )
        if node_id in self._suspects or self._nodes.health(node_id).link_lost:
            self._judge(node_id, link, now)
            self._wake.set()  # what is due next may be sooner now

    def heartbeat(
        self, node_id: str, generation: int, usage: Usage | None, round_trip_ms: float = 0.0
    ) -> None:
        """A heartbeat (HLD 8.1): the usage of the node, and life on the stream itself."""
        self.heard(node_id, generation, heartbeat=True)
        now = self._clock.utc()
        if usage is None:
            self._set_live(node_id, last_heartbeat=now, round_trip_ms=round_trip_ms)
            return
        self._set_live(node_id, last_heartbeat=now, round_trip_ms=round_trip_ms, usage=usage)
        self._history.setdefault(node_id, deque(maxlen=_HISTORY)).append((self._clock.utc(), usage))
        detector = self._shortages.get(node_id)
        if detector is None:
            active = set(self._nodes.health(node_id).faults) - LINK_FAULTS
            detector = self._shortages[node_id] = ShortageDetector(self._thresholds, active)
        for fault, message in detector.sample(usage, self._clock.monotonic()).items():
            if message is not None:
                self._nodes.fault(node_id, fault, message)
            else:
                self._nodes.fault_over(node_id, fault)

    def closed(self, node_id: str, generation: int, *, said_goodbye: bool) -> None:
        link = self._links.get(node_id)
        if link is None or link.generation != generation:
            return
        link.closed(generation, self._clock.monotonic(), said_goodbye=said_goodbye)
        self._nodes.synced(node_id, False)
        self._judge_now(node_id)

    def history(self, node_id: str) -> list[tuple[datetime, Usage]]:
        return list(self._history.get(node_id, ()))

    # ---- judgement ----

    async def run(self) -> None:
        """Judge for ever."""
        kept_at = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            for node_id in self._due.due(now):
                self._judge(node_id, self._links[node_id], now)
            if self._lost or now - kept_at >= _HEARTBEATS_KEPT_EVERY:
                kept_at, self._lost = now, False
                self.keep_heartbeats()
            self._wake.clear()
            wake_at = min(now + 10.0, self._due.next() or math.inf)
            pause = max(_JUDGE_AT_MOST_EVERY, wake_at - now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            late = self._clock.monotonic() - now - pause
            if late > _OVERSLEPT:
                await self._forgive(late)

    def _judge_now(self, node_id: str) -> None:
        self._due.set(node_id, self._clock.monotonic())
        self._wake.set()

    async def _forgive(self, late: float) -> None:
        log.warning("the master was held up for %.1f s; no node is blamed for it", late)
        for link in self._links.values():
            link.forgive(late, self._clock.monotonic())
        await asyncio.sleep(0.05)  # let what arrived meanwhile be read first

    def _judge(self, node_id: str, link: Link, now: float) -> None:
        """And see to it that it is judged again in time."""
        deadline = link.next_deadline(now)
        if deadline is not None:
            self._due.set(node_id, deadline)
        lost = self._nodes.health(node_id).link_lost
        fault = link.fault(now)
        if fault is not None and not lost:
            self._set_live(
                node_id, connected=False, last_heartbeat=self._last_sign(node_id, link, now)
            )
            self._nodes.fault(node_id, fault, link.explain(fault, now))
            # When it was last seen is worth as much as that it is lost. Once for all that are lost
            # together: that may be a thousand.
            self._lost = True
            self._wake.set()
        elif fault is None and lost and link.open and not link.suspect(now):
            self._set_live(node_id, connected=True)
            self._nodes.link_restored(node_id)
        suspect = link.suspect(now) and fault is None
        if suspect != (node_id in self._suspects):
            (self._suspects.add if suspect else self._suspects.discard)(node_id)
            self._set_live(
                node_id, suspect=suspect, last_heartbeat=self._last_sign(node_id, link, now)
            )
        if link.open and fault is None and not suspect:
            self._judge_datagrams(node_id, link, now)

    def _last_sign(self, node_id: str, link: Link, now: float) -> datetime | None:
        """Pulses are not recorded one by one; when they stop, the time of the last one is."""
        if link.generation == 0:  # no session yet: it stays with what was recorded before
            return self._state.live(node_id).last_heartbeat
        return self._clock.utc() - timedelta(seconds=link.silence(now))

    def _judge_datagrams(self, node_id: str, link: Link, now: float) -> None:
        datagrams = link.datagrams(now)
        if datagrams is self._datagrams.get(node_id):
            return
        if not datagrams and now - self._opened_at.get(node_id, now) < _DATAGRAMS_DUE:
            return
        self._datagrams[node_id] = datagrams
        self._set_live(node_id, datagrams=datagrams)
        self._nodes.condition(
            node_id,
            Condition("DatagramsBlocked", False, "DatagramsPass", "pulses travel as datagrams")
            if datagrams
            else Condition(
                "DatagramsBlocked",
                True,
                "DatagramsBlocked",
                "no datagrams get through on the master's port; pulses travel on the stream,"
                " and a silent link is noticed later",
            ),
        )

    def _set_live(self, node_id: str, **fields: object) -> None:
        if self._state.node(node_id) is None:
            return
        live = self._state.live(node_id)
        changed: NodeLive = replace(live, **fields)  # type: ignore[arg-type]
        if changed != live:
            self._state.observe(keys.live(node_id), changed, durable=False)

    # ---- what is kept ----

    def keep_heartbeats(self) -> None:
        """Write the times of the last heartbeats, all in one (S5): now and then, and at the end."""
        times = {
            n.id: t
            for n in self._state.nodes()
            if (t := self._state.live(n.id).last_heartbeat) is not None
        }
        self._state.observe(keys.HEARTBEATS, times)
