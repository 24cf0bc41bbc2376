"""What holds for one plugin, once everybody has had a say. Pure.

Low to high: built-in < [defaults] < the manifest < [plugins.NAME]. Limits differ in one point: what
the operator sets in [defaults.limits] is a ceiling, which a manifest may lower and not raise.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from host.config.model import HostConfig, PluginOverrides
from protocol.manifest import Manifest
from protocol.secrets import is_reference
from protocol.units import Duration, Size

__all__ = ["POLICY_KEYS", "PluginPolicy", "backoff_delay_s", "effective", "policy_problems"]

_MIB = 1024**2
_BACKOFF_STEPS = 6
_LARGEST_LIMIT = 2**63 - 1  # what the kernel takes


class PluginPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Every value settled, units in the names. The defaults here are the built-ins."""

    enabled: bool = True
    critical: bool = False
    """The operator's word, and never a plugin's: the host is not ready without it, whoever stopped it."""

    memory_bytes: int | None = 512 * _MIB
    """Of the whole process tree; None is no limit, as with every limit."""
    processes: int | None = 64
    threads: int | None = 256
    open_files: int | None = 1024
    file_size_bytes: int | None = 1024 * _MIB
    cpu_percent: int | None = None
    """100 is one core."""
    store_bytes: int | None = 64 * _MIB
    """Of what it keeps in `ctx.store`."""

    restart_policy: Literal["on-failure", "always", "never"] = "on-failure"
    intensity: int = 5
    """So many restarts inside `period_s` are borne; one more is quarantine."""
    period_s: float = 300.0
    backoff_min_s: float = 0.1
    backoff_max_s: float = 30.0
    probe_min_s: float = 600.0
    """So long a quarantined plugin is left alone before one start is tried; doubles each time."""
    probe_max_s: float = 21600.0

    ping_interval_s: float = 5.0
    ping_timeout_s: float = 5.0
    ping_misses: int = 3
    blocked_after_s: float = 60.0
    """With calls in flight it may finish nothing for so long, though it answers pings."""
    blocked: Literal["restart", "degrade"] | None = None
    """What is done about one that is; None: by what it is worked on with, see `vitals`."""

    start_mode: Literal["eager", "lazy"] = "eager"
    start_timeout_s: float = 30.0
    stop_timeout_s: float = 4.0
    idle_stop_s: float | None = None
    """A lazy plugin that was idle for so long is stopped; None never."""
    requires: tuple[str, ...] = ()

    settings: dict[str, Any] = {}


POLICY_KEYS: dict[str, tuple[str, str]] = {
    "memory_bytes": ("limits", "memory"),
    "processes": ("limits", "processes"),
    "threads": ("limits", "threads"),
    "open_files": ("limits", "open_files"),
    "file_size_bytes": ("limits", "file_size"),
    "cpu_percent": ("limits", "cpu_percent"),
    "store_bytes": ("limits", "store"),
    "restart_policy": ("restart", "policy"),
    "intensity": ("restart", "intensity"),
    "period_s": ("restart", "period"),
    "backoff_min_s": ("restart", "backoff_min"),
    "backoff_max_s": ("restart", "backoff_max"),
    "probe_min_s": ("restart", "probe_min"),
    "probe_max_s": ("restart", "probe_max"),
    "ping_interval_s": ("health", "interval"),
    "ping_timeout_s": ("health", "timeout"),
    "ping_misses": ("health", "misses"),
    "blocked_after_s": ("health", "blocked_after"),
    "blocked": ("health", "blocked"),
    "start_mode": ("start", "mode"),
    "start_timeout_s": ("start", "timeout"),
    "stop_timeout_s": ("start", "stop_timeout"),
    "idle_stop_s": ("start", "idle_stop"),
    "requires": ("start", "requires"),
}
"""Which table and key of a file settles each field of a policy."""

_POSITIVE = (
    *("period_s", "backoff_min_s", "backoff_max_s", "probe_min_s", "probe_max_s"),
    *("ping_interval_s", "ping_timeout_s", "blocked_after_s", "start_timeout_s", "idle_stop_s"),
)


def effective(manifest: Manifest, config: HostConfig) -> PluginPolicy:
    """The policy of the plugin that `manifest` describes; see `policy_problems`."""
    overrides = config.plugins.get(manifest.plugin.name, PluginOverrides())
    values: dict[str, Any] = {}
    for field, (table, key) in POLICY_KEYS.items():
        default, own, override = (
            getattr(getattr(layer, table), key) for layer in (config.defaults, manifest, overrides)
        )
        if table == "limits" and default is not None and own is not None:
            own = min(own, default)
        settled = next((value for value in (override, own, default) if value is not None), None)
        if settled is not None:
            values[field] = _plain(settled)
    return PluginPolicy(
        enabled=overrides.enabled,
        critical=overrides.critical,
        settings=_merged(manifest.settings, overrides.settings),
        **values,
    )


def backoff_delay_s(policy: PluginPolicy, restarts: int) -> float:
    """The delay before one more restart after `restarts` of them, jitter aside.

    Geometric: the seventh delay and all later ones are `backoff_max_s`.
    """
    step = min(restarts, _BACKOFF_STEPS) / _BACKOFF_STEPS
    return float(policy.backoff_min_s * (policy.backoff_max_s / policy.backoff_min_s) ** step)


def policy_problems(policy: PluginPolicy) -> list[str]:
    """What the values of a policy, each fine alone, cannot mean together."""
    problems = [
        f"{_name(field)} must be longer than 0 s"
        for field in _POSITIVE
        if (value := getattr(policy, field)) is not None and not value > 0
    ]
    for field, (table, _) in POLICY_KEYS.items():
        value = getattr(policy, field)
        if table == "limits" and value is not None and not 0 < value <= _LARGEST_LIMIT:
            problems.append(f"{_name(field)} must be from 1 to {_LARGEST_LIMIT}")
    if policy.backoff_min_s > policy.backoff_max_s:
        problems.append(
            f"restart.backoff_min ({policy.backoff_min_s:g} s) is longer than "
            f"restart.backoff_max ({policy.backoff_max_s:g} s)"
        )
    if not problems and policy.restart_policy != "never":
        problems += _window_problems(policy)
    return problems


def _window_problems(policy: PluginPolicy) -> list[str]:
    """Backoff alone may keep restarts so far apart that `intensity` is never exceeded."""
    growing = min(policy.intensity, _BACKOFF_STEPS)
    needed_s = sum(backoff_delay_s(policy, restarts) for restarts in range(growing))
    needed_s += min(policy.intensity - growing, 10**9) * policy.backoff_max_s  # a float, whatever was written
    if needed_s <= policy.period_s:
        return []
    return [
        f"restart.intensity ({policy.intensity}) cannot be reached: backoff alone spreads so many restarts "
        f"over {needed_s:g} s, and restart.period is {policy.period_s:g} s; the plugin would never be "
        "quarantined"
    ]


def _name(field: str) -> str:
    return ".".join(POLICY_KEYS[field])


def _plain(value: Any) -> Any:
    if isinstance(value, Size):
        return int(value)
    if isinstance(value, Duration):
        return float(value)
    return tuple(value) if isinstance(value, list) else value


def _merged(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    """Tables key by key; all else is replaced whole, and so is where a secret comes from."""
    if is_reference(low) and is_reference(high):
        return high
    merged = {key: _merged(value, {}) if isinstance(value, dict) else value for key, value in low.items()}
    for key, value in high.items():
        below = merged.get(key)
        if isinstance(value, dict):
            value = _merged(below if isinstance(below, dict) else {}, value)
        merged[key] = value
    return merged
