"""The desired state of this node, on its disk: what is to run here, with or without the master.

One file, `desired`, that is replaced as a whole: a change of any number of instances is taken over
entirely or not at all, whenever the agent is killed, with one write that is synced, and with none
where nothing changes. Only its owner can read it (0600), for it holds the values of secrets: a node
that boots without the master needs them.

Its first line says of what the rest is to be the digest; then one line for each instance, with a
digest of its own: so what is still whole of a damaged file is known, and that something is
missing. Such a file says what may run, but not what may not: see `whole`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from piccolo.core import plain
from piccolo.core.errors import Conflict, InvalidSpec, Unavailable
from piccolo.core.workloads.instances import Instance, Secrets, sync_digest
from piccolo.security.files import private_dir, sync_dir

FORMAT = "piccolo-desired 1"
_NAME, _DAMAGED = "desired", "desired.damaged"
_KEY = re.compile(r"[^\s/.]+\.[0-9]{1,9}")  # it names a directory, and is a word of a line here


@dataclass(frozen=True, slots=True)
class Spec:
    """An instance as it travels."""

    key: str
    spec: bytes
    secrets: Secrets = field(repr=False)


@dataclass(frozen=True, slots=True)
class Held:
    """An instance as it is kept. One that this agent cannot read is kept all the same, so that
    master and agent agree, and a newer agent finds it."""

    key: str
    digest: int
    instance: Instance | None
    secrets: Secrets = field(repr=False)
    unreadable: str = ""  # why there is no `instance`


@dataclass(frozen=True, slots=True)
class Change:
    """What the master wants to be otherwise. `digest`: of everything, when that is done."""

    set: tuple[Spec, ...] = ()
    removed: frozenset[str] = frozenset()
    reset: bool = False  # everything else goes
    digest: int = 0


Everything = Mapping[str, Held]


class Desired:
    """`load` once, then `take_over` one change after the other. Both block."""

    def __init__(self, directory: Path) -> None:
        """Raises `InvalidSpec` when others can read `directory`, `Unavailable`."""
        self._directory = private_dir(directory)
        self._path = directory / _NAME
        # One value, so that whoever looks while a thread takes over a change sees it wholly or not.
        self.everything: Everything = {}
        self.whole = False  # nobody lost a piece: what is not in here is not to run here

    @property
    def digest(self) -> int:
        return digest(self.everything.values())

    @property
    def held(self) -> Everything:
        """What the master may count upon; nothing where a piece is missing: it sends all then."""
        return self.everything if self.whole else {}

    def load(self) -> str:
        """Read what is there. Returns what is wrong with it, for people; empty: nothing."""
        found: dict[str, Held] = {}
        try:
            with self._path.open("rb") as file:
                expected = _header(file.readline())
                lines = 0
                for line in file:
                    lines += 1
                    spec = _read(line)
                    if spec is not None:
                        found[spec.key] = hold(spec)
        except FileNotFoundError:
            return ""  # the first start, or somebody removed it: the master has to say
        except OSError as error:
            self.everything = found
            return f"cannot read {self._path}: {error.strerror}"
        self.everything = found
        self.whole = expected == (lines, digest(found.values()))
        if self.whole:
            return ""
        return (
            f"{self._path} is damaged: {len(found)} instances in it can be read, and run; nothing"
            f" is removed until the master has sent everything (then the file is {_DAMAGED})"
        )

    def take_over(self, change: Change) -> bool:
        """Make it so, durably. False: it was so already.

        Raises `Conflict` when the outcome is not what the master means, `Unavailable` when the disk
        does not take it; then nothing has changed.
        """
        kept: dict[str, Held] = {}
        if self.whole and not change.reset:
            kept = {k: h for k, h in self.everything.items() if k not in change.removed}
        fresh = {
            spec.key: spec
            for spec in change.set
            if spec.key not in kept or kept[spec.key].digest != _digest(spec)
        }
        wanted = {**kept, **{key: self._hold(spec) for key, spec in fresh.items()}}
        if digest(wanted.values()) != change.digest:
            raise Conflict(
                f"with this change the node would hold {len(wanted)} instances with the digest"
                f" {digest(wanted.values()):016x} and not {change.digest:016x}: send all of them"
            )
        if self.whole and _same(wanted, self.everything):
            return False
        try:
            self._write(wanted, fresh)
        except OSError as error:
            raise Unavailable(f"cannot write {self._path}: {error.strerror}") from error
        self.everything, self.whole = wanted, True
        return True

    def specs(self, keys: Collection[str], limit: int) -> list[Spec]:
        """Those of the instances that are kept whole, as they came: at least one, and no more than
        `limit` bytes of them. Raises `Unavailable` when none can be read. Blocks."""
        found: list[Spec] = []
        try:
            for line in self._lines(keys):
                limit -= len(line)
                if found and limit < 0:
                    break
                if spec := _read(line):
                    found.append(spec)
        except OSError as error:
            raise Unavailable(f"cannot read {self._path}: {error.strerror}") from error
        if not found:
            raise Unavailable(f"{self._path} has none of the {len(keys)} instances any more")
        return found

    def _hold(self, spec: Spec) -> Held:
        if not is_key(spec.key):
            raise Conflict(f"{spec.key!r} is no name for an instance")
        known = self.everything.get(spec.key)
        return known if known is not None and known.digest == _digest(spec) else hold(spec)

    def _write(self, wanted: Everything, fresh: Mapping[str, Spec]) -> None:
        path = self._path.with_suffix(".new")
        try:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                total = digest(wanted.values())
                file.write(f"{FORMAT} {len(wanted)} {total:016x}\n".encode())
                file.writelines(map(_line, fresh.values()))
                file.writelines(self._lines(wanted.keys() - fresh.keys()))
                file.flush()
                os.fsync(file.fileno())
            if not self.whole:
                with contextlib.suppress(FileNotFoundError):
                    self._path.replace(self._path.with_name(_DAMAGED))
            path.replace(self._path)
            sync_dir(self._directory)
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()
            raise

    def _lines(self, keys: Iterable[str]) -> Iterator[bytes]:
        """As they are on the disk: they are in memory as instances only."""
        left = {key.encode() for key in keys}
        if left:
            with self._path.open("rb") as file:
                for line in file:
                    words = line.split(b" ", 2)
                    if len(words) == 3 and words[1] in left:
                        yield line


def is_key(text: str) -> bool:
    """Whether it can be the key of an instance: NAME.INDEX."""
    return _KEY.fullmatch(text) is not None


def digest(held: Iterable[Held]) -> int:
    total = 0
    for one in held:
        total ^= one.digest
    return total


def hold(spec: Spec) -> Held:
    try:
        instance = plain.decode(Instance, spec.spec, f"what {spec.key} is to be")
        if instance.key != spec.key:
            raise InvalidSpec(f"what {spec.key} is to be is {instance.key}")
    except InvalidSpec as error:
        return Held(spec.key, _digest(spec), None, spec.secrets, str(error))
    return Held(spec.key, _digest(spec), instance, spec.secrets)


def _same(one: Everything, other: Everything) -> bool:
    return {k: h.digest for k, h in one.items()} == {k: h.digest for k, h in other.items()}


def _digest(spec: Spec) -> int:
    return sync_digest(spec.key, spec.spec, spec.secrets)


# ---- the file ----


def _header(line: bytes) -> tuple[int, int] | None:
    words = line.decode("ascii", "replace").rsplit(" ", 2)
    if len(words) != 3 or words[0] != FORMAT or not line.endswith(b"\n"):
        return None
    with contextlib.suppress(ValueError):
        return int(words[1]), int(words[2], 16)
    return None


def _line(spec: Spec) -> bytes:
    text = json.dumps([spec.spec.decode("utf-8", "surrogateescape"), dict(spec.secrets)])
    return f"{_digest(spec):016x} {spec.key} {text}\n".encode()


def _read(line: bytes) -> Spec | None:
    """None: the line is damaged."""
    try:
        number, key, text = line.split(b" ", 2)
        found, secrets = json.loads(text)
        spec = Spec(key.decode(), found.encode("utf-8", "surrogateescape"), secrets)
        return spec if _digest(spec) == int(number, 16) else None
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
