"""What documents are checked against when they are applied: what the cluster has already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from piccolo.config.document import Path
from piccolo.config.manifests.base import Report
from piccolo.core.workloads.workload import OnNodeLoss, Workload


@dataclass(frozen=True, slots=True)
class Known:
    workloads: Mapping[str, Workload] = field(default_factory=dict)  # those that stay
    secrets: Mapping[str, frozenset[str]] = field(default_factory=dict)  # their keys

    @property
    def packages(self) -> frozenset[str]:
        return frozenset(w.package for w in self.workloads.values() if w.package)


# Keys that are kept, but that nothing acts upon yet, and what happens meanwhile.
NOT_YET: Mapping[Path, str] = {
    ("spec", "update", "deadline"): "a version that does not become well is waited for",
    ("spec", "update", "rollback"): "`piccolo rollback` takes a version back",
    ("spec", "onNodeLoss"): "the workload stays where it is, and waits for its node",
    ("spec", "progressDeadlineSeconds"): "a version that does not become well is waited for",
}


def tell(workload: Workload, value: object, known: Known, report: Report) -> None:
    """Notices about a workload that was read from `value`, beside what is known."""
    for path, meanwhile in NOT_YET.items():
        if _given(value, path) and (path[-1] != "onNodeLoss" or _relocates(workload)):
            report.notice(path, f"is kept, but not carried out yet: {meanwhile}")
    if _relocates(workload) and not _given(value, ("spec", "onNodeLoss")):
        report.notice(
            (), "it is not started elsewhere yet when its node is lost: it waits for its node"
        )
    for secret, key in sorted(set(_secrets(workload))):
        if secret not in known.secrets:
            missing = f'there is no secret "{secret}" yet'
        elif key not in known.secrets[secret]:
            missing = f'the secret "{secret}" has no key "{key}" yet'
        else:
            continue
        report.notice((), f"{missing}: its containers wait for it")


def _relocates(workload: Workload) -> bool:
    return workload.on_node_loss.action is OnNodeLoss.RELOCATE


def _given(value: object, path: Path) -> bool:
    for part in path:
        if not isinstance(value, dict) or value.get(str(part)) is None:
            return False
        value = value[str(part)]
    return True


def _secrets(workload: Workload) -> Iterator[tuple[str, str]]:
    for container in (*workload.containers, *workload.init_containers):
        for used in container.secret_env.values():
            yield used.secret, used.key
        for file in container.files:
            if file.secret is not None:
                yield file.secret.secret, file.secret.key
