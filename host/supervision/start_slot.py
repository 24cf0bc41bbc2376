"""One of the few places for those that start, so that a hundred plugins do not start at once."""

from __future__ import annotations

import anyio

from host.supervision.unless import unless

SLOT_S = 2.0
"""How long a start waits for others to get through their handshake. They may hang; it may not."""


class StartSlot:
    """Of one start. `starts` is the host's."""

    def __init__(self, starts: anyio.CapacityLimiter) -> None:
        self._starts = starts
        self._is_taken = False

    async def wait(self, stopped: anyio.Event) -> None:
        """Until there is one. Bounded; nobody who need not start any more waits for it."""
        with anyio.move_on_after(SLOT_S):
            await unless(stopped, self._take)

    async def _take(self) -> None:
        await self._starts.acquire_on_behalf_of(self)
        self._is_taken = True

    def give_back(self) -> None:
        """If there is one to be given back."""
        if self._is_taken:
            self._is_taken = False
            self._starts.release_on_behalf_of(self)
