"""The plugin's own requests, for handlers that are `async def`. Imported only when there is one."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from weakref import ref

from plugin_sdk.calls import News, Question, Settled, answer_in, deadline_of, gone_by, send
from plugin_sdk.inflow import Arrived
from protocol.events import Expired, Streamed

if TYPE_CHECKING:
    from plugin_sdk.context import Context
    from plugin_sdk.jobs import Desk, Job


class AsyncWaiting:
    """A task that waits."""

    __slots__ = ("_future", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Settled]) -> None:
        self._loop = loop
        self._future = future

    def settle(self, event: Settled) -> None:
        """From whichever thread reads."""
        try:
            self._loop.call_soon_threadsafe(self._set, event)
        except RuntimeError:  # the loop has closed: the process is about to end
            pass

    def adopt(self, job: Job) -> bool:
        return False  # the loop is free: a task waits, and no thread

    def _set(self, event: Settled) -> None:
        if not self._future.done():
            self._future.set_result(event)


async def ask_async(desk: Desk, context: Context, question: Question) -> Any:
    """Asks, and awaits the answer; a cancelled task gives it up. Raises a `CallFailed`."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Settled] = loop.create_future()
    deadline = deadline_of(context, question)
    call = send(desk, context, question, AsyncWaiting(loop, future))
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    try:
        async with asyncio.timeout(left):
            settled: Settled = await future
    except TimeoutError:
        settled = Expired(call)
    finally:
        if not call.settled:
            desk.channel.cancel(call, "cancelled" if context.cancelled else "deadline")
    return answer_in(settled, question)


class AsyncItems(Arrived):
    """An async iterator. Raises a `CallFailed` after the items that came."""

    def __init__(self, desk: Desk, context: Context, question: Question) -> None:
        super().__init__(desk, context, question)
        self._loop = asyncio.get_running_loop()
        self._come = asyncio.Event()
        self._end: Settled | None = None

    def __aiter__(self) -> AsyncItems:
        return self

    async def __anext__(self) -> Any:
        while not self._items:
            if self._is_over:
                raise StopAsyncIteration
            await self._wait()
        return self._next_item()

    async def _wait(self) -> None:
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        call = self._call or self._begin(_Inbox(self))
        try:
            async with asyncio.timeout(left):
                if self._end is None:
                    await self._come.wait()
                    self._come.clear()
        except TimeoutError:
            self._end = gone_by(call)
        except BaseException:
            self._give_up()
            raise
        if self._end is not None and not self._items:
            self._give_up()
            answer_in(self._end, self._question)

    def take(self, event: News) -> None:
        """From whichever thread reads."""
        try:
            self._loop.call_soon_threadsafe(self._take, event)
        except RuntimeError:  # the loop has closed: the process is about to end
            pass

    def _take(self, event: News) -> None:
        if isinstance(event, Streamed):
            self._items.extend(event.items)
        elif isinstance(event, Settled):
            self._end = event
        self._come.set()

    async def aclose(self) -> None:
        """Ends the stream; one that is over stays over."""
        self._items.clear()
        if not self._is_over:
            self._give_up()

    async def __aenter__(self) -> AsyncItems:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Inbox:
    """What the call holds: not the stream itself, which is to end when nobody else holds it."""

    __slots__ = ("_items",)

    def __init__(self, items: AsyncItems) -> None:
        self._items = ref(items)

    def settle(self, event: News) -> None:
        items = self._items()
        if items is not None:
            items.take(event)

    def adopt(self, job: Job) -> bool:
        return False  # the loop is free: a task waits, and no thread
