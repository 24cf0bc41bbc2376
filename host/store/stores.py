"""The stores of all plugins of a host, off its loop.

Each store does one thing at a time, in the order in which it was asked: a process that ended a moment ago
and its successor never write at once. All stores together have a few threads, so that a slow disk costs
those who use it. A store that is damaged is moved aside, told of, and begun anew.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread

from host import errors
from host.observability.snapshot import StoreStatus
from host.store import on_disk

if TYPE_CHECKING:  # SQLite is loaded when the first store is: some Pythons are built without it
    from host.store.file import StoreFile, StoreUsage

THREADS = 4
IDLE_S = 30.0
"""A file that nobody has used for so long, or a little longer, is closed."""
MAX_OPEN = 32
"""Files that stay open, three descriptors each; of more, those that nobody uses just now are closed."""
T = TypeVar("T")


class _Store:
    __slots__ = ("aside", "file", "path", "turn", "usage", "was_used")

    def __init__(self, path: str) -> None:
        self.path = path
        self.turn = anyio.Lock()
        """Fair: who asks first is first. As many wait as a plugin may have requests in flight."""
        self.file: StoreFile | None = None
        """None: nobody has needed it yet, or not for long."""
        self.usage: StoreUsage | None = None
        self.aside: str | None = None
        self.was_used = False
        """Since somebody last looked."""


class Stores:
    """`folder` is made when it is first needed. `on_problem` gets a plugin, a file and a sentence."""

    def __init__(self, folder: str, on_problem: Callable[[str, str, str], None]) -> None:
        self._folder = folder
        self._on_problem = on_problem
        self._stores: dict[str, _Store] = {}
        """By plugin: as many as there are plugins."""
        self._open: OrderedDict[str, _Store] = OrderedDict()
        """The one that was used last is the last."""
        self._threads = anyio.CapacityLimiter(THREADS)

    def path(self, plugin: str) -> str:
        return os.path.join(self._folder, f"{plugin}.db")

    def status(self, plugin: str, limit_bytes: int | None) -> StoreStatus:
        """As of the last use. Asks nobody."""
        store = self._stores.get(plugin)
        usage = None if store is None else store.usage
        return StoreStatus(
            keys=0 if usage is None else usage.keys,
            bytes=0 if usage is None else usage.bytes,
            limit_bytes=limit_bytes,
            set_aside=None if store is None else store.aside,
        )

    async def use(self, plugin: str, work: Callable[[StoreFile], T]) -> T:
        """What `work` returns, in a thread, with the plugin's store to itself.

        Once it has begun it is not given up: what was asked for is done, or not, and never half.

        Raises:
            StoreUnavailable, and whatever `work` raises.
        """
        store = self._stores.get(plugin) or self._stores.setdefault(plugin, _Store(self.path(plugin)))
        async with store.turn:
            aside = store.aside
            result: T = await self._in_a_thread(_do, store, work)
            self._open[plugin] = store
            self._open.move_to_end(plugin)
            store.was_used = True
            if store.aside is not None and store.aside != aside:
                text = f"its store was damaged, is now {store.aside}, and begins anew: {store.path}"
                self._on_problem(plugin, store.aside, text)
        if len(self._open) > MAX_OPEN:
            await self._close_idle()
        return result

    async def run(self) -> None:
        """Opens those that are there once, so that `status` knows of them; closes who is idle, for ever."""
        await self._look()
        while True:
            await anyio.sleep(IDLE_S)
            for plugin, store in list(self._open.items()):
                if not store.was_used:
                    await self._close(plugin)
                store.was_used = False

    async def _look(self) -> None:
        for plugin in await self._in_a_thread(self._there):
            try:
                await self.use(plugin, lambda store: None)
            except errors.StoreUnavailable:
                pass  # whoever needs it will be told

    async def purge(self, plugin: str) -> None:
        """Removes what the plugin has kept. Raises StoreUnavailable."""
        store = self._stores.setdefault(plugin, _Store(self.path(plugin)))
        async with store.turn:
            self._open.pop(plugin, None)
            await self._in_a_thread(_remove, store)

    async def close(self) -> None:
        """When nobody asks any more."""
        for store in self._stores.values():
            if store.file is not None:
                await self._in_a_thread(_close, store)
        self._open.clear()

    async def _close_idle(self) -> None:
        while len(self._open) > MAX_OPEN:
            idle = next((name for name, store in self._open.items() if not store.turn.locked()), None)
            if idle is None:
                return
            await self._close(idle)

    async def _close(self, plugin: str) -> None:
        """Unless somebody uses it."""
        store = self._open.get(plugin)
        if store is not None and not store.turn.locked():
            del self._open[plugin]
            store.turn.acquire_nowait()
            try:
                await self._in_a_thread(_close, store)
            finally:
                store.turn.release()

    async def _in_a_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await anyio.to_thread.run_sync(work, *arguments, limiter=self._threads)

    def _there(self) -> list[str]:
        try:
            found = os.listdir(self._folder)
        except OSError:
            return []
        return sorted(name.removesuffix(".db") for name in found if name.endswith(".db"))


# -- in a thread -----------------------------------------------------------------------------------


def _do(store: _Store, work: Callable[[StoreFile], T]) -> T:
    try:
        from host.store.file import Corrupt
    except ImportError as error:
        text = f"this Python cannot load SQLite: {error}"
        raise errors.StoreUnavailable(text, hint="run outboard with a Python that has sqlite3") from None
    try:
        return _once(store, work)
    except Corrupt:
        _close(store)
    try:
        store.aside = on_disk.set_aside(store.path)
        return _once(store, work)
    except (OSError, Corrupt) as error:
        raise errors.StoreUnavailable(
            f"the store is damaged, and cannot be begun anew: {error}", hint=f"look at {store.path}"
        ) from None


def _once(store: _Store, work: Callable[[StoreFile], T]) -> T:
    from host.store.file import StoreFile

    if store.file is None:
        try:
            store.file = StoreFile(store.path, is_sound=store.usage is not None)
        except OSError as error:
            raise errors.StoreUnavailable(
                f"the store cannot be opened: {error.strerror}", hint=f"look at {store.path}"
            ) from None
    try:
        return work(store.file)
    finally:
        store.usage = store.file.usage


def _close(store: _Store) -> None:
    if store.file is not None:
        store.file.close()
        store.file = None


def _remove(store: _Store) -> None:
    _close(store)
    store.usage = store.aside = None
    try:
        on_disk.remove(store.path)
    except OSError as error:
        raise errors.StoreUnavailable(
            f"the store cannot be removed: {error.strerror}", hint=f"look at {store.path}"
        ) from None
