"""A record of `logging` as a message to the host."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from plugin_sdk.context import current_traceparent
from plugin_sdk.dispatch import traceback_of
from protocol.lifecycle import LogRecord
from protocol.outbox import Lane

if TYPE_CHECKING:
    from plugin_sdk.channel import Channel

RATE_PER_S = 200
BURST = 1000
MAX_MESSAGE = 32 * 1024


class HostHandler(logging.Handler):
    """Sends records to the host: 200 a second after a burst of 1,000, and a count of the others."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self._tokens = float(BURST)
        self._filled_at = time.monotonic()
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        self._tokens = min(BURST, self._tokens + (now - self._filled_at) * RATE_PER_S)
        self._filled_at = now
        if self._tokens < 1:
            self._dropped += 1
            return
        self._tokens -= 1
        try:
            message = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                message = f"{message}\n{traceback_of(record.exc_info[1])}"
        except Exception as error:
            message = f"(a log record that cannot be formatted: {record.msg!r}: {type(error).__name__})"
        traceparent = current_traceparent.get()
        out = LogRecord(
            level=record.levelname.lower(),
            message=message[:MAX_MESSAGE].encode(errors="replace").decode(),
            logger=record.name,
            ts=record.created,
            fields={} if traceparent is None else {"traceparent": traceparent},
            dropped=self._dropped,
        )
        if self._channel.notify("log/record", out, Lane.LOG):
            self._dropped = 0
        else:
            self._dropped += 1
