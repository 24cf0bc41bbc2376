"""What happens, for clients that want to hear of it as it does.

The bus is synchronous and must never wait, a client may be slow, or in a pager: between them each
follower has a queue of its own, bounded, which keeps the newest and counts what had to go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager

import anyio
import msgspec

from host.errors import DaemonRefused
from host.observability.bounded import Bounded
from host.observability.events import HostEvent, PluginLogged

MAX_FOLLOWERS = 32
"""Fewer than connections: whoever only looks cannot keep an operator out."""
QUEUE_ITEMS = 1000
QUEUE_BYTES = 2 * 1024 * 1024
BATCH_ITEMS = 100
BATCH_BYTES = 256 * 1024
QUIET_S = 10.0
"""After so long without news an empty batch is sent: the daemon lives."""
RECENT_BYTES = 1024 * 1024

Choose = Callable[[HostEvent], bytes | None]
"""JSON of what a follower wants of an event; None if it wants nothing of it."""

Tell = Callable[[list[bytes]], Awaitable[None]]
"""Sends items, each a JSON value; returns when they have left for the client."""


class Recent:
    """The newest events but for what plugins log, which `Ring` has. Subscribes to a host."""

    def __init__(self) -> None:
        self._events: Bounded[tuple[str | None, bytes]] = Bounded(QUEUE_ITEMS, RECENT_BYTES)

    def __call__(self, event: HostEvent) -> None:
        if not isinstance(event, PluginLogged):
            data = msgspec.json.encode(event)
            self._events.put((event.plugin, data), len(data))

    def tail(self, plugin: str | None, count: int) -> list[bytes]:
        """The last `count`, of one plugin or of all, oldest first."""
        chosen = [data for whose, data in self._events if plugin in (None, whose)]
        return chosen[-count:] if count > 0 else []


class Follower:
    """One client's queue. Subscribes to a host."""

    def __init__(self, choose: Choose) -> None:
        self._choose = choose
        self._queue: Bounded[bytes] = Bounded(QUEUE_ITEMS, QUEUE_BYTES)
        self._more = anyio.Event()

    def __call__(self, event: HostEvent) -> None:
        data = self._choose(event)
        if data is not None:
            self._queue.put(data, len(data))
            self._more.set()

    async def run(self, tell: Tell, lost: Callable[[int], bytes]) -> None:
        """Tells what comes until it is cancelled; `lost` makes an item that says how many went missing."""
        while True:
            if not len(self._queue):
                self._more = anyio.Event()
                with anyio.move_on_after(QUIET_S):
                    await self._more.wait()
            items = self._queue.take(BATCH_ITEMS, BATCH_BYTES)
            if dropped := self._queue.dropped:
                self._queue.dropped = 0
                items.insert(0, lost(dropped))
            await tell(items)


class Followers:
    """All of a host's. A follower hears everything from the moment that it is let in."""

    def __init__(self, subscribe: Callable[[Follower], Callable[[], None]]) -> None:
        self._subscribe = subscribe
        self._count = 0

    @contextmanager
    def following(self, choose: Choose) -> Iterator[Follower]:
        """Raises DaemonRefused if there are too many."""
        if self._count >= MAX_FOLLOWERS:
            raise DaemonRefused(
                f"{self._count} clients follow this daemon already",
                hint="end one of them: status --watch, -f",
            )
        follower = Follower(choose)
        unsubscribe = self._subscribe(follower)
        self._count += 1
        try:
            yield follower
        finally:
            self._count -= 1
            unsubscribe()


async def tell_all(items: Iterable[bytes], tell: Tell) -> None:
    """In batches that are small beside a frame, whatever the items are."""
    batch: list[bytes] = []
    size = 0
    for item in items:
        if len(batch) == BATCH_ITEMS or (batch and size + len(item) > BATCH_BYTES):
            await tell(batch)
            batch, size = [], 0
        batch.append(item)
        size += len(item)
    if batch:
        await tell(batch)
