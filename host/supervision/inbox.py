"""What has been posted to a plugin's supervisor and has not been worked off yet, in order.

What somebody asks for is bounded, and told once; what has happened is never lost.
"""

from __future__ import annotations

from collections import deque

import anyio

from host.supervision.life_events import Enable, LifeEvent, Start, Stop

MAX_EVENTS = 256
WORDS = (Start, Stop, Enable)
"""What somebody asks for, as against what happened."""


class Inbox:
    def __init__(self) -> None:
        self._events: deque[LifeEvent] = deque()
        self._news = anyio.Event()
        self._last_word_said = False

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: LifeEvent) -> bool:
        """Never blocks. False for a word that need not, or may not, be said any more."""
        if isinstance(event, WORDS):
            last = self._events[-1] if self._events else None
            if self._last_word_said or last == event:  # nobody needs to be told twice
                return False
            if len(self._events) >= MAX_EVENTS and isinstance(last, WORDS):
                self._events.pop()  # of so many words the last one counts
        self._events.append(event)
        self._news.set()
        return True

    def take_no_more_words(self) -> None:
        """From now on nobody is asked for anything; what happens still comes."""
        self._last_word_said = True

    def wake(self) -> None:
        """Whoever waits looks up, though there may be nothing."""
        self._news.set()

    async def wait(self) -> None:
        """Until something comes, or it is woken."""
        self._news = anyio.Event()
        if not self._events:
            await self._news.wait()

    def first(self) -> LifeEvent | None:
        """What is to be worked off now. It stays here until that has been done."""
        return self._events[0] if self._events else None

    def work_off(self) -> None:
        """The first has been dealt with."""
        self._events.popleft()
