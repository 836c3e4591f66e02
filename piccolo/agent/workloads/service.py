"""All that a node does for workloads, put together: the face that sessions and the role see.

It outlives sessions. What one of them brought is taken over to the end, one change after the other,
even if the session is gone by then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from piccolo.agent.reporter import Reporter
from piccolo.agent.workloads.dependencies import Dependencies
from piccolo.agent.workloads.desired import Change, Desired, Spec
from piccolo.agent.workloads.isolation import Isolation
from piccolo.agent.workloads.journal import Journal
from piccolo.agent.workloads.supervisor import Supervisor
from piccolo.core.errors import PiccoloError
from piccolo.core.model import Severity
from piccolo.core.workloads.instances import DependencyState
from piccolo.runtime.base import Runtime
from piccolo.security.files import private_dir

log = logging.getLogger(__name__)

_LEAVE_WITHIN = 30.0  # s

Answer = Callable[[int, str], None]  # the digest of what is held now, and what went wrong
Specs = Callable[[Sequence[Spec], str], None]  # of what is held, or what went wrong


@dataclass(frozen=True, slots=True)
class _News:
    change: Change
    dependencies: Sequence[DependencyState]
    session: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class _Query:
    keys: Collection[str]
    limit: int
    answer: Specs


class Workloads:
    def __init__(
        self, runtime: Runtime | None, reporter: Reporter, node_id: str, data_dir: Path
    ) -> None:
        """Blocking: reads what is on the disk. Raises `InvalidSpec` when others can read it, and
        `Unavailable` when it cannot be used."""
        self.journal = Journal(data_dir / "events.jsonl")
        self._desired = Desired(data_dir / "workloads")
        self._dependencies = Dependencies(data_dir / "workloads", reporter.report.instances)
        self._isolation = Isolation()
        self._review = asyncio.Event()
        self._session = 0  # counts them
        self._news: asyncio.Queue[_News | _Query] = asyncio.Queue()
        self._supervisor = Supervisor(
            runtime,
            reporter,
            node_id,
            private_dir(data_dir / "instances"),
            self.journal,
            self._dependencies.blocked,
            self._isolation.why,
        )
        self.journal.load()
        self._dependencies.load()
        damage = self._desired.load()
        if damage:
            log.error("%s", damage)
            self.journal.note(Severity.ERROR, "", "DesiredStateDamaged", damage)

    async def run(self) -> None:
        """Until cancelled; then containers run on."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._supervisor.run(), name="supervisor")
                tasks.create_task(self._dependencies.run(), name="dependencies")
                tasks.create_task(self.journal.run(), name="journal")
                tasks.create_task(self._watch_isolation(), name="isolation")
                self._follow()
                while True:
                    match await self._news.get():
                        case _News() as news:
                            await self._take_over(news)
                        case _Query() as query:
                            await self._tell(query)
        finally:
            self.journal.close()

    # ---- sessions ----

    @property
    def digest(self) -> int:
        return self._desired.digest

    @property
    def names(self) -> list[str]:
        """Of the workloads that are kept here, also of those in a damaged file."""
        return sorted({key.rpartition(".")[0] for key in self._desired.everything})

    def held(self) -> Mapping[str, int]:
        """What the master need not send: digests by key."""
        return {key: held.digest for key, held in self._desired.held.items()}

    def connected(self) -> None:
        self._session += 1
        self._isolation.connected()
        self.journal.connected()
        self._review.set()

    def alone(self, heard_at: float) -> None:
        """The session is over; monotonic, when the master was heard last."""
        self._session += 1
        self._isolation.alone(heard_at)
        self._dependencies.alone()
        self.journal.disconnected()
        self._supervisor.wake_all()
        self._review.set()

    def take_over(
        self, change: Change, dependencies: Sequence[DependencyState], answer: Answer
    ) -> None:
        """`answer` is called once it is on the disk, or it turned out that it cannot be."""
        self._news.put_nowait(_News(change, dependencies, self._session, answer))

    def tell(self, keys: Collection[str], limit: int, answer: Specs) -> None:
        """`answer` gets what is held of these instances, as it came: about `limit` bytes of it."""
        self._news.put_nowait(_Query(keys, limit, answer))

    async def leave(self) -> None:
        """This node is out of the cluster: end and remove everything, and know nothing more."""
        answered: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        everything = Change(reset=True, digest=0)
        self.take_over(everything, (), lambda _, error: answered.set_result(error))
        try:
            async with asyncio.timeout(_LEAVE_WITHIN):
                if await answered:  # the disk does not take it
                    self._supervisor.follow({}, sure=True)
                await self._supervisor.emptied()
        except TimeoutError:
            log.warning("not all workloads ended within %g s: some are left", _LEAVE_WITHIN)
        self.journal.forget()

    # ---- what goes on ----

    async def _take_over(self, news: _News) -> None:
        error, changed = "", False
        try:
            changed = await asyncio.to_thread(self._desired.take_over, news.change)
        except PiccoloError as failed:
            error = str(failed)
            log.error("the change of what is to run here was not taken over: %s", error)
        if news.session == self._session:
            reset = news.change.reset
            self._supervisor.wake(self._dependencies.told(news.dependencies, reset=reset))
        if changed:
            self._follow()
        news.answer(self.digest, error)

    async def _tell(self, query: _Query) -> None:
        error = ""
        specs: Sequence[Spec] = ()
        try:
            specs = await asyncio.to_thread(self._desired.specs, query.keys, query.limit)
        except PiccoloError as failed:
            error = str(failed)
        query.answer(specs, error)

    def _follow(self) -> None:
        everything, whole = self._desired.everything, self._desired.whole
        if whole:
            self._dependencies.keep(everything.keys())
        self._supervisor.follow(everything, sure=whole)
        self._review.set()

    async def _watch_isolation(self) -> None:
        """Stop in time what must not run here without the master."""
        while True:
            self._review.clear()
            self._supervisor.review()
            instances = [h.instance for h in self._desired.everything.values() if h.instance]
            try:
                async with asyncio.timeout(self._isolation.next(instances)):
                    await self._review.wait()
            except TimeoutError:
                pass
