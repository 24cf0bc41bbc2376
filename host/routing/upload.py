"""Items that go with a call: taken from whoever makes it one by one, as far as the plugin uses them.

Nothing is taken before the plugin asks for the first. When the call is over, however that comes about, the
caller's generator is closed where it waits; what it raises then is on stderr, and changes nothing about the
answer. What is wrong with an item, or raised by the caller's own code before there is an answer, ends the
call, and the plugin is told.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from typing import Any

import anyio
import anyio.lowlevel
from msgspec import Raw

from host.observability.told_off import ToldOff
from host.process.driver import Driver, Waiter
from host.process.link import Link, OnProgress
from host.routing.chain import Chain
from host.routing.stream import Stream
from protocol import values
from protocol.envelope import Meta
from protocol.errors import ErrorCode, Refused, RpcError
from protocol.pending import Call

TURN_S = 0.002
"""So long a plain iterable may keep the loop to itself."""
RAISED = (Exception, KeyboardInterrupt, SystemExit)
"""By whatever runs here, but for cancellation."""
CLOSE_S = 5.0
"""For what an async generator of the caller's still does when it is closed."""


def parted(params: Any, name: str) -> tuple[dict[str, Any], Any]:
    """The params without the one that takes items, and what was given for it. Raises `RpcError`."""
    if type(params) is Raw:
        params = values.decode(params)
    if not isinstance(params, dict):
        raise _unfit("$", f"`{name}` takes items: give the params by name, in a dict")
    if name not in params:
        raise _unfit(f"$.{name}", "required, and missing: a list, a generator, or whatever else has items")
    items = params[name]
    is_many = hasattr(items, "__iter__") or hasattr(items, "__aiter__")
    if not is_many or isinstance(items, str | bytes | bytearray | Mapping):
        raise _unfit(f"$.{name}", f"expected items, from a list or a generator, got `{type(items).__name__}`")
    return {key: value for key, value in params.items() if key != name}, items


def _unfit(path: str, reason: str) -> RpcError:
    return RpcError(ErrorCode.INVALID_PARAMS, f"{path}: {reason}", [{"path": path, "reason": reason}])


class Upload:
    """Of one call. `items` can be iterated over, or `async` iterated over."""

    def __init__(self, driver: Driver, items: Any, told_off: ToldOff) -> None:
        self._driver = driver
        self._told_off = told_off
        self._items = items
        self._count = 0
        self._answer: Waiter
        self._link: Link
        self._call: Call
        self._room: Waiter | None = None
        self._is_leaving = False
        self._problem: BaseException | None = None

    async def request(
        self,
        link: Link,
        method: str,
        params: Any,
        deadline: float | None,
        meta: Meta | None,
        chain: Chain,
        on_progress: OnProgress | None,
    ) -> Raw:
        """Like `Link.request`. Raises what the caller's iterator raises, too."""
        self._problem = None
        meta = meta or Meta()
        meta.up = True
        self._link = link
        self._answer = self._driver.waiter()
        self._call = link.open(method, params, self, deadline, meta, chain, on_progress)
        result: Any = None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._pour)
                try:
                    result = await self._answer
                except RAISED as problem:  # and raised again below: a task group would wrap it
                    self._problem = problem
                tasks.cancel_scope.cancel()
        finally:
            link.leave(self._call)
        if self._problem is not None:
            raise self._problem
        return result  # type: ignore[no-any-return]

    async def _pour(self) -> None:
        try:
            await self._wait_for_credit()
            await self._take_all()
        except RAISED as problem:  # the caller's code: whatever it raises is how the call ends
            if not self._answer.done():
                self._answer.set_exception(problem)
            elif isinstance(problem, Exception):
                self._told_off.note("what a call was given to iterate over,", self._items, problem)
            else:  # Ctrl-C
                self._problem = problem

    async def _take_all(self) -> None:
        if hasattr(self._items, "__aiter__"):
            coming: AsyncIterator[Any] = aiter(self._items)
            try:
                async for item in coming:
                    await self._send(item)
            finally:
                if isinstance(coming, AsyncGenerator | Stream):
                    with anyio.move_on_after(CLOSE_S, shield=True):
                        await coming.aclose()
        else:
            iterator: Iterator[Any] = iter(self._items)
            turn_ends_at = self._driver.now() + TURN_S
            try:
                for item in iterator:
                    await self._send(item)
                    if self._driver.now() >= turn_ends_at:
                        await anyio.lowlevel.checkpoint()
                        turn_ends_at = self._driver.now() + TURN_S
            finally:
                if isinstance(iterator, Generator):
                    iterator.close()
        await self._leave(end=True)

    async def _send(self, item: Any) -> None:
        """Returns when there is room for another one. Raises `Refused` for what cannot be sent."""
        sending = self._call.up
        assert sending is not None
        try:
            item = self._link.session.writing.item(item)
        except Refused as refused:
            raise Refused(refused.reason, f"item {self._count}: {refused.detail}") from None
        self._count += 1
        if not sending.fits(item):
            await self._leave()
        if sending.add(item):
            await self._leave()
            await self._wait_for_credit()
        elif not self._is_leaving:  # together with what else comes in this turn of the loop
            self._is_leaving = True
            self._driver.call_soon(self._leave_now)

    def _leave_now(self) -> None:
        self._is_leaving = False
        self._link.session.streams.send_items(self._call, always=True)
        self._link.flush()

    async def _leave(self, *, end: bool = False) -> None:
        while not self._link.session.streams.send_items(self._call, end=end):
            await self._link.wait_for_room()
        self._link.flush()

    async def _wait_for_credit(self) -> None:
        sending = self._call.up
        assert sending is not None
        while not sending.has_room:
            self._room = self._driver.waiter()
            await self._room

    # -- for the link, in the loop's callbacks: it takes this for the future of a call -----------------

    def resume(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def done(self) -> bool:
        return self._answer.done()

    def set_result(self, result: Any, /) -> None:
        self._answer.set_result(result)

    def set_exception(self, exception: BaseException, /) -> None:
        self._answer.set_exception(exception)
