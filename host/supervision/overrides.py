"""The layer that `config set` and plugins write: one file, replaced as a whole, or nothing but memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from host.config.layers import at
from host.config.lines import KeyPath
from host.config.load import Configuration, Layers
from host.config.problems import FileProblem, dotted
from host.config.words import with_value, without, written
from host.errors import ConfigError
from host.supervision.memory import write_whole

WRITTEN_BY = "# Written by outboard: see `outboard config set` and `outboard config unset`."


class Overrides:
    """All of it reads or writes files, and so blocks."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self._in_memory: dict[str, Any] = {}
        """Of a host that has no file for them."""

    @property
    def name(self) -> str:
        """Of their place, as problems have it."""
        return str(self._layers.overrides or "overrides")

    def told(self, document: Mapping[str, Any] | None = None) -> Configuration:
        """The whole configuration as it is now, or as it would be with `document` for these.

        Raises:
            ConfigError: with every problem.
        """
        if document is None and self._layers.overrides is None:
            document = self._in_memory
        return self._layers.load(document)

    def changed(self, changes: Mapping[KeyPath, Any], told: Configuration) -> dict[str, Any]:
        """What they would be with these changes, of which UNSET takes a key back.

        Raises:
            ConfigError: they cannot be read, or a key is not among them.
        """
        document = self._read()
        for path, value in changes.items():
            if value is not msgspec.UNSET:
                _check_that_it_can_be_said(path, value)
                document = with_value(document, path, value)
            elif (left := without(document, path)) != document:
                document = left
            else:
                raise ConfigError([_not_set(told, path)])
        return document

    def keep(self, document: dict[str, Any]) -> None:
        """Replaces them. Raises ConfigError if that cannot be written, and then nothing was."""
        file = self._layers.overrides
        if file is None:
            self._in_memory = document
            return
        import tomli_w  # for who changes something

        try:
            write_whole(file, f"{WRITTEN_BY}\n{tomli_w.dumps(document)}".encode())
        except OSError as error:
            reason = f"cannot be written: {error.strerror or error}"
            raise ConfigError([FileProblem(str(file), None, "", reason)]) from None

    def _read(self) -> dict[str, Any]:
        if self._layers.overrides is None:
            return self._in_memory
        problems: list[FileProblem] = []
        document = self._layers.read_overrides(problems)
        if problems:
            raise ConfigError(problems)
        return document


def hidden(told: Configuration, changes: Mapping[KeyPath, Any]) -> list[str]:
    """What was set and has no effect, because a higher layer says otherwise."""
    origins = [(path, told.origin(path)) for path, value in changes.items() if value is not msgspec.UNSET]
    return [
        f"{dotted(path)}: has no effect yet: {origin} is above it"
        for path, origin in origins
        if origin.layer in ("environment", "flags")
    ]


def _check_that_it_can_be_said(path: KeyPath, value: Any) -> None:
    try:
        written(value)
    except (TypeError, AttributeError, RecursionError, ValueError):  # null, or something of a program's own
        reason = f"TOML has no word for a {type(value).__name__}"
        raise ConfigError([FileProblem("", None, dotted(path), reason)]) from None


def _not_set(told: Configuration, path: KeyPath) -> FileProblem:
    found = at(told.tree, path)
    reason = "nobody has set it with `config set`"
    return FileProblem("", None, dotted(path), reason, f"it comes from {found.origin}" if found else None)
