"""Streams that a plugin uses itself: `for line in ctx.stream("tail", "lines", path="x")`.

It is asked for with the first item. Leaving it early, by `close`, by the end of the loop or of the handler,
is told to the other plugin.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from plugin_sdk.calls import Question, Waiting, answer_in, deadline_of, gone_by, send
from protocol import values
from protocol.events import Streamed
from protocol.pending import Call

if TYPE_CHECKING:
    from plugin_sdk.context import Context
    from plugin_sdk.desk import Desk


class Arrived:
    """Items that have come and are still to be used; what a sync and an async stream have in common."""

    def __init__(self, desk: Desk, context: Context, question: Question) -> None:
        self._desk = desk
        self._context = context
        self._question = question
        self._call: Call | None = None
        self._deadline = deadline_of(context, question)
        self._items: deque[Raw] = deque()
        self._is_over = False

    def _begin(self, token: Any) -> Call:
        self._call = send(self._desk, self._context, self._question, token)
        return self._call

    def _next_item(self) -> Any:
        item = self._items.popleft()
        assert self._call is not None
        self._desk.channel.use(self._call, 1, len(memoryview(item)))
        return values.decode(item)

    def __del__(self) -> None:
        # A destructor may run in the middle of anything, also where somebody holds the channel's lock.
        if not self._is_over and self._call is not None and not self._call.settled:
            self._desk.later.call(0.0, partial(self._desk.channel.cancel, self._call, "cancelled"))

    def _give_up(self) -> None:
        """Nothing more is wanted, and the other side is told if it does not know."""
        self._is_over = True
        if self._call is not None and not self._call.settled:
            self._desk.channel.cancel(self._call, "cancelled")


class Items(Arrived):
    """An iterator that blocks. Raises a `CallFailed` after the items that came."""

    def __init__(self, desk: Desk, context: Context, question: Question) -> None:
        super().__init__(desk, context, question)
        self._waiting = Waiting()

    def __iter__(self) -> Items:
        return self

    def __next__(self) -> Any:
        while not self._items:
            if self._is_over:
                raise StopIteration
            self._wait()
        return self._next_item()

    def _wait(self) -> None:
        context = self._context
        context._waiting.append(self._waiting)
        self._desk.begin_to_wait(self._waiting)
        try:
            come = None
            if not context.cancelled:  # looked at after it can no longer be missed
                call = self._call or self._begin(self._waiting)
                come = self._desk.wait(self._waiting, self._deadline)
        except BaseException:
            self.close()
            raise
        finally:
            context._waiting.remove(self._waiting)
            self._desk.waiting.remove(self._waiting)
        if isinstance(come, Streamed):
            self._items.extend(come.items)
            return
        self.close()
        if come is None and not context.cancelled:
            come = gone_by(call)
        answer_in(come, self._question)

    def close(self) -> None:
        """Ends the stream; one that is over stays over."""
        if not self._is_over:
            self._give_up()
            self._waiting.end()

    def __enter__(self) -> Items:
        return self

    def __exit__(self, *_: object) -> None:
        self._items.clear()
        self.close()
