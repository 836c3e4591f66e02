"""Images of Podman: see that one is there, and fetch it where that is allowed.

A fetch may take as long as it likes while Podman tells of its progress; `SILENCE` seconds without a
word end it. Names without a registry are Podman's to resolve (registries.conf); `localhost/` is
where images are that were made or loaded on the node, so it is never asked as a registry.
"""

from __future__ import annotations

import asyncio
import platform
from pathlib import Path

from piccolo.core.errors import Unavailable
from piccolo.core.workloads.containers import PullPolicy
from piccolo.runtime.base import Refusal
from piccolo.runtime.http import HttpClient
from piccolo.runtime.podman import libpod, libpod_answers
from piccolo.runtime.podman.refusals import reason, refused

SILENCE = 600.0  # s: while it copies a layer, Podman says nothing

# Go's names, which images carry, by the kernel's; and those that such a machine runs as well.
_ARCHITECTURES = {
    "x86_64": ("amd64", "386"),
    "aarch64": ("arm64", "arm"),
    "armv7l": ("arm",),
    "armv6l": ("arm",),
    "i686": ("386",),
}
_EMULATORS = {"amd64": "x86_64", "386": "i386", "arm64": "aarch64"}  # QEMU's names
_BINFMT = Path("/proc/sys/fs/binfmt_misc")


class Images:
    def __init__(self, http: HttpClient, api: str) -> None:
        self._http = http
        self._api = api

    async def ensure(self, image: str, pull: PullPolicy) -> str:
        """See `Runtime.ensure_image`."""
        fetched = pull is not PullPolicy.NEVER and not image.startswith("localhost/")
        if fetched and pull is PullPolicy.ALWAYS:
            await self._pull(image, "always")
        elif found := await self._find(image):
            return found
        elif fetched:
            await self._pull(image, "missing")
        if fetched and (found := await self._find(image)):
            return found
        raise refused(image, "this node has no such image", Refusal.IMAGE_MISSING)

    async def _find(self, image: str) -> str:
        """Its id; empty: it is not there."""
        answer = await self._http.request("GET", f"{self._api}/images/{image}/json")
        if answer.status == 404:
            return ""
        if answer.status != 200:
            raise refused(image, libpod.complaint(answer.body))
        id, architecture = libpod_answers.image(answer.body)
        _check_architecture(image, architecture)
        return id

    async def _pull(self, image: str, policy: str) -> None:
        query = {"reference": image, "policy": policy}
        async with self._http.stream(f"{self._api}/images/pull", query, method="POST") as stream:
            if stream.status != 200:
                complaint = libpod.complaint(await stream.rest())
                raise refused(f"{image} could not be fetched", complaint, Refusal.IMAGE_MISSING)
            while True:
                try:
                    async with asyncio.timeout(SILENCE):
                        line = await stream.line()
                except TimeoutError as error:
                    raise Unavailable(
                        f"fetching {image}: nothing came for {SILENCE:g} s; it is tried again:"
                        " see whether the node reaches the registry"
                    ) from error
                if (failure := libpod_answers.pulled(line)) is not None:
                    break
        if failure:
            known = reason(failure)
            wrong = known is Refusal.WRONG_ARCHITECTURE
            refusal = known if wrong else Refusal.IMAGE_MISSING
            raise refused(f"{image} could not be fetched", failure, refusal)


def _check_architecture(image: str, architecture: str) -> None:
    machine = platform.machine()
    runs = _ARCHITECTURES.get(machine, (machine,))
    emulator = _BINFMT / f"qemu-{_EMULATORS.get(architecture, architecture)}"
    if architecture and architecture not in runs and not emulator.exists():
        raise refused(
            image, f"it is for {architecture}, this node is {runs[0]}", Refusal.WRONG_ARCHITECTURE
        )
