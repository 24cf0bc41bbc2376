"""Events on their way to the author's functions: one at a time, in the order in which they came.

So order is kept whatever the way of running handlers, and one that hangs holds up the events behind it and
no others. The host sends a bounded number that are not acknowledged, so no more than that wait here.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from plugin_sdk.desk import Desk
from plugin_sdk.jobs import Job
from plugin_sdk.signature import Handler
from protocol.events import Notification, Request
from protocol.outbox import Lane
from protocol.topics import WINDOW, AckParams, EventParams

ACK_EVERY = WINDOW // 4
"""An acknowledgement costs a frame; while there is more to do, one for several is enough."""


class Deliveries:
    """Of one plugin. `take` is for whichever thread reads, `end` for whichever ran the handler.

    `submit` has a job run that was held back until the one before it had ended; None where jobs are run one
    after another anyway.
    """

    def __init__(self, desk: Desk, submit: Callable[[Job], None] | None) -> None:
        self._desk = desk
        self._submit = submit
        self._changing = threading.Lock()
        self._waiting: deque[Delivery] = deque()
        self._left = 0  # taken, and not ended
        self._done = 0  # ended, and not acknowledged
        self._failed = 0
        self.is_over = False
        """Whether what has not begun will not: the plugin is about to end."""

    @property
    def is_busy(self) -> bool:
        return self._left > 0

    def take(self, event: Notification) -> Job | None:
        """The job for an event, if it may begin now; else it begins when those before it have ended."""
        handler = self._desk.plugin.subscriptions.get(event.method.removeprefix("event/"))
        if handler is None or self.is_over:
            return None
        delivery = Delivery(self, self._desk, event, handler)
        with self._changing:
            self._left += 1
            if self._submit is not None and self._left > 1:
                self._waiting.append(delivery)
                return None
        return delivery

    def stop(self) -> None:
        """What has not begun is not handled any more."""
        with self._changing:
            self.is_over = True
            self._left -= len(self._waiting)
            self._waiting.clear()

    def end(self, *, failed: bool) -> None:
        """One has been handled: the host is told, and the next may begin."""
        with self._changing:
            self._left -= 1
            self._done += 1
            self._failed += failed
            following = self._waiting.popleft() if self._waiting else None
            said = None
            if not self._left or self._done >= ACK_EVERY:
                said = AckParams(n=self._done, failed=self._failed)
                self._done = self._failed = 0
        if said is not None:
            # In the lane that always has room: one that is lost would be missing from the window for ever.
            self._desk.channel.notify("event/ack", said, Lane.CONTROL)
        if following is not None and self._submit is not None:
            self._submit(following)
        elif self.is_over:
            with self._desk.drained:
                self._desk.drained.notify_all()


class Delivery(Job):
    """One event, and the author's function for it. Nobody is answered: what it raises is logged."""

    __slots__ = ("_deliveries", "_event", "_handler")

    def __init__(self, deliveries: Deliveries, desk: Desk, event: Notification, handler: Handler) -> None:
        request = Request(id=0, method=event.method, params=event.params)
        super().__init__(desk, request, is_async=handler.is_async)
        self.context.request_id = None  # it is nobody's: what it asks of the host stands for itself
        self._deliveries = deliveries
        self._event = event
        self._handler = handler

    def work(self) -> Any:
        if self._deliveries.is_over:
            return _nothing() if self.is_async else None
        handler = self._handler
        told = msgspec.json.decode(self._event.params, type=EventParams)
        name = next((name for name in handler.names if name != "publisher"), "value")
        named = {name: told.value, "publisher": told.publisher}
        arguments = handler.arguments(msgspec.Raw(msgspec.json.encode(named)))
        if handler.context is not None:
            arguments[handler.context] = self.context
        return handler.function(**arguments)

    def succeed(self, result: Any) -> None:
        self._deliveries.end(failed=False)

    def fail(self, exception: BaseException) -> None:
        if not self.desk.finished:
            self.desk.note_exception(self._event.method, exception)
        self._deliveries.end(failed=True)


async def _nothing() -> None:
    pass
