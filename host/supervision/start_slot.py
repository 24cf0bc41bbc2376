"""One of the few places for those that start, so that a hundred plugins do not start at once."""

from __future__ import annotations

import anyio

SLOT_S = 2.0
"""How long a start waits for others to get through their handshake. They may hang; it may not."""


class StartSlot:
    """Of one start. `starts` is the host's."""

    def __init__(self, starts: anyio.CapacityLimiter) -> None:
        self._starts = starts
        self._is_taken = False

    async def wait(self, unless: anyio.Event) -> None:
        """Until there is one. Bounded; nobody who need not start any more waits for it."""
        with anyio.move_on_after(SLOT_S):
            async with anyio.create_task_group() as tasks:

                async def give_up() -> None:
                    await unless.wait()
                    tasks.cancel_scope.cancel()

                tasks.start_soon(give_up)
                await self._starts.acquire_on_behalf_of(self)
                self._is_taken = True
                tasks.cancel_scope.cancel()

    def give_back(self) -> None:
        """If there is one to be given back."""
        if self._is_taken:
            self._is_taken = False
            self._starts.release_on_behalf_of(self)
