"""The layer that `config set` and plugins write: a document that knows what of it plugins wrote. Pure.

In the file, beside what holds, stands one key that is nobody's configuration: `written_by_plugins`, the
paths of the values that plugins have set. Whose they are is in the path: a plugin writes its own settings
and nothing else.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from typing import Any

import msgspec

from host.config.layers import Leaf, Table, leaves, tree
from host.config.lines import DEEPEST, KeyPath, places
from host.config.problems import FileProblem, dotted
from host.config.read import FILE_LIMIT_BYTES, Document
from host.config.words import parse_key, with_value, without, written

__all__ = ["BY_PLUGINS", "LARGEST_OF_A_PLUGIN", "NotThere", "Overrides", "Unsayable", "read_overrides"]

BY_PLUGINS = "written_by_plugins"
WRITTEN_BY = "# Written by outboard: see `outboard config set` and `outboard config unset`."
LARGEST_OF_A_PLUGIN = 64 * 1024
"""Bytes. All plugins share one file, of which no more than 1 MiB is read."""


class NotThere(Exception):
    """A key that is to be taken back, and that nobody has set."""

    def __init__(self, path: KeyPath) -> None:
        self.path = path


class Unsayable(Exception):
    """A value that the file cannot hold."""

    def __init__(self, path: KeyPath, reason: str) -> None:
        self.path = path
        self.reason = reason


class Overrides(msgspec.Struct, frozen=True):
    document: dict[str, Any] = {}
    by_plugins: frozenset[KeyPath] = frozenset()
    """Paths of values, and never of tables."""

    def changed(self, changes: Mapping[KeyPath, Any], *, by: str = "") -> Overrides:
        """What they are with these changes, of which UNSET takes a key back. `by` is a plugin, or nobody's.

        Raises:
            NotThere, Unsayable.
        """
        document, by_plugins = self.document, set(self.by_plugins)
        for path, value in changes.items():
            by_plugins = {each for each in by_plugins if not _overlap(each, path)}
            if value is not msgspec.UNSET:
                value = _in_words_of_toml(path, value)
                document = with_value(document, path, value)
                by_plugins |= _values(path, value) if by else set()
            elif (left := without(document, path)) != document:
                document = left
            else:
                raise NotThere(path)
        changed = Overrides(document, frozenset(by_plugins))
        if by:
            changed._check_size_of(by)
        return changed

    def text(self) -> str:
        """The file. Raises `Unsayable` for what could not be read again."""
        import tomli_w  # for who changes something

        whole = dict(self.document)
        if self.by_plugins:
            whole = {BY_PLUGINS: sorted(dotted(path) for path in self.by_plugins), **whole}
        text = f"{WRITTEN_BY}\n{tomli_w.dumps(whole)}"
        if len(text.encode()) > FILE_LIMIT_BYTES:
            raise Unsayable((), "all overrides together would be larger than 1 MiB")
        if len(deepest := max(places(text), key=len, default=())) >= DEEPEST:
            raise Unsayable(deepest[:4], f"nested {DEEPEST} levels deep or deeper")
        if tomllib.loads(text) != whole:  # a number that is none, say
            raise Unsayable((), "would not be read as it was written")
        return text

    def layer(self, file: str) -> Table:
        by = {path: f"plugin {path[1]}" for path in self.by_plugins if len(path) > 1}
        return tree(self.document, "overrides", file, by=by)

    def _check_size_of(self, plugin: str) -> None:
        """Only what plugins have written counts: an operator may say as much as there is room for."""
        size = sum(
            len(written(leaf.value)) + len(dotted(path)) for path, leaf in self._leaves_of_plugin(plugin)
        )
        if size > LARGEST_OF_A_PLUGIN:
            limit = LARGEST_OF_A_PLUGIN // 1024
            reason = f"settings that a plugin has written are larger than {limit} KiB; data belongs elsewhere"
            raise Unsayable(("plugins", plugin, "settings"), reason)

    def _leaves_of_plugin(self, plugin: str) -> Iterator[tuple[KeyPath, Leaf]]:
        for path, leaf in leaves(tree(self.document, "overrides")):
            if path[:2] == ("plugins", plugin) and path in self.by_plugins:
                yield path, leaf


def read_overrides(document: Document) -> Overrides | FileProblem:
    """What is in the file."""
    value = dict(document.value)
    said = value.pop(BY_PLUGINS, [])
    if not isinstance(said, list) or not all(isinstance(key, str) for key in said):
        return document.problem((BY_PLUGINS,), "expected a list of keys", "take it out")
    paths = set()
    for key in said:
        try:
            paths.add(parse_key(key))
        except ValueError:  # somebody has edited it; it is about who said something, and not what
            continue
    return Overrides(value, frozenset(paths))


def _values(path: KeyPath, value: Any) -> set[KeyPath]:
    return {found for found, _ in leaves(tree({"": value}, "").items[""], path)}


def _overlap(one: KeyPath, other: KeyPath) -> bool:
    """Whether one is inside the other."""
    return one[: len(other)] == other or other[: len(one)] == one


def _in_words_of_toml(path: KeyPath, value: Any) -> Any:
    """The value as a TOML file gives it back: a struct is a table, a tuple an array."""
    try:
        plain = msgspec.to_builtins(value, str_keys=True, builtin_types=(date, time, datetime))
        written(plain)
    except (TypeError, AttributeError, RecursionError, ValueError):  # null, or something of a program's own
        raise Unsayable(path, f"TOML has no word for a {type(value).__name__}") from None
    return plain
