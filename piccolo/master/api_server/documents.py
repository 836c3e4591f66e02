"""Documents as requests bring them: checked beside what the cluster has, off the event loop.

Reading YAML is Python at work for up to half a second per MiB, with the interpreter's lock held for
a few milliseconds at a time. So it is done by one thread, however many ask: heartbeats and other
requests go on beside it, at most 0.1 s later (`tests/master/test_documents.py` measures it).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from piccolo.config.manifests.finding import Finding
from piccolo.config.manifests.known import Known
from piccolo.config.manifests.loading import Text
from piccolo.config.manifests.reading import MAX_PROBLEMS, Reading, read
from piccolo.config.text_file import MAX_BYTES, to_text
from piccolo.core.errors import InvalidSpec
from piccolo.core.words import printable
from piccolo.master.cluster import Cluster
from piccolo.rpc import wire

MAX_TOTAL = 15 << 18  # bytes: a message of gRPC may have 4 MiB (`rpc.gate`), with names and all
_LONGEST = 500  # characters of a name


class Documents:
    def __init__(self, cluster: Cluster) -> None:
        self._c = cluster
        self._thread = ThreadPoolExecutor(1, "documents")

    async def read(self, sources: Sequence[wire.Source]) -> Reading:
        """What is wrong is in the reading. Raises `InvalidSpec` for too much of it."""
        total = sum(len(source.text) for source in sources)
        if total > MAX_TOTAL:
            raise InvalidSpec(
                f"{total / 1e6:.1f} MB of documents are more than the {MAX_TOTAL / 1e6:.1f} MB that"
                " are taken at once: name fewer files at a time"
            )
        known = self._known()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: read(_texts(sources), known))

    def _known(self) -> Known:
        state = self._c.state
        return Known(
            {n: d.workload for n, d in state.declared().items() if d.deleting_since is None},
            {s.name: frozenset(s.data) for s in state.secrets()},
        )


def _texts(sources: Sequence[wire.Source]) -> Iterator[Text]:
    for source in sources:
        name = printable(source.name[:_LONGEST]) or "document"
        if len(source.text) > MAX_BYTES:
            size = len(source.text) / 1e6
            yield (
                name,
                InvalidSpec(f"{name}: {size:.1f} MB; at most {MAX_BYTES >> 20} MiB are read"),
            )
            continue
        try:
            yield name, to_text(source.text, name)
        except InvalidSpec as error:
            yield name, error


def findings(found: Sequence[Finding]) -> list[wire.DocumentFinding]:
    """As they travel: the first ones, and how many more there are."""
    shown = [
        wire.DocumentFinding(source=f.source, line=f.line, column=f.column, message=f.message)
        for f in found[:MAX_PROBLEMS]
    ]
    if more := len(found) - len(shown):
        shown.append(wire.DocumentFinding(source=found[-1].source, message=f"and {more} more"))
    return shown
