"""The master's view of its store: all of it in memory, in front of an engine that keeps it.

Reading never waits and never fails. There are two ways to write:

* `commit` is the engine's: what it wrote becomes visible once it is durable, or it raises.
* `observe` is visible at once, never fails and never waits. What is observed durably is written
  soon after, many keys together, and only where the bytes differ from what is stored; while the
  engine is away it waits here, the latest value of each key. The rest never leaves the memory.

Rules between the two:

* A commit supersedes what was observed of its keys before it returned.
* An observation waiting to be written is newer than anything the engine has of its key.
* Commits and writes of observations that share a key take turns, and observations are written on
  the condition that the key is still as it was last seen. So a write that was believed lost, but
  comes through late, cannot overwrite a newer one.

Changes that others make in the engine are followed, each key by itself: a transaction of theirs
may be seen in parts. Revisions are the mirror's own, not the engine's. Each mirror loaded from the
same engine begins above all revisions that the ones before it gave out.

`memory` is what is visible. `writer` is the way into the engine, one at a time for each key;
`write_behind` keeps what waits for it, `follower` brings what others wrote, `rewriting` has the
engine store all again. `health` knows whether the engine can be used, `epoch` how often it was
loaded. `store` makes a `Store` of them.
"""

from __future__ import annotations

from piccolo.store.mirror.epoch import EPOCH_KEY
from piccolo.store.mirror.store import MirroredStore

__all__ = ["EPOCH_KEY", "MirroredStore"]
