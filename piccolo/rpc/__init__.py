"""The network: gRPC and datagrams, the wire's messages, and their translation to `core`.

`generated/` is made from `proto/` by `./dev proto`. All else here is small: everything that is
policy lives above, in `master`, `agent` and `cli`.
"""
