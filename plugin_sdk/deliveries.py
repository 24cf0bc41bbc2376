"""Events on their way to the author's functions: one at a time, in the order in which they came.

So order is kept whatever the way of running handlers, and one that hangs holds up the events behind it and
no others. The host sends a bounded number that are not acknowledged, so no more than that wait here.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import msgspec

from plugin_sdk.jobs import Desk, Job
from plugin_sdk.signature import Handler
from protocol.events import Notification, Request
from protocol.outbox import Lane
from protocol.topics import WINDOW, AckParams, EventParams

ACK_EVERY = WINDOW // 4
"""An acknowledgement costs a frame; while there is more to do, one for several is enough."""


class Deliveries:
    """Of one plugin. `take` is for whichever thread reads, `end` for whichever ran the handler."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._changing = threading.Lock()
        self._waiting: deque[Delivery] = deque()
        self._done = 0
        self._failed = 0
        self._stopped = False
        self.is_busy = False
        """Whether one is being handled, or about to be."""

    def take(self, event: Notification) -> Job | None:
        """The job for an event, if it may begin now; else it begins when those before it have ended."""
        handler = self._desk.plugin.subscriptions.get(event.method.removeprefix("event/"))
        if handler is None or self._stopped:
            return None
        delivery = Delivery(self, self._desk, event, handler)
        with self._changing:
            if self.is_busy:
                self._waiting.append(delivery)
                return None
            self.is_busy = True
        return delivery

    def stop(self) -> None:
        """What waits is not handled any more: the plugin is about to end."""
        with self._changing:
            self._stopped = True
            self._waiting.clear()

    def end(self, *, failed: bool) -> None:
        """One has been handled: the host is told, and the next may begin."""
        with self._changing:
            self._done += 1
            self._failed += failed
            following = self._waiting.popleft() if self._waiting else None
            self.is_busy = following is not None
            said = None
            if following is None or self._done >= ACK_EVERY:
                said = AckParams(n=self._done, failed=self._failed)
                self._done = self._failed = 0
        if said is not None:
            self._desk.channel.notify("event/ack", said, Lane.REQUEST)
        if following is not None:
            self._desk.submit(following)
        else:
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
