"""A cluster on one machine, for tests, benchmarks and the demo. Start with `tests.lab.cluster`.

Knows nothing of PICCOLO's code, only its program: `site` and `reaper` make and remove the ground,
`net`, `podman` and `process` are what a machine has, `cluster` puts them together.
"""
