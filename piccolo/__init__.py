"""PICCOLO: a cluster manager for embedded Linux."""

from __future__ import annotations

__version__ = "0.1.0"
