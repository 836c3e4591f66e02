"""What a node does for its workloads: keeps what is asked of it, and drives each instance there."""
