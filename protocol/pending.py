"""Who waits for which reply: the table of our own requests in flight.

Ids of calls that were given up stay taken until their late reply comes, so that a late reply can
never settle somebody else's call. The shape is that of rust-analyzer's request queue.
"""

from __future__ import annotations

from typing import Any

import msgspec

from protocol.envelope import MAX_ID
from protocol.streams import Receiving, Sending

MAX_ABANDONED = 1024


class Call(msgspec.Struct, eq=False):
    """A request of ours that has not been settled.

    A struct, because it is made for every call: a third of what a class costs.
    """

    id: int
    method: str
    params: Any
    """As the caller gave them; its own task holds them as long as this does, so they cost nothing."""
    deadline: float | None
    token: Any
    """Whatever the caller wants back when the call is settled."""
    sent: bool = False
    """Whether its frame has been handed to the pipe, wholly or in part."""
    settled: bool = False
    stream: Receiving | None = None
    """What may come of a stream, if the answer is one."""
    up: Sending | None = None
    """What may go with it, if it takes items."""
    listener: Any = None
    """Who wants to hear how far it is."""
    chain: Any = ()
    """For the host's book-keeping: the calls that this one is made for."""
    nested: set[Any] | None = None
    """What is done for it meanwhile, at the host."""

    def __repr__(self) -> str:
        return f"<Call {self.id} {self.method}>"


class Outgoing:
    """Our requests. An id is in flight, abandoned, or free."""

    def __init__(self, *, max_id: int = MAX_ID, max_abandoned: int = MAX_ABANDONED) -> None:
        self.calls: dict[int, Call] = {}
        self.abandoned: dict[int, Call] = {}
        self._max_id = max_id
        self._max_abandoned = max_abandoned
        self._last_id = 0

    def open(self, method: str, params: Any, deadline: float | None, token: Any) -> Call:
        """A call with an id of its own, in flight from now on."""
        id = self._last_id + 1
        while id in self.calls or id in self.abandoned or id > self._max_id:
            id = id + 1 if id < self._max_id else 1
        self._last_id = id
        call = self.calls[id] = Call(id, method, params, deadline, token)
        return call

    def take_back(self, call: Call) -> None:
        """`call`, which was opened last, is not to be sent: its id is the next one's."""
        self.settle(call.id)
        self._last_id = call.id - 1

    def settle(self, id: Any) -> Call | None:
        """Takes the call that a reply names out of the table; None if nobody waits for it."""
        call = self.calls.pop(id, None)
        if call is not None:
            call.settled = True
        return call

    def abandon(self, call: Call) -> None:
        """Gives up a call whose frame was sent: its id stays taken until the late reply."""
        self.settle(call.id)
        self.abandoned[call.id] = call
        if len(self.abandoned) > self._max_abandoned:
            del self.abandoned[next(iter(self.abandoned))]

    def forget_abandoned(self, id: Any) -> bool:
        """Whether `id` was abandoned; it is free afterwards."""
        if id in self.abandoned:
            del self.abandoned[id]
            return True
        return False

    def expired(self, now: float) -> list[Call]:
        return [call for call in self.calls.values() if call.deadline is not None and call.deadline <= now]

    def next_deadline(self) -> float | None:
        return min((call.deadline for call in self.calls.values() if call.deadline is not None), default=None)

    def drain(self) -> list[Call]:
        """Empties both tables and returns the calls that were in flight, oldest first."""
        calls = list(self.calls.values())
        for call in calls:
            call.settled = True
        self.calls.clear()
        self.abandoned.clear()
        return calls
