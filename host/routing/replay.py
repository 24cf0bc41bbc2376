"""Whether a call that the end of a process cut off is sent to the next one, and when.

Only what may be done twice: methods declared idempotent, and calls that were never sent. Only inside the
caller's deadline. And at most once after a crash that the call may have caused: it may kill a second
process, but not a third. If somebody else ended the process, as with kill -9, at most three times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio

from host.process.link import Expired, Link, Lost
from host.supervision.machine import Life
from host.supervision.poison import is_evidence
from host.supervision.states import SERVING, SETTLED, State
from host.supervision.supervisor import Supervisor

MOST_REPLAYS = 3
MOST_CRASHES = 1
"""That a call was in, and may have caused, and is sent once more after."""


def may_be_repeated(supervisor: Supervisor, method: str, lost: Lost) -> bool:
    """As far as the call itself goes."""
    return not lost.was_sent or method in supervisor.idempotent


async def wait_for_next(
    supervisor: Supervisor,
    link: Link,
    lost: Lost,
    cut_off_by: Sequence[str],
    deadline: float | None,
    now: Callable[[], float],
) -> None:
    """Returns once the generation after `link`'s serves.

    `cut_off_by`: the incidents that this call has been in, the last one too. A restart in backoff is
    waited for, if it comes before `deadline`.

    Raises:
        Lost: it is not sent again: `lost`, as it is.
        Expired: `deadline` has passed.
    """

    def has_had_enough() -> bool:
        blamed = sum(cause.incident in cut_off_by and is_evidence(cause) for cause in supervisor.causes)
        return blamed > MOST_CRASHES or len(cut_off_by) > MOST_REPLAYS

    def is_decided(life: Life) -> bool:
        if life.state in SETTLED or has_had_enough():
            return True
        if life.state is State.BACKOFF and deadline is not None and life.next_start_at is not None:
            return life.next_start_at >= deadline
        return life.generation > link.generation and life.state in SERVING

    left_s = None if deadline is None else max(0.0, deadline - now())
    with anyio.move_on_after(left_s) as waiting:
        await supervisor.wait_until(is_decided)
    if waiting.cancelled_caught:
        expired = Expired()
        expired.call_id = lost.call_id
        raise expired
    if has_had_enough() or supervisor.link in (None, link):
        raise lost
