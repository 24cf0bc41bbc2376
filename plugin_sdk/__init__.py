"""Write an outboard plugin: decorate functions, and the host can call them.

    from plugin_sdk import Plugin

    plugin = Plugin()

    @plugin.method
    def greet(name: str) -> str:
        "Greets somebody."
        return f"Hello, {name}!"

Needs the standard library and msgspec, nothing else; asyncio is imported only for a plugin that has
an `async def` handler.
"""

from typing import TYPE_CHECKING, Any

import protocol as _protocol

if not getattr(_protocol, "OUTBOARD_PROTOCOL", False):
    _intruder = getattr(_protocol, "__file__", None) or next(iter(getattr(_protocol, "__path__", ["?"])))
    raise ImportError(
        f"plugin_sdk needs outboard's own `protocol` package, but {_intruder} was found first: "
        "rename that file"
    )

if TYPE_CHECKING:
    from plugin_sdk.context import AsyncContext, Context
    from plugin_sdk.errors import (
        CallCancelled,
        CallCycle,
        CallFailed,
        ContractError,
        DeadlineExceeded,
        MethodNotFound,
        NotReady,
        PermissionDenied,
        PluginBusy,
        PluginCrashed,
        PluginError,
        PluginUnavailable,
        RemoteError,
        SettingsRefused,
        StoreConflict,
        StoreFull,
        StoreUnavailable,
        UnknownTopic,
    )
    from plugin_sdk.plugin import Plugin
    from plugin_sdk.store import AsyncStore, AsyncTransaction, Store, Transaction

__all__ = [
    "AsyncContext",
    "AsyncStore",
    "AsyncTransaction",
    "CallCancelled",
    "CallCycle",
    "CallFailed",
    "Context",
    "ContractError",
    "DeadlineExceeded",
    "MethodNotFound",
    "NotReady",
    "PermissionDenied",
    "Plugin",
    "PluginBusy",
    "PluginCrashed",
    "PluginError",
    "PluginUnavailable",
    "RemoteError",
    "SettingsRefused",
    "Store",
    "StoreConflict",
    "StoreFull",
    "StoreUnavailable",
    "Transaction",
    "UnknownTopic",
]

# Loaded when first used: the host and the command line look into this package too, and use none of it.
_ELSEWHERE = {
    "Plugin": "plugin_sdk.plugin",
    **dict.fromkeys(("AsyncContext", "Context"), "plugin_sdk.context"),
    **dict.fromkeys(("AsyncStore", "AsyncTransaction", "Store", "Transaction"), "plugin_sdk.store"),
}


if not TYPE_CHECKING:  # to a type checker it would mean that every name is there

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module `plugin_sdk` has no attribute `{name}`")
        from importlib import import_module

        return getattr(import_module(_ELSEWHERE.get(name, "plugin_sdk.errors")), name)
