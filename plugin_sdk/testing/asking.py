"""What a test asks of the plugin: a call that has begun, and the items of a stream.

Errors are those that another plugin would see: each is a `CallFailed`. The plugin's traceback is a note of
the error, so that whatever prints the error prints it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import Any

import msgspec
from msgspec import Raw

from plugin_sdk import errors
from plugin_sdk.calls import Question, answer_in, refused_as
from plugin_sdk.channel import Channel
from plugin_sdk.signature import Handler
from protocol import values
from protocol.contract import problems_of
from protocol.envelope import Meta
from protocol.errors import ErrorCode, Refused, RpcError
from protocol.events import Expired, Lost, Progressed, Reply, Streamed, Wanted
from protocol.lifecycle import ProgressValue

Come = Reply | Expired | Lost | Streamed | Wanted
Explain = Callable[[errors.CallFailed], None]
"""Adds to an error what the log has of it."""


class Request:
    """A request on its way to the plugin. `handler` says what the answer has to be."""

    def __init__(
        self,
        channel: Channel,
        question: Question,
        handler: Handler | None,
        explain: Explain,
        *,
        timeout_s: float,
        up: bool = False,
    ) -> None:
        self.progress: list[ProgressValue] = []
        """How far it was, as it said so: `done`, `total` and `message`."""
        self._channel = channel
        self._question = question
        self._handler = handler
        self._explain = explain
        self._timeout_s = timeout_s
        self._ends_at = time.monotonic() + timeout_s
        self._inbox: SimpleQueue[Come] = SimpleQueue()
        timeout_ms = max(1, int(timeout_s * 1000))
        meta = Meta(timeout_ms=timeout_ms, progress=True, credit=question.credit, up=up)
        try:
            self._call = channel.request(question.wire_name, question.params, token=self, meta=meta)
        except Refused as refused:
            raise refused_as(refused, question) from None

    def settle(self, event: Come | Progressed) -> None:
        """From the thread that reads."""
        if isinstance(event, Progressed):
            self.progress.append(event.value)
        else:
            self._inbox.put(event)

    def cancel(self) -> None:
        """Nobody wants the answer any more, and the plugin is told."""
        if not self._call.settled:
            self._channel.cancel(self._call, "cancelled")
            error = RpcError(ErrorCode.REQUEST_CANCELLED, "cancelled by the test")
            self._inbox.put(Reply(self._call, None, error))

    def _next(self) -> Come:
        try:
            return self._inbox.get(timeout=max(0.0, self._ends_at - time.monotonic()))
        except Empty:
            self._channel.cancel(self._call, "deadline")
            return Expired(self._call)

    def _answer(self, come: Come) -> Raw:
        """Raises a `CallFailed`."""
        about: dict[str, Any] = {"plugin": self._question.plugin, "method": self._question.method}
        try:
            if isinstance(come, Lost):
                raise errors.PluginCrashed("it ended", code=ErrorCode.SHUTTING_DOWN, **about)
            if isinstance(come, Expired):
                text = f"no answer within {self._timeout_s:g} s"
                raise errors.DeadlineExceeded(text, code=ErrorCode.DEADLINE_EXCEEDED, **about)
            assert isinstance(come, Reply)
            answer_in(come, msgspec.structs.replace(self._question, result=None))
        except errors.CallFailed as error:
            self._explain(error)
            raise
        assert come.result is not None
        return come.result

    def _held(self, raw: Raw) -> Any:
        """What has come as JSON decodes it, if it is what the handler says. Raises ContractError."""
        value = values.decode(raw)
        if self._handler is None:
            return value
        try:
            values.decode(raw, self._handler.result)
        except msgspec.ValidationError as problem:
            problems = problems_of(value, self._handler.result)
            text = "; ".join(map(str, problems)) or str(problem)
            raise errors.ContractError(
                f"its result is not what it says that it returns: {text}",
                plugin=self._question.plugin,
                method=self._question.method,
                code=ErrorCode.PLUGIN_ERROR,
                data=[each.as_data() for each in problems],
            ) from None
        return value


class Begun(Request):
    """A call that has begun. Items that go with it are taken while its result is waited for."""

    def __init__(self, *about: Any, items: Iterable[Any] | None = None, **more: Any) -> None:
        self._items = items
        super().__init__(*about, up=items is not None, **more)

    def result(self) -> Any:
        """What the plugin returns, as JSON decodes it. Raises a `CallFailed`."""
        come = self._pour(self._items) if self._items is not None else self._next()
        self._items = None
        while isinstance(come, Wanted | Streamed):
            come = self._next()
        return self._held(self._answer(come))

    def _pour(self, items: Iterable[Any]) -> Come:
        """Sends items as far as the plugin takes them; what comes once it takes no more."""
        come = self._next()  # it has asked for the first, or it never will
        for item in items:
            if not isinstance(come, Wanted) or self._call.settled:
                break
            has_room = self._channel.add_item(self._call, item)
            self._channel.send_items(self._call)
            if not has_room:
                come = self._next()
        if not isinstance(come, Wanted):
            return come
        self._channel.send_items(self._call, end=True)
        return self._next()


class Items(Request):
    """The items of a stream, as JSON decodes them. Raises a `CallFailed` after those that came.

    Leaving early, by `close` or the end of a `with`, is told to the plugin.
    """

    def __init__(self, *about: Any, **more: Any) -> None:
        self._come: deque[Raw] = deque()
        self._is_over = False
        super().__init__(*about, **more)

    def __iter__(self) -> Items:
        return self

    def __next__(self) -> Any:
        while not self._come:
            if self._is_over:
                raise StopIteration
            come = self._next()
            if isinstance(come, Streamed):
                self._come.extend(come.items)
            else:
                self._is_over = True
                self._answer(come)
        item = self._come.popleft()
        self._channel.use(self._call, 1, len(memoryview(item)))
        return self._held(item)

    def close(self) -> None:
        """No more is wanted."""
        self._come.clear()
        self._is_over = True
        self.cancel()

    def __enter__(self) -> Items:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
