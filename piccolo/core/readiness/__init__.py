"""Whether a machine can be a node or the master: facts come in, findings go out (LLD 3.2.3)."""
