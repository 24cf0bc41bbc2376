"""Requests as jobs: author code that is to run, once, and whose end is the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from plugin_sdk.context import NOTHING_SAID, AsyncContext, Context, current_traceparent
from plugin_sdk.dispatch import error_from
from plugin_sdk.signature import Handler
from protocol.errors import ErrorCode, RpcError
from protocol.events import Request, Uploaded
from protocol.phases import DRAINING

if TYPE_CHECKING:
    from plugin_sdk.desk import Desk

CANCELLED = RpcError(ErrorCode.REQUEST_CANCELLED, "cancelled")


class Job:
    """Author code that a request asks for. Whatever it does, the request is answered once."""

    __slots__ = ("context", "desk", "id", "is_async", "on_cancel")

    def __init__(self, desk: Desk, request: Request, *, is_async: bool) -> None:
        self.desk = desk
        self.id = request.id
        self.is_async = is_async
        kind = AsyncContext if is_async else Context
        self.context: Context = kind(desk, request.id, request.meta or NOTHING_SAID)
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
        desk = self.desk
        desk.active.pop(self.id, None)
        desk.channel.reply(self.id, result)
        if desk.channel.session.phase is DRAINING:
            desk.note_drained()

    def fail(self, exception: BaseException) -> None:
        self.desk.active.pop(self.id, None)
        if self.context._cancelled:
            error = CANCELLED
        else:
            error = error_from(exception, self.desk.note_failure)
        self.desk.channel.reply_error(self.id, error)
        if self.desk.channel.session.phase is DRAINING:
            self.desk.note_drained()


class Call(Job):
    """A method or a hook."""

    __slots__ = ("_params", "handler")

    def __init__(self, desk: Desk, request: Request, handler: Handler) -> None:
        # `Job.__init__` written out: 0.2 us of every call.
        self.desk = desk
        self.id = request.id
        self.is_async = handler.is_async
        kind = AsyncContext if handler.is_async else Context
        self.context = kind(desk, request.id, request.meta or NOTHING_SAID)
        self.on_cancel = None
        self.handler = handler
        self._params = request.params

    def work(self) -> Any:
        handler = self.handler
        arguments = handler.arguments(self._params)
        if handler.context is not None:
            arguments[handler.context] = self.context
        return handler.function(**arguments)


def call_in_items(handler: Handler) -> type[Call]:
    """What runs a handler that takes items with a call, or answers in items."""
    if handler.takes:  # imported for plugins that have one
        from plugin_sdk.uploads import UploadCall

        return UploadCall
    from plugin_sdk.streams import StreamCall

    return StreamCall
