"""What a clock cannot say truly."""

from __future__ import annotations

from datetime import UTC, datetime

# A clock that says less was never set: what it dates would be wrong for years.
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
