"""`outboard.toml` as structs: what the operator says of the host, of all plugins, and of one.

Unknown keys are forbidden. A value that is not given is None here; `effective` settles it. A default that
JSON has no word for is made by a factory: it is not in the JSON Schema.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

import msgspec

from protocol.manifest import HealthTable, LimitsTable, RestartTable, StartTable, is_plugin_name
from protocol.methods import is_own_name
from protocol.units import Duration

__all__ = [
    "Defaults",
    "HookMode",
    "HostConfig",
    "HostTable",
    "OnError",
    "PluginOverrides",
    "PointTable",
    "WatchTable",
]

HookMode = Literal["first", "collect", "pipeline", "broadcast"]
OnError = Literal["fail", "skip", "default"]


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
    on_critical: Literal["stay", "exit"] = "stay"
    """What the daemon does when a critical plugin is quarantined or has failed."""
    environment_timeout: Duration = msgspec.field(default_factory=partial(Duration, 600))
    """How long the environment of a plugin with dependencies may take to build."""
    guardian: bool = False
    """Whether the daemon gets a parent that ends what its plugins have left if it is killed."""
    warm_start: bool = False
    """Whether Python plugins are forked from a process that has the SDK imported, where that is possible."""

    def __post_init__(self) -> None:
        if not self.environment_timeout > 0:
            raise ValueError("`environment_timeout` must be longer than 0 s")


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
    critical: bool = False
    """The host is not ready without it, and `host.on_critical` says what its quarantine costs."""
    settings: dict[str, Any] = {}
    limits: LimitsTable = LimitsTable()
    restart: RestartTable = RestartTable()
    health: HealthTable = HealthTable()
    start: StartTable = StartTable()


class PointTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """[extension_points."x.y"]: a point that the daemon declares, or the operator's word on an app's own."""

    mode: HookMode | None = None
    on_error: OnError | None = None
    timeout: Duration | None = None
    """For each implementation."""
    default: Any = None
    params: dict[str, Any] | None = None
    """JSON Schema of the params."""
    version: str | None = None
    """`major.minor`, like "1.0"."""


class WatchTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """[watch]: whether the host looks by itself for plugins that come, change and go."""

    enabled: bool = True
    interval: Duration = msgspec.field(default_factory=partial(Duration, 1.0))
    """How often it looks."""
    debounce: Duration = msgspec.field(default_factory=partial(Duration, 0.5))
    """A plugin's files must have been left alone for so long."""
    burst: Annotated[int, msgspec.Meta(ge=1)] = 3
    """So many times in a row a plugin that keeps changing is dealt with at once; then it has to wait."""
    added: Literal["load", "announce"] = "load"
    changed: Literal["restart", "announce"] = "restart"
    removed: Literal["unload", "announce"] = "unload"

    def __post_init__(self) -> None:
        problems = [
            f"`{key}` must be from 10ms to 1h, not {getattr(self, key):g} s"
            for key in ("interval", "debounce")
            if not 0.01 <= getattr(self, key) <= 3600
        ]
        if problems:
            raise ValueError("; ".join(problems))


class HostConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A whole `outboard.toml`."""

    host: HostTable = msgspec.field(default_factory=HostTable)
    defaults: Defaults = Defaults()
    plugins: dict[str, PluginOverrides] = {}
    extension_points: dict[str, PointTable] = {}
    watch: WatchTable = msgspec.field(default_factory=partial(WatchTable, enabled=False))
    """A file that has the table means it; one that has not keeps the host from looking."""

    def __post_init__(self) -> None:
        # not a key type: msgspec would not say which of the keys is wrong
        for name in self.plugins:
            if not is_plugin_name(name):
                raise ValueError(
                    f"`plugins` has {name!r}, which no plugin can be called: [a-z][a-z0-9_-]{{0,63}}"
                )
        for name in self.extension_points:
            if not is_own_name(name):
                raise ValueError(
                    f"`extension_points` has {name!r}, which no point can be called: "
                    'lower case letters, digits and _, in parts joined by dots, like "document.extract"'
                )
