"""The app's own subscribers to topics: `Host.subscribe`."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

import msgspec

from host.errors import HostMisuse
from host.observability.told_off import ToldOff
from protocol.methods import is_own_name


class Published(msgspec.Struct, frozen=True):
    """What a subscriber is called with."""

    topic: str
    value: Any
    """Of the topic's type, if the app has declared it; else as JSON decodes it."""
    publisher: str | None
    """The plugin, or None for the app itself."""


Subscriber = Callable[[Published], None]


class Listeners:
    """Called on the loop, one after another. May be asked for from any thread, at any time."""

    def __init__(self, told_off: ToldOff) -> None:
        self._told_off = told_off
        self._changing = Lock()
        self._by_topic: dict[str, tuple[Subscriber, ...]] = {}

    def subscribe(self, topic: str, subscriber: Subscriber) -> Callable[[], None]:
        """Returns the function that ends it. Raises HostMisuse for what cannot be a topic's name."""
        if not is_own_name(topic):
            raise HostMisuse(f"`{topic}` cannot be a topic's name", hint='one is like "mail.received"')
        with self._changing:
            self._by_topic[topic] = (*self._by_topic.get(topic, ()), subscriber)

        def unsubscribe() -> None:
            with self._changing:
                left = tuple(each for each in self._by_topic.get(topic, ()) if each is not subscriber)
                self._by_topic[topic] = left

        return unsubscribe

    def tell(self, published: Published) -> None:
        for subscriber in self._by_topic.get(published.topic, ()):
            try:
                subscriber(published)
            except Exception as error:  # somebody else's code, in the middle of ours
                who = f"the subscriber to {published.topic}"
                self._told_off.note(who, subscriber, error)
