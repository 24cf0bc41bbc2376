"""`store/get`, `set`, `delete` and `list`: what plugins ask of their stores.

A plugin has its own store and no other, so nobody needs a permission. How much may be in it is the policy's
to say, and may change while the plugin runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from host.routing.on_the_wire import params_of
from host.store.stores import Stores
from host.supervision.supervisor import Supervisor
from protocol.store import (
    StoreDeleteParams,
    StoreDeleteResult,
    StoreEntry,
    StoreGetParams,
    StoreListParams,
    StoreListResult,
    StoreSetParams,
    StoreSetResult,
)

Answer = Callable[[str, msgspec.Raw], Awaitable[Any]]
"""Gets the plugin that asks, and the params."""


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
        asked = params_of(raw, StoreGetParams)
        return await self._stores.use(plugin, lambda store: store.get(asked.key))

    async def _set(self, plugin: str, raw: msgspec.Raw) -> StoreSetResult:
        asked = params_of(raw, StoreSetParams)
        values = {key: bytes(value) for key, value in asked.values.items()}
        supervisor = self._plugins.get(plugin)
        limit_bytes = None if supervisor is None else supervisor.policy.store_bytes
        revision = await self._stores.use(
            plugin,
            lambda store: store.write(values, asked.delete, asked.if_revision, limit_bytes=limit_bytes),
        )
        return StoreSetResult(revision=revision)

    async def _delete(self, plugin: str, raw: msgspec.Raw) -> StoreDeleteResult:
        asked = params_of(raw, StoreDeleteParams)
        deleted = await self._stores.use(plugin, lambda store: store.delete(asked.key))
        return StoreDeleteResult(deleted=deleted)

    async def _list(self, plugin: str, raw: msgspec.Raw) -> StoreListResult:
        asked = params_of(raw, StoreListParams)
        return await self._stores.use(
            plugin, lambda store: store.list(asked.prefix, asked.after, asked.limit)
        )
