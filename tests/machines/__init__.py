"""Whole machines: Debian with systemd and Podman, booted in containers, for what an operator does.

How to use them by hand stands in docs/machines.md.
"""
