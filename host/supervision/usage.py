"""What each plugin's process tree uses, looked at every two seconds, in one thread, for all plugins.

One pass over the processes of the machine serves all of them: asking psutil for each plugin's children
would read the whole table once a plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import anyio
import anyio.to_thread
import msgspec
import psutil

INTERVAL_S = 2.0


class Usage(msgspec.Struct, frozen=True):
    """Of a whole process tree."""

    memory_bytes: int
    cpu_percent: float
    """100 is one core; over the time since the last look."""
    processes: int


class UsageSampler:
    """`usage` maps the pid of a plugin to what its tree used at the last look."""

    def __init__(self) -> None:
        self.usage: dict[int, Usage] = {}
        self._wanted = anyio.Event()
        self._known: dict[int, psutil.Process] = {}  # cpu_percent needs the same object twice

    async def run(self, pids: Callable[[], list[int]]) -> None:
        """Looks until it is cancelled."""
        while True:
            self._wanted = anyio.Event()
            self.usage = await anyio.to_thread.run_sync(self.sample, pids())
            with anyio.move_on_after(INTERVAL_S):
                await self._wanted.wait()

    def look_soon(self) -> None:
        """There is something new to look at."""
        self._wanted.set()

    def sample(self, pids: Iterable[int]) -> dict[int, Usage]:
        """Blocks while it reads the machine's table of processes once."""
        wanted = list(pids)
        children: dict[int, list[int]] = {}
        if wanted:
            for process in psutil.process_iter(["ppid"]):
                children.setdefault(process.info["ppid"], []).append(process.pid)
        found: dict[int, Usage] = {}
        seen: dict[int, psutil.Process] = {}
        for root in wanted:
            memory, cpu, count = 0, 0.0, 0
            queue = [root]
            while queue:
                pid = queue.pop()
                queue += children.get(pid, [])
                try:
                    process = seen[pid] = self._known.get(pid) or psutil.Process(pid)
                    with process.oneshot():
                        memory += process.memory_info().rss
                        cpu += process.cpu_percent()
                except psutil.Error:
                    continue  # it ended meanwhile
                count += 1
            if count:
                found[root] = Usage(memory, round(cpu, 1), count)
        self._known = seen
        return found
