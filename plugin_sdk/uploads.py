"""Handlers that take items, which come with the request: `def put(name: str, lines: Iterator[str])`.

Nothing comes before the handler asks for its first item, and only so much after that as it uses. When it
returns, however it does, the caller stops.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from plugin_sdk.calls import Waiting
from plugin_sdk.jobs import CANCELLED, Call
from protocol import values
from protocol.contract import problems_of
from protocol.errors import ErrorCode, RpcError
from protocol.events import Uploaded
from protocol.streams import CREDIT

if TYPE_CHECKING:
    from plugin_sdk.desk import Desk
    from plugin_sdk.signature import Handler
    from protocol.events import Request


class UploadCall(Call):
    """A method that has a parameter for items."""

    __slots__ = ("settle",)

    def __init__(self, desk: Desk, request: Request, handler: Handler) -> None:
        super().__init__(desk, request, handler)
        self.settle: Callable[[Uploaded], None] | None = None

    def feed(self, event: Uploaded) -> None:
        if self.settle is not None:
            self.settle(event)

    def work(self) -> Any:
        handler = self.handler
        name = handler.takes
        if not self.context._meta.up:
            reason = f"`{handler.info.name}` takes items as `{name}`: send them with meta.up"
            raise RpcError(ErrorCode.INVALID_PARAMS, reason, [{"path": f"$.{name}", "reason": reason}])
        arguments = handler.arguments(self._params)
        if handler.context is not None:
            arguments[handler.context] = self.context
        if self.is_async:
            from plugin_sdk.async_uploads import AsyncUpload  # asyncio: only for those who asked for it

            arguments[name] = coming = AsyncUpload(self)
            return _and_close(handler.function(**arguments), coming.close)
        arguments[name] = upload = Upload(self)
        try:
            return handler.function(**arguments)
        finally:
            upload.close()


async def _and_close(work: Awaitable[Any], close: Callable[[], None]) -> Any:
    try:
        return await work
    finally:
        close()


class Coming:
    """What a sync and an async handler's items have in common."""

    def __init__(self, call: UploadCall) -> None:
        self._call = call
        self._items: deque[Raw] = deque()
        self._count = 0  # handed out
        self._is_over = False
        self._has_begun = False
        self._error: RpcError | None = None

    def _begin(self) -> None:
        """Asks for the first items, once it is clear that they will be heard."""
        if not self._has_begun:
            self._has_begun = True
            self._call.desk.channel.take_up(self._call.id, CREDIT)

    def _take(self, event: Uploaded) -> None:
        if not self._is_over:
            self._items.extend(event.items)
            self._is_over = event.is_over
            self._error = event.error

    def _end(self, stop: BaseException) -> BaseException:
        """What there is to raise when no item is left."""
        error, self._error = self._error, None
        return stop if error is None else error

    def _next_item(self) -> Any:
        item = self._items.popleft()
        call = self._call
        call.desk.channel.use(call.id, 1, len(memoryview(item)))
        index, self._count = self._count, self._count + 1
        try:
            return values.decode(item, call.handler.item_type)
        except msgspec.ValidationError:
            path = (f"{call.handler.takes}[{index}]",)
            problems = problems_of(values.decode(item), call.handler.item_type, path=path)
            data = [problem.as_data() for problem in problems]
            text = "; ".join(map(str, problems))
            raise RpcError(ErrorCode.INVALID_PARAMS, text, data) from None

    def close(self) -> None:
        """The handler has returned: whoever still has this gets no more of it."""
        self._items.clear()
        self._is_over = True
        self._error = None


class Upload(Coming):
    """An iterator that blocks."""

    def __init__(self, call: UploadCall) -> None:
        super().__init__(call)
        self._waiting = Waiting()
        call.settle = self._waiting.settle

    def __iter__(self) -> Upload:
        return self

    def __next__(self) -> Any:
        while not self._items:
            if self._is_over:
                raise self._end(StopIteration())
            self._wait()
        return self._next_item()

    def _wait(self) -> None:
        context, desk = self._call.context, self._call.desk
        context._waiting.append(self._waiting)
        desk.begin_to_wait(self._waiting)
        try:
            come = None
            if not context.cancelled:  # looked at after it can no longer be missed
                self._begin()
                come = desk.wait(self._waiting, None)
        finally:
            context._waiting.remove(self._waiting)
            desk.waiting.remove(self._waiting)
        if not isinstance(come, Uploaded):  # cancelled, or the host is gone
            raise CANCELLED
        self._take(come)

    def close(self) -> None:
        super().close()
        self._call.settle = None
        self._waiting.end()
