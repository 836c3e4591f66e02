"""The embedded engine: one SQLite file in a directory of its own, nothing to install.

`lock` makes the directory one master's, `database` is the file (plain blocking code), `engine`
puts it into a thread and makes a `Store` of it.
"""

from __future__ import annotations

from piccolo.store.sqlite.engine import SqliteStore, open_sqlite

__all__ = ["SqliteStore", "open_sqlite"]
