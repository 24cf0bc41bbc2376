"""What `status` shows: a frozen picture, made without asking any plugin. Keys are always present.

The names and the nesting are public (`outboard status --json`); `schema` changes if they do.
"""

from __future__ import annotations

import msgspec

from host.observability.causes import Cause


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    ok: int
    error: int
    timeout: int
    in_flight: int


class LatencyMs(msgspec.Struct, frozen=True, kw_only=True):
    p50: float | None
    p99: float | None


class LastExit(msgspec.Struct, frozen=True, kw_only=True):
    code: int | None
    signal: str | None
    cause: str
    at: float
    """Unix time."""


class LimitStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One limit of a plugin, with its use."""

    name: str
    """Its key in [limits]; `core` has none."""
    unit: str
    """`bytes`, `count` or `percent`."""
    soft: float | None
    """From here on the plugin is degraded."""
    hard: float | None
    """More than this is not to be; null is no limit."""
    usage: float | None
    """At the last look; null where nobody can tell."""
    peak: float | None
    """The most that was seen of this process."""
    mechanism: str | None
    """Who keeps the hard limit; null if nobody does."""


class StoreStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a plugin keeps in its store."""

    keys: int
    bytes: int
    """Of keys and values, at the last use."""
    limit_bytes: int | None
    set_aside: str | None
    """Where a damaged file of it is now, if this host has found one."""


class EventsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The events of a plugin, over all its generations."""

    published: int
    delivered: int
    """To it."""
    failed: int
    """As many of those as it could not handle."""
    dropped: int
    """That it was too slow for."""


class InstalledStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where an installed plugin came from."""

    source: str
    """The pack, the folder or the file that was installed."""
    sha256: str
    at: float
    """Unix time."""


class PluginStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One plugin: null is what cannot be known now."""

    name: str
    version: str
    description: str
    state: str
    substate: str | None
    """`probation`: it serves, and crashed so recently that nobody should rely on it yet."""
    stuck: bool
    """Whether it was killed and is still there."""
    reason: str | None
    since: float
    """Unix time of the last change of state."""
    generation: int
    pid: int | None
    start: str | None
    """How this process came to be: `cold`, executed, or `warm`, forked."""
    uptime_s: float | None
    restarts: int
    cpu_percent: float | None
    memory_bytes: int | None
    memory_limit_bytes: int | None
    processes: int | None
    limits: list[LimitStatus]
    store: StoreStatus
    events: EventsStatus
    calls: Calls
    latency_ms: LatencyMs
    next_start_in_s: float | None
    last_exit: LastExit | None
    note: str | None
    start_mode: str
    expected: bool
    """Whether it ought to be running: exit code 3 of `status` is about these."""
    critical: bool
    """Whether the operator has said that the host is not ready without it."""
    methods: list[str]
    hooks: list[str]
    file: str
    installed: InstalledStatus | None
    """Null for one that is used where its author has it."""
    stdout_noise_bytes: int
    stderr_tail: list[str]


class WarmStart(msgspec.Struct, frozen=True, kw_only=True):
    """Whether Python plugins can be forked, which starts them in a few milliseconds."""

    state: str
    """`off`; `idle`, before the first of them; `starting`; `ready`; or `backoff`: it has failed, plugins are
    executed meanwhile, and it is tried again."""
    pid: int | None
    """Of the process that they are forked from."""
    reason: str | None
    """Why there are none, since it failed."""


class HostStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The host itself."""

    pid: int
    version: str
    uptime_s: float
    socket: str | None
    metrics_url: str | None
    """Where the daemon answers over HTTP, if it does."""
    mode: str
    """`daemon` or `embedded`."""
    descendants_after_host_death: str
    """What ends those whom plugins have started if the host is killed: `guardian`, at once; `cgroup`, the
    service manager, with the rest of the service; `next-start`, the next host of the same state;
    or `none`."""
    cgroup: str
    """Which controllers keep limits of plugins in which control group of ours; or `none`, and why."""
    warm_start: WarmStart
    loop_lag_p99_ms: float | None
    python: str
    platform: str
    problems: list[str]
    """Manifests and folders that cannot be used."""


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """A state that a plugin was in."""

    at: float
    """Since when; Unix time."""
    state: str
    reason: str
    generation: int


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """Why a plugin is as it is: what `outboard why --json` prints. Lists are newest first."""

    schema: int = 1
    name: str
    state: str
    substate: str | None
    reason: str | None
    since: float
    expected: bool
    generation: int
    next_start_in_s: float | None
    """When it is tried again by itself; null if it is not."""
    fix: str | None
    """What the newest cause says about mending it."""
    causes: list[Cause]
    """How its generations ended."""
    history: list[Changed]
    stderr: list[str]
    """The last lines of the process that is there, or was last."""
    next: list[str]
    """Commands that may help, the most likely first."""
    file: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The host and its plugins at one moment."""

    schema: int = 1
    host: HostStatus
    plugins: list[PluginStatus]
