"""What the plugin keeps, in memory: the store of `ctx.store`, and a mapping for the test.

Transactions conflict as they do in a host's store: by the revision that each key has.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import msgspec
from msgspec import Raw

from protocol import values
from protocol.errors import ErrorCode, RpcError
from protocol.store import (
    MAX_VALUE_BYTES,
    StoreDeleteParams,
    StoreDeleteResult,
    StoreEntry,
    StoreGetParams,
    StoreListParams,
    StoreListResult,
    StoreSetParams,
    StoreSetResult,
)


class MemoryStore(MutableMapping[str, Any]):
    """`plugin.store["count"] == 3`: values as JSON decodes them. It outlives a restart of the plugin."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._entries: dict[str, tuple[bytes, int]] = {}
        self._revision = 0
        self._changing = threading.Lock()
        self.update(given)

    def __getitem__(self, key: str) -> Any:
        return msgspec.json.decode(self._entries[key][0])

    def __setitem__(self, key: str, value: Any) -> None:
        self._write(StoreSetParams(values={key: Raw(msgspec.json.encode(value))}))

    def __delitem__(self, key: str) -> None:
        if not self._drop(StoreDeleteParams(key=key)).deleted:
            raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"MemoryStore({dict(self)!r})"

    def answer_to(self, method: str, params: Raw) -> Any:
        """What the host answers to `store/get` and the others. Raises RpcError."""
        type_, work = {
            "store/get": (StoreGetParams, self._entry),
            "store/set": (StoreSetParams, self._write),
            "store/delete": (StoreDeleteParams, self._drop),
            "store/list": (StoreListParams, self._keys),
        }[method]
        try:
            asked = msgspec.json.decode(values.as_json(params), type=type_)
        except msgspec.DecodeError as problem:
            data = [{"path": "$", "reason": str(problem)}]
            raise RpcError(ErrorCode.INVALID_PARAMS, str(problem), data) from None
        return work(asked)  # type: ignore[operator]

    def _entry(self, asked: StoreGetParams) -> StoreEntry:
        found = self._entries.get(asked.key)
        return StoreEntry(revision=0) if found is None else StoreEntry(value=Raw(found[0]), revision=found[1])

    def _write(self, asked: StoreSetParams) -> StoreSetResult:
        for key, value in asked.values.items():
            if len(bytes(value)) > MAX_VALUE_BYTES:
                text = f"the value of `{key}` is larger than {MAX_VALUE_BYTES:,} bytes"
                raise RpcError(ErrorCode.PAYLOAD_TOO_LARGE, text)
        with self._changing:
            for key, revision in asked.if_revision.items():
                now = self._entry(StoreGetParams(key=key)).revision
                if now != revision:
                    data = {"host_error": "OB507", "key": key, "revision": now}
                    text = f"`{key}` has revision {now}, and not {revision}"
                    raise RpcError(ErrorCode.PLUGIN_ERROR, text, data)
            self._revision += bool(asked.values or asked.delete)
            for key in asked.delete:
                self._entries.pop(key, None)
            for key, value in asked.values.items():
                self._entries[key] = (bytes(value), self._revision)
            return StoreSetResult(revision=self._revision)

    def _drop(self, asked: StoreDeleteParams) -> StoreDeleteResult:
        with self._changing:
            self._revision += 1
            return StoreDeleteResult(deleted=self._entries.pop(asked.key, None) is not None)

    def _keys(self, asked: StoreListParams) -> StoreListResult:
        keys = [key for key in sorted(self._entries) if key.startswith(asked.prefix) and key > asked.after]
        return StoreListResult(keys=keys[: asked.limit], more=len(keys) > asked.limit)
