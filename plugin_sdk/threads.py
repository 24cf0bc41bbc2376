"""The two ways of running sync handlers: in place on the thread that reads, or on N threads."""

from __future__ import annotations

import queue
import select
import threading
import time
from collections import deque

from plugin_sdk.calls import News, Waiting
from plugin_sdk.company import Company
from plugin_sdk.desk import Desk
from plugin_sdk.jobs import Job
from plugin_sdk.relief import Relief, Runtime
from protocol.events import Event


class SerialRuntime(Runtime):
    """Sync handlers, one at a time, on the thread that reads.

    A handler that waits for an answer of the host's reads it itself. What else it reads then is kept
    until it has returned: another call must not begin in the middle of it, unless it is one that has come
    round from the very call that is waited for.
    """

    def __init__(self, desk: Desk, read_fd: int) -> None:
        super().__init__(desk, read_fd)
        self._relief = Relief(self, self._inbox_put)
        self._inbox: queue.SimpleQueue[Job | deque[Event] | None] = queue.SimpleQueue()
        self._kept: deque[Job] = deque()
        """Read by a handler that waited; older than all that is still to be read."""
        self._owner = threading.get_ident()
        self._company = Company(desk.channel)

    def _inbox_put(self, item: Job | deque[Event] | None) -> None:
        self._inbox.put(item)

    def serve(self, events: deque[Event]) -> int:
        self._relief.start()
        reading = self._run(events)
        while not self.desk.finished:
            if reading:
                reading = self._run(deque(self.read()))
                continue
            while self._kept:
                self._kept.popleft().run()
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
        slot, channel = self._relief.slot, self.desk.channel
        while self._kept or events:
            job = self._kept.popleft() if self._kept else self.desk.take(events.popleft())
            if job is None:
                continue
            if events or channel.holds:  # alone, as a call mostly is, it is answered at once
                self._company.before(job, more=bool(events))
            slot.append(events)
            job.run()
            try:
                slot.pop()
            except IndexError:
                return False
        if channel.holds:
            channel.release()
        return True

    def next_for(self, waiting: Waiting, deadline: float | None) -> News | Job | None:
        slot = self._relief.slot
        while waiting.inbox.empty() and threading.get_ident() == self._owner:
            try:
                events = slot.pop()
            except IndexError:  # the relief reads
                break
            try:
                if not self._read_for(waiting, events, deadline):
                    return None
            finally:
                slot.append(events)
        return super().next_for(waiting, deadline)

    def _read_for(self, waiting: Waiting, events: deque[Event], deadline: float | None) -> bool:
        """Reads on until something has come for the handler that waits; False if nothing will."""
        while True:
            while events:
                job = self.desk.take(events.popleft())
                if job is not None:
                    self._kept.append(job)
                if not waiting.inbox.empty():
                    return True
            if self.desk.finished:
                return False
            if deadline is not None:
                readable = select.poll()  # a test of an author may have more descriptors than `select` takes
                readable.register(self.read_fd, select.POLLIN)
                if not readable.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    return False
            events.extend(self.read())


class PoolRuntime(Runtime):
    """Sync handlers on N threads of their own; the main thread only reads."""

    def __init__(self, desk: Desk, read_fd: int) -> None:
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        super().__init__(desk, read_fd, self._jobs.put)

    def serve(self, events: deque[Event]) -> int:
        jobs = self._jobs

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
