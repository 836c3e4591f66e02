"""What the runtime is asked to make for an instance: names, labels, and secrets as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from piccolo.agent.workloads.files import secret
from piccolo.core.errors import InvalidSpec
from piccolo.core.workloads.containers import Container, SecretKey
from piccolo.core.workloads.instances import (
    LABEL_CONTAINER,
    LABEL_HASH,
    LABEL_INSTANCE,
    LABEL_NODE,
    LABEL_WORKLOAD,
    Instance,
    Secrets,
)
from piccolo.runtime.base import Bind, ContainerRequest, PodRequest


def scratch(instance: Instance) -> str:
    """What the names of its scratch volumes begin with."""
    return f"{instance.key}."


def owned(instance: Instance, node_id: str) -> Mapping[str, str]:
    """The labels that everything of this instance carries, whatever its hash."""
    return {LABEL_INSTANCE: instance.key, LABEL_NODE: node_id}


def pod_request(instance: Instance, node_id: str) -> PodRequest:
    workload = instance.workload
    ports = tuple(port for container in workload.containers for port in container.ports)
    return PodRequest(instance.key, _labels(instance, node_id), workload.network, ports)


def container_request(
    instance: Instance,
    container: Container,
    node_id: str,
    *,
    pod: str,
    secrets: Secrets,
    binds: Sequence[Bind],
) -> ContainerRequest:
    """Raises `NotFound` for a secret that the master did not send, `InvalidSpec` for one that
    cannot be in the environment."""
    return ContainerRequest(
        name=f"{instance.key}.{container.name}",
        labels={**_labels(instance, node_id), LABEL_CONTAINER: container.name},
        container=container,
        network=None if pod else instance.workload.network,
        pod=pod,
        secret_env={name: _text(key, secrets) for name, key in container.secret_env.items()},
        binds=tuple(binds),
        scratch=scratch(instance),
    )


def _text(key: SecretKey, secrets: Secrets) -> str:
    try:
        return secret(key, secrets).decode()
    except UnicodeDecodeError:
        raise InvalidSpec(
            f"{key.key} of secret {key.secret} is no text: put it into a file, not into env"
        ) from None


def _labels(instance: Instance, node_id: str) -> Mapping[str, str]:
    return {
        **instance.workload.labels,
        **owned(instance, node_id),
        LABEL_WORKLOAD: instance.workload.name,
        LABEL_HASH: instance.hash,
    }
