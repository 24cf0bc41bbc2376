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

import protocol as _protocol

if not getattr(_protocol, "OUTBOARD_PROTOCOL", False):
    _intruder = getattr(_protocol, "__file__", None) or next(iter(getattr(_protocol, "__path__", ["?"])))
    raise ImportError(
        f"plugin_sdk needs outboard's own `protocol` package, but {_intruder} was found first: "
        "rename that file"
    )

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
