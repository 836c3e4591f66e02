"""The kinds of objects that can be listed and watched: how each is shown, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, NoReturn, TypeVar

from piccolo.cli import client
from piccolo.cli.options import Output
from piccolo.cli.output import Column, Table, print_list, to_text, warn_if_degraded
from piccolo.cli.show import rows, workload_rows
from piccolo.rpc import wire

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    watched: wire.WatchKind
    pick: Callable[[wire.WatchResponse], T | None]
    columns: Sequence[Column[T]]
    to_dict: Callable[[T], Mapping[str, Any]]
    name: Callable[[T], str]
    none: str  # what is said when there are none

    def print(
        self,
        items: Sequence[T],
        view: wire.ViewInfo | None,
        output: Output,
        *,
        selector: str = "",
    ) -> None:
        """A list in any of the formats; `selector`: by what it was selected, if it was."""
        if view is not None:
            warn_if_degraded(view.degraded, view.message)
        none = f"nothing matches {selector}" if selector else self.none
        print_list(items, self.columns, self.to_dict, self.name, output, none=none)

    def follow(
        self,
        master: Sequence[str] | None,
        timeout: float,
        output: Output,
        *,
        context: str = "",
        **wanted: Any,
    ) -> NoReturn:
        """Print the list, then a line per change, for ever; `wanted`: fields of WatchRequest.

        A line is a table row, or a document {"type": ADDED|MODIFIED|DELETED|SYNCED|RESYNC,
        "object": …}.
        """
        request = wire.WatchRequest(kind=self.watched, **wanted)
        if output in (Output.JSON, Output.YAML):
            show = self._documents(output)
        elif output is Output.NAME:
            show = self._names
        else:
            show = self._rows(output)
        client.watch(
            master,
            timeout,
            request,
            lambda r: show(r.type.name or "UNKNOWN", self.pick(r)),
            context=context,
        )

    def _names(self, kind: str, item: T | None) -> None:
        if item is not None:
            print(self.name(item), flush=True)

    def _documents(self, output: Output) -> Callable[[str, T | None], None]:
        told: dict[str, object] = {}  # by name, to tell news from what is told again

        def show(kind: str, item: T | None) -> None:
            if item is None:
                print(to_text({"type": kind}, output, one_line=True), flush=True)
                return
            data = self.to_dict(item)
            if kind != "ADDED" or told.get(self.name(item)) != data:
                print(to_text({"type": kind, "object": data}, output, one_line=True), flush=True)
            told[self.name(item)] = data

        return show

    def _rows(self, output: Output) -> Callable[[str, T | None], None]:
        table = Table(self.columns, output is Output.WIDE)
        first: list[T] | None = []  # the first list, until it is complete
        told: dict[str, object] = {}

        def show(kind: str, item: T | None) -> None:
            nonlocal first
            if item is None:
                if first is not None:
                    table.print(first)
                first = None
            elif kind == "DELETED":
                told.pop(self.name(item), None)
                print(f"{self.name(item)}: gone", flush=True)
            else:
                news = table.news(item)
                if first is not None:
                    first.append(item)
                elif told.get(self.name(item)) != news:
                    table.print([item])
                told[self.name(item)] = news

        return show


NODES = Kind(
    wire.WatchKind.NODE,
    lambda r: r.node,
    rows.NODE_COLUMNS,
    rows.node_dict,
    lambda n: n.name,
    "no nodes; to add one: piccolo token create",
)
NODES_IN_USE = replace(NODES, columns=rows.TOP_NODE_COLUMNS)
CONTAINERS = Kind(
    wire.WatchKind.CONTAINER,
    lambda r: r.container,
    rows.CONTAINER_COLUMNS,
    rows.container_dict,
    lambda c: f"{c.node_name}/{c.status.name if c.status else ''}",
    "no containers",
)
CONTAINERS_IN_USE = replace(
    CONTAINERS, columns=rows.TOP_CONTAINER_COLUMNS, none="no running containers"
)
EVENTS = Kind(
    wire.WatchKind.EVENT,
    lambda r: r.event,
    rows.EVENT_COLUMNS,
    rows.event_dict,
    lambda e: e.id,
    "no events",
)
WORKLOADS = Kind(
    wire.WatchKind.WORKLOAD,
    lambda r: r.workload,
    workload_rows.WORKLOAD_COLUMNS,
    workload_rows.workload_dict,
    lambda w: w.name,
    "no workloads; to declare some: piccolo apply -f FILE",
)
