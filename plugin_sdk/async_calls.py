"""The plugin's own requests, for handlers that are `async def`. Imported only when there is one."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from plugin_sdk.calls import Question, Settled, answer_in, deadline_of, send
from protocol.events import Expired

if TYPE_CHECKING:
    from plugin_sdk.context import Context
    from plugin_sdk.desk import Desk
    from plugin_sdk.jobs import Job


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
