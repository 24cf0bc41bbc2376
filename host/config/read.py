"""A TOML file read against a struct: a value, or everything that is wrong with the file.

Invariant: what a file holds, or that it cannot be read, never raises; it is a `FileProblem`.
"""

from __future__ import annotations

import os
import re
import tomllib
from typing import Any, TypeVar

import msgspec

from host.config.lines import DEEPEST, KeyPath, nearest_line, places
from host.config.problems import FileProblem, by_line, dotted
from host.observability.regular import NotRegular, open_regular
from protocol import units
from protocol.contract import problems_of

__all__ = ["FILE_LIMIT_BYTES", "Document", "decode", "parse_toml", "read_text", "read_toml"]

T = TypeVar("T")

FILE_LIMIT_BYTES = 1024 * 1024
"""No file that a person writes is larger; one that is was named by mistake."""

_SYNTAX_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


class Document(msgspec.Struct, frozen=True):
    """A file that is TOML, before it is known to be anything more."""

    file: str
    value: dict[str, Any]
    lines: dict[KeyPath, int]

    def at(self, path: KeyPath) -> Any:
        """The value at `path`; None if there is none."""
        value: Any = self.value
        for key in path:
            if isinstance(value, dict):
                value = value.get(key)
            elif isinstance(value, list) and key[1:-1].isdecimal() and int(key[1:-1]) < len(value):
                value = value[int(key[1:-1])]
            else:
                return None
        return value

    def problem(self, path: KeyPath, reason: str, hint: str | None = None) -> FileProblem:
        line = nearest_line(self.lines, path)
        return FileProblem(self.file, line, dotted(path), reason, hint, self.at(path))

    def problems(self, type: type[Any]) -> list[FileProblem]:
        """Everything that keeps the document from being a `type`."""
        found = problems_of(self.value, type, decode_hook=decode)
        return [
            self.problem(each.path, each.reason, f"did you mean `{each.nearest}`?" if each.nearest else None)
            for each in found
        ]

    def read_as(self, type: type[T]) -> T:
        """The document as a `type`. Raises msgspec.ValidationError if it has `problems`."""
        return msgspec.convert(self.value, type, dec_hook=decode)


def read_toml(
    path: str | os.PathLike[str], type: type[T], *, source: str | None = None
) -> tuple[T | None, list[FileProblem]]:
    """The file at `path` as a `type`, or None and all its problems.

    `source` is its text if that was read already, or the TOML in it with as many lines before it.
    """
    if source is None:
        text = read_text(path)
        if isinstance(text, FileProblem):
            return None, [text]
        source = text
    document = parse_toml(path, source)
    if isinstance(document, FileProblem):
        return None, [document]
    problems = document.problems(type)
    return (None, by_line(problems)) if problems else (document.read_as(type), [])


def read_text(path: str | os.PathLike[str]) -> str | FileProblem:
    """The text of a file of ours: a regular file, UTF-8 (a byte order mark is dropped), not large."""
    file = os.fspath(path)
    try:
        with open(open_regular(file), "rb") as opened:
            data = opened.read(FILE_LIMIT_BYTES + 1)
    except IsADirectoryError:
        return FileProblem(file, None, "", "is a folder", "name the file in it")
    except NotRegular:
        return FileProblem(file, None, "", "is not a regular file", "name a text file")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        return FileProblem(file, None, "", f"cannot be read: {getattr(error, 'strerror', None) or error}")
    if len(data) > FILE_LIMIT_BYTES:
        return FileProblem(file, None, "", "larger than 1 MiB", "is it the file you meant?")
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return FileProblem(file, line, "", f"not UTF-8: byte 0x{data[error.start]:02x}", "save it as UTF-8")


def parse_toml(path: str | os.PathLike[str], source: str) -> Document | FileProblem:
    """The document that `source` is; `path` only names it."""
    file = os.fspath(path)
    lines = places(source)
    deepest = max(lines, key=len, default=())
    if len(deepest) >= DEEPEST:
        return FileProblem(file, lines[deepest], "", f"nested {DEEPEST} levels deep or deeper")
    try:
        return Document(file, tomllib.loads(source), lines)
    except tomllib.TOMLDecodeError as error:
        return _syntax_problem(file, source, str(error))
    except RecursionError:  # nested in a way that `places` does not see, so in no way that is TOML
        return FileProblem(file, None, "", "not readable as TOML: nested too deep")
    except ValueError as error:  # an integer of thousands of digits
        return FileProblem(file, None, "", f"not readable as TOML: {error}")


def _syntax_problem(file: str, source: str, message: str) -> FileProblem:
    place = _SYNTAX_PLACE.search(message)
    if place is None:
        return FileProblem(file, None, "", f"not TOML: {message}")
    message = message[: place.start()]
    if place.group(1) is None:
        return FileProblem(file, source.rstrip("\n").count("\n") + 1, "", f"not TOML: {message} at the end")
    return FileProblem(file, int(place.group(1)), "", f"not TOML: {message} at column {place.group(2)}")


def decode(type: type, value: Any) -> Any:
    """Sizes and durations; a number too large to compute with is a problem like any other."""
    try:
        return units.decode_hook(type, value)
    except OverflowError:
        raise ValueError("a number too large to mean anything") from None
