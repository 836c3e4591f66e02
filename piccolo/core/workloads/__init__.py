"""What is asked: workloads, their copies, and what these depend on."""
