"""Streams of handlers that are `async def`, in both directions. Imported only when there is one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any
from weakref import ref

from plugin_sdk.calls import News, Question, Settled, answer_in, gone_by
from plugin_sdk.inflow import Arrived
from plugin_sdk.jobs import CANCELLED
from protocol.events import Streamed

if TYPE_CHECKING:
    from plugin_sdk.context import Context
    from plugin_sdk.desk import Desk
    from plugin_sdk.jobs import Job
    from plugin_sdk.streams import StreamCall


async def pour(call: StreamCall, items: AsyncGenerator[Any, None]) -> None:
    """What the handler yields leaves: together, whatever it yields in one turn of the loop."""
    loop = asyncio.get_running_loop()
    has_come = asyncio.Event()
    is_leaving = False

    def wake() -> None:
        """From whichever thread reads."""
        try:
            loop.call_soon_threadsafe(has_come.set)
        except RuntimeError:  # the loop has closed: the process is about to end
            pass

    def leave() -> None:
        nonlocal is_leaving
        is_leaving = False
        call.leave()

    call.wake = wake
    try:
        async for item in items:
            has_room = call.add(item)
            while not has_room:
                await has_come.wait()
                has_come.clear()
                has_room = call.has_room
            if call.context.cancelled:  # and the author's code made nothing of it
                raise CANCELLED
            if not is_leaving:
                is_leaving = True
                loop.call_soon(leave)
    finally:
        try:
            await items.aclose()
        except asyncio.CancelledError:
            raise
        except BaseException as exception:  # author code: how the stream ends is clear already
            call.note_close(exception)


class AsyncItems(Arrived):
    """An async iterator. Raises a `CallFailed` after the items that came."""

    def __init__(self, desk: Desk, context: Context, question: Question) -> None:
        super().__init__(desk, context, question)
        self._loop = asyncio.get_running_loop()
        self._has_come = asyncio.Event()
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
                    await self._has_come.wait()
                    self._has_come.clear()
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
        self._has_come.set()

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
