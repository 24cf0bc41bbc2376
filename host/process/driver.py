"""Everything that depends on the event loop: `Driver` says what is needed, a class a loop says how.

Persistent readers and a bare future a call are what make a call fast: anyio's streams and events would
cost 8 and 3 us each. Above the link everything is plain anyio, so another loop needs another class and
nothing else.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Protocol


class Timer(Protocol):
    def cancel(self) -> None: ...


class Waiter(Awaitable[Any], Protocol):
    """Settled once, awaited by one task; the task may be cancelled meanwhile."""

    def done(self) -> bool: ...
    def set_result(self, result: Any, /) -> None: ...
    def set_exception(self, exception: BaseException, /) -> None: ...


class Driver(Protocol):
    """Callbacks run on the loop's thread. A descriptor is either read or written, never both."""

    def now(self) -> float: ...
    def waiter(self) -> Waiter: ...
    def is_current(self) -> bool:
        """Whether the caller runs on this loop. Everything but `call_from_thread` may be used there alone."""

    def spawn(self, main: Callable[[], Coroutine[Any, Any, None]]) -> Any:
        """Runs `main`, which must not raise, in a task of its own that no scope of the caller's is around."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer: ...
    def call_soon(self, callback: Callable[[], None]) -> Any: ...
    def call_from_thread(self, callback: Callable[[], None]) -> Any:
        """Raises RuntimeError if the loop is gone."""

    def add_reader(self, fd: int, callback: Callable[[], None]) -> Any: ...
    def remove_reader(self, fd: int) -> Any:
        """At once: the descriptor may be closed right after. One that is not watched is no error."""

    def add_writer(self, fd: int, callback: Callable[[], None]) -> Any: ...
    def remove_writer(self, fd: int) -> Any: ...
    def close(self) -> None: ...


def current_driver() -> Driver:
    """For the loop that runs here. Never imports trio into a program that has not. Raises RuntimeError."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        from host.process.trio_driver import TrioDriver

        return TrioDriver()
    return AsyncioDriver()


class AsyncioDriver:
    """For asyncio, with uvloop or without."""

    def __init__(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        # Bound once: each of these is on the way of every call.
        self.now = time.monotonic  # the loop's own clock, but uvloop's has whole milliseconds only
        self.waiter = loop.create_future
        if isinstance(loop, asyncio.BaseEventLoop):  # what its own does, without a function around it
            self.waiter = partial(asyncio.Future, loop=loop)
        self.call_at = loop.call_at
        self.call_soon = loop.call_soon
        self.call_from_thread = loop.call_soon_threadsafe
        self.add_reader = loop.add_reader
        self.remove_reader = loop.remove_reader
        self.add_writer = loop.add_writer
        self.remove_writer = loop.remove_writer

    def is_current(self) -> bool:
        return asyncio._get_running_loop() is self._loop

    def spawn(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._task = self._loop.create_task(main())  # held: the loop itself would let go of it

    def close(self) -> None:
        """Nothing is its own: the loop is somebody else's."""
