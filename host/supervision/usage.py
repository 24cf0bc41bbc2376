"""Has the process trees of all plugins looked at, off the loop, and tells each plugin what was seen.

What a tree uses is judged against the plugin's limits; who is in it is looked for when the plugin has ended.

One thread at a time does the looking, whatever else occupies the host's threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import anyio
import anyio.to_thread

from host.process.sampling import Sampler, reader
from host.process.usage import Bounds
from host.supervision.generation import Generation

SHORTEST_S = 0.02
LONGEST_S = 1.0


class UsageWatch:
    """`run` is its task. What it has seen is with the generations."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._wanted = anyio.Event()

    async def run(self, generations: Callable[[], Iterable[Generation]]) -> None:
        """Looks until it is cancelled."""
        sampler = Sampler(reader())
        thread = anyio.CapacityLimiter(1)
        try:
            while True:
                self._wanted = anyio.Event()
                there = {each.process.pid: each for each in generations() if each.process is not None}
                bounds: dict[int, Bounds] = {pid: each.allowance.bounds for pid, each in there.items()}
                try:
                    seen = await anyio.to_thread.run_sync(sampler.look, bounds, self._now(), limiter=thread)
                except (OSError, RuntimeError):
                    seen = {}  # no descriptor to look with, or no thread; the next look may have them
                for pid, generation in there.items():
                    if generation.process is not None:
                        generation.process.tree.see(sampler.below(pid))
                for pid, usage in seen.items():
                    generation = there[pid]
                    if usage is not generation.allowance.usage or generation.allowance.is_watched:
                        generation.note_usage(usage)
                now = self._now()
                with anyio.move_on_after(min(LONGEST_S, max(SHORTEST_S, sampler.due(now) - now))):
                    await self._wanted.wait()
        finally:
            sampler.close()

    def look_soon(self) -> None:
        """There is something new to look at."""
        self._wanted.set()
