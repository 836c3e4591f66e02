"""Which context a command uses: the first of these places that has one.

1. `--context`, then `$PICCOLO_CONTEXT`: a name, or a file (with a "/" or ending in .yaml)
2. `contexts/NAME.yaml` in the user's configuration directory, NAME being what the file `current`
   there says (`piccolo context use`)
3. `admin.yaml` in the data directory of a master on this machine

What was asked for by name is taken or is an error; nothing else is tried in its stead.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from piccolo.config.paths import DATA_DIR, default_data_dir
from piccolo.core.errors import InvalidSpec, NotFound
from piccolo.core.words import show
from piccolo.security.context import NAME, Context, load

VARIABLE = "PICCOLO_CONTEXT"
ADMIN = "admin.yaml"
_IMPORT = "piccolo context import FILE"


@dataclass(frozen=True, slots=True)
class Found:
    context: Context
    path: Path

    def __str__(self) -> str:
        return f"the context {self.context.name} ({self.path})"


def config_dir() -> Path:
    """XDG Base Directory Specification: a relative $XDG_CONFIG_HOME is ignored.

    Raises `InvalidSpec` where there is no home directory either.
    """
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):
        home = os.environ.get("HOME", "")
        if not os.path.isabs(home):
            raise InvalidSpec("$HOME is not set: name a context file with --context FILE")
        base = f"{home}/.config"
    return Path(base) / "piccolo"


def path_of(name: str) -> Path:
    """Where the context of that name is kept. Raises `InvalidSpec` for what is no name."""
    if not NAME.fullmatch(name):
        raise InvalidSpec(f"{show(name)} is not the name of a context; a file is named as ./FILE")
    return config_dir() / "contexts" / f"{name}.yaml"


def names() -> list[str]:
    """Of all contexts that are kept."""
    found = (config_dir() / "contexts").glob("*.yaml")
    return sorted(path.stem for path in found if NAME.fullmatch(path.stem))


def current() -> str:
    """The name of the context in use; empty: none."""
    try:
        return (config_dir() / "current").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeError) as error:
        raise InvalidSpec(f"cannot read {config_dir() / 'current'}: {error}") from None


def find(named: str = "") -> Found:
    """The context to use, `named` being the value of --context.

    Raises `InvalidSpec` with all the places looked at, or for a context that is damaged or open to
    others; `Unavailable` for one that cannot be read.
    """
    for source, text in (("--context", named), (f"${VARIABLE}", os.environ.get(VARIABLE, ""))):
        if text:
            return _load(_path(text), f"{source}: ")
    looked = [f"--context and ${VARIABLE}: not given"]
    if os.path.isabs(os.environ.get("XDG_CONFIG_HOME", "") or os.environ.get("HOME", "")):
        if name := current():
            where = config_dir() / "current"
            return _load(path_of(name), f"{where} says {name}, but ")
        looked.append(f"{config_dir() / 'current'}: names none (piccolo context use)")
    for path in _of_masters():
        try:
            os.stat(path)
        except FileNotFoundError:
            looked.append(f"{path}: not there")
        except OSError as error:
            looked.append(f"{path}: {error.strerror} (try it with sudo)")
        else:
            return _load(path, "")
    raise InvalidSpec(
        "who are you, and in which cluster? No context says so. Looked at:\n"
        + "".join(f"  {line}\n" for line in looked)
        + "Next: on the machine of the master, as the master's user, set"
        f" {VARIABLE}=DATA-DIR/admin.yaml\n"
        f"  if it has a data directory of its own; elsewhere run `{_IMPORT}` with a file that an\n"
        "  administrator makes by `piccolo context create`"
    )


def _path(text: str) -> Path:
    if "/" in text or text.endswith((".yaml", ".yml")):
        return Path(text)
    return path_of(text)


def _load(path: Path, source: str) -> Found:
    try:
        return Found(load(path), path)
    except NotFound as error:
        try:
            known = ", ".join(names())
        except InvalidSpec:
            known = ""
        of_master = path.name == ADMIN
        hint = f" (a master makes its {ADMIN} when it starts, also a restored one)"
        raise InvalidSpec(
            f"{source}{error}{hint if of_master else ''}; known by name:"
            f" {known or f'none, `{_IMPORT}` adds one'}"
        ) from None


def _of_masters() -> Iterator[Path]:
    places = [f"{DATA_DIR}/master"]
    with contextlib.suppress(InvalidSpec):  # no home directory
        places.insert(0, default_data_dir("master", os.environ, root=os.geteuid() == 0))
    for place in dict.fromkeys(places):
        yield Path(place) / ADMIN
