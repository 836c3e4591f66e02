"""The one error of the lab, apart so that every module may raise it."""

from __future__ import annotations


class LabError(RuntimeError):
    """The lab could not do what was asked; the message carries the tool's own words."""
