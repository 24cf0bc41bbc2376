"""Hands events to whoever subscribed. A subscriber that raises is told off and kept."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from host.observability.events import HostEvent
from host.observability.told_off import ToldOff

Subscriber = Callable[[HostEvent], None]


class Bus:
    """Synchronous: `emit` returns when every subscriber has. Subscribers must not block.

    Subscribing and its end may come from any thread.
    """

    def __init__(self) -> None:
        self._changing = Lock()
        self._subscribers: tuple[Subscriber, ...] = ()
        self.told_off = ToldOff()
        """What the app's own code raises, here and where it is told of topics."""

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Returns the function that ends the subscription."""
        with self._changing:
            self._subscribers = (*self._subscribers, subscriber)

        def unsubscribe() -> None:
            with self._changing:
                self._subscribers = tuple(other for other in self._subscribers if other is not subscriber)

        return unsubscribe

    def emit(self, event: HostEvent) -> None:
        for subscriber in self._subscribers:
            # Somebody else's code, in the middle of ours: it must not be able to stop a supervisor.
            try:
                subscriber(event)
            except Exception as error:
                self.told_off.note("the event subscriber", subscriber, error)
        self.told_off.look()
