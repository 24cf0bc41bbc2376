"""The desk between reading and handlers: what can be answered at once is, the rest becomes a job.

`Desk.take` runs on whichever thread reads, and none of the author's code runs in it.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import msgspec

from plugin_sdk.calls import News, Waiting
from plugin_sdk.channel import Channel
from plugin_sdk.context import AsyncContext, Context, current_traceparent
from plugin_sdk.declarations import Declarations
from plugin_sdk.dispatch import error_from, text_of
from plugin_sdk.later import Later
from plugin_sdk.logs import bridge
from plugin_sdk.settings import objection, objections, read_settings
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
from protocol.lifecycle import (
    ConfigParams,
    ConfigTold,
    ConfigVerdict,
    LogLevel,
    PingResult,
    PluginIdentity,
    StartParams,
)
from protocol.outbox import Lane
from protocol.phases import DRAINING

if TYPE_CHECKING:
    from plugin_sdk.deliveries import Deliveries

CANCELLED = RpcError(ErrorCode.REQUEST_CANCELLED, "cancelled")


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
        self.log: logging.Logger = bridge(channel, identity.name)
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
        if isinstance(event, Request):
            return self._take_request(event)
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
        method = request.method
        handler = self.plugin.handler_of(method)
        if handler is not None:
            job: Job = (Call if handler.is_plain else _call_in_items(handler))(self, request, handler)
        elif method == "lifecycle/ping":
            self.channel.reply(request.id, self._ping())
            return None
        elif method == "lifecycle/start":
            job = Start(self, request, self.plugin.start)
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
        if level in logging.getLevelNamesMapping():
            logging.getLogger().setLevel(level)

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

    def wait_until_drained(self, but: MessageId) -> None:
        """Blocks until nothing else is worked on. The host bounds how long a shutdown may take."""
        with self.drained:
            self.drained.wait_for(lambda: not (self.active.keys() - {but} or self.deliveries.is_busy))


class Job:
    """Author code that a request asks for. Whatever it does, the request is answered once."""

    __slots__ = ("context", "desk", "id", "is_async", "on_cancel")

    def __init__(self, desk: Desk, request: Request, *, is_async: bool) -> None:
        self.desk = desk
        self.id = request.id
        self.is_async = is_async
        self.context = (AsyncContext if is_async else Context)(desk, request.id, request.meta)
        self.on_cancel: Callable[[], None] | None = None

    @property
    def taken_at(self) -> float:
        """When it was read, on the desk's clock."""
        return self.context._taken_at

    def cancel(self) -> None:
        self.context._cancelled = True
        for waiting in list(self.context._waiting):
            waiting.cancel()
        if self.on_cancel is not None:
            self.on_cancel()

    def resume(self) -> None:
        """The caller takes more of a stream. From whichever thread reads."""

    def feed(self, event: Uploaded) -> None:
        """Items that go with the request have come. From whichever thread reads."""

    def work(self) -> Any:
        """Runs the author's code; an awaitable if it is async."""
        raise NotImplementedError

    def run(self) -> None:
        """On the thread that runs sync handlers."""
        token = current_traceparent.set(self.context._meta.traceparent)
        try:
            if self.context._cancelled:  # while it was queued
                raise CANCELLED
            result = self.work()
        except BaseException as exception:  # author code: whatever it raises is the answer
            self.fail(exception)
        else:
            self.succeed(result)
        finally:
            current_traceparent.reset(token)  # the thread goes on to other calls

    async def run_async(self) -> None:
        """On the event loop, as a task of its own."""
        current_traceparent.set(self.context.traceparent)
        try:
            if self.context._cancelled:  # while the loop was blocked
                raise CANCELLED
            result = await self.work()
        except BaseException as exception:
            self.fail(exception)
        else:
            self.succeed(result)

    def come_too_late(self, error: RpcError) -> None:
        """The thread that it was for goes on with something else."""
        self.fail(error)

    def succeed(self, result: Any) -> None:
        self._done()
        self.desk.channel.reply(self.id, result)

    def fail(self, exception: BaseException) -> None:
        self._done()
        if self.context._cancelled:
            error = CANCELLED
        else:
            error = error_from(exception, self.desk.note_failure)
        self.desk.channel.reply_error(self.id, error)

    def _done(self) -> None:
        self.desk.active.pop(self.id, None)
        if self.desk.channel.session.phase is DRAINING:
            with self.desk.drained:
                self.desk.drained.notify_all()


class Call(Job):
    """A method or a hook."""

    __slots__ = ("_params", "handler")

    def __init__(self, desk: Desk, request: Request, handler: Handler) -> None:
        Job.__init__(self, desk, request, is_async=handler.is_async)  # `super()` costs 0.1 us
        self.handler = handler
        self._params = request.params

    def work(self) -> Any:
        handler = self.handler
        arguments = handler.arguments(self._params)
        if handler.context is not None:
            arguments[handler.context] = self.context
        return handler.function(**arguments)


def _call_in_items(handler: Handler) -> type[Call]:
    if handler.takes:  # imported for plugins that have one
        from plugin_sdk.uploads import UploadCall

        return UploadCall
    from plugin_sdk.streams import StreamCall

    return StreamCall


class Lifecycle(Job):
    """The author's start or stop function, if there is one."""

    __slots__ = ("_function",)

    def __init__(self, desk: Desk, request: Request, function: Callable[..., Any] | None) -> None:
        super().__init__(desk, request, is_async=inspect.iscoroutinefunction(function))
        self._function = function

    def arguments(self) -> tuple[Any, ...]:
        """What the function may take, as much of it as it has parameters for."""
        return (self.context,)

    def work(self) -> Any:
        function = self._function
        if function is None:
            return None
        return function(*self.arguments()[: len(inspect.signature(function).parameters)])

    def fail(self, exception: BaseException) -> None:
        super().fail(exception)
        if isinstance(exception, SystemExit):  # "78: my configuration is wrong", for one
            self.desk.exit_code = exception.code if isinstance(exception.code, int) else 1
            self.desk.finished = True


class Start(Lifecycle):
    """The start function, once the settings are whole and their validator is content."""

    __slots__ = ("_params",)

    def __init__(self, desk: Desk, request: Request, function: Callable[..., Any] | None) -> None:
        super().__init__(desk, request, function)
        self._params = request.params

    def work(self) -> Any:
        config = values.decode(self._params, type=StartParams).config
        if config is not None:
            self.desk.settings = read_settings(self.desk.plugin, config)
        if reason := objection(self.desk.plugin, self.desk.settings):
            raise RpcError(ErrorCode.INVALID_PARAMS, f"settings: {reason}")
        return super().work()


class SettingsCheck(Job):
    """Whether other settings would do. Changes nothing, so it may run in the middle of a handler."""

    __slots__ = ("_params",)

    def __init__(self, desk: Desk, request: Request, *, is_async: bool) -> None:
        super().__init__(desk, request, is_async=is_async)
        self._params = request.params

    def run(self) -> None:
        try:
            self.desk.checks.remove(self)
        except ValueError:  # another thread was here first
            return
        super().run()

    def come_too_late(self, error: RpcError) -> None:
        pass  # it is in the queue of all jobs as well

    def work(self) -> Any:
        config = values.decode(self._params, type=ConfigParams).config
        return ConfigVerdict(problems=objections(self.desk.plugin, config))


class SettingsChange(Lifecycle):
    """Other settings, which the plugin has approved, and the author's word on them. Nobody is answered.

    They hold as soon as the change is read, so that calls that were made after it see them.
    """

    __slots__ = ("_before", "_now")

    def __init__(self, desk: Desk, event: Notification) -> None:
        super().__init__(
            desk, Request(id=0, method=event.method, params=event.params), desk.plugin.config_change
        )
        self.context.request_id = None  # it is nobody's: what it asks of the host stands for itself
        self._before = desk.settings
        try:
            told = values.decode(event.params, ConfigTold)
            desk.settings = read_settings(desk.plugin, told.config)
            desk.settings_revision = told.config_revision
        except (msgspec.DecodeError, RpcError) as error:  # the host has not asked before
            desk.note_failure(f"the settings did not change: {text_of(error)}")
        self._now = desk.settings

    def arguments(self) -> tuple[Any, ...]:
        return self.context, self._before, self._now

    def succeed(self, result: Any) -> None:
        pass

    def fail(self, exception: BaseException) -> None:
        error_from(exception, self.desk.note_failure)


class Shutdown(Lifecycle):
    """The stop function, after the work in flight."""

    __slots__ = ()

    def work(self) -> Any:
        if not self.is_async and self.desk.plugin.threads > 1:
            self.desk.wait_until_drained(self.id)
        return super().work()
