"""Podman's words, as it said them, and the reasons that they mean."""

from __future__ import annotations

import pytest

from piccolo.runtime.base import Refusal
from piccolo.runtime.podman.refusals import refused

_RUNC = "runc: runc create failed: unable to start container process: exec: "
_NOT_FOUND = "OCI runtime attempted to invoke a command that was not found"

# Podman 4.3.1 with runc 1.1.5 and netavark 1.4; what rootlessport, crun, later Podmans say.
SAID = [
    (Refusal.PORT_TAKEN, "listen tcp4 :8080: bind: address already in use"),
    (Refusal.PORT_TAKEN, "rootlessport listen tcp 0.0.0.0:8080: bind: address already in use"),
    (
        Refusal.NAME_TAKEN,
        'creating container storage: the container name "c2" is already in use by 7bf2021e4096.'
        " You have to remove that container to be able to reuse that name: that name is already in"
        " use",
    ),
    (Refusal.NAME_TAKEN, 'adding pod to state: name "c1" is in use: container already exists'),
    (Refusal.NAME_TAKEN, 'name "p2" is in use: pod already exists'),
    (Refusal.NAME_TAKEN, "volume with name v1 already exists: volume already exists"),
    (Refusal.IMAGE_MISSING, "nothere: image not known"),
    (
        Refusal.COMMAND_MISSING,
        f'{_RUNC}"nope": executable file not found in $PATH: {_NOT_FOUND}',
    ),
    (Refusal.COMMAND_MISSING, f'{_RUNC}"/etc": permission denied: OCI permission denied'),
    (
        Refusal.COMMAND_MISSING,
        f'{_RUNC}"/no": stat /no: no such file or directory: {_NOT_FOUND}',
    ),
    (
        Refusal.COMMAND_MISSING,
        f"crun: executable file `nope` not found in $PATH: No such file: {_NOT_FOUND}",
    ),
    (
        Refusal.COMMAND_MISSING,
        "crun: open executable: Permission denied: OCI permission denied",
    ),
    (Refusal.MOUNT_MISSING, "statfs /no/such: no such file or directory"),
    (Refusal.WRONG_ARCHITECTURE, "no image found in manifest list for architecture s390x"),
    (Refusal.WRONG_ARCHITECTURE, "no image found in image index for architecture arm"),
    (Refusal.REFUSED, "no pod with name or ID nopod found: no such pod"),
    (Refusal.REFUSED, "unable to find user nobody2: no matching entries in passwd file"),
    (Refusal.REFUSED, "unable to find network with name or ID nonet: network not found"),
    (Refusal.REFUSED, "database is locked"),
]


@pytest.mark.parametrize(("reason", "said"), SAID)
def test_reasons(reason: Refusal, said: str) -> None:
    refusal = refused("container web.0.main", said)
    assert refusal.reason is reason
    assert str(refusal).startswith(f"container web.0.main: {said}; ")


def test_every_reason_says_what_to_do() -> None:
    advice = {str(refused("x", "y", reason)).removeprefix("x: y; ") for reason in Refusal}
    assert len(advice) == len(Refusal)
    assert all(advice)


def test_a_node_that_cannot_have_pods() -> None:
    said = "failed to make pod: building local pause image: finding pause binary: exec:"
    refusal = refused("pod web.0", f'{said} "catatonit": executable file not found in $PATH')
    assert refusal.reason is Refusal.REFUSED
    assert str(refusal).endswith("install the package catatonit on this node")
