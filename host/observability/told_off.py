"""What somebody else's code raises in the middle of ours, on stderr: the first time whole, then counted.

A subscriber that raises does so for every event, and a thousand tracebacks a second hide what is worth
reading and take longer than the work. Nothing is lost: what was not printed is counted, and the count is
said after `EVERY_S`, or at the end.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from threading import Lock
from typing import Any

EVERY_S = 10.0
MAX_KINDS = 100
"""Of failures that are told apart; beyond that they are counted together."""
_Kind = tuple[str, str, str]


class ToldOff:
    """`now` is a monotonic clock. From any thread. Never raises."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._kinds: dict[_Kind, _Count] = {}
        self._changing = Lock()

    def note(self, who: str, code: Any, error: Exception) -> None:
        """`code`, who is a `who`, has raised; in its `except` block."""
        kind = (f"{who} {_name(code)}", type(error).__name__, _place(error))
        with self._changing:
            if kind not in self._kinds and len(self._kinds) >= MAX_KINDS:
                kind = ("others", "in many ways", "")
            count = self._kinds.get(kind)
            if count is None:
                self._kinds[kind] = _Count(self._now())
            else:
                count.unsaid += 1
        if count is None:
            _print(f"outboard: {kind[0]} raised\n{_whole(error)}")
        else:
            self.look()

    def look(self) -> None:
        """Says what is due. Costs next to nothing while nobody has raised."""
        if self._kinds:
            self._say(self._now() - EVERY_S)

    def end(self) -> None:
        """Says what has not been said yet."""
        self._say(float("inf"))

    def _say(self, before: float) -> None:
        due = []
        with self._changing:
            for (who, how, place), count in self._kinds.items():
                if count.unsaid and count.said_at <= before:
                    now = self._now()
                    times = "once" if count.unsaid == 1 else f"{count.unsaid:,} times"
                    span = f"in {max(0.0, now - count.said_at):.0f} s"
                    due.append(f"outboard: {who} raised {how}{place} {times} more {span}\n")
                    count.unsaid, count.said_at = 0, now
        if due:
            _print("".join(due))


class _Count:
    __slots__ = ("said_at", "unsaid")

    def __init__(self, said_at: float) -> None:
        self.said_at = said_at
        self.unsaid = 0


def _name(code: Any) -> str:
    name = getattr(code, "__qualname__", None) or type(code).__qualname__
    module = getattr(code, "__module__", None)
    return f"{module}.{name}" if isinstance(module, str) else str(name)


def _place(error: Exception) -> str:
    """Where it was raised, which tells two failures of one subscriber apart."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def _whole(error: Exception) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # even to look at it runs somebody else's code
        return f"{type(error).__name__} (it raises when it is looked at)\n"


def _print(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except Exception:  # closed, gone, or the app's own: there is nowhere else to say it
        pass
