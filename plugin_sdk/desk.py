"""The desk between reading and handlers: what can be answered at once is, the rest becomes a job.

`Desk.take` runs on whichever thread reads, and none of the author's code runs in it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import msgspec

from plugin_sdk.calls import News, Waiting
from plugin_sdk.channel import Channel
from plugin_sdk.context import current_traceparent
from plugin_sdk.declarations import Declarations
from plugin_sdk.dispatch import error_from
from plugin_sdk.jobs import Call, Job, call_in_items
from plugin_sdk.later import Later
from plugin_sdk.lifecycle import SettingsChange, SettingsCheck, Shutdown, Start
from plugin_sdk.logs import Logs
from plugin_sdk.signature import Handler
from protocol import values
from protocol.contract import nearest
from protocol.envelope import MessageId
from protocol.errors import ErrorCode, RpcError
from protocol.events import (
    Cancelled,
    Ended,
    Event,
    Expired,
    Lost,
    Notification,
    Reply,
    Request,
    Resumed,
    Streamed,
    Uploaded,
)
from protocol.lifecycle import LogLevel, PingResult, PluginIdentity
from protocol.outbox import Lane

if TYPE_CHECKING:
    from plugin_sdk.deliveries import Deliveries


class Desk:
    """What a running plugin knows: its declarations, its channel, and the requests it works on."""

    clock = staticmethod(time.monotonic)

    def __init__(
        self,
        plugin: Declarations,
        channel: Channel,
        identity: PluginIdentity,
        settings: Any,
        features: Collection[str] = (),
        *,
        settings_revision: int = 0,
    ) -> None:
        self.plugin = plugin
        self.channel = channel
        self.identity = identity
        self.settings = settings
        self.settings_revision = settings_revision
        self.features = features
        """What both sides can do."""
        self.wait: Callable[[Waiting, float | None], News | None]
        """How a thread waits for an answer of the host's: the runtime's to say."""
        self.deliveries: Deliveries
        """Of events: the runtime's, too."""
        self.logs = Logs(channel, identity.name)
        self.active: dict[MessageId, Job] = {}
        self.waiting: list[Waiting] = []
        """Threads that wait for an answer of the host's."""
        self.checks: list[SettingsCheck] = []
        """Not begun. Whoever waits for the host runs them meanwhile: it may not answer before it knows."""
        self.stuck_since: float | None = None
        """Since when the thread that runs handlers has not come back, as the relief sees it."""
        self.finished = False
        self.exit_code = 0
        self.drained = threading.Condition()
        self.later = Later()

    def take(self, event: Event) -> Job | None:
        """Answers an event if that needs no author code; otherwise the job to be run."""
        if type(event) is Request:
            handler = self.plugin.methods.get(event.method)
            if handler is None:
                return self._take_request(event)
            return self._begin(event, handler)
        if isinstance(event, Cancelled):
            job = self.active.get(event.id)
            if job is not None:
                job.cancel()
        elif isinstance(event, Notification):
            if event.method == "exit":
                self.finished = True
            elif event.method == "log/level":
                self._set_log_level(event)
            elif event.method == "config/changed":
                return SettingsChange(self, event)
            elif event.method.startswith("event/"):
                return self.deliveries.take(event)
        elif isinstance(event, Reply | Expired | Lost | Streamed):
            event.call.token.settle(event)
        elif isinstance(event, Resumed):
            job = self.active.get(event.id)
            if job is not None:
                job.resume()
        elif isinstance(event, Uploaded):
            job = self.active.get(event.id)
            if job is not None:
                job.feed(event)
        elif isinstance(event, Ended):
            self.finished = True
        return None

    def _take_request(self, request: Request) -> Job | None:
        """One that is for no method of the author's."""
        method = request.method
        if (handler := self.plugin.handler_of(method)) is not None:
            return self._begin(request, handler)
        if method == "lifecycle/ping":
            self.channel.reply(request.id, self._ping())
            return None
        if method == "lifecycle/start":
            job: Job = Start(self, request, self.plugin.start)
        elif method == "config/validate":
            job = self._take_check(request)
        elif method == "shutdown":
            self.deliveries.stop()
            job = Shutdown(self, request, self.plugin.stop)
        else:
            close = nearest(method, self.plugin.methods)
            hint = f"; did you mean `{close}`?" if close else ""
            data = {"methods": sorted(self.plugin.methods), "nearest": close}
            error = RpcError(ErrorCode.METHOD_NOT_FOUND, f"no method `{method}`{hint}", data)
            self.channel.reply_error(request.id, error)
            return None
        self.active[request.id] = job
        return job

    def _begin(self, request: Request, handler: Handler) -> Job | None:
        job = (Call if handler.is_plain else call_in_items(handler))(self, request, handler)
        self.active[request.id] = job
        if request.meta is not None and request.meta.parent is not None:
            waited_for = self.channel.session.outgoing.calls.get(request.meta.parent)  # type: ignore[arg-type]
            if waited_for is not None and waited_for.token.adopt(job):
                return None
        return job

    def _take_check(self, request: Request) -> Job:
        check = SettingsCheck(self, request, is_async=False)
        self.checks.append(check)
        for waiting in list(self.waiting):
            waiting.adopt(check)
        return check  # it is run where somebody comes to it first

    def begin_to_wait(self, waiting: Waiting) -> None:
        self.waiting.append(waiting)
        for check in list(self.checks):
            waiting.adopt(check)

    def _ping(self) -> PingResult:
        now = self.clock()
        stuck = self.stuck_since
        oldest = min((job.taken_at for job in list(self.active.values())), default=now)
        return PingResult(
            in_flight=len(self.active),
            oldest_ms=round((now - oldest) * 1000, 3),
            loop_lag_ms=0.0 if stuck is None else round((now - stuck) * 1000, 3),
            outbox_bytes=self.channel.session.outbox.bytes,
        )

    def _set_log_level(self, event: Notification) -> None:
        try:
            level = values.decode(event.params, type=LogLevel).level.upper()
        except msgspec.DecodeError:
            return
        self.logs.set_level(level)

    def note_failure(self, text: str) -> None:
        """Puts a handler's traceback into the host's log, whatever the author did to `logging`."""
        from protocol.lifecycle import LogRecord

        traceparent = current_traceparent.get()
        fields = {} if traceparent is None else {"traceparent": traceparent}
        record = LogRecord(
            level="error", message=text, logger=self.identity.name, ts=time.time(), fields=fields
        )
        self.channel.notify("log/record", record, Lane.LOG)

    def note_exception(self, what: str, exception: BaseException) -> None:
        """The same for what nobody is answered for: every exception is worth a line."""
        error = error_from(exception, lambda text: self.note_failure(f"{what}: {text}"))
        if not (isinstance(error.data, dict) and "error_id" in error.data):  # else it is noted already
            self.note_failure(f"{what}: {error.message}")

    def note_drained(self) -> None:
        """Something that was worked on is over."""
        with self.drained:
            self.drained.notify_all()

    def wait_until_drained(self, but: MessageId) -> None:
        """Blocks until nothing else is worked on. The host bounds how long a shutdown may take."""
        with self.drained:
            self.drained.wait_for(lambda: not (self.active.keys() - {but} or self.deliveries.is_busy))
