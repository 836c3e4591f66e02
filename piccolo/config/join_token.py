"""Where an agent's join token comes from: the command line, a file, or the environment.

It is a secret that is worth something once: no message repeats it, and files are the better place,
because other users can see a command line (`ps`) until the agent has read it.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from piccolo.config.yaml_file import read_text, source_name
from piccolo.core.errors import InvalidSpec
from piccolo.core.security.token import JoinToken

VARIABLE = "PICCOLO_TOKEN"


def find_token(
    flag: str | None,
    flag_file: str | None,
    environ: Mapping[str, str],
    conf_file: str | None,
    notices: list[str],
) -> JoinToken | None:
    """The token that was given; None: none was. An empty variable counts as not given.

    The file that nodeagent.yaml names may be gone: a node that has joined needs it no more. That,
    and a file that others can read, becomes a notice. Raises `InvalidSpec`, also when a token is
    given in two places: which one holds would depend on the order of reading.
    """
    variable = environ.get(VARIABLE, "").strip()
    given = [
        (place, value)
        for place, value in (
            ("--token", flag),
            ("--token-file", flag_file),
            (f"environment variable {VARIABLE}", variable),
            ("token_file in nodeagent.yaml", conf_file),
        )
        if value
    ]
    if len(given) > 1:
        places = " and ".join(place for place, _ in given)
        raise InvalidSpec(f"a join token is given in several places ({places}): leave all but one")
    if flag:
        return JoinToken.parse(flag)
    if variable:
        try:
            return JoinToken.parse(variable)
        except InvalidSpec as error:
            raise InvalidSpec(f"environment variable {VARIABLE}: {error}") from None
    if conf_file and not Path(conf_file).exists():
        notices.append(
            f"token_file {source_name(Path(conf_file))} is not there: without it this node can go"
            " on in its cluster, but not join one"
        )
        return None
    path = flag_file or conf_file
    return _read(Path(path), notices) if path else None


def _read(path: Path, notices: list[str]) -> JoinToken:
    text = read_text(path)
    if not text.strip():
        raise InvalidSpec(
            f"{source_name(path)}: the file is empty: put the join token into it, which"
            " `piccolo token create` on the master prints"
        )
    try:
        token = JoinToken.parse(text)
    except InvalidSpec as error:
        raise InvalidSpec(f"{source_name(path)}: {error}") from None
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        notices.append(f"other users can read the join token in {source_name(path)}: chmod go= it")
    return token
