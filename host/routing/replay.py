"""Waiting for the next process of a plugin, for calls that may be made twice.

They are calls of methods declared idempotent, and those that were never sent. One that is held to have
caused a crash, alone or with others, is sent again once: it may kill a second process, and not a third. One
that is cleared of it, or that was cut off by kill -9 from outside, is sent again three times at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

import anyio

from host.process.fingerprint import Fingerprint
from host.process.link import Expired, Lost
from host.supervision.life import Life
from host.supervision.states import SERVING, SETTLED, State
from host.supervision.supervisor import Supervisor

MOST_REPLAYS = 3
MOST_CRASHES = 1
"""That may be held against a call that is sent again."""
MOST_WAITING = 192
"""For one plugin: what it takes at once, unless it says otherwise."""


def may_be_repeated(supervisor: Supervisor, method: str, lost: Lost) -> bool:
    """As far as the call itself goes."""
    return not lost.was_sent or method in supervisor.offer.idempotent


class Patience:
    """Of one host. `now` is its monotonic clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._waiting: WeakKeyDictionary[Supervisor, int] = WeakKeyDictionary()

    async def outlast(
        self,
        supervisor: Supervisor,
        generation: int,
        deadline: float | None,
        cut_off_by: Sequence[str] = (),
        mark: Fingerprint | None = None,
    ) -> bool:
        """Whether a generation after this one serves, as soon as that is clear.

        False at once if a backoff ends after `deadline`, or too many wait already. `cut_off_by`: the
        incidents that the call, which is a `mark`, has been in, the last one too.

        Raises:
            Expired: `deadline` has passed.
        """

        def has_had_enough() -> bool:
            against = supervisor.poison.held_against(mark) if mark is not None else set()
            return len(against.intersection(cut_off_by)) > MOST_CRASHES or len(cut_off_by) > MOST_REPLAYS

        def is_decided(life: Life) -> bool:
            if (life.state in SETTLED and not life.is_coming) or has_had_enough():
                return True
            if life.state is State.BACKOFF and deadline is not None and life.next_start_at is not None:
                return life.next_start_at >= deadline
            return life.generation > generation and life.state in SERVING

        waiting = self._waiting.get(supervisor, 0)
        if waiting >= MOST_WAITING:
            return False
        self._waiting[supervisor] = waiting + 1
        try:
            with anyio.move_on_after(None if deadline is None else max(0.0, deadline - self._now())) as scope:
                await supervisor.wait_until(is_decided)
        finally:
            self._waiting[supervisor] -= 1
        if scope.cancelled_caught:
            raise Expired
        serves = supervisor.life.generation > generation and supervisor.link is not None
        return serves and not has_had_enough()
