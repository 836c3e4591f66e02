"""What does not depend on how fast a machine is, counted and held against what it was before."""
