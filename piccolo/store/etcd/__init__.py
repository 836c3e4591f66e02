"""The engine for those who run etcd, 3.4 or newer; spoken to directly over gRPC.

`url` says where and as whom, `client` finds an endpoint that answers, `holder` keeps the store one
master's, `watch` follows changes across lost connections, `engine` makes a `Store` of them.
`errors` is the only place where etcd's words become ours.
"""

from __future__ import annotations

from piccolo.store.etcd.engine import EtcdStore, open_etcd
from piccolo.store.etcd.url import EtcdUrl

__all__ = ["EtcdStore", "EtcdUrl", "open_etcd"]
