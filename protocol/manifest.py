"""What a plugin says of itself before any of its code runs: `plugin.toml` as structs.

Unknown keys are forbidden here, unlike on the wire: a manifest is written by a person, and a key that
is silently ignored is a mistake that is silently made.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

import msgspec

from protocol.units import Duration, Size

# Python's `$` also matches before a final newline, which must not get into a name.
PluginName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,63}$(?!\n)")]
Count = Annotated[int, msgspec.Meta(ge=1)]

Permission = Literal["plugins", "host", "events"]
"""Whom it calls; which services of the app it uses; which topics it publishes or hears of."""

_PLUGIN_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")


def is_plugin_name(name: str) -> bool:
    return _PLUGIN_NAME.fullmatch(name) is not None


class PluginTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    name: PluginName
    version: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    protocol: int = 1
    description: str = ""


class RunTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """How to start it: exactly one of `python` and `command`."""

    python: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    """A file in the plugin's folder ("main.py") or a module ("package.module")."""
    command: Annotated[list[str], msgspec.Meta(min_length=1)] | None = None
    requires_python: str | None = msgspec.field(default=None, name="requires-python")
    dependencies: list[str] = []

    def __post_init__(self) -> None:
        if (self.python is None) == (self.command is None):
            raise ValueError("exactly one of `python` and `command` is needed")


class LimitsTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    memory: Size | None = None
    processes: Count | None = None
    threads: Count | None = None
    open_files: Count | None = None
    file_size: Size | None = None
    cpu_percent: Count | None = None
    store: Size | None = None
    """Bytes of keys and values."""


class RestartTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    policy: Literal["on-failure", "always", "never"] | None = None
    intensity: Count | None = None
    """So many restarts inside `period` are borne; one more is quarantine."""
    period: Duration | None = None
    backoff_min: Duration | None = None
    backoff_max: Duration | None = None
    probe_min: Duration | None = None
    """A quarantined plugin is left alone for so long, then started once to see; doubles up to `probe_max`."""
    probe_max: Duration | None = None


class HealthTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    interval: Duration | None = None
    timeout: Duration | None = None
    misses: Count | None = None
    blocked_after: Duration | None = None
    """It answers pings and has finished nothing for so long, with calls in flight: then it is blocked."""
    blocked: Literal["restart", "degrade"] | None = None


class StartTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    mode: Literal["eager", "lazy"] | None = None
    timeout: Duration | None = None
    stop_timeout: Duration | None = None
    idle_stop: Duration | None = None
    requires: list[PluginName] | None = None


class PermissionsTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    plugins: list[str] = []
    host: list[str] = []
    events: list[str] = []

    def permits(self, key: Permission, wanted: str) -> bool:
        """Whether a pattern below `key` has room for `wanted`."""
        return any(fnmatchcase(wanted, pattern) for pattern in getattr(self, key))

    def line_for(self, key: Permission, wanted: str) -> str:
        """The line that would permit `wanted` as well."""
        return f"{key} = {msgspec.json.encode([*getattr(self, key), wanted]).decode()}"


class Manifest(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A whole `plugin.toml`."""

    plugin: PluginTable
    run: RunTable
    settings: dict[str, Any] = {}
    limits: LimitsTable = LimitsTable()
    restart: RestartTable = RestartTable()
    health: HealthTable = HealthTable()
    start: StartTable = StartTable()
    permissions: PermissionsTable = PermissionsTable()
