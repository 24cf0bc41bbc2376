"""The driver for trio, which has no callbacks: one task of its own makes them.

The task waits for a selector that holds every descriptor of the host, so a plugin costs no task, a
descriptor can be let go of at once, and many that are ready cost one turn of the loop. It is a system
task: a cancellation around the host does not reach it, nor does Ctrl-C, and it ends with `close`.
"""

from __future__ import annotations

import heapq
import math
import selectors
import time
import traceback
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from itertools import count
from typing import Any

import outcome
import trio
from trio.lowlevel import Abort, Task

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class TrioWaiter:
    """A bare future: the task is rescheduled when it is settled, and nothing else happens."""

    __slots__ = ("_outcome", "_task")

    def __init__(self) -> None:
        self._outcome: outcome.Outcome[Any] | None = None
        self._task: Task | None = None

    def __await__(self) -> Generator[Any, Any, Any]:
        if self._outcome is None:
            self._task = trio.lowlevel.current_task()
            parked = trio.lowlevel.wait_task_rescheduled(self._abort)  # noqa: ASYNC105
            return (yield from parked.__await__())
        return self._outcome.unwrap()

    def done(self) -> bool:
        return self._outcome is not None

    def set_result(self, result: Any, /) -> None:
        self._settle(outcome.Value(result))

    def set_exception(self, exception: BaseException, /) -> None:
        self._settle(outcome.Error(exception))

    def _settle(self, settled: outcome.Outcome[Any]) -> None:
        self._outcome = settled
        if self._task is not None:
            trio.lowlevel.reschedule(self._task, settled)

    def _abort(self, raise_cancel: Callable[[], Any]) -> Abort:
        self._outcome = outcome.Error(RuntimeError("nobody waits any more"))
        return Abort.SUCCEEDED


class _Watch:
    """What to call when a descriptor is ready; None once it has been let go of."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback


class _Timer(_Watch):
    __slots__ = ()

    def cancel(self) -> None:
        self.callback = None


class TrioDriver:
    """`close` it when the last descriptor has been let go of."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self.now = time.monotonic
        self.waiter = TrioWaiter
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, _Timer]] = []
        self._numbers = count()
        self._until_due = trio.CancelScope()
        """The wait for what is ready. Nobody but `close` ends it: whoever is cancelled still needs it."""
        self._closed = False
        trio.lowlevel.spawn_system_task(self._run, name="outboard driver")

    def is_current(self) -> bool:
        try:
            return trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            return False

    # -- what others ask for -----------------------------------------------------------------------

    def spawn(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        trio.lowlevel.spawn_system_task(main, name="outboard host", context=copy_context())

    def call_at(self, when: float, callback: Callable[[], None]) -> _Timer:
        timer = _Timer(callback)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        if self._timers[0][2] is timer:
            self._until_due.deadline = self._due_at()
        return timer

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._token.run_sync_soon(_safely, callback)

    call_from_thread = call_soon

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        self._forget(fd)
        self._selector.register(fd, READ, _Watch(callback))

    def add_writer(self, fd: int, callback: Callable[[], None]) -> None:
        self._forget(fd)
        self._selector.register(fd, WRITE, _Watch(callback))

    def _forget(self, fd: int) -> None:
        if fd in self._selector.get_map():
            self._selector.unregister(fd).data.callback = None  # it may be among those that are ready

    remove_reader = remove_writer = _forget

    def close(self) -> None:
        self._closed = True
        self._until_due.cancel()

    # -- the task ----------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while not self._closed:
                with trio.CancelScope(deadline=self._due_at(), shield=True) as self._until_due:
                    await self._call_whoever_is_ready()
                self._call_whoever_is_due()
        finally:
            self._selector.close()

    async def _call_whoever_is_ready(self) -> None:
        wait, fd, select = trio.lowlevel.wait_readable, self._selector.fileno(), self._selector.select
        while True:
            await wait(fd)
            for key, _ in select(0):
                _call(key.data)

    def _call_whoever_is_due(self) -> None:
        while self._timers and self._timers[0][0] <= self.now():
            _call(heapq.heappop(self._timers)[2])

    def _due_at(self) -> float:
        """On trio's clock."""
        timers = self._timers
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
        return trio.current_time() + timers[0][0] - self.now() if timers else math.inf


def _call(watch: _Watch) -> None:
    if watch.callback is not None:
        _safely(watch.callback)


def _safely(callback: Callable[[], None]) -> None:
    """As asyncio does it: a slip in one callback is told, and ends neither the loop nor the others."""
    try:
        callback()
    except Exception:
        traceback.print_exc()
