"""What `outboard install` asks over the control socket. It puts the files there itself, as the same user."""

from __future__ import annotations

from typing import Any

import msgspec

from host.errors import PluginNotFound
from host.host import Host


class Of(msgspec.Struct, kw_only=True):
    name: str


class At(msgspec.Struct, kw_only=True):
    path: str
    """Absolute."""


class Installs:
    """Rows for the table of commands. `folder`: where this daemon looks for installed plugins, if it does."""

    def __init__(self, host: Host, folder: str | None) -> None:
        self._host = host
        self._folder = folder
        self.table: dict[str, tuple[type, Any]] = {
            "install/place": (Of, self.place),
            "install/take": (At, self.take),
        }

    async def place(self, params: Of) -> dict[str, Any]:
        """Where it is to go, and who has that name now."""
        try:
            there = self._host.status(params.name).plugins[0]
        except PluginNotFound:
            return {"folder": self._folder, "file": None, "installed": False}
        return {"folder": self._folder, "file": there.file, "installed": there.installed is not None}

    async def take(self, params: At) -> dict[str, Any]:
        """It lies there, in whole. Answers what has become of it."""
        name = await self._host.take_installed(params.path)
        seen = self._host.status(name).plugins[0]
        return {"name": name, "state": seen.state, "reason": seen.reason, "expected": seen.expected}
