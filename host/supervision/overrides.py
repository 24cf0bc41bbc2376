"""The file that `config set` and plugins write, replaced as a whole; or nothing but memory.

What it holds is `host.config.overrides`. All of it reads or writes files, and so blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from host.config.layers import at
from host.config.lines import KeyPath
from host.config.load import Configuration, Layers
from host.config.overrides import NotThere, Overrides, Unsayable
from host.config.problems import FileProblem, dotted
from host.errors import ConfigError
from host.supervision.memory import remove_remains, write_whole


class OverridesFile:
    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self._in_memory = Overrides()
        """Of a host that has no file for them."""

    @property
    def name(self) -> str:
        """Of their place, as problems have it."""
        return str(self._layers.overrides or "overrides")

    def told(self, overrides: Overrides | None = None) -> Configuration:
        """The whole configuration as it is now, or as it would be with `overrides`.

        Raises:
            ConfigError: with every problem.
        """
        if overrides is None and self._layers.overrides is None:
            overrides = self._in_memory
        return self._layers.load(overrides)

    def changed(self, changes: Mapping[KeyPath, Any], told: Configuration) -> Overrides:
        """What they would be with these changes, of which UNSET takes a key back.

        Raises:
            ConfigError: they cannot be read or held, or a key is not among them.
        """
        return _changed(self._read(), changes, told)

    def changed_by(
        self, plugin: str, changes: Mapping[KeyPath, Any], told: Configuration
    ) -> tuple[Overrides, Configuration]:
        """The same for a plugin, and what the configuration is then, from what was last read of all files.

        Raises:
            ConfigError: with every problem; also if somebody has edited the file, which would be lost.
        """
        if self._read() != told.overrides:
            reason = "has been edited since it was read"
            raise ConfigError([FileProblem(self.name, None, "", reason, "outboard reload")])
        made = _changed(told.overrides, changes, told, by=plugin)
        return made, self._layers.renewed(told, made)

    def keep(self, overrides: Overrides) -> None:
        """Replaces them. Raises ConfigError if that cannot be written, and then nothing was."""
        file = self._layers.overrides
        if file is None:
            self._in_memory = overrides
            return
        try:
            remove_remains(file)
            write_whole(file, overrides.text().encode())
        except OSError as error:
            reason = f"cannot be written: {error.strerror or error}"
            raise ConfigError([FileProblem(str(file), None, "", reason)]) from None

    def _read(self) -> Overrides:
        if self._layers.overrides is None:
            return self._in_memory
        problems: list[FileProblem] = []
        found = self._layers.read_overrides(problems)
        if problems:
            raise ConfigError(problems)
        return found


def hidden(told: Configuration, changes: Mapping[KeyPath, Any]) -> list[str]:
    """What was set and has no effect, because a higher layer says otherwise."""
    return [
        f"{dotted(path)}: has no effect yet: {origin} is above it" for path, origin in above(told, changes)
    ]


def above(told: Configuration, changes: Mapping[KeyPath, Any]) -> list[tuple[KeyPath, Any]]:
    """The keys of which a higher layer says otherwise, and which one."""
    found = [(path, told.origin(path)) for path, value in changes.items() if value is not msgspec.UNSET]
    return [(path, origin) for path, origin in found if origin.layer in ("environment", "flags")]


def _changed(
    overrides: Overrides, changes: Mapping[KeyPath, Any], told: Configuration, *, by: str = ""
) -> Overrides:
    try:
        made = overrides.changed(changes, by=by)
        made.text()  # so that nothing is agreed upon which cannot be kept
    except NotThere as missing:
        found = at(told.tree, missing.path)
        hint = f"it comes from {found.origin}" if found else None
        reason = "nobody has set it with `config set`"
        raise ConfigError([FileProblem("", None, dotted(missing.path), reason, hint)]) from None
    except Unsayable as problem:
        raise ConfigError([FileProblem("", None, dotted(problem.path), problem.reason)]) from None
    return made
