"""The calls about what is to run (docs/workloads.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from piccolo.core.errors import InvalidSpec
from piccolo.core.model import NodeState, Severity
from piccolo.core.words import printable
from piccolo.core.workloads.declared import Assignment
from piccolo.core.workloads.workload import Action, Workload
from piccolo.master.api_server.documents import Documents, findings
from piccolo.master.api_server.workload_views import WorkloadViews
from piccolo.master.cluster import Cluster
from piccolo.master.workloads.draft import What
from piccolo.master.workloads.workload_manager import Outcome
from piccolo.rpc import wire
from piccolo.rpc.server import caller, concerns

_NAMED = 20  # workloads, in the audit trail
_REASONS = {
    What.CREATED: "Declared",
    What.CHANGED: "Changed",
    What.DELETED: "Deleting",
    What.LAUNCHED: "Launched",
    What.TERMINATED: "Terminated",
    What.ROLLED_BACK: "RolledBack",
    What.RESTARTED: "RestartAsked",
}


class WorkloadCalls:
    _c: Cluster
    _documents: Documents
    _workloads: WorkloadViews

    # ---- changing ----

    async def apply(self, message: wire.ApplyRequest) -> wire.ApplyResponse:
        reading = await self._documents.read(message.sources)
        made = [f.made for f in reading.found]
        acts = ", ".join(f"scenario {a.name}" for a in made if isinstance(a, Action))
        _concerns(
            [w.name for w in made if isinstance(w, Workload)],
            acts or ("documents with problems" if reading.problems else ""),
            dry_run=message.dry_run,
        )
        notices = findings(reading.notices)
        if reading.problems:
            return wire.ApplyResponse(problems=findings(reading.problems), notices=notices)
        asked = reading.manifests()
        outcome = await self._c.workloads.apply(
            asked.workloads, asked.actions, self._by, dry_run=message.dry_run
        )
        self._note(outcome, dry_run=message.dry_run)
        return wire.ApplyResponse(
            notices=notices,
            changes=self._changes(outcome),
            plan=self._plan(outcome),
            revision=outcome.revision,
        )

    async def delete_workloads(
        self, message: wire.DeleteWorkloadsRequest
    ) -> wire.DeleteWorkloadsResponse:
        names = list(message.names)
        if message.sources:
            reading = await self._documents.read(message.sources)
            if reading.problems:
                _concerns([], "documents with problems", dry_run=message.dry_run)
                return wire.DeleteWorkloadsResponse(problems=findings(reading.problems))
            names += [workload.name for workload in reading.manifests().workloads]
        _concerns(names, "", dry_run=message.dry_run)
        if not names:
            raise InvalidSpec("name the workloads to delete, or documents that declare them")
        assigned = self._c.state.assignments()  # soon there will be none
        outcome = await self._c.workloads.delete(
            names,
            self._by,
            cascade=message.cascade,
            ignore_missing=message.ignore_missing,
            dry_run=message.dry_run,
        )
        self._note(outcome, dry_run=message.dry_run)
        return wire.DeleteWorkloadsResponse(
            changes=self._changes(outcome),
            plan=self._plan(outcome),
            revision=outcome.revision,
            notices=list(self._left_behind(outcome, assigned)),
        )

    def _left_behind(self, outcome: Outcome, assigned: Iterable[Assignment]) -> Iterator[str]:
        """Copies whose nodes cannot be told now that they are deleted."""
        names = {c.name for c in outcome.changes if c.what is What.DELETED}
        places = {(a.key, a.node_id) for a in assigned if a.workload in names}
        for name in names:  # and those that were retracted from a node that did not hear of it
            _, seen = self._c.state.copies(name)
            places |= {(key, node_id) for node_id, key in seen}
        found = [(key, node) for key, i in places if (node := self._c.state.node(i)) is not None]
        for key, node in sorted(found, key=lambda place: (place[0], place[1].name)):
            if self._c.state.status(node.id).state is not NodeState.READY:
                yield f"{key} on {node.name}: its node is away; it stops there when it is back"

    async def roll_back_workload(
        self, message: wire.RollBackWorkloadRequest
    ) -> wire.RollBackWorkloadResponse:
        _concerns([message.name], "", dry_run=message.dry_run)
        outcome = await self._c.workloads.roll_back(
            message.name, self._by, to=message.to, dry_run=message.dry_run
        )
        self._note(outcome, dry_run=message.dry_run)
        [change] = self._changes(outcome)
        return wire.RollBackWorkloadResponse(
            change=change, plan=self._plan(outcome), revision=outcome.revision
        )

    async def restart_workloads(
        self, message: wire.RestartWorkloadsRequest
    ) -> wire.RestartWorkloadsResponse:
        _concerns(message.names, "")
        outcome = await self._c.workloads.restart(message.names, self._by)
        self._note(outcome)
        return wire.RestartWorkloadsResponse(
            changes=self._changes(outcome), revision=outcome.revision
        )

    @property
    def _by(self) -> str:
        return str(caller().principal)

    def _note(self, outcome: Outcome, *, dry_run: bool = False) -> None:
        """For the events of the workloads."""
        if dry_run or not outcome.changed:
            return
        for change in outcome.changes:
            reason = _REASONS.get(change.what) if change.kind == "Workload" else None
            if reason:
                message = f"generation {change.generation}, by {self._by}"
                self._c.events.add(Severity.INFO, "workload", change.name, reason, message)

    def _changes(self, outcome: Outcome) -> list[wire.ObjectChange]:
        return [self._workloads.change(change) for change in outcome.changes]

    def _plan(self, outcome: Outcome) -> list[wire.PlanStep]:
        """What is done about it first; it is begun as soon as somebody else has his turn."""
        if not outcome.changed:
            return []
        return self._workloads.plan(self._c.actions.preview(outcome.declared))

    # ---- reading ----

    async def get_workloads(self, message: wire.GetWorkloadsRequest) -> wire.GetWorkloadsResponse:
        found = self._workloads.workloads(message.filter, message.node)
        return wire.GetWorkloadsResponse(workloads=found, view=self._c.view())

    async def get_workload(self, message: wire.GetWorkloadRequest) -> wire.GetWorkloadResponse:
        declared = self._workloads.find(message.name)
        return wire.GetWorkloadResponse(
            workload=self._workloads.workload(declared),
            view=self._c.view(),
            spec=self._workloads.spec(declared),
            events=self._workloads.events(message.name),
            containers=self._workloads.containers(message.name),
        )

    async def get_history(self, message: wire.GetHistoryRequest) -> wire.GetHistoryResponse:
        return wire.GetHistoryResponse(generations=self._workloads.history(message.name))


def _concerns(names: Iterable[str], otherwise: str, *, dry_run: bool = False) -> None:
    """For the audit trail: names, never what is in the documents."""
    found = list(dict.fromkeys(printable(name[:63]) for name in names))
    shown = ", ".join(found[:_NAMED])
    if len(found) > _NAMED:
        shown += f" and {len(found) - _NAMED} more"
    text = f"workload{'' if len(found) == 1 else 's'} {shown}" if found else otherwise
    concerns(f"{text or 'no workload'}{' (dry run)' if dry_run else ''}")
