"""Nodes: their states, whether they live, whether they have enough to live on."""
