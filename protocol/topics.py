"""Events between plugins: params of `event/publish` and `event/ack`, and of `event/<topic>`.

The host sends a subscriber no more than `WINDOW` events that it has not acknowledged, and keeps the rest for
it. So it knows who is slow, which it could not see from what has been written to a pipe.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

MAX_EVENT_BYTES = 256 * 1024
"""Of a value, as JSON."""
WINDOW = 64
WINDOW_BYTES = 1024 * 1024
"""Of values; one alone may always be on its way."""


class PublishParams(msgspec.Struct, kw_only=True):
    """Answered as soon as the value has been found to fit: nobody waits for subscribers."""

    topic: str
    value: msgspec.Raw


class EventParams(msgspec.Struct, kw_only=True):
    """What a subscriber is told, as the notification `event/<topic>`."""

    value: msgspec.Raw
    publisher: str | None = None
    """The plugin that has published it; null for the app."""


class AckParams(msgspec.Struct, kw_only=True, omit_defaults=True):
    """So many events are done with, in the order in which they came."""

    n: Annotated[int, msgspec.Meta(ge=1)]
    failed: Annotated[int, msgspec.Meta(ge=0)] = 0
    """As many of them as could not be handled."""
