"""How `piccolo is-online` finds out: from what services say of themselves here, or the master."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from piccolo.cli.client import Stub
    from piccolo.rpc import wire

_NAMED = 5  # nodes in one message


@dataclass(frozen=True, slots=True)
class Verdict:
    what: str
    online: bool
    message: str


class Probe(Protocol):
    def look(self, patience: float) -> Verdict:
        """`patience`: s, to wait for an answer."""
        ...

    def close(self) -> None: ...


# ---- this machine ----


class ThisMachine:
    def look(self, patience: float) -> Verdict:
        from piccolo.roles import presence

        here = list(presence.look(presence.directories()))
        said = "; ".join(f"{role.role}: {role.message}" for role in here)
        nobody = "neither agent nor master runs here as a service of the system or of this user"
        online = bool(here) and all(role.online for role in here)
        return Verdict("this machine", online, said or nobody)

    def close(self) -> None: ...


# ---- by the master ----


def remote_node(name: str, context: str, master: Sequence[str] | None) -> Probe:
    """Raises `InvalidSpec` without a context."""

    async def ask(stub: Stub) -> tuple[bool, str]:
        from piccolo.cli.show.rows import node_status
        from piccolo.rpc import wire

        node = (await stub.get_node(wire.GetNodeRequest(node_id=name))).node or wire.Node()
        ready = node.status == wire.NodeStatus.READY
        reason = "" if ready or not node.reason else f", {node.reason}"
        return ready, node_status(node) + reason

    return _Remote(f"node {name}", ask, context, master)


def remote_cluster(context: str, master: Sequence[str] | None) -> Probe:
    """Raises `InvalidSpec` without a context."""

    async def ask(stub: Stub) -> tuple[bool, str]:
        from piccolo.rpc import wire

        return _all_ready((await stub.get_nodes(wire.GetNodesRequest())).nodes)

    return _Remote("the cluster", ask, context, master)


def _all_ready(nodes: Sequence[wire.Node]) -> tuple[bool, str]:
    """Those in service: who waits for approval, is in maintenance or leaves is not. None at all is
    not online: nothing could run there."""
    from piccolo.cli.show.rows import state_word
    from piccolo.rpc.wire import NodeStatus

    away = (NodeStatus.PENDING, NodeStatus.MAINTENANCE, NodeStatus.TERMINATING)
    serving = [n for n in nodes if n.status not in away]
    missing = [n for n in serving if n.status != NodeStatus.READY]
    said = f"{len(serving) - len(missing)} of {len(serving)} nodes Ready"
    if missing:
        said += ": " + ", ".join(f"{n.name} {state_word(n.status)}" for n in missing[:_NAMED])
        said += f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return bool(serving) and not missing, said


class _Remote:
    """Asks over one connection, made anew when it was lost."""

    def __init__(
        self,
        what: str,
        ask: Callable[[Stub], Coroutine[Any, Any, tuple[bool, str]]],
        context: str,
        master: Sequence[str] | None,
    ) -> None:
        import asyncio

        from piccolo.cli.client import Line

        self._what = what
        self._ask = ask
        self._line = Line(master, context)
        self._loop = asyncio.Runner()
        self._connected = False

    def look(self, patience: float) -> Verdict:
        from piccolo.core.errors import NotFound, Unavailable

        try:
            return Verdict(self._what, *self._loop.run(self._look(patience)))
        except NotFound as error:
            return Verdict(self._what, False, str(error))
        except Unavailable as error:
            self._connected = False
            return Verdict(self._what, False, str(error))

    async def _look(self, patience: float) -> tuple[bool, str]:
        from piccolo.rpc.isolated import isolated

        return await isolated(self._once(patience))

    async def _once(self, patience: float) -> tuple[bool, str]:
        if not self._connected:
            await self._line.open(patience)
            self._connected = True
        return await self._line.ask(self._ask, patience)

    def close(self) -> None:
        self._loop.run(self._closed())
        self._loop.close()

    async def _closed(self) -> None:
        self._line.close()
