"""The calls about what is encrypted: secrets, and the key of the store (docs/store.md, At rest)."""

from __future__ import annotations

from piccolo.core.errors import InvalidSpec
from piccolo.core.model import Secret
from piccolo.master.cluster import Cluster
from piccolo.master.security.secrets import Secrets
from piccolo.rpc import wire
from piccolo.rpc.server import concerns
from piccolo.store.sealed import SealedStore


class SecretCalls:
    _c: Cluster

    async def put_secret(self, message: wire.PutSecretRequest) -> wire.PutSecretResponse:
        concerns(f"secret {message.name}")
        secret = await self._secrets.put(message.name, message.data, replace=message.replace)
        return wire.PutSecretResponse(secret=self._secret(secret))

    async def get_secrets(self, message: wire.GetSecretsRequest) -> wire.GetSecretsResponse:
        return wire.GetSecretsResponse(secrets=[self._secret(s) for s in self._secrets.all()])

    async def delete_secret(self, message: wire.DeleteSecretRequest) -> wire.DeleteSecretResponse:
        concerns(f"secret {message.name}")
        revision = self._secrets.revision(message.name)
        gone = await self._secrets.delete(message.name)
        return wire.DeleteSecretResponse(secret=_to_wire(gone, revision))

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

    @property
    def _secrets(self) -> Secrets:
        return Secrets(self._c.state, self._c.clock)

    def _secret(self, secret: Secret) -> wire.Secret:
        return _to_wire(secret, self._secrets.revision(secret.name))


def _to_wire(secret: Secret, revision: int) -> wire.Secret:
    return wire.Secret(
        name=secret.name,
        keys=sorted(secret.data),
        created_at=secret.created_at,
        changed_at=secret.changed_at,
        revision=revision,
    )
