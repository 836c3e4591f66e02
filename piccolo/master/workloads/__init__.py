"""Workloads on the master: declared by people, told to agents."""
