"""Where the keys of a TOML text stand, which `tomllib` does not tell.

A scanner, not a parser: it follows strings, brackets and keys, and believes the rest. It never raises;
of a text that is not TOML it says what it understood. It takes linear time: it does not recurse, and
cuts paths off at `DEEPEST`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator

__all__ = ["DEEPEST", "KeyPath", "line_of", "nearest_line", "places"]

KeyPath = tuple[str, ...]
"""Keys from the root; "[0]" stands for the first item of an array."""

DEEPEST = 64
"""No path is longer. Nobody writes one, and `tomllib` takes quadratic time to read a long one."""

_Token = tuple[str, int]
"""Its text, and the line it begins on."""

_TOKEN = re.compile(
    r'''
      """ (?: \\. | [^\\] )*? """ "{0,2}        # two more quotes may belong to the text
    | \'\'\' .*? \'\'\' '{0,2}
    | " (?: \\. | [^"\\\n] )* "
    | ' [^'\n]* '
    | \# [^\n]*
    | [ \t\r]+
    | [^\s\[\]{},=."'\#]+
    | .
    ''',
    re.VERBOSE | re.DOTALL,
)


def line_of(source: str, path: KeyPath) -> int | None:
    """The line, from 1, of the key at `path`, else of its nearest parent; None if neither is there."""
    return nearest_line(places(source), path)


def nearest_line(known: dict[KeyPath, int], path: KeyPath) -> int | None:
    """`line_of`, for a text whose `places` are known already."""
    for length in range(len(path), 0, -1):
        if path[:length] in known:
            return known[path[:length]]
    return None


def places(source: str) -> dict[KeyPath, int]:
    """Every key, table and array item of `source`, and its line."""
    found: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}  # tables so far in each array of tables
    table: KeyPath = ()
    for statement in _statements(source):
        if statement[0][0] == "[":
            table = _enter(statement, found, counts)
            continue
        key, value = _split_key(statement)
        if key:
            path = (*table, *key)[:DEEPEST]
            _note(found, path, statement[0][1], above=len(table))
            _note_inside(found, path, value)
    return found


def _tokens(source: str) -> Iterator[_Token]:
    line = 1
    for match in _TOKEN.finditer(source):
        text = match.group()
        if text[0] not in "# \t\r":
            yield text, line
        line += text.count("\n")


def _statements(source: str) -> Iterator[list[_Token]]:
    """Token lists that end where a line does, outside of brackets."""
    statement: list[_Token] = []
    depth = 0
    for text, line in _tokens(source):
        if text != "\n":
            statement.append((text, line))
            depth += (text in "[{") - (text in "]}")
        elif depth <= 0:
            if statement:
                yield statement
            statement, depth = [], 0
    if statement:
        yield statement


def _enter(header: list[_Token], found: dict[KeyPath, int], counts: dict[KeyPath, int]) -> KeyPath:
    """Note a `[table]` or an `[[array of tables]]`; returns the path of the keys below it."""
    line = header[0][1]
    is_array = len(header) > 1 and header[1][0] == "["
    keys = _key_parts(text for text, _ in header if text not in "[]")[:DEEPEST]
    path: KeyPath = ()
    for key in keys[:-1]:
        path = (*path, key)
        found.setdefault(path, line)
        if path in counts:  # a sub-table belongs to the newest table of the array
            path = (*path, f"[{counts[path] - 1}]")
    path = (*path, *keys[-1:])
    if not is_array:
        found[path] = line  # said outright, which counts for more than an earlier [path.child]
        return path
    found.setdefault(path, line)
    counts[path] = counts.get(path, 0) + 1
    path = (*path, f"[{counts[path] - 1}]")
    found[path] = line
    return path


def _split_key(statement: list[_Token]) -> tuple[list[str], list[_Token]]:
    """The dotted key before the first "=", and the tokens after it."""
    for at, (text, _) in enumerate(statement):
        if text == "=":
            return _key_parts(text for text, _ in statement[:at]), statement[at + 1 :]
    return [], []


def _note_inside(found: dict[KeyPath, int], path: KeyPath, value: list[_Token]) -> None:
    """Note the items and inline keys of a value, however deep."""
    open_brackets: list[tuple[KeyPath, int | None]] = []  # and the next index, None in a {table}
    key: list[str] | None = None  # the part of an inline key that was read
    for text, line in value:
        if text == "\n":
            continue
        if text in "]}":
            if open_brackets:
                path, _ = open_brackets.pop()
            key = None
        elif text == ",":
            if open_brackets:
                parent, index = open_brackets[-1]
                if index is None:
                    key = []
                else:
                    open_brackets[-1] = (parent, index + 1)
                    path = (*parent, f"[{index + 1}]")[:DEEPEST]
        elif key is not None:
            if text == "=":
                parent = open_brackets[-1][0]
                path = (*parent, *_key_parts(key))[:DEEPEST]
                _note(found, path, line, above=len(parent))
                key = None
            else:
                key.append(text)
        else:
            found.setdefault(path, line)
            if text == "[":
                open_brackets.append((path, 0))
                path = (*path, "[0]")[:DEEPEST]
            elif text == "{":
                open_brackets.append((path, None))
                key = []


def _note(found: dict[KeyPath, int], path: KeyPath, line: int, *, above: int) -> None:
    """Note a dotted key, and the tables that it implies."""
    for length in range(above + 1, len(path) + 1):
        found.setdefault(path[:length], line)


def _key_parts(texts: Iterable[str]) -> list[str]:
    return [_unquoted(text) for text in texts if text != "."]


def _unquoted(key: str) -> str:
    if key[0] not in "\"'" or len(key) < 2:
        return key
    if key[0] == '"' and "\\" in key:
        try:
            return str(tomllib.loads(f"key = {key}")["key"])
        except ValueError:
            return key
    return key[1:-1]
