"""What a session tells of the node: all of it at first, then what changes."""

from __future__ import annotations

from piccolo.agent.reporter import Reporter
from piccolo.agent.status_sync import StatusSync
from piccolo.core.workloads.instances import InstanceStatus
from piccolo.rpc import wire
from tests.runtime.fake import FakeRuntime

WEB = InstanceStatus("web", 0, 1)


def test_a_runtime_that_never_answered_is_no_reason_to_keep_instances_to_oneself() -> None:
    """Nor to say that there are no containers: the master may know better."""
    sent: list[dict[str, object]] = []
    reporter = Reporter(FakeRuntime())  # which nobody runs
    reporter.instances([WEB])
    sync = StatusSync(reporter, lambda **body: sent.append(body))
    sync.begin(0, need_snapshot=True)
    (body,) = sent
    snapshot = body["snapshot"]
    assert isinstance(snapshot, wire.StatusSnapshot)
    assert snapshot.containers_unknown
    assert [s.workload for s in snapshot.instances] == ["web"]
    reporter.instances(removed=["web.0"])
    delta = sent[-1]["delta"]
    assert isinstance(delta, wire.StatusDelta)
    assert delta.removed_instances == ["web.0"]
