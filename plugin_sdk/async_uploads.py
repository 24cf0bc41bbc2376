"""Items that come with the request of an `async def` handler. Imported only when there is one."""

from __future__ import annotations

import asyncio
from typing import Any

from plugin_sdk.uploads import Coming, UploadCall
from protocol.events import Uploaded


class AsyncUpload(Coming):
    """An async iterator. For one task at a time."""

    def __init__(self, call: UploadCall) -> None:
        super().__init__(call)
        self._loop = asyncio.get_running_loop()
        self._has_come = asyncio.Event()
        call.settle = self._settle

    def _settle(self, event: Uploaded) -> None:
        """From whichever thread reads."""
        try:
            self._loop.call_soon_threadsafe(self._take, event)
        except RuntimeError:  # the loop has closed: the process is about to end
            pass

    def _take(self, event: Uploaded) -> None:
        super()._take(event)
        self._has_come.set()

    def __aiter__(self) -> AsyncUpload:
        return self

    async def __anext__(self) -> Any:
        while not self._items:
            if self._is_over:
                raise self._end(StopAsyncIteration())
            self._begin()
            self._has_come.clear()
            await self._has_come.wait()
        return self._next_item()

    def close(self) -> None:
        super().close()
        self._call.settle = None
        self._has_come.set()
