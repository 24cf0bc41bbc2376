"""Everything a host has to tell. A closed union: `HostEvent`. Times are Unix seconds.

As JSON, which `outboard events --json` prints, the key `event` says which of them it is. Names of fields
are public: docs/reference/logs.md lists them.
"""

from __future__ import annotations

import time
from typing import Any, Literal

import msgspec

from host.observability.causes import Cause


class StateChanged(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="state"):
    """A plugin entered a state. One event a change, with the reason a person reads."""

    plugin: str
    state: str
    previous: str
    reason: str
    generation: int
    pid: int | None = None
    cause: Cause | None = None
    """How the generation ended, if that is what changed the state."""
    at: float = msgspec.field(default_factory=time.time)


class PluginLogged(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="log"):
    """A record of the plugin's own logging, or a line that it wrote to stderr or stdout."""

    plugin: str
    level: str
    message: str
    source: str
    """`log`, `stderr`, or `stdout` for text that strayed into the protocol."""
    generation: int
    pid: int | None = None
    logger: str = ""
    fields: dict[str, Any] = {}
    at: float = msgspec.field(default_factory=time.time)


class CallFailed(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="call"):
    """A call ended in an error. Calls that succeed are counted and not told one by one."""

    plugin: str
    method: str
    call_id: str
    error: str
    message: str
    elapsed_ms: float
    trace_id: str | None = None
    """Of the trace that the call belonged to: 32 hex digits, as the plugin was told."""
    at: float = msgspec.field(default_factory=time.time)


class CallReplayed(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="replay"):
    """A call of an idempotent method was cut off by the end of the process, and is sent to the next one."""

    plugin: str
    method: str
    call_id: str
    """Of the call that was cut off."""
    incident: str
    """The end that cut it off, as `outboard why` calls it."""
    waited_ms: float
    """From the end of the connection until it could be sent again."""
    trace_id: str | None = None
    at: float = msgspec.field(default_factory=time.time)


class PluginProblem(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="problem"):
    """Something that keeps a plugin, or a file, from being used; nothing else is affected."""

    file: str
    message: str
    plugin: str | None = None
    at: float = msgspec.field(default_factory=time.time)


FileChange = Literal["added", "changed", "removed"]
Answer = Literal["load", "restart", "unload", "keep", "announce", "wait"]
"""`keep`: it holds without a new process. `announce`: nothing, as configured. `wait`: not yet."""


class PluginsChanged(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="watch"):
    """The files of a plugin came, changed or went while the host watched, and what it does about that."""

    kind: FileChange
    plugin: str | None
    """None for files that were never seen at rest, and so never read."""
    file: str
    """The plugin's manifest, or the one file it is."""
    action: Answer
    reason: str
    at: float = msgspec.field(default_factory=time.time)


class ProcessesSwept(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="swept"):
    """Processes that a plugin, or the plugins of an earlier host, had left behind were killed."""

    plugin: str | None
    """None for those of an earlier host."""
    count: int
    generation: int | None = None
    at: float = msgspec.field(default_factory=time.time)


class ProcessesLeaked(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="leaked"):
    """Processes that were left behind could not be ended: they are there still."""

    plugin: str | None
    pids: list[int]
    generation: int | None = None
    at: float = msgspec.field(default_factory=time.time)


class WarmStarts(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="warm"):
    """Python plugins cannot be forked any more, and are executed; or can be again."""

    are_possible: bool
    reason: str
    plugin: str | None = None
    """Always: all of them are meant."""
    again_in_s: float | None = None
    """When it is tried again."""
    at: float = msgspec.field(default_factory=time.time)


class SettingsChanged(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="settings"):
    """Settings of a plugin hold that did not before: by an operator's change, a reload, or its own doing."""

    plugin: str
    keys: list[str]
    """Names of settings, and never a value."""
    revision: int
    by: str = ""
    """`plugin NAME` if it has changed them itself."""
    at: float = msgspec.field(default_factory=time.time)


HostEvent = (
    StateChanged
    | PluginLogged
    | CallFailed
    | CallReplayed
    | PluginProblem
    | PluginsChanged
    | ProcessesSwept
    | ProcessesLeaked
    | SettingsChanged
    | WarmStarts
)
"""Any of them: what a subscriber of `Host.on_event` is called with."""
