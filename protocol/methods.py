"""Every method that belongs to the protocol, in one table: who sends it, with what, for what.

A name with a slash, or one of the four words of LSP, belongs to the protocol; every other name is a
plugin's own. Legal phases are in `protocol.phases`, which is a table too.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

import msgspec

from protocol import lifecycle, store, topics

Sender = Literal["host", "plugin", "both"]


class MethodRow(NamedTuple):
    sender: Sender
    params: type[msgspec.Struct]
    result: Any
    """A struct, `Any` for what is somebody else's, None for a notification."""


METHODS: dict[str, MethodRow] = {
    "initialize": MethodRow("host", lifecycle.InitializeParams, lifecycle.InitializeResult),
    "initialized": MethodRow("host", lifecycle.Empty, None),
    "lifecycle/start": MethodRow("host", lifecycle.StartParams, lifecycle.Empty),
    "lifecycle/ping": MethodRow("host", lifecycle.Empty, lifecycle.PingResult),
    "config/validate": MethodRow("host", lifecycle.ConfigParams, lifecycle.ConfigVerdict),
    "config/changed": MethodRow("host", lifecycle.ConfigTold, None),
    "shutdown": MethodRow("host", lifecycle.Empty, lifecycle.Empty),
    "exit": MethodRow("host", lifecycle.Empty, None),
    "log/level": MethodRow("host", lifecycle.LogLevel, None),
    "log/record": MethodRow("plugin", lifecycle.LogRecord, None),
    "status/text": MethodRow("plugin", lifecycle.StatusText, None),
    "config/get": MethodRow("plugin", lifecycle.Empty, lifecycle.ConfigTold),
    "config/update": MethodRow("plugin", lifecycle.ConfigUpdate, lifecycle.ConfigTold),
    "plugin/call": MethodRow("plugin", lifecycle.PluginCallParams, Any),
    "store/get": MethodRow("plugin", store.StoreGetParams, store.StoreEntry),
    "store/set": MethodRow("plugin", store.StoreSetParams, store.StoreSetResult),
    "store/delete": MethodRow("plugin", store.StoreDeleteParams, store.StoreDeleteResult),
    "store/list": MethodRow("plugin", store.StoreListParams, store.StoreListResult),
    "event/publish": MethodRow("plugin", topics.PublishParams, lifecycle.Empty),
    "event/ack": MethodRow("plugin", topics.AckParams, None),
    "$/cancelRequest": MethodRow("both", lifecycle.CancelParams, None),
    "$/stream": MethodRow("both", lifecycle.StreamParams, None),
    "$/credit": MethodRow("both", lifecycle.CreditParams, None),
    "$/progress": MethodRow("plugin", lifecycle.ProgressParams, None),
}

_OWN_NAME = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*")
_WORDS = frozenset({"initialize", "initialized", "shutdown", "exit"})


def is_own_name(name: str) -> bool:
    """Whether a plugin may call a method of its own by this name."""
    return _OWN_NAME.fullmatch(name) is not None and name not in _WORDS


def belongs_to_protocol(name: str) -> bool:
    """Whether a name is one that no plugin's own method can have. Cheap: every call asks."""
    return "/" in name or name in _WORDS


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12 for the params and results of every row, and the table itself."""
    types: list[Any] = []
    for row in METHODS.values():
        types += [row.params] if row.result is None else [row.params, row.result]
    types += [lifecycle.ParamProblem]
    refs, definitions = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    ref_of = dict(zip((t.__name__ for t in types), refs, strict=True))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"outboard wire protocol {lifecycle.PROTOCOL_VERSION}",
        "methods": {
            name: {
                "sender": row.sender,
                "kind": "notification" if row.result is None else "request",
                "params": ref_of[row.params.__name__],
            }
            | ({} if row.result is None else {"result": ref_of[row.result.__name__]})
            for name, row in METHODS.items()
        },
        "$defs": dict(sorted(definitions.items())),
    }
