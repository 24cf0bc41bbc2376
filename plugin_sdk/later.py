"""Small things that are to happen a moment later: one thread for all of them, begun with the first.

For a handler that has said something and may now compute, or block, for as long as it likes: nobody else
would see to it that what it said leaves.
"""

from __future__ import annotations

import heapq
import queue
import threading
import time
from collections.abc import Callable
from itertools import count


class Later:
    def __init__(self) -> None:
        self._new: queue.SimpleQueue[tuple[float, Callable[[], None]]] = queue.SimpleQueue()
        self._begin_once = threading.Lock()

    def call(self, delay_s: float, what: Callable[[], None]) -> None:
        """From any thread, also from a destructor in the middle of anything. `what` must not raise."""
        self._new.put((time.monotonic() + delay_s, what))
        if self._begin_once.acquire(blocking=False):
            threading.Thread(target=self._run, name="later", daemon=True).start()

    def _run(self) -> None:
        due: list[tuple[float, int, Callable[[], None]]] = []
        numbers = count()
        while True:
            left_s = due[0][0] - time.monotonic() if due else None
            if left_s is not None and left_s <= 0:
                heapq.heappop(due)[2]()
                continue
            try:
                at, what = self._new.get(timeout=left_s)
            except queue.Empty:
                continue
            heapq.heappush(due, (at, next(numbers), what))
