"""Everything that depends on the event loop, in one place: `Driver` says what, a class a loop says how.

Persistent readers and a bare future a call are what make a call fast: anyio's streams and events would
cost 8 and 3 us each. Above the link everything is plain anyio, so another loop needs another class here
and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from subprocess import Popen
from threading import Thread
from typing import Any, Protocol


class Timer(Protocol):
    def cancel(self) -> None: ...


class Waiter(Awaitable[Any], Protocol):
    """Settled once, awaited by one task; the task may be cancelled meanwhile."""

    def done(self) -> bool: ...
    def set_result(self, result: Any, /) -> None: ...
    def set_exception(self, exception: BaseException, /) -> None: ...


class Driver(Protocol):
    def now(self) -> float: ...
    def waiter(self) -> Waiter: ...
    def call_at(self, when: float, callback: Callable[[], None]) -> Timer: ...
    def call_soon(self, callback: Callable[[], None]) -> Any: ...
    def add_reader(self, fd: int, callback: Callable[[], None]) -> Any: ...
    def remove_reader(self, fd: int) -> Any: ...
    def add_writer(self, fd: int, callback: Callable[[], None]) -> Any: ...
    def remove_writer(self, fd: int) -> Any: ...
    def on_exit(
        self, process: Popen[bytes], before_reaping: Callable[[], None], callback: Callable[[], None]
    ) -> None: ...


class AsyncioDriver:
    """For asyncio, with uvloop or without. Callbacks run on the loop's thread."""

    def __init__(self) -> None:
        loop = self.loop = asyncio.get_running_loop()
        # Bound once: each of these is on the way of every call.
        self.now = time.monotonic  # the loop's own clock, but uvloop's has whole milliseconds only
        self.waiter = loop.create_future
        self.call_at = loop.call_at
        self.call_soon = loop.call_soon
        self.add_reader = loop.add_reader
        self.remove_reader = loop.remove_reader
        self.add_writer = loop.add_writer
        self.remove_writer = loop.remove_writer

    def on_exit(
        self, process: Popen[bytes], before_reaping: Callable[[], None], callback: Callable[[], None]
    ) -> None:
        """Calls back once, when the process has ended and has been reaped.

        `before_reaping` is called while its pid, and so its process group, cannot be anybody else's.
        """
        if hasattr(os, "pidfd_open"):
            pidfd = os.pidfd_open(process.pid)

            def ended() -> None:
                self.loop.remove_reader(pidfd)
                os.close(pidfd)
                before_reaping()
                process.poll()
                callback()

            self.loop.add_reader(pidfd, ended)
        else:

            def wait() -> None:
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
                before_reaping()
                process.wait()
                try:
                    self.loop.call_soon_threadsafe(callback)
                except RuntimeError:
                    pass  # the loop is gone, and whoever waited with it

            Thread(target=wait, name=f"wait-{process.pid}", daemon=True).start()
