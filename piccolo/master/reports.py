"""What agents report of their containers and instances, taken in and kept in step (C1, S4).

The master holds one `Report` per node, rebuilt from the store at its start. Deltas and snapshots
are applied to it, and only what differs is written.
"""

from __future__ import annotations

from piccolo.core.model import Container, ContainerUsage
from piccolo.core.report import Delta, Report
from piccolo.core.workloads.instances import InstanceStatus
from piccolo.master import keys
from piccolo.master.state_manager import StateManager


class Reports:
    def __init__(self, state: StateManager) -> None:
        self._state = state
        self._by_node: dict[str, Report] = {}

    def of(self, node_id: str) -> Report:
        report = self._by_node.get(node_id)
        if report is None:
            instances = self._state.group(keys.instances_of(node_id)).values()
            report = Report(self._state.containers(node_id), instances)
            self._by_node[node_id] = report
        return report

    def snapshot(
        self,
        node_id: str,
        containers: tuple[Container, ...] | None,
        instances: tuple[InstanceStatus, ...] | None = None,
    ) -> None:
        """All containers and instances of the node, replacing what was known. None: nothing was
        said of them."""
        if containers is not None:
            self.delta(node_id, self.of(node_id).difference(containers))
        if instances is not None:
            self.delta(node_id, self.of(node_id).instance_difference(instances))

    def delta(self, node_id: str, delta: Delta) -> None:
        report = self.of(node_id)
        for container in delta.changed:
            if report.containers.get(container.id) != container:
                self._state.observe(keys.container(node_id, container.id), container)
        for container_id in delta.removed:
            if container_id in report.containers:
                self._state.observe(keys.container(node_id, container_id), None)
        for status in delta.instances:
            if report.instances.get(status.key) != status:
                self._state.observe(keys.instance(node_id, status.key), status)
        for key in delta.removed_instances:
            if key in report.instances:
                self._state.observe(keys.instance(node_id, key), None)
        report.apply(delta)

    def usage(self, node_id: str, usage: tuple[ContainerUsage, ...]) -> None:
        self._state.observe(keys.usage(node_id), usage, durable=False)

    def forget(self, node_id: str) -> None:
        self._by_node.pop(node_id, None)
