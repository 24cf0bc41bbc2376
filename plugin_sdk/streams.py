"""Handlers that answer in items: what they yield leaves in batches, as far as the caller gives credit.

A generator is not asked for its next item before there is room for one, so it waits where it yields. When
the caller leaves, it is closed there: its `finally` blocks run. A batch leaves when it is full, and else at
once, or after a moment if the last one has just left.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from plugin_sdk.calls import Waiting
from plugin_sdk.jobs import CANCELLED, Call
from protocol.errors import ErrorCode, Refusal, Refused, RpcError
from protocol.events import Resumed

if TYPE_CHECKING:
    from collections.abc import Callable

    from plugin_sdk.desk import Desk
    from plugin_sdk.signature import Handler
    from protocol.events import Request

MOMENT_S = 0.002


class StreamCall(Call):
    """A method that was declared with `stream=True`."""

    __slots__ = ("_count", "_is_leaving", "_left_at", "wake")

    def __init__(self, desk: Desk, request: Request, handler: Handler) -> None:
        super().__init__(desk, request, handler)
        self.wake: Callable[[], None] | None = None
        self._count = 0
        self._left_at = 0.0
        self._is_leaving = False

    def resume(self) -> None:
        if self.wake is not None:
            self.wake()

    def work(self) -> Any:
        if not self.desk.channel.is_stream(self.id):
            reason = f"`{self.handler.info.name}` is a stream: ask for it with meta.credit"
            raise RpcError(ErrorCode.INVALID_PARAMS, reason, [{"path": "$", "reason": reason}])
        items = super().work()
        if not self.is_async:
            return self._pour(items)
        from plugin_sdk.async_streams import pour  # asyncio: only for those who asked for it

        return pour(self, items)

    @property
    def has_room(self) -> bool:
        return self.desk.channel.has_room(self.id)

    def _pour(self, items: Iterable[Any]) -> None:
        context, desk = self.context, self.desk
        waiting = Waiting()
        self.wake = lambda: waiting.settle(Resumed(self.id))
        context._waiting.append(waiting)
        desk.begin_to_wait(waiting)
        iterator = iter(items)
        try:
            for item in iterator:
                has_room = self.add(item)
                while not has_room and not context._cancelled:
                    if desk.wait(waiting, None) is None:  # cancelled, or the host is gone
                        raise CANCELLED
                    has_room = self.has_room
                if context._cancelled:
                    raise CANCELLED
                if has_room and not self._is_leaving:
                    self._leave_soon()
        finally:
            context._waiting.remove(waiting)
            desk.waiting.remove(waiting)
            waiting.end()
            close = getattr(iterator, "close", None)
            if close is not None:
                try:
                    close()
                except BaseException as exception:  # author code: how the stream ends is clear already
                    self.note_close(exception)

    def note_close(self, exception: BaseException) -> None:
        """The author's generator has raised where it was closed: logged, and no answer."""
        self.desk.note_exception(
            f"{self.handler.info.name}: its generator raised as it was closed", exception
        )

    def _leave_soon(self) -> None:
        """At once, for who yields now and then; a moment later, together, for who yields all the time."""
        if time.monotonic() - self._left_at >= MOMENT_S:
            self.leave()
        else:
            self._is_leaving = True
            self.desk.later.call(MOMENT_S, self.leave)

    def leave(self) -> None:
        """The batch that has been begun leaves now."""
        self._left_at = time.monotonic()
        self._is_leaving = False
        self.desk.channel.send_items(self.id)

    def add(self, item: Any) -> bool:
        """Whether there is room for another one. Raises `RpcError` for what cannot be sent."""
        try:
            has_room = self.desk.channel.add_item(self.id, item)
        except Refused as refused:
            code = (
                ErrorCode.PAYLOAD_TOO_LARGE
                if refused.reason is Refusal.TOO_LARGE
                else ErrorCode.RESULT_NOT_SERIALIZABLE
            )
            text = f"item {self._count} of the stream cannot be sent: {refused.detail}"
            raise RpcError(code, text, {"item": self._count}) from None
        self._count += 1
        return has_room
