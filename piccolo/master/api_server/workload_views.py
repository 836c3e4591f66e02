"""Workloads as clients see them: what was asked, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from piccolo.core import plain, selectors
from piccolo.core.errors import NotFound
from piccolo.core.model import Event, NodeState
from piccolo.core.planning.differences import differences
from piccolo.core.planning.planner import Plan
from piccolo.core.planning.rollup import State, roll_up
from piccolo.core.words import suggest
from piccolo.core.workloads.declared import Assignment, Declared
from piccolo.core.workloads.instances import LABEL_WORKLOAD, InstanceStatus
from piccolo.core.workloads.workload import Workload
from piccolo.master import keys
from piccolo.master.api_server.views import Views
from piccolo.master.cluster import Cluster
from piccolo.master.workloads.draft import ObjectChange, What
from piccolo.rpc import convert, wire

_FIELDS = frozenset({"name", "state", "reason", "package", "held", "deleting", "settled", "failed"})
_EVENTS = 20
_SPECS_BYTES = 2 << 20  # of one history, for the answer to fit into a message


class WorkloadViews:
    def __init__(self, cluster: Cluster, views: Views) -> None:
        self._c = cluster
        self._views = views

    def find(self, name: str) -> Declared:
        """Raises `NotFound`."""
        found = self._c.state.workload(name)
        if found is None:
            near = suggest(name, self._c.state.declared())
            raise NotFound(
                f'there is no workload "{name}"{near or "; see `piccolo get workloads`"}'
            )
        return found

    def workload(self, declared: Declared, *, instances: bool = True) -> wire.Workload:
        state, workload = self._c.state, declared.workload
        assigned, seen = state.copies(workload.name)
        node_ids = {a.node_id for a in assigned} | {node_id for node_id, _ in seen}
        nodes = [node for node_id in node_ids if (node := state.node(node_id))]
        names = {node.id: node.name for node in nodes}
        ready = {n.id: state.status(n.id).state is NodeState.READY for n in nodes}
        found = roll_up(declared, assigned, seen, ready, self._unplaced(declared), names)
        message, rebuilding = found.message, self._c.restored.wait() is not None
        if rebuilding and found.state is State.PENDING and not found.reason:
            message = "held: the master is rebuilding"  # nothing gets a node before that is over
        return wire.Workload(
            name=workload.name,
            generation=declared.generation,
            state=found.state,
            reason=found.reason,
            message=message,
            wanted=found.wanted,
            placed=found.placed,
            updated=found.updated,
            ready=found.ready,
            restarts=found.restarts,
            settled=found.settled,
            failed=found.failed,
            images=list(dict.fromkeys(c.image for c in workload.containers)),
            instances=list(self._instances(assigned, seen, names)) if instances else [],
            created_at=declared.created_at,
            changed_at=declared.changed_at,
            labels=dict(workload.labels),
            package=workload.package,
            held=not declared.active,
            deleting=declared.deleting_since is not None,
            depends_on=[f"{d.workload} is {d.condition}" for d in workload.depends_on],
            revision=state.revision_of(keys.workload(workload.name)),
        )

    def _unplaced(self, declared: Declared) -> str | None:
        """What the last plan said, if it was about what is declared now."""
        found = self._c.state.get(keys.unplaced(declared.workload.name), keys.Unplaced)
        asked = declared.generation, declared.restarts
        if found is None or (found.generation, found.restarts) != asked:
            return None
        return found.reason

    def _instances(
        self,
        assigned: list[Assignment],
        seen: Mapping[tuple[str, str], InstanceStatus],
        names: Mapping[str, str],
    ) -> Iterator[wire.WorkloadInstance]:
        """Those that are asked for, and those that are still there."""
        asked = {(a.index, a.node_id): a for a in assigned}
        told = {(status.index, node_id): status for (node_id, _), status in seen.items()}
        for place in sorted({*asked, *told}, key=lambda p: (p[0], names.get(p[1], ""))):
            index, node_id = place
            assignment, status = asked.get(place), told.get(place)
            yield wire.WorkloadInstance(
                node_id=node_id,
                node_name=names.get(node_id, ""),
                status=convert.instance_status_to_wire(status) if status else None,
                generation=assignment.generation if assignment else 0,
                stale=not self._c.state.live(node_id).connected,
                index=index,
            )

    # ---- selecting ----

    def selector(self, text: str) -> selectors.Selector:
        return selectors.parse(text, _FIELDS)

    def selected(self, selector: selectors.Selector, workload: wire.Workload) -> bool:
        values = {name: getattr(workload, name) for name in _FIELDS}
        texts = {n: str(v).lower() if isinstance(v, bool) else v for n, v in values.items()}
        return selector(workload.labels, texts)

    def workloads(self, text: str = "", node: str = "") -> list[wire.Workload]:
        """In the order of their names; with `node` those with an instance there."""
        selector = self.selector(text)
        node_id = self._c.state.find_node(node).id if node else ""
        found = map(self.workload, self._c.state.declared().values())
        return [
            w
            for w in found
            if self.selected(selector, w)
            and (not node_id or any(i.node_id == node_id for i in w.instances))
        ]

    def in_trouble(self) -> list[wire.Workload]:
        """Those that have settled, but not as asked: without their instances."""
        declared = self._c.state.declared().values()
        found = (self.workload(d, instances=False) for d in declared)
        return [workload for workload in found if workload.failed]

    # ---- one of them ----

    def spec(self, declared: Declared) -> str:
        return plain.encode(declared.workload).decode()

    def events(self, name: str) -> list[wire.Event]:
        """The newest about it and its instances, oldest first."""

        def about(event: Event) -> bool:
            whole, _, index = event.subject.partition(".")
            return event.kind == "workload" and whole == name and (not index or index.isdecimal())

        found = [event for event in self._c.events.newest() if about(event)]
        return [convert.event_to_wire(event) for event in found[-_EVENTS:]]

    def containers(self, name: str) -> list[wire.Container]:
        return list(self._views.containers("", f"{LABEL_WORKLOAD}={name}"))

    def history(self, name: str) -> list[wire.Generation]:
        """Oldest first; the last one is current. Of very large ones, only the newest have specs."""
        current = self.find(name)
        found: list[wire.Generation] = []
        before: Workload | None = None
        for past in self._c.state.history(name):
            found.append(
                wire.Generation(
                    number=past.generation,
                    at=past.at,
                    by=past.by,
                    cause=past.cause,
                    fields=fields(before, past.workload) if before else [],
                    spec=plain.encode(past.workload).decode(),
                )
            )
            before = past.workload
        found.append(
            wire.Generation(
                number=current.generation,
                at=current.changed_at,
                by=current.by,
                cause=current.cause,
                fields=fields(before, current.workload) if before else [],
                spec=self.spec(current),
            )
        )
        size = 0
        for generation in reversed(found):
            size += len(generation.spec)
            if size > _SPECS_BYTES:
                generation.spec = ""
        return found

    # ---- changes ----

    def change(self, change: ObjectChange) -> wire.ObjectChange:
        shown = change.what is not What.DELETED
        return wire.ObjectChange(
            kind=change.kind,
            name=change.name,
            what=change.what,
            generation=change.generation,
            fields=fields(change.before, change.after) if shown else [],
        )

    def plan(self, plan: Plan) -> list[wire.PlanStep]:
        found = []
        for step in plan.steps:
            node = self._c.state.node(step.node_id)
            found.append(
                wire.PlanStep(
                    verb=step.verb,
                    workload=step.workload,
                    index=step.index,
                    node_name=node.name if node else step.node_id,
                    reason=step.reason,
                )
            )
        return found


def fields(before: Workload | None, after: Workload | None) -> list[wire.FieldChange]:
    return [
        wire.FieldChange(path=d.path, before=d.before, after=d.after)
        for d in differences(before, after)
    ]
