"""The composition roots: build the parts of a master or an agent, and run them. Nothing else."""
