"""What each signal means to a daemon. Imports so little that it can be in force before all the rest is.

| signal | meaning |
|---|---|
| SIGTERM, SIGINT | end in order; the second time, say what is being waited for; the third, end at once |
| SIGHUP | read everything again; ignored if it was ignored from the start, as under `nohup` |
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

END = (signal.SIGTERM, signal.SIGINT)


def end_at_once_until_started() -> None:
    """For the time of the imports: nothing has been started, so to end is to end in order.

    Not left to the defaults: they do nothing to pid 1 of a container, and an interrupt that Python
    raises as an exception can get lost in an import.
    """
    for number in END:
        signal.signal(number, lambda *_: os._exit(0))
    if not _is_ignored(signal.SIGHUP):
        signal.signal(signal.SIGHUP, lambda *_: None)  # what it asks for is about to be read anyway


class Signals:
    """`on_end` gets the signal and how many to end have come by now; both are called on the loop."""

    def __init__(
        self, *, on_end: Callable[[signal.Signals, int], None], on_reload: Callable[[], None]
    ) -> None:
        self._on_end = on_end
        self._on_reload = on_reload
        self._asked = 0

    def listen(self, loop: Any) -> None:
        """`loop` is asyncio's, or any with its `add_signal_handler`."""
        for number in END:
            loop.add_signal_handler(number, self._end, number)
        if not _is_ignored(signal.SIGHUP):
            loop.add_signal_handler(signal.SIGHUP, self._on_reload)

    def _end(self, number: signal.Signals) -> None:
        self._asked += 1
        self._on_end(number, self._asked)


def ignore_from_now_on() -> None:
    """All is done but the last lines: nothing may interrupt them."""
    for number in (*END, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _is_ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) == signal.SIG_IGN
