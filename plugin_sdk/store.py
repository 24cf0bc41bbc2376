"""`ctx.store`: what a plugin keeps, by key, in a file of the host's.

Values are whatever JSON carries, structs and bytes too. A call that has returned is committed: it is there
after a crash of the plugin, or of the host, at whatever moment. Several changes that belong together, and
every change that depends on what is there, go into a `transaction`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import UNSET

from plugin_sdk.calls import Question
from plugin_sdk.errors import ContractError, StoreConflict
from protocol.errors import ErrorCode
from protocol.store import (
    MAX_LIST,
    StoreDeleteParams,
    StoreDeleteResult,
    StoreEntry,
    StoreGetParams,
    StoreListParams,
    StoreListResult,
    StoreSetResult,
    key_fault,
)

if TYPE_CHECKING:
    from plugin_sdk.context import AsyncContext, Context

MAX_ATTEMPTS = 100
"""Of a transaction. Of those that meet, one is through each time."""
T = TypeVar("T")


class Store:
    """For sync handlers: each call blocks until it is done.

    All of them raise a `CallFailed`: `StoreFull`, `StoreUnavailable`, `ContractError` for what cannot be a
    key, or a `RemoteError` for a value that cannot be one. A key has 1 to 512 characters, a value at most
    1 MiB as JSON.
    """

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    def get(self, key: str, default: Any = None, *, type: Any = Any) -> Any:
        """The value at `key`, or `default`. `type` is what it is made into; without it, as JSON decodes it.

        Raises msgspec.ValidationError for a value that is no `type`.
        """
        return _value(self._context._ask(_get(key)), default, type)

    def set(self, key: str, value: Any) -> None:
        """Puts `value` at `key`."""
        self._context._ask(_set({key: value}))

    def delete(self, key: str) -> bool:
        """Removes what is at `key`; whether there was anything."""
        result: StoreDeleteResult = self._context._ask(_delete(key))
        return result.deleted

    def list(self, prefix: str = "", *, after: str = "", limit: int = MAX_LIST) -> list[str]:
        """The keys that begin with `prefix`, sorted, `limit` of them at most.

        For more of them, ask again with the last one as `after`.
        """
        result: StoreListResult = self._context._ask(_list(prefix, after, limit))
        return result.keys

    def transaction(self, function: Callable[[Transaction], T]) -> T:
        """Commits what `function` sets and deletes, all at once, and returns what it returns.

        If anything that it has read has changed meanwhile, nothing is committed and it runs again, up to 100
        times; so it had better do nothing else. If it raises, nothing is committed.

        Raises:
            StoreConflict: it was in vain 100 times.
        """
        attempts = MAX_ATTEMPTS
        while True:
            attempts -= 1
            changes = Transaction(self._context)
            result = function(changes)
            if (question := changes._commit()) is None:
                return result
            try:
                self._context._ask(question)
            except StoreConflict:
                if not attempts:
                    raise
            else:
                return result


class AsyncStore:
    """For `async def` handlers: the same, and each call is awaited. See `Store`."""

    __slots__ = ("_context",)

    def __init__(self, context: AsyncContext) -> None:
        self._context = context

    async def get(self, key: str, default: Any = None, *, type: Any = Any) -> Any:
        """See `Store.get`."""
        return _value(await self._context._ask(_get(key)), default, type)

    async def set(self, key: str, value: Any) -> None:
        """See `Store.set`."""
        await self._context._ask(_set({key: value}))

    async def delete(self, key: str) -> bool:
        """See `Store.delete`."""
        result: StoreDeleteResult = await self._context._ask(_delete(key))
        return result.deleted

    async def list(self, prefix: str = "", *, after: str = "", limit: int = MAX_LIST) -> list[str]:
        """See `Store.list`."""
        result: StoreListResult = await self._context._ask(_list(prefix, after, limit))
        return result.keys

    async def transaction(self, function: Callable[[AsyncTransaction], Awaitable[T]]) -> T:
        """See `Store.transaction`; `function` is an `async def`."""
        attempts = MAX_ATTEMPTS
        while True:
            attempts -= 1
            changes = AsyncTransaction(self._context)
            result = await function(changes)
            if (question := changes._commit()) is None:
                return result
            try:
                await self._context._ask(question)
            except StoreConflict:
                if not attempts:
                    raise
            else:
                return result


class _Changes:
    """What a transaction has read and is about to change. A key is asked for once."""

    __slots__ = ("_changed", "_context", "_read")

    def __init__(self, context: Any) -> None:
        self._context = context
        self._read: dict[str, StoreEntry] = {}
        self._changed: dict[str, Any] = {}
        """UNSET for what is to be deleted."""

    def set(self, key: str, value: Any) -> None:
        """Puts `value` at `key`, once the transaction is committed."""
        _check("set", key)
        self._changed[key] = value

    def delete(self, key: str) -> None:
        """Removes what is at `key`, once the transaction is committed."""
        _check("delete", key)
        self._changed[key] = UNSET

    def _own(self, key: str, default: Any, type_: Any) -> Any:
        """What the transaction itself has put there, as it will be read later."""
        value = self._changed[key]
        return default if value is UNSET else msgspec.json.decode(msgspec.json.encode(value), type=type_)

    def _commit(self) -> Question | None:
        """None if there is nothing to be sure of: at most one key was read, and nothing changed."""
        if not self._changed and len(self._read) < 2:
            return None
        return _set(
            {key: value for key, value in self._changed.items() if value is not UNSET},
            [key for key, value in self._changed.items() if value is UNSET],
            {key: entry.revision for key, entry in self._read.items()},
        )


class Transaction(_Changes):
    """What the function of a `Store.transaction` works on."""

    __slots__ = ()

    def get(self, key: str, default: Any = None, *, type: Any = Any) -> Any:
        """The value at `key` as this transaction sees it, or `default`."""
        if key in self._changed:
            return self._own(key, default, type)
        if key not in self._read:
            self._read[key] = self._context._ask(_get(key))
        return _value(self._read[key], default, type)


class AsyncTransaction(_Changes):
    """What the function of an `AsyncStore.transaction` works on: `get` is awaited, and nothing else is."""

    __slots__ = ()

    async def get(self, key: str, default: Any = None, *, type: Any = Any) -> Any:
        """The value at `key` as this transaction sees it, or `default`."""
        if key in self._changed:
            return self._own(key, default, type)
        if key not in self._read:
            self._read[key] = await self._context._ask(_get(key))
        return _value(self._read[key], default, type)


# -- what is asked of the host ---------------------------------------------------------------------


def _check(what: str, *keys: Any) -> None:
    """Raises ContractError for what cannot be a key: a number would come back as text."""
    for key in keys:
        if (fault := key_fault(key)) is not None:
            raise ContractError(
                fault,
                plugin="host",
                method=f"store.{what}",
                code=int(ErrorCode.INVALID_PARAMS),
                data=[{"path": "$.key", "reason": fault}],
            )


def _get(key: str) -> Question:
    _check("get", key)
    return _question("get", StoreGetParams(key=key), StoreEntry)


def _set(
    values: dict[str, Any], delete: list[str] | None = None, if_revision: dict[str, int] | None = None
) -> Question:
    _check("set", *values)
    # A dict: values are the author's own, and are encoded with the message.
    params = {"values": values, "delete": delete or [], "if_revision": if_revision or {}}
    return _question("set", params, StoreSetResult)


def _delete(key: str) -> Question:
    _check("delete", key)
    return _question("delete", StoreDeleteParams(key=key), StoreDeleteResult)


def _list(prefix: str, after: str, limit: int) -> Question:
    return _question("list", StoreListParams(prefix=prefix, after=after, limit=limit), StoreListResult)


def _question(what: str, params: Any, result: Any) -> Question:
    return Question("host", f"store.{what}", f"store/{what}", params, result=result)


def _value(entry: StoreEntry, default: Any, type_: Any) -> Any:
    return default if entry.value is UNSET else msgspec.json.decode(entry.value, type=type_)
