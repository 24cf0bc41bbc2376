"""What a handler may ask for: `ctx`. One per call, cheap to make, gone with the call."""

from __future__ import annotations

import logging
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol

from protocol.envelope import MessageId, Meta
from protocol.lifecycle import PluginIdentity, ProgressParams, ProgressValue, StatusText

_PROGRESS_EVERY_S = 0.05
_NOTHING_SAID = Meta()

current_traceparent: ContextVar[str | None] = ContextVar("current_traceparent", default=None)
"""Of the call that this thread, or this task, works on: for its log records."""


class Speaker(Protocol):
    def notify(self, method: str, params: Any) -> bool: ...


class Surroundings(Protocol):
    """What a context knows of the plugin it is in."""

    settings: Any
    log: logging.Logger
    identity: PluginIdentity

    @property
    def channel(self) -> Speaker: ...


class Context:
    """The call that a handler works on, and the plugin that it belongs to."""

    __slots__ = ("_cancelled", "_deadline", "_desk", "_meta", "_said_at", "request_id")

    def __init__(self, desk: Surroundings, request_id: MessageId | None, meta: Meta | None) -> None:
        self._desk = desk
        self.request_id = request_id
        self._cancelled = False
        self._said_at = 0.0
        self._meta = meta or _NOTHING_SAID
        self._deadline: float | None = None
        if meta is not None and meta.timeout_ms is not None:
            self._deadline = time.monotonic() + meta.timeout_ms / 1000

    @property
    def settings(self) -> Any:
        """The plugin's settings: an instance of what was given to `plugin.settings`, else a dict."""
        return self._desk.settings

    @property
    def log(self) -> logging.Logger:
        """The plugin's logger; its records go to the host."""
        return self._desk.log

    @property
    def deadline(self) -> float | None:
        """When the caller gives up, on `time.monotonic()`'s clock; None if it does not say."""
        return self._deadline

    @property
    def traceparent(self) -> str | None:
        """Which trace the call belongs to, as a W3C `traceparent`; None if the host does not say."""
        return self._meta.traceparent

    @property
    def tracestate(self) -> str | None:
        """What goes with `traceparent`, for whoever hands the trace on."""
        return self._meta.tracestate

    @property
    def cancelled(self) -> bool:
        """Whether the caller no longer wants the answer. A long loop looks at it now and then."""
        return self._cancelled

    @property
    def data_dir(self) -> Path:
        """A folder of the plugin's own that survives restarts and updates; made when first asked for."""
        folder = Path(self._desk.identity.data_dir or ".")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def status(self, text: str) -> None:
        """One line about what the plugin is doing, shown by `outboard status`."""
        self._desk.channel.notify("status/text", StatusText(text=text))

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """How far this call is. Sent only if the caller asked for it, and at most every 50 ms."""
        now = time.monotonic()
        if self._meta.progress and self.request_id is not None and now - self._said_at >= _PROGRESS_EVERY_S:
            self._said_at = now
            value = ProgressValue(done=done, total=total, message=message)
            self._desk.channel.notify("$/progress", ProgressParams(token=self.request_id, value=value))


class AsyncContext(Context):
    """The context of an `async def` handler."""

    __slots__ = ()
