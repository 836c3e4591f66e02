"""PICCOLO beside what Debian offers for the same tasks: Serf, Docker Swarm, bare Podman."""
