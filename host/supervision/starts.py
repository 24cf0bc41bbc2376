"""What is started by a change and goes on, whoever stops waiting for it: what has been written holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.abc


class Starts:
    """In `tasks`, which outlive whoever has made the change."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self._tasks = tasks
        self._under_way = 0
        self._all_done = anyio.Event()

    def start_soon(self, work: Callable[..., Awaitable[object]], *arguments: Any) -> None:
        self._under_way += 1
        self._tasks.start_soon(self._run, work, arguments)

    async def wait(self) -> None:
        """Until all of it is over."""
        if self._under_way:
            await self._all_done.wait()

    async def _run(self, work: Callable[..., Awaitable[object]], arguments: tuple[Any, ...]) -> None:
        try:
            await work(*arguments)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._all_done.set()
