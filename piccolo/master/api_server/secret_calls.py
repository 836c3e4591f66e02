"""The calls about what is encrypted: secrets, and the key of the store (docs/store.md, At rest)."""

from __future__ import annotations

from collections.abc import Iterator, Set

from piccolo.core.errors import InvalidSpec
from piccolo.core.model import Secret, Severity
from piccolo.core.workloads.declared import Declared
from piccolo.master.cluster import Cluster
from piccolo.master.security.secrets import Secrets
from piccolo.master.workloads.instance_specs import references
from piccolo.rpc import wire
from piccolo.rpc.server import concerns
from piccolo.store.sealed import SealedStore


class SecretCalls:
    _c: Cluster

    async def put_secret(self, message: wire.PutSecretRequest) -> wire.PutSecretResponse:
        concerns(f"secret {message.name}")
        before = self._secrets.get(message.name)
        secret = await self._secrets.put(message.name, message.data, replace=message.replace)
        changed = _changed_keys(before, secret) if before else set()
        users = self._users(secret.name, changed)
        for user in users:
            text = f'the secret "{secret.name}" changed: its containers are made anew'
            self._c.events.add(Severity.INFO, "workload", user, "SecretChanged", text)
        return wire.PutSecretResponse(secret=self._secret(secret), used_by=users)

    async def get_secrets(self, message: wire.GetSecretsRequest) -> wire.GetSecretsResponse:
        return wire.GetSecretsResponse(secrets=[self._secret(s) for s in self._secrets.all()])

    async def delete_secret(self, message: wire.DeleteSecretRequest) -> wire.DeleteSecretResponse:
        concerns(f"secret {message.name}")
        revision = self._secrets.revision(message.name)
        gone = await self._secrets.delete(message.name)
        users = sorted(d.workload.name for d in self._staying() if _keys_of(d, gone.name))
        return wire.DeleteSecretResponse(secret=_to_wire(gone, revision), used_by=users)

    async def rotate_store_key(
        self, message: wire.RotateStoreKeyRequest
    ) -> wire.RotateStoreKeyResponse:
        mirror = self._c.state.store
        sealed = mirror.backing
        if not isinstance(sealed, SealedStore):
            raise InvalidSpec("the store of this master is not encrypted: it has no key")
        concerns("store key")
        key_id, values = await sealed.rotate(mirror.rewrite)
        concerns(f"store key {key_id}")
        return wire.RotateStoreKeyResponse(key_id=key_id, values=values)

    def _users(self, name: str, keys: Set[str]) -> list[str]:
        """The workloads that are to run and have one of these values in their containers."""
        staying = (d for d in self._staying() if d.active)
        return sorted(d.workload.name for d in staying if _keys_of(d, name) & keys)

    def _staying(self) -> Iterator[Declared]:
        return (d for d in self._c.state.declared().values() if d.deleting_since is None)

    @property
    def _secrets(self) -> Secrets:
        return Secrets(self._c.state, self._c.clock)

    def _secret(self, secret: Secret) -> wire.Secret:
        return _to_wire(secret, self._secrets.revision(secret.name))


def _changed_keys(before: Secret, after: Secret) -> set[str]:
    """A key that is new or gone changes no containers: it was, or is, waited for."""
    both = before.data.keys() & after.data.keys()
    return {key for key in both if before.data[key] != after.data[key]}


def _keys_of(declared: Declared, secret: str) -> set[str]:
    """The keys of a secret that a workload refers to."""
    return {r.key for r in references(declared.workload) if r.secret == secret}


def _to_wire(secret: Secret, revision: int) -> wire.Secret:
    return wire.Secret(
        name=secret.name,
        keys=sorted(secret.data),
        created_at=secret.created_at,
        changed_at=secret.changed_at,
        revision=revision,
    )
