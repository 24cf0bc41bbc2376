"""The two ways of running sync handlers: in place on the thread that reads, or on N threads."""

from __future__ import annotations

import queue
import threading
from collections import deque

from plugin_sdk.jobs import Desk, Job
from plugin_sdk.relief import Relief, Runtime
from protocol.events import Event


class SerialRuntime(Runtime):
    """Sync handlers, one at a time, on the thread that reads."""

    def __init__(self, desk: Desk, read_fd: int) -> None:
        super().__init__(desk, read_fd)
        self._relief = Relief(self, self._inbox_put)
        self._inbox: queue.SimpleQueue[Job | deque[Event] | None] = queue.SimpleQueue()

    def _inbox_put(self, item: Job | deque[Event] | None) -> None:
        self._inbox.put(item)

    def serve(self, events: deque[Event]) -> int:
        self._relief.start()
        reading = self._run(events)
        while not self.desk.finished:
            if reading:
                reading = self._run(deque(self.read()))
                continue
            item = self._inbox.get()
            if isinstance(item, deque):  # the role comes home, with what was read last
                self._relief.done += 1
                reading = self._run(item)
            else:
                if item is not None:
                    item.run()
                self._relief.done += 1
        self.end_soon()
        return self.desk.exit_code

    def _run(self, events: deque[Event]) -> bool:
        """Works off what was read; False if the role was taken meanwhile, with the rest of it."""
        slot = self._relief.slot
        while events:
            job = self.desk.take(events.popleft())
            if job is None:
                continue
            slot.append(events)
            job.run()
            try:
                slot.pop()
            except IndexError:
                return False
        return True


class PoolRuntime(Runtime):
    """Sync handlers on N threads of their own; the main thread only reads."""

    def serve(self, events: deque[Event]) -> int:
        jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()

        def work() -> None:
            while True:
                jobs.get().run()
                if self.desk.finished:  # start code chose to exit, and the main thread still reads
                    self.end_soon()

        for number in range(self.desk.plugin.threads):
            threading.Thread(target=work, name=f"handlers-{number}", daemon=True).start()
        while not self.desk.finished:
            while events:
                job = self.desk.take(events.popleft())
                if job is not None:
                    jobs.put(job)
            if not self.desk.finished:
                events.extend(self.read())
        self.end_soon()
        return self.desk.exit_code
