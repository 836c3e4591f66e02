"""Podman's words for what it will not do, as reasons, with what to do next. Pure.

Podman has no error codes: its texts, and those of the programs it starts (runc, crun, netavark),
are what there is. What is not known here is `Refusal.REFUSED`, with Podman's words.
"""

from __future__ import annotations

import re

from piccolo.runtime.base import Refusal, Refused

_ADVICE = {
    Refusal.IMAGE_MISSING: "look at the image's name, or bring it to this node: podman pull, podman"
    " load",
    Refusal.WRONG_ARCHITECTURE: "build the image for this node's architecture as well",
    Refusal.PORT_TAKEN: "stop what uses the port (ss -lntup on this node), or publish another one",
    Refusal.MOUNT_MISSING: "make it on this node, or mount something else",
    Refusal.COMMAND_MISSING: "look at the command, and what the image has: podman run --rm -it"
    " IMAGE sh",
    Refusal.NAME_TAKEN: "remove or rename what has the name on this node",
    Refusal.REFUSED: "see what Podman says",
}

# The first that is found says the reason.
_SIGNS = (
    (Refusal.WRONG_ARCHITECTURE, r"no image found in (manifest list|image index) for architecture"),
    (Refusal.WRONG_ARCHITECTURE, r"exec format error"),
    (Refusal.PORT_TAKEN, r"address already in use|port is already allocated|conflict.*port"),
    (Refusal.NAME_TAKEN, r"name .* (is )?(already )?in use|already exists"),
    (Refusal.IMAGE_MISSING, r"no such image|image not known"),
    (Refusal.COMMAND_MISSING, r"invoke a command that was not found"),
    (Refusal.COMMAND_MISSING, r"container process: exec:|crun: open executable"),
    (Refusal.MOUNT_MISSING, r"(statfs|mount|stat) .*no such file or directory"),
)

_NO_PODS = "Podman needs catatonit for pods: install the package catatonit on this node"


def reason(complaint: str) -> Refusal:
    """What Podman means."""
    for refusal, sign in _SIGNS:
        if re.search(sign, complaint, re.IGNORECASE):
            return refusal
    return Refusal.REFUSED


def refused(what: str, complaint: str, refusal: Refusal | None = None) -> Refused:
    """`what` did not go, with Podman's `complaint`."""
    refusal = refusal or reason(complaint)
    advice = _NO_PODS if "catatonit" in complaint else _ADVICE[refusal]
    return Refused(refusal, f"{what}: {complaint}; {advice}")
