"""What the event loop says of callbacks that failed: everything but what is nobody's fault."""

from __future__ import annotations

import asyncio
from typing import Any


def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """For `loop.set_exception_handler`.

    A task that waits for a client's socket may be cancelled in the very turn in which the client writes.
    anyio takes the socket's callback back a turn later, so it finds a future that is cancelled, and a
    traceback would be in the log. Nothing is lost by it: whoever waited has given up.
    """
    is_late = isinstance(context.get("exception"), asyncio.InvalidStateError)
    if not (is_late and "set_result" in context.get("message", "")):
        loop.default_exception_handler(context)
