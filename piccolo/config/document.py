"""YAML text → plain values, each with the line and column where it stands.

Built for text that nobody has checked: whatever comes in, the answer is documents or one
`InvalidSpec` that names the place, within bounded time and memory. PyYAML delivers the events
(libyaml's when it is there), the values are put together here, because PyYAML's own composer
recurses, keeps no keys' positions, and takes duplicate keys in silence.

The dialect is the part of YAML 1.2 that configuration files use:

* Plain `true`, `false`, `null`, decimal, 0x and 0o numbers are what they look like; `yes`, `no`,
  `on`, `off`, `12:30`, `0644`, `1_000` and dates are text (YAML 1.1 would guess).
* Keys are text, each once per mapping. No tags (`!!x`), no merge keys (`<<`), no `%` directives
  but `%YAML`.
* Aliases are allowed while they add little: they may not refer to themselves, and what they
  repeat is limited to `MAX_ALIAS_EXPANSION`. Repeated values are shared objects: do not change
  them in place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from piccolo.config.text_file import MAX_BYTES as MAX_BYTES
from piccolo.config.yaml_errors import reworded
from piccolo.core.errors import InvalidSpec
from piccolo.core.words import show

MAX_EVENTS = 150_000  # keys, values, beginnings and ends; 1,000 nodes have about 20,000
MAX_DEPTH = 64  # levels of lists and mappings in each other
MAX_ALIAS_EXPANSION = 100_000  # values and characters, over all aliases of a text
_MAX_NUMBER = 40  # characters

Path = tuple[str | int, ...]
Position = tuple[int, int]

_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_FORBIDDEN = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FORBIDDEN_VALUE = re.compile("[\0\ud800-\udfff]")
_DIRECTIVE = re.compile("(?:\\A|[\r\n\x85\u2028\u2029])%(?!YAML)")

_WORDS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_OCTAL_OR_HEX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+))"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


@dataclass(frozen=True, slots=True)
class Document:
    """One document. `positions` (from 1) are of keys in mappings and of items in lists.
    `number` (from 1) is which one of its source it is.

    `value` is None for an empty document, else made of dict, list, str, int, float, bool, None.
    What an alias repeats has no positions of its own: there the alias is the place.
    """

    source: str
    value: object = None
    positions: dict[Path, Position] = field(default_factory=dict)
    number: int = 1

    def position(self, path: Path = ()) -> Position:
        """Line and column of what `path` leads to, or of the nearest thing around it."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, (1, 1))

    def place(self, path: Path = ()) -> str:
        """`node.yaml:12:5`."""
        line, column = self.position(path)
        return f"{self.source}:{line}:{column}"


def load_documents(text: str, source: str) -> list[Document]:
    """All documents of a text, in order; none when there are only blanks and comments.

    `source` names the text in errors. Raises `InvalidSpec` with its line and column.
    """
    text = text.removeprefix("\ufeff")
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise InvalidSpec(
            f"{source}: {size / 1e6:.1f} MB are more than the {MAX_BYTES >> 20} MiB allowed"
        )
    if bad := _FORBIDDEN.search(text):
        raise _error_at(source, text, bad.start(), f"{show(bad[0])} is not allowed in YAML")
    if bad := _DIRECTIVE.search(text):
        raise _error_at(source, text, bad.end() - 1, 'directives ("%…") are not supported')
    composer = _Composer(source)
    for event in _events(text, source):
        composer.take(event)
    return composer.documents


def _events(text: str, source: str) -> Iterator[yaml.Event]:
    events = yaml.parse(text, Loader=_LOADER)
    while True:
        try:
            event = next(events, None)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line, mark.column) if mark else (0, 0)
            reason = reworded(error, text)
            raise InvalidSpec(f"{source}:{line + 1}:{column + 1}: {reason}") from None
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            # PyYAML's own parser lets int() and chr() fail on what libyaml refuses.
            raise InvalidSpec(f"{source}: this is not YAML: {show(str(error))}") from None
        if event is None:
            return
        yield event


def _error_at(source: str, text: str, index: int, reason: str) -> InvalidSpec:
    before = text[:index]
    line = before.count("\n") + 1
    column = index - before.rfind("\n")
    return InvalidSpec(f"{source}:{line}:{column}: {reason}")


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    value: list[object] | dict[str, object]
    path: Path
    anchor: str | None
    key: str | None = None  # whose value comes next
    weight: int = 1  # values and characters in it
    height: int = 1  # levels in it


@dataclass(frozen=True, slots=True)
class _Anchored:
    value: object
    weight: int
    height: int


class _Composer:
    """Takes PyYAML's events, builds documents. A stack instead of recursion."""

    def __init__(self, source: str) -> None:
        self.documents: list[Document] = []
        self._source = source
        self._events = 0
        self._expansion = 0
        self._begin()

    def _begin(self) -> None:
        self._root: object = None
        self._positions: dict[Path, Position] = {}
        self._open: list[_Open] = []
        self._anchors: dict[str, _Anchored] = {}

    def take(self, event: yaml.Event) -> None:
        self._events += 1
        if self._events > MAX_EVENTS:
            raise self._error(event, f"more than {MAX_EVENTS} keys and values: split the file")
        if isinstance(event, yaml.ScalarEvent):
            self._take_scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._take_start(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._take_end()
        elif isinstance(event, yaml.AliasEvent):
            self._take_alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._begin()
            self._positions[()] = _position(event)
        elif isinstance(event, yaml.DocumentEndEvent):
            number = len(self.documents) + 1
            self.documents.append(Document(self._source, self._root, self._positions, number))

    def _take_scalar(self, event: yaml.ScalarEvent) -> None:
        self._refuse_tag(event)
        text: str = event.value
        if _FORBIDDEN_VALUE.search(text):
            raise self._error(event, f"{show(text)} holds a character that no text may hold")
        if self._key_comes_next():
            self._take_key(event)
            return
        value, weight = self._scalar(event), 1 + len(text)
        self._add(value, event, weight=weight, height=0)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, weight, 0)

    def _take_key(self, event: yaml.ScalarEvent) -> None:
        mapping = self._open[-1]
        key: str = event.value
        plain = event.implicit[0]
        if plain and key == "":
            raise self._error(event, 'a key is missing before the ":"')
        if plain and key == "<<":
            raise self._error(event, 'merge keys ("<<") are not supported: write the keys out')
        path = (*mapping.path, key)
        if key in mapping.value:
            line, column = self._positions[path]
            raise self._error(
                event, f"{show(key)} is given twice: first on line {line}, column {column}"
            )
        mapping.key = key
        mapping.weight += len(key)
        self._positions[path] = _position(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(key, 1 + len(key), 0)

    def _take_start(self, event: yaml.CollectionStartEvent) -> None:
        self._refuse_tag(event)
        if self._key_comes_next():
            raise self._error(event, "a list or mapping cannot be a key (is a quote missing?)")
        if len(self._open) >= MAX_DEPTH:
            raise self._error(event, f"nested deeper than {MAX_DEPTH} levels")
        value: list[object] | dict[str, object] = (
            {} if isinstance(event, yaml.MappingStartEvent) else []
        )
        path = self._add(value, event, weight=0, height=0)
        self._open.append(_Open(value, path, event.anchor))

    def _take_end(self) -> None:
        closed = self._open.pop()
        if self._open:
            self._open[-1].weight += closed.weight
            self._open[-1].height = max(self._open[-1].height, closed.height + 1)
        if closed.anchor is not None:
            self._anchors[closed.anchor] = _Anchored(closed.value, closed.weight, closed.height)

    def _take_alias(self, event: yaml.AliasEvent) -> None:
        name = str(event.anchor)
        if self._key_comes_next():
            raise self._error(event, f"an alias ({show('*' + name)}) cannot be a key")
        meant = self._anchors.get(name)
        if meant is None:
            raise self._error(
                event, f"{show('*' + name)} refers to nothing: no {show('&' + name)} ends before it"
            )
        self._expansion += meant.weight
        if self._expansion > MAX_ALIAS_EXPANSION:
            raise self._error(event, 'aliases ("*…") repeat too much: write the values out')
        if len(self._open) + meant.height > MAX_DEPTH:
            raise self._error(event, f"nested deeper than {MAX_DEPTH} levels by an alias")
        self._add(meant.value, event, weight=meant.weight, height=meant.height)

    def _add(self, value: object, event: yaml.Event, *, weight: int, height: int) -> Path:
        if not self._open:
            self._root = value
            self._positions[()] = _position(event)
            return ()
        parent = self._open[-1]
        parent.weight += weight
        parent.height = max(parent.height, height + 1)
        if isinstance(parent.value, list):
            path = (*parent.path, len(parent.value))
            parent.value.append(value)
            self._positions[path] = _position(event)
            return path
        key = parent.key
        assert key is not None  # `_key_comes_next` was false
        parent.value[key] = value
        parent.key = None
        return (*parent.path, key)

    def _key_comes_next(self) -> bool:
        if not self._open:
            return False
        innermost = self._open[-1]
        return isinstance(innermost.value, dict) and innermost.key is None

    def _scalar(self, event: yaml.ScalarEvent) -> object:
        text: str = event.value
        if not event.implicit[0]:  # quoted, or a block
            return text
        if text in _WORDS:
            return _WORDS[text]
        is_int = _INT.fullmatch(text) or _OCTAL_OR_HEX.fullmatch(text)
        if not is_int and not _FLOAT.fullmatch(text):
            return text
        if len(text) > _MAX_NUMBER:
            raise self._error(
                event, f"{show(text)} is too long for a number: put it in quotes if it is text"
            )
        if is_int:
            return int(text, 0)
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))

    def _refuse_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.tag is not None:
            raise self._error(
                event, f"tags such as {show(event.tag)} are not supported: write the plain value"
            )

    def _error(self, event: yaml.Event, reason: str) -> InvalidSpec:
        line, column = _position(event)
        return InvalidSpec(f"{self._source}:{line}:{column}: {reason}")


def _position(event: yaml.Event) -> Position:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)
