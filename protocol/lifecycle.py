"""The typed params and results of every method that belongs to the protocol.

Structs that arrive ignore members they do not know, so that either side may be newer. JSON Schema
for all of them is generated from here (`protocol.methods.schema`).
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

PROTOCOL_VERSION = 1
"""Changes only when an old peer would break; everything else is a feature."""

FEATURES = (
    *("deadline", "progress", "nudge", "trace", "parent", "validate", "config", "secrets", "update"),
    *("stream", "up"),
)
"""What this implementation can do beyond the base protocol.

`deadline`: `meta.timeout_ms` on requests. `progress`: `$/progress` when `meta.progress` asks for it.
`nudge`: the host sends SIGURG when a plugin with a call in flight has been silent for a moment, so
that the plugin's reading can move to another thread without a timer that ticks.
`trace`: `meta.traceparent` and `meta.tracestate` on requests, as W3C trace context has them.
`parent`: `meta.parent` on requests. A plugin names the request of the host's that its own is made for; the
host names the request of the plugin's that a call has come round from.
`validate`: the plugin answers `config/validate`. `config`: it takes `config/changed` while it runs.
`stream`: methods whose answer comes in items, for requests with `meta.credit`.
`up`: methods that take items, which go with the request; see `MethodInfo.takes`.
`secrets`: settings that the plugin's schema calls secret come with `lifecycle/start`, and not before.
`update`: the host answers `config/get` and `config/update`. What a plugin has changed so is told to it by
`config/changed` before it is answered, whether or not it has `config`.
"""


class HostInfo(msgspec.Struct, kw_only=True):
    name: str = "outboard"
    version: str = "0"


class PluginIdentity(msgspec.Struct, kw_only=True):
    """Who the plugin is to the host: its name there, and which life of it this is."""

    name: str
    instance: str = ""
    generation: int = 1
    data_dir: str = ""
    cache_dir: str = ""


class Limits(msgspec.Struct, kw_only=True, frozen=True):
    """What one side is willing to receive. Each side announces its own, the sender keeps the peer's."""

    max_frame: int = 16 * 1024 * 1024
    """Bytes in the body of one frame."""
    max_in_flight: int = 64
    """Requests that are worked on at once; `queue` more may wait."""
    queue: int = 128


class InitializeParams(msgspec.Struct, kw_only=True):
    protocol: list[int] = msgspec.field(default_factory=lambda: [PROTOCOL_VERSION])
    host: HostInfo = msgspec.field(default_factory=HostInfo)
    plugin: PluginIdentity
    config: dict[str, Any] = {}
    config_revision: int = 0
    limits: Limits = Limits()
    encodings: list[str] = msgspec.field(default_factory=lambda: ["json"])
    features: list[str] = []


class PluginInfo(msgspec.Struct, kw_only=True):
    name: str = ""
    version: str = ""
    sdk: str = ""


class MethodInfo(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A method that a plugin provides. Only `name` is required of a plugin."""

    name: str
    doc: str = ""
    params: dict[str, Any] | None = None
    """JSON Schema 2020-12 of the params object."""
    result: dict[str, Any] | None = None
    takes: Annotated[dict[str, Any], msgspec.Meta(max_length=1)] | None = None
    """The parameter that takes items, which are not in `params`, and the schema of one."""
    stream: bool = False
    """Whether it answers in items. `result` is the schema of one of them, then."""
    idempotent: bool = False
    timeout_s: float | None = None


class HookInfo(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An implementation of an extension point. Only `point` is required of a plugin."""

    point: str
    before: list[str] = []
    after: list[str] = []
    priority: int = 0
    on_error: str | None = None
    """What the author would have done about a failure of it; the extension point decides."""
    when: Any = None
    """A filter on the params, as in `protocol.filters`. One that cannot be read counts as fitting."""
    idempotent: bool = False
    version: str | None = None
    """The `major.minor` of the point that it was written for; a host that offers less refuses the plugin."""
    schema: dict[str, Any] | None = None
    """`{params, result}`, as of a method."""


class EventInfo(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A topic that a plugin publishes. Only `topic` is required of a plugin."""

    topic: str
    schema: dict[str, Any] | None = None
    """JSON Schema 2020-12 of the values."""


class Provides(msgspec.Struct, kw_only=True):
    methods: list[MethodInfo] = []
    hooks: list[HookInfo] = []
    events: list[EventInfo] = []
    subscribes: list[str] = []
    """Topics that it wants to be told of."""
    config_schema: dict[str, Any] | None = None

    @property
    def idempotent(self) -> frozenset[str]:
        """What may be asked twice, by its name on the wire."""
        methods = [method.name for method in self.methods if method.idempotent]
        return frozenset([*methods, *(f"hook/{hook.point}" for hook in self.hooks if hook.idempotent)])


class InitializeResult(msgspec.Struct, kw_only=True):
    protocol: int
    plugin: PluginInfo = msgspec.field(default_factory=PluginInfo)
    limits: Limits = Limits()
    encoding: str = "json"
    features: list[str] = []
    provides: Provides = msgspec.field(default_factory=Provides)


class Empty(msgspec.Struct):
    """No params, or no result worth a word."""


class StartParams(msgspec.Struct, kw_only=True, omit_defaults=True):
    config: dict[str, Any] | None = None
    """The settings again, where those of `initialize` had references in the place of secrets."""


class ConfigParams(msgspec.Struct, kw_only=True):
    """All of a plugin's settings, and not only those that differ."""

    config: dict[str, Any] = {}


class ConfigTold(msgspec.Struct, kw_only=True):
    """All of a plugin's settings as they hold."""

    config: dict[str, Any] = {}
    config_revision: int = 0
    """Rises with each change of them; means nothing to another host."""


class ConfigUpdate(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a plugin wants of its own settings; all of it holds, or none."""

    set: dict[str, Any] = {}
    """By the name of the setting; a table stands for the whole of it."""
    unset: list[str] = []
    """Names whose overriding values are taken back."""
    config_revision: int | None = None
    """Refused if the settings have changed since this one; null for no matter what."""


class PingResult(msgspec.Struct, kw_only=True):
    """How busy a plugin is, said by the part of it that reads frames."""

    in_flight: int = 0
    oldest_ms: float = 0.0
    """Age of the oldest request in flight."""
    loop_lag_ms: float = 0.0
    """How long the thread that runs handlers has not come back; 0 for an idle one."""
    outbox_bytes: int = 0


class CancelParams(msgspec.Struct, kw_only=True):
    id: int | str
    reason: str = ""


class StreamParams(msgspec.Struct, kw_only=True):
    """Items of the answer to the request `id`, which the receiver has made with `meta.credit`.

    With `up`, items that go with the request `id`, which the sender has made with `meta.up`.
    """

    id: int | str
    seq: int
    """Counts the batches of one stream, from 0."""
    items: list[msgspec.Raw]
    up: bool = False
    end: bool = False
    """No more go with the request. Only with `up`: an answer ends with the reply."""


class CreditParams(msgspec.Struct, kw_only=True, omit_defaults=True):
    """So many items have been used, and so many more may come."""

    id: int | str
    n: int
    up: bool = False
    """Of those that go with the request `id`, which the receiver has made."""


class ProgressValue(msgspec.Struct, kw_only=True, omit_defaults=True):
    done: float = 0
    total: float | None = None
    message: str = ""


class ProgressParams(msgspec.Struct, kw_only=True):
    token: int | str
    value: ProgressValue


class PluginCallParams(msgspec.Struct, kw_only=True):
    """A plugin asks the host to call another one. The result is what that one returns, as it is."""

    plugin: str
    method: str
    params: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    """An object, or an array from those who give params by position."""


class LogRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A record of the plugin's own logging. `ts` is Unix time in seconds."""

    level: str
    message: str
    logger: str = ""
    ts: float = 0.0
    fields: dict[str, Any] = {}
    request_id: int | str | None = None
    dropped: int = 0
    """Records that found no room before this one."""


class LogLevel(msgspec.Struct, kw_only=True):
    level: str


class StatusText(msgspec.Struct, kw_only=True):
    text: str


class ParamProblem(msgspec.Struct, kw_only=True):
    """One thing that is wrong with params; INVALID_PARAMS carries a list of them as `data`."""

    path: str
    """A JSON path: `$.name`."""
    reason: str


class ConfigVerdict(msgspec.Struct, kw_only=True):
    """What a plugin has against new settings; nothing, if it takes them."""

    problems: list[ParamProblem] = []
