"""What machines that are to become nodes get: the script, the bundles, and their checksums.

It is all public. Who may join is decided by a token, of which nothing is known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from piccolo.core.address import Address, parse_address
from piccolo.core.errors import InvalidSpec
from piccolo.web.bundles import Bundle, Bundles
from piccolo.web.http import Answer, File, Request, sentence
from piccolo.web.install_script import Origin, render

SCRIPT = "/install.sh"
_HTTPS = 443
_SHELL, _GZIP = "text/x-shellscript; charset=utf-8", "application/gzip"


def path_of(machine: str) -> str:
    return f"/piccolo-linux-{machine}.tar.gz"


class InstallSite:
    def __init__(self, bundles: Bundles, origin: Callable[[], Origin]) -> None:
        self._bundles = bundles
        self._origin = origin

    async def answer(self, request: Request) -> Answer:
        if request.path == SCRIPT:
            offered = (await self._bundles.find()).offered
            return self._script(request, offered) if offered else self._nothing("a bundle")
        for machine in ("amd64", "arm64", "arm"):
            if request.path == path_of(machine):
                return await self._bundle(machine)
            if request.path == f"{path_of(machine)}.sha256":
                return await self._checksum(machine)
        return sentence(404, f"there is nothing here; {SCRIPT} is where to begin")

    def _script(self, request: Request, offered: Mapping[str, Bundle]) -> Answer:
        try:
            here = _asked(request)
        except InvalidSpec as error:
            return sentence(400, f"the Host header is of no use: {error}")
        text = render(self._origin(), here, list(offered.values()))
        return Answer(200, text.encode(), _SHELL, more={"Cache-Control": "no-store"})

    async def _bundle(self, machine: str) -> Answer:
        found = await self._bundles.open(machine)
        if found is None:
            return self._nothing(f"a bundle for {machine}")
        bundle, descriptor = found
        return Answer(200, File(descriptor, bundle.size), _GZIP, f'"{bundle.sha256}"')

    async def _checksum(self, machine: str) -> Answer:
        bundle = (await self._bundles.find()).offered.get(machine)
        if bundle is None:
            return self._nothing(f"a bundle for {machine}")
        return Answer(200, f"{bundle.sha256}  {path_of(machine)[1:]}\n".encode())

    def _nothing(self, what: str) -> Answer:
        version = self._bundles.version
        return sentence(404, f"this master does not have {what} of its version, {version}")


def _asked(request: Request) -> Address:
    """By which address the master was reached: behind a NAT it does not know that itself.

    Raises `InvalidSpec`.
    """
    here = parse_address(request.headers.get("host", ""), _HTTPS)
    if "%" in here.host:
        raise InvalidSpec('an address with a zone ("%") means something on one machine only')
    return here
