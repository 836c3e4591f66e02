"""What the cluster should do next, and what its state looks like: pure functions."""
