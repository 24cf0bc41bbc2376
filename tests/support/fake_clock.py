"""A clock that stands still until a test moves it."""

from __future__ import annotations


class FakeClock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def advance(self, seconds: float) -> float:
        """The new time; it never goes back."""
        assert seconds >= 0
        self.now += seconds
        return self.now
