"""Which replies wait for one another, so that a hundred small calls do not cost a hundred writes.

While the thread that reads works off what came in one read, a reply may wait for the next one. Nobody is
to notice: a reply waits only for calls whose handler has been brief many times in a row, and for `HOLD_S`
at most. Should such a handler hang all the same, the relief sends what waits.
"""

from __future__ import annotations

from time import monotonic

from plugin_sdk.channel import Channel
from plugin_sdk.jobs import Call, Job
from plugin_sdk.signature import Handler

BRIEF_S = 0.0001
ENOUGH = 16
"""So many brief runs in a row make a handler brief; one that is not begins again."""
HOLD_S = 0.0002
"""Three times the way of a call: at 64 in flight twice as many calls a second, and no call waits longer."""


class Company:
    """Of one thread that reads."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._began_at = 0.0
        self._running: Handler | None = None
        self._held_since = 0.0

    def before(self, job: Job, *, more: bool) -> None:
        """A job is about to run, and `more` messages have been read behind it."""
        now = monotonic()  # a job may have been read long ago
        last = self._running
        if last is not None:
            last.brief_runs = last.brief_runs + 1 if now - self._began_at < BRIEF_S else 0
        handler = job.handler if isinstance(job, Call) else None
        if self._channel.holds:
            is_brief = handler is not None and handler.brief_runs >= ENOUGH
            if not is_brief or now - self._held_since > HOLD_S:
                self._channel.release()
        if more and not self._channel.holds:
            self._channel.holds = True
            self._held_since = now
        # How long the last one of a batch takes would be known only after the wait for the next.
        self._running = handler if more else None
        self._began_at = now
