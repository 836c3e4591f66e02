"""Where etcd is, and as whom we speak to it.

    etcd[s]://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]…][/PREFIX][?OPTION=FILE&…]

`etcds` means TLS. Options: `ca` (who signed the servers' certificates; default: the system's
authorities), `cert` and `key` (ours), `password_file`. Passwords may hold %-escapes.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from piccolo.core.errors import InvalidSpec
from piccolo.core.words import show

DEFAULT_PORT = 2379
DEFAULT_PREFIX = "/piccolo/"
_EXAMPLE = "for example etcd://10.0.0.1:2379,10.0.0.2:2379/piccolo"
_OPTIONS = ("ca", "cert", "key", "password_file")


@dataclass(frozen=True, slots=True)
class Endpoint:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class EtcdUrl:
    """`str()` of it holds no password. The files are read whenever a connection is made."""

    endpoints: tuple[Endpoint, ...]
    prefix: str = DEFAULT_PREFIX
    tls: bool = False
    user: str = ""
    password: str = field(default="", repr=False)
    password_file: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @classmethod
    def parse(cls, text: str) -> EtcdUrl:
        """Raises `InvalidSpec` saying what is wrong with it, without repeating a password."""
        try:
            # Python from some version on refuses brackets that are not one host's; we have several.
            parts = urlsplit(text.replace("[", "%5B").replace("]", "%5D"))
            parts = parts._replace(netloc=parts.netloc.replace("%5B", "[").replace("%5D", "]"))
            if parts.netloc.count("[") != parts.netloc.count("]"):
                raise ValueError("a bracket is missing")
        except ValueError as error:
            raise InvalidSpec(f"not the address of an etcd store ({error}), {_EXAMPLE}") from None
        if parts.scheme not in ("etcd", "etcds"):
            raise InvalidSpec(
                "the address of an etcd store begins with etcd:// or etcds://, not with "
                f"{show(parts.scheme)}, {_EXAMPLE}"
            )
        if parts.fragment:
            raise InvalidSpec('a "#" in the address of an etcd store must be written as %23')
        credentials, _, hosts = parts.netloc.rpartition("@")
        user, _, password = credentials.partition(":")
        url = cls(
            endpoints=tuple(_endpoint(host) for host in hosts.split(",")),
            prefix=f"/{parts.path.strip('/')}/" if parts.path.strip("/") else DEFAULT_PREFIX,
            tls=parts.scheme == "etcds",
            user=unquote(user),
            password=unquote(password),
            **_files(parts),
        )
        url._check()
        return url

    def _check(self) -> None:
        files = {name: getattr(self, name) for name in _OPTIONS}
        if not self.tls and (given := [n for n in ("ca", "cert", "key") if files[n]]):
            raise InvalidSpec(f'"{given[0]}" needs TLS: begin the address of the store with etcds')
        if (self.cert is None) != (self.key is None):
            raise InvalidSpec('a certificate needs its key: give both "cert" and "key"')
        if self.password and self.password_file:
            raise InvalidSpec('give either a password or a "password_file", not both')
        if bool(self.user) != bool(self.password or self.password_file):
            raise InvalidSpec("etcd wants a user and a password: give both, or none of them")

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        hosts = ",".join(map(str, self.endpoints))
        return f"etcd{'s' if self.tls else ''}://{user}{hosts}{self.prefix.rstrip('/')}"

    def read_password(self) -> str:
        """Blocking. Raises `InvalidSpec` when the file cannot be read."""
        if self.password_file is None:
            return self.password
        try:
            return self.password_file.read_text().strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidSpec(
                f"cannot read etcd's password from {self.password_file}: {error}"
            ) from error

    def tls_context(self) -> ssl.SSLContext | None:
        """Blocking. None: without TLS. Raises `InvalidSpec` when a file is not as it should be."""
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert and self.key:
                context.load_cert_chain(self.cert, self.key)
        except (OSError, ValueError) as error:
            files = ", ".join(str(f) for f in (self.ca, self.cert, self.key) if f)
            raise InvalidSpec(f"cannot use the TLS files {files} for etcd: {error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])
        return context


def _endpoint(text: str) -> Endpoint:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port == 0:
        raise InvalidSpec(f"{show(text)} is not HOST:PORT of an etcd server, {_EXAMPLE}")
    return Endpoint(host, port or DEFAULT_PORT)


def _files(parts: SplitResult) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise InvalidSpec(
                f"unknown option {show(name)} in the address of the etcd store; there are: "
                f"{', '.join(_OPTIONS)}"
            )
        if name in files or not value:
            raise InvalidSpec(f'the option "{name}" of the etcd store needs one file name')
        files[name] = Path(value)
    return files
