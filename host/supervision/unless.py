"""Work that is given up as soon as something happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

T = TypeVar("T")


async def unless(event: anyio.Event, work: Callable[[], Awaitable[T]]) -> T | None:
    """What `work` returns; None if `event` came first, and then `work` was cancelled."""
    result: T | None = None
    async with anyio.create_task_group() as tasks:

        async def give_up() -> None:
            await event.wait()
            tasks.cancel_scope.cancel()

        tasks.start_soon(give_up)
        result = await work()
        tasks.cancel_scope.cancel()
    return result
