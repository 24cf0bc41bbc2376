"""What an operator may ask of plugins' stores over the control socket."""

from __future__ import annotations

from typing import Any

import msgspec

from host.host import Host
from protocol.store import (
    Key,
    StoreDeleteResult,
    StoreEntry,
    StoreListParams,
    StoreListResult,
    StoreSetResult,
)


class KeysOf(StoreListParams, kw_only=True):
    name: str


class KeyOf(msgspec.Struct, kw_only=True):
    name: str
    key: Key


class ValueAt(KeyOf, kw_only=True):
    value: msgspec.Raw


class Kept:
    """Rows for the table of commands. The plugin need not run; it has to be one of the host's."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.table: dict[str, tuple[type, Any]] = {
            "store/list": (KeysOf, self.list),
            "store/get": (KeyOf, self.get),
            "store/set": (ValueAt, self.set),
            "store/delete": (KeyOf, self.delete),
        }

    async def list(self, params: KeysOf) -> StoreListResult:
        self._limit_of(params.name)
        return await self._host.stores.use(
            params.name, lambda store: store.list(params.prefix, params.after, params.limit)
        )

    async def get(self, params: KeyOf) -> StoreEntry:
        self._limit_of(params.name)
        return await self._host.stores.use(params.name, lambda store: store.get(params.key))

    async def set(self, params: ValueAt) -> StoreSetResult:
        """Inside the plugin's own limit: an operator who needs more raises it."""
        limit_bytes, value = self._limit_of(params.name), bytes(params.value)
        revision = await self._host.stores.use(
            params.name, lambda store: store.write({params.key: value}, limit_bytes=limit_bytes)
        )
        return StoreSetResult(revision=revision)

    async def delete(self, params: KeyOf) -> StoreDeleteResult:
        self._limit_of(params.name)
        deleted = await self._host.stores.use(params.name, lambda store: store.delete(params.key))
        return StoreDeleteResult(deleted=deleted)

    def _limit_of(self, name: str) -> int | None:
        """Raises PluginNotFound."""
        return self._host.status(name).plugins[0].store.limit_bytes
