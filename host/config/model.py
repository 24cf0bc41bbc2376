"""`outboard.toml` as structs: what the operator says of the host, of all plugins, and of one.

Unknown keys are forbidden. A value that is not given is None here; `effective` settles it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from protocol.manifest import HealthTable, LimitsTable, RestartTable, StartTable, is_plugin_name

__all__ = ["Defaults", "HostConfig", "HostTable", "PluginOverrides"]


class HostTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """[host]"""

    plugins: list[str] = []
    """Folders that are scanned for plugins, in order."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    max_starts: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """So many plugins may be starting at once; None lets the host choose."""
    metrics_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None
    """Where the daemon answers over HTTP; 0 is any free port, None is nowhere."""
    metrics_address: Literal["127.0.0.1", "::1"] = "127.0.0.1"
    """This machine alone: what is told there is not for the network, and nobody is asked who they are."""


class Defaults(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """[defaults.…]: for every plugin; its limits are ceilings."""

    limits: LimitsTable = LimitsTable()
    restart: RestartTable = RestartTable()
    health: HealthTable = HealthTable()
    start: StartTable = StartTable()

    def __post_init__(self) -> None:
        if self.start.requires is not None:
            raise ValueError("`start.requires` cannot be a default: a plugin would require itself")


class PluginOverrides(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """[plugins.NAME]: the operator's last word on one plugin."""

    enabled: bool = True
    settings: dict[str, Any] = {}
    limits: LimitsTable = LimitsTable()
    restart: RestartTable = RestartTable()
    health: HealthTable = HealthTable()
    start: StartTable = StartTable()


class HostConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A whole `outboard.toml`."""

    host: HostTable = HostTable()
    defaults: Defaults = Defaults()
    plugins: dict[str, PluginOverrides] = {}

    def __post_init__(self) -> None:
        # not a key type: msgspec would not say which of the keys is wrong
        for name in self.plugins:
            if not is_plugin_name(name):
                raise ValueError(
                    f"`plugins` has {name!r}, which no plugin can be called: [a-z][a-z0-9_-]{{0,63}}"
                )
