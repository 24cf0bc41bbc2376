"""Iterators of a thread that waits for a call: it advances them itself, whenever the loop wants an item.

So what is iterated over may block, and may belong to its thread, as a cursor of sqlite3 does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator
from functools import partial
from queue import SimpleQueue
from typing import Any

from host.observability.told_off import ToldOff

_END = object()


class Lender:
    """Of one call. `serve` is for the thread, all else for the loop."""

    def __init__(self, told_off: ToldOff) -> None:
        self._told_off = told_off
        self._wanted: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lent: list[Lent] = []

    def lend(self, params: dict[str, Any]) -> dict[str, Any]:
        """The params with what the loop may iterate over in the place of iterators."""
        lent = {
            name: Lent(value, self._wanted.put)
            for name, value in params.items()
            if isinstance(value, Iterator)
        }
        self._lent += lent.values()
        return {**params, **lent}

    def serve(self) -> None:
        """Until `dismiss`."""
        while (wanted := self._wanted.get()) is not None:
            wanted()

    def dismiss(self) -> None:
        self._wanted.put(None)

    def close(self) -> None:
        """Of the generators that have been begun: they end where they wait. In their thread.

        What one raises then changes nothing about the call's answer.
        """
        for lent in self._lent:
            try:
                lent.close()
            except Exception as error:
                self._told_off.note("what a call was given to iterate over,", lent.iterator, error)


class Lent:
    """An async iterator over an iterator of another thread."""

    def __init__(self, iterator: Iterator[Any], want: Callable[[Callable[[], None]], None]) -> None:
        self.iterator = iterator
        self._want = want
        self._has_begun = False

    def __aiter__(self) -> Lent:
        return self

    async def __anext__(self) -> Any:
        loop = asyncio.get_running_loop()
        come: asyncio.Future[Any] = loop.create_future()
        self._want(partial(self._advance, loop, come))
        item = await come
        if item is _END:
            raise StopAsyncIteration
        return item

    def _advance(self, loop: asyncio.AbstractEventLoop, come: asyncio.Future[Any]) -> None:
        """In the thread. What is no `Exception`, like Ctrl-C, ends its waiting."""
        if come.done():  # the call has ended meanwhile
            return
        self._has_begun = True
        settle: Callable[[], None]
        try:
            settle = partial(_settle, come, next(self.iterator, _END))
        except Exception as problem:
            settle = partial(_fail, come, problem)
        try:
            loop.call_soon_threadsafe(settle)
        except RuntimeError:  # the host is no more
            pass

    def close(self) -> None:
        if self._has_begun and isinstance(self.iterator, Generator):
            self.iterator.close()


def _settle(come: asyncio.Future[Any], item: Any) -> None:
    if not come.done():
        come.set_result(item)


def _fail(come: asyncio.Future[Any], problem: Exception) -> None:
    if not come.done():
        come.set_exception(problem)
