"""Items of a stream that have come and wait to be used: stands where the future of a call stands.

A call in flight holds this, and not the stream that its user has: so a stream that nobody holds any more
is noticed, and given up.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from msgspec import Raw

from host.process.driver import Driver, Waiter


class Inflow:
    """`items` have come. `is_settled`: no more will, and `error` says why; None for the end of the stream."""

    def __init__(self, driver: Driver) -> None:
        self.items: deque[Raw] = deque()
        self.is_settled = False
        self.error: BaseException | None = None
        self._driver = driver
        self._waiter: Waiter | None = None

    async def wait(self) -> None:
        """Until something has come. For one task at a time."""
        if self.items or self.is_settled:
            return
        self._waiter = self._driver.waiter()
        try:
            await self._waiter
        finally:
            self._waiter = None

    @property
    def is_awaited(self) -> bool:
        return self._waiter is not None

    # -- for the link, in the loop's callbacks ---------------------------------------------------------

    def feed(self, items: list[Raw]) -> None:
        if not self.is_settled:
            self.items.extend(items)
            self._wake()

    def done(self) -> bool:
        return self.is_settled

    def set_result(self, result: Any, /) -> None:
        self.is_settled = True
        self._wake()

    def set_exception(self, exception: BaseException, /) -> None:
        self.is_settled = True
        self.error = exception
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
