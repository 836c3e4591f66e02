"""Container runtimes: `base` is what the agent asks of one, `podman` the one there is."""
