"""Runs outboard plugins: inside an asyncio program (`Host`), or as a daemon (`outboard run`).

    async with Host(plugins=["plugins/"]) as host:
        print(await host.call("hello", "greet", name="Ada"))

Importing this package configures nothing and imports next to nothing: names are loaded when first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from host.errors import (
        CallCancelled,
        ConfigError,
        ContractError,
        DaemonError,
        DaemonRefused,
        DeadlineExceeded,
        HostMisuse,
        ManifestError,
        MethodNotFound,
        NotSerializable,
        OutboardError,
        PayloadTooLarge,
        PluginBusy,
        PluginCrashed,
        PluginDisabled,
        PluginExists,
        PluginNotFound,
        PluginQuarantined,
        PluginUnavailable,
        RemoteError,
    )
    from host.host import Host

__all__ = [
    "CallCancelled",
    "ConfigError",
    "ContractError",
    "DaemonError",
    "DaemonRefused",
    "DeadlineExceeded",
    "Host",
    "HostMisuse",
    "ManifestError",
    "MethodNotFound",
    "NotSerializable",
    "OutboardError",
    "PayloadTooLarge",
    "PluginBusy",
    "PluginCrashed",
    "PluginDisabled",
    "PluginExists",
    "PluginNotFound",
    "PluginQuarantined",
    "PluginUnavailable",
    "RemoteError",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module `host` has no attribute `{name}`")
    from importlib import import_module

    return getattr(import_module("host.host" if name == "Host" else "host.errors"), name)
