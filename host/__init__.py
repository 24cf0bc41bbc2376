"""Runs outboard plugins: inside a program (`Host`, `BlockingHost`), or as a daemon (`outboard run`).

    async with Host(plugins=["plugins/"]) as host:
        print(await host.call("hello", "greet", name="Ada"))

Importing this package configures nothing and imports next to nothing: names are loaded when first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from host.blocking import BlockingHost
    from host.contracts.document import PluginContract, PointContract
    from host.errors import (
        CallCancelled,
        CallCycle,
        ChecksumMismatch,
        ConfigError,
        ContractError,
        DaemonError,
        DaemonRefused,
        DeadlineExceeded,
        HookFailed,
        HookRefused,
        HostMisuse,
        ManifestError,
        MethodNotFound,
        NotSerializable,
        OutboardError,
        PackError,
        PayloadTooLarge,
        PermissionDenied,
        PluginBusy,
        PluginCrashed,
        PluginDisabled,
        PluginExists,
        PluginNotFound,
        PluginQuarantined,
        PluginUnavailable,
        PluginUnfit,
        PoisonCall,
        RemoteError,
        StoreConflict,
        StoreFull,
        StoreUnavailable,
        UnknownExtensionPoint,
        UnknownKey,
        UnknownTopic,
    )
    from host.host import Host
    from host.observability.causes import Cause
    from host.observability.events import (
        CallFailed,
        CallReplayed,
        HostEvent,
        PluginLogged,
        PluginProblem,
        PluginsChanged,
        ProcessesLeaked,
        ProcessesSwept,
        SettingsChanged,
        StateChanged,
        WarmStarts,
    )
    from host.observability.snapshot import HostStatus, PluginStatus, Status, Why
    from host.routing.dispatch import HookOutcome, HookResult
    from host.routing.extension_points import ExtensionPoint
    from host.routing.listeners import Published
    from host.routing.stream import Stream
    from host.routing.topics import Topic
    from host.supervision.plan import Plan

__all__ = [
    "BlockingHost",
    "CallCancelled",
    "CallCycle",
    "CallFailed",
    "CallReplayed",
    "Cause",
    "ChecksumMismatch",
    "ConfigError",
    "ContractError",
    "DaemonError",
    "DaemonRefused",
    "DeadlineExceeded",
    "ExtensionPoint",
    "HookFailed",
    "HookOutcome",
    "HookRefused",
    "HookResult",
    "Host",
    "HostEvent",
    "HostMisuse",
    "HostStatus",
    "ManifestError",
    "MethodNotFound",
    "NotSerializable",
    "OutboardError",
    "PackError",
    "PayloadTooLarge",
    "PermissionDenied",
    "Plan",
    "PluginBusy",
    "PluginContract",
    "PluginCrashed",
    "PluginDisabled",
    "PluginExists",
    "PluginLogged",
    "PluginNotFound",
    "PluginProblem",
    "PluginQuarantined",
    "PluginStatus",
    "PluginUnavailable",
    "PluginUnfit",
    "PluginsChanged",
    "PointContract",
    "PoisonCall",
    "ProcessesLeaked",
    "ProcessesSwept",
    "Published",
    "RemoteError",
    "SettingsChanged",
    "StateChanged",
    "Status",
    "StoreConflict",
    "StoreFull",
    "StoreUnavailable",
    "Stream",
    "Topic",
    "UnknownExtensionPoint",
    "UnknownKey",
    "UnknownTopic",
    "WarmStarts",
    "Why",
]

_ELSEWHERE = {
    "BlockingHost": "host.blocking",
    "Cause": "host.observability.causes",
    "ExtensionPoint": "host.routing.extension_points",
    "HookOutcome": "host.routing.dispatch",
    "HookResult": "host.routing.dispatch",
    "Host": "host.host",
    "Plan": "host.supervision.plan",
    **dict.fromkeys(
        (
            "CallFailed",
            "CallReplayed",
            "HostEvent",
            "PluginLogged",
            "PluginProblem",
            "PluginsChanged",
            "ProcessesLeaked",
            "ProcessesSwept",
            "SettingsChanged",
            "StateChanged",
            "WarmStarts",
        ),
        "host.observability.events",
    ),
    **dict.fromkeys(("PluginContract", "PointContract"), "host.contracts.document"),
    **dict.fromkeys(("HostStatus", "PluginStatus", "Status", "Why"), "host.observability.snapshot"),
    "Stream": "host.routing.stream",
    "Published": "host.routing.listeners",
    "Topic": "host.routing.topics",
}


if not TYPE_CHECKING:  # to a type checker it would mean that every name is there

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module `host` has no attribute `{name}`")
        from importlib import import_module

        return getattr(import_module(_ELSEWHERE.get(name, "host.errors")), name)
