"""What waits for one subscriber, and what is on its way to it. Pure.

Bounded twice. As much as the plugin has not acknowledged is in its own hands; the rest is in ours, and of
that the oldest goes when there is no room: whoever is late is told the newest, which is what is true now.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from msgspec import Raw

from protocol.topics import WINDOW, WINDOW_BYTES

MAX_WAITING = 256
MAX_WAITING_BYTES = 4 * 1024 * 1024


class Event(NamedTuple):
    topic: str
    params: Raw
    """Encoded once, for all subscribers."""
    size: int


class Mailbox:
    """Of one process of one plugin. Everything that was put is, at any time, taken, dropped or waiting."""

    __slots__ = ("_on_its_way", "_on_its_way_bytes", "_waiting", "_waiting_bytes")

    def __init__(self) -> None:
        self._waiting: deque[Event] = deque()
        self._waiting_bytes = 0
        self._on_its_way: deque[int] = deque()  # sizes of what was taken, and not acknowledged
        self._on_its_way_bytes = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def put(self, event: Event) -> int:
        """Adds an event; how many older ones were dropped for it."""
        dropped = 0
        self._waiting.append(event)
        self._waiting_bytes += event.size
        while len(self._waiting) > MAX_WAITING or self._waiting_bytes > MAX_WAITING_BYTES:
            self._waiting_bytes -= self._waiting.popleft().size
            dropped += 1
        return dropped

    def take(self) -> Event | None:
        """The next that may be sent; None if nothing waits, or enough is on its way."""
        if not self._waiting:
            return None
        event = self._waiting[0]
        many = len(self._on_its_way) >= WINDOW or self._on_its_way_bytes + event.size > WINDOW_BYTES
        if many and self._on_its_way:
            return None
        self._waiting.popleft()
        self._waiting_bytes -= event.size
        self._on_its_way.append(event.size)
        self._on_its_way_bytes += event.size
        return event

    def give_up_last(self) -> None:
        """The one that was taken last cannot be sent."""
        self._on_its_way_bytes -= self._on_its_way.pop()

    def acknowledge(self, count: int) -> int:
        """So many are done with; returns how many of them there were."""
        count = min(count, len(self._on_its_way))
        for _ in range(count):
            self._on_its_way_bytes -= self._on_its_way.popleft()
        return count
