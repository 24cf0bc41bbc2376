"""`store/get`, `set`, `delete` and `list`: what plugins ask of their stores.

A plugin has its own store and no other, so nobody needs a permission. How much may be in it is the policy's
to say, and may change while the plugin runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from host.routing.on_the_wire import P, params_of
from host.store.stores import Stores
from host.supervision.supervisor import Supervisor
from protocol import values
from protocol.errors import ErrorCode, RpcError
from protocol.store import (
    MAX_CHANGES,
    StoreDeleteParams,
    StoreDeleteResult,
    StoreEntry,
    StoreGetParams,
    StoreListParams,
    StoreListResult,
    StoreSetParams,
    StoreSetResult,
    key_fault,
)

MAX_TOLD = 20
"""Faults of one request."""
Answer = Callable[[str, msgspec.Raw], Awaitable[Any]]
"""Gets the plugin that asks, and the params."""


def _asked(raw: msgspec.Raw, type_: type[P]) -> P:
    """Raises RpcError, in words of ours for what cannot be a key."""
    try:
        return params_of(raw, type_)
    except RpcError:
        faults = list(_key_faults(raw))
        if not faults:
            raise
        text = "; ".join(f"{problem['path']}: {problem['reason']}" for problem in faults[:MAX_TOLD])
        raise RpcError(ErrorCode.INVALID_PARAMS, text, faults[:MAX_TOLD]) from None


def _key_faults(raw: msgspec.Raw) -> Iterator[dict[str, str]]:
    try:
        said = values.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if not isinstance(said, dict):
        return
    if "key" in said and (fault := key_fault(said["key"])):
        yield {"path": "$.key", "reason": fault}
    for name in ("values", "delete", "if_revision"):
        keys = said.get(name)
        if not isinstance(keys, dict | list):
            continue
        if len(keys) > MAX_CHANGES:
            reason = f"a transaction has at most {MAX_CHANGES:,} of them, and this one has {len(keys):,}"
            yield {"path": f"$.{name}", "reason": reason}
        for key in islice(keys, MAX_CHANGES):
            if fault := key_fault(key):
                yield {"path": f"$.{name}", "reason": fault}


class StoreRequests:
    """Of one host. `plugins` is the host's own table, read and never changed here."""

    def __init__(self, stores: Stores, plugins: Mapping[str, Supervisor]) -> None:
        self._stores = stores
        self._plugins = plugins
        self.methods: dict[str, Answer] = {
            "store/get": self._get,
            "store/set": self._set,
            "store/delete": self._delete,
            "store/list": self._list,
        }

    async def _get(self, plugin: str, raw: msgspec.Raw) -> StoreEntry:
        asked = _asked(raw, StoreGetParams)
        return await self._stores.use(plugin, lambda store: store.get(asked.key))

    async def _set(self, plugin: str, raw: msgspec.Raw) -> StoreSetResult:
        asked = _asked(raw, StoreSetParams)
        changed = {key: bytes(value) for key, value in asked.values.items()}
        supervisor = self._plugins.get(plugin)
        limit_bytes = None if supervisor is None else supervisor.policy.store_bytes
        revision = await self._stores.use(
            plugin,
            lambda store: store.write(changed, asked.delete, asked.if_revision, limit_bytes=limit_bytes),
        )
        return StoreSetResult(revision=revision)

    async def _delete(self, plugin: str, raw: msgspec.Raw) -> StoreDeleteResult:
        asked = _asked(raw, StoreDeleteParams)
        deleted = await self._stores.use(plugin, lambda store: store.delete(asked.key))
        return StoreDeleteResult(deleted=deleted)

    async def _list(self, plugin: str, raw: msgspec.Raw) -> StoreListResult:
        asked = _asked(raw, StoreListParams)
        return await self._stores.use(
            plugin, lambda store: store.list(asked.prefix, asked.after, asked.limit)
        )
