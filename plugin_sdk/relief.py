"""How reading survives a handler that hangs.

The thread that reads also runs sync handlers, in place: handing each call to another thread and back
would cost more than all the rest of a call. So that a handler that hangs does not stop the reading,
the reader puts its role into a slot before it runs one and takes it back afterwards. Both are atomic.
When a handler takes long the host nudges (SIGURG), and a second thread, the *relief*, takes the role
out of the slot: it answers pings, notes cancellations and queues what is for the author's code, until
the first thread is free again. The author's code stays on the first thread throughout, which is the
main one. A plugin with `async def` handlers does the same with its event loop in that thread's place.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from plugin_sdk.calls import News, Waiting
from plugin_sdk.deliveries import Deliveries
from plugin_sdk.desk import Desk
from plugin_sdk.jobs import Job
from protocol.events import Event

READ_BYTES = 65536
"""More would take malloc past its mmap threshold, which costs 8 us a read."""
EXIT_GRACE_S = 2.0
TICK_S = 0.05
NUDGE = signal.SIGURG


class Runtime:
    """What the three ways of running handlers share: the desk, the pipe and the end."""

    def __init__(self, desk: Desk, read_fd: int, submit: Callable[[Job], None] | None = None) -> None:
        """`submit`, if more than one job may run at once: has one run soon, from any thread."""
        self.desk = desk
        desk.wait = self.wait
        desk.deliveries = Deliveries(desk, submit)
        self.read_fd = read_fd
        self.tick_s: float | None = TICK_S
        """How often to look for a hung handler by ourselves; None if the host nudges."""
        self.owns_process = True
        """Whether the process is there for this plugin alone, and ends with it."""

    def serve(self, events: deque[Event]) -> int:
        raise NotImplementedError

    def read(self) -> list[Event]:
        """Blocks until the host says something."""
        try:
            data = os.read(self.read_fd, READ_BYTES)
        except OSError:
            data = b""
        return self.desk.channel.receive(data)

    def wait(self, waiting: Waiting, deadline: float | None) -> News | None:
        """Until there is an answer; runs what comes round meanwhile.

        None: it was cancelled, or `deadline` has passed.
        """
        while isinstance(item := self.next_for(waiting, deadline), Job):
            item.run()
        return item

    def next_for(self, waiting: Waiting, deadline: float | None) -> News | Job | None:
        """The next that comes for a thread that waits; somebody else reads."""
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            return waiting.inbox.get(timeout=left)
        except queue.Empty:
            return None

    def end_soon(self) -> None:
        """From now the process has 2 s to end by itself; a thread that hangs does not keep it."""
        if not self.owns_process:
            return
        timer = threading.Timer(EXIT_GRACE_S, os._exit, (self.desk.exit_code,))
        timer.daemon = True
        timer.start()


class Relief(threading.Thread):
    """Reads in place of a thread that is stuck in a handler, and gives the role back."""

    def __init__(self, runtime: Runtime, post: Callable[[Any], None]) -> None:
        super().__init__(name="relief", daemon=True)
        self.slot: list[deque[Event]] = []
        """Holds what is left of the last read while the owner of the role is busy with a handler."""
        self.done = 0
        """How many posted items the owner has worked off. Written by the owner alone."""
        self._posted = 0
        self._runtime = runtime
        self._post_to_owner = post

    def _post(self, item: Any) -> None:
        self._posted += 1
        self._post_to_owner(item)

    def run(self) -> None:
        desk = self._runtime.desk
        while not desk.finished:
            self._wait_for_nudge()
            try:
                events = self.slot.pop()
            except IndexError:
                continue  # nobody is stuck
            desk.stuck_since = desk.clock()
            desk.channel.release()
            self._post(None)  # worked off when the owner comes back
            self._stand_in(events)
            desk.stuck_since = None

    def _stand_in(self, events: deque[Event]) -> None:
        desk = self._runtime.desk
        while True:
            while events:
                job = desk.take(events.popleft())
                if job is not None:
                    self._post(job)
            if desk.finished:
                self._post(None)
                self._runtime.end_soon()
                return
            events = deque(self._runtime.read())
            if self._posted == self.done:  # the owner is free and waits: the role goes home
                self._post(events)
                return

    def _wait_for_nudge(self) -> None:
        tick = self._runtime.tick_s
        if tick is None:
            signal.sigwait({NUDGE})
        elif hasattr(signal, "sigtimedwait"):
            signal.sigtimedwait({NUDGE}, tick)
        else:
            threading.Event().wait(tick)
