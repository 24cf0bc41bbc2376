"""`Stream`: what `Host.stream` returns. A call that is answered in items, made with the first of them.

No task and no cancel scope is behind it: what comes is kept by callbacks of the loop, as far as credit was
given, and whoever iterates takes it from there. So it may be left at any point, and from any task.
"""

from __future__ import annotations

from functools import partial
from types import EllipsisType, TracebackType
from typing import Any

from msgspec import Raw

from host import errors
from host.contracts.held import Held, ResultUnfit
from host.process.inflow import Inflow
from host.process.link import Expired, Link, Lost, OnProgress
from host.routing import chain as chains
from host.routing import failures
from host.routing.passage import Passage
from host.routing.replay import may_be_repeated
from host.routing.tracing import Trace
from host.supervision.supervisor import Supervisor
from protocol import values
from protocol.envelope import Meta
from protocol.errors import Refused, RpcError
from protocol.pending import Call
from protocol.streams import CREDIT, size_of


class Stream:
    """An async iterator over the items of a plugin's method; also `async with`, which closes it at its end.

    `async for` over it alone is enough as well: once nobody holds it, or its task is cancelled while it
    waits for an item, the plugin is told that no more is wanted.

    Raises (after the items that came): what `Host.call` raises.
    """

    def __init__(
        self,
        passage: Passage,
        plugin: str,
        method: str,
        params: Any,
        timeout: float | EllipsisType | None,
        on_progress: OnProgress | None = None,
    ) -> None:
        self._passage = passage
        self._target = (plugin, method)
        self._params = params
        self._timeout = timeout
        self._on_progress = on_progress
        self._way: Way | None = None
        self._is_over = False

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        way = self._way
        if way is None or not way.inflow.items or way.is_late:
            way = await self._fetch()
            if way is None:
                raise StopAsyncIteration
        item = way.inflow.items.popleft()
        way.use(1, len(memoryview(item)))
        try:
            return way.decoded(item)
        except ResultUnfit:
            await self._fetch()  # which raises what this means
            raise

    async def batch(self) -> list[Raw]:
        """All items that have come, raw, and at least one; none at the end of the stream."""
        way = await self._fetch()
        if way is None:
            return []
        items = list(way.inflow.items)
        way.inflow.items.clear()
        way.use(len(items), size_of(items))
        return way.fitting(items) or await self.batch()

    async def aclose(self) -> None:
        """Ends it: the plugin is told that no more is wanted. Once it is over this does nothing."""
        if not self._is_over:
            self._is_over = True
            if self._way is not None:
                self._way.give_up()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if not self._is_over and self._way is not None:
            self._way.forget()

    async def _fetch(self) -> Way | None:
        """What has at least one item; None at the end."""
        if self._is_over:
            return None
        way = self._way
        if way is None:
            plugin, method = self._target
            supervisor, timeout = self._passage.found(plugin, method, self._timeout)
            way = Way(self._passage, supervisor, method, self._params, timeout, self._on_progress)
            self._way = way
        if way.inflow.is_awaited:
            raise errors.HostMisuse("two tasks wait for the same stream", hint="make a stream for each")
        try:
            if await way.has_more():
                return way
        except BaseException:
            self._is_over = True
            raise
        self._is_over = True
        return None


class Way:
    """From a stream to its plugin, which may lead to another process as long as nothing has come."""

    def __init__(
        self,
        passage: Passage,
        supervisor: Supervisor,
        method: str,
        params: Any,
        timeout: float | None,
        on_progress: OnProgress | None,
    ) -> None:
        self._passage = passage
        self._driver = passage.driver
        self._supervisor = supervisor
        self._method = method
        self._params = params
        self._timeout = timeout
        self._on_progress = on_progress
        self._started_at = self._driver.now()
        self._deadline = None if timeout is None else self._started_at + timeout
        self._chain = chains.current.get()
        self._trace: Trace | None = None
        self._link: Link | None = None
        self._call: Call | None = None
        self._has_given = False
        self._is_counted = self._is_over = False
        self._cut_off_by: tuple[str, ...] = ()
        self._held: Held
        """To what it says of its items."""
        self._used = 0
        self._unfit: ResultUnfit | None = None
        """An item that is not what the plugin says: there is nothing after it."""
        self.inflow = Inflow(self._driver)

    @property
    def is_late(self) -> bool:
        """Whether its time is over, which is that of its reader too."""
        return self._deadline is not None and self._driver.now() >= self._deadline

    async def has_more(self) -> bool:
        """Whether there is an item, once that is clear. Raises what the stream ended with."""
        try:
            if self._unfit is not None:
                raise self._unfit
            if self.is_late and (self.inflow.items or not self.inflow.is_settled):
                raise Expired
            while True:
                if self._call is None:
                    await self._open()
                await self.inflow.wait()
                if self.inflow.items:
                    self._has_given = True
                    return True
                problem = self.inflow.error
                if problem is None:
                    self._end(None)
                    return False
                if not await self._may_begin_anew(problem):
                    raise problem
        except (RpcError, Refused, Expired, Lost, ResultUnfit) as problem:
            self.inflow.items.clear()
            error = failures.named(problem, self._supervisor, self._method, self._timeout, self._driver.now())
            self._end(error)
            self._passage.tell(error, self._supervisor, self._started_at, self._traceparent)
            raise error from None
        except BaseException as problem:  # turned away, or given up by the caller
            self._end(problem)
            raise

    def decoded(self, item: Raw) -> Any:
        """The item that has been used last. Raises ResultUnfit, as `has_more` does from then on."""
        try:
            return self._held.decode_result(item)
        except ResultUnfit as unfit:
            self._unfit = unfit.of_item(self._used - 1)
            raise

    def fitting(self, items: list[Raw]) -> list[Raw]:
        """Of the items that have been used last those before the first that is unfit."""
        check = self._held.check_result
        for at, item in enumerate(items):
            try:
                check(item)
            except ResultUnfit as unfit:
                self._unfit = unfit.of_item(self._used - len(items) + at)
                return items[:at]
        return items

    def use(self, count: int, size: int) -> None:
        self._used += count
        if self._link is not None and self._call is not None:
            self._link.use(self._call, count, size)

    def give_up(self) -> None:
        """Nobody wants more of it."""
        self.inflow.items.clear()
        self._end(GeneratorExit())

    def forget(self) -> None:
        """The same, from a destructor, which may run in any thread and in the middle of anything."""
        try:
            self._driver.call_from_thread(partial(_give_up_quietly, self))
        except RuntimeError:  # the loop is gone, and its plugins with it
            pass

    @property
    def _traceparent(self) -> str:
        return self._trace[0] if self._trace is not None else ""

    async def _open(self) -> None:
        """Sends the request, as soon as somebody serves it."""
        passage, supervisor, method = self._passage, self._supervisor, self._method
        if self._trace is None:
            if self._chain:
                chains.refuse_cycle(self._chain, supervisor.name, method, self._params)
            self._trace = passage.tracing.begin(supervisor.name, method)
        while True:
            link = supervisor.link or await passage.admitted(supervisor, method, self._deadline)
            if not self._is_counted:
                self._is_counted = True
                supervisor.stats.of(method).in_flight += 1
            passage.check_is_stream(supervisor, link, method)
            self._held = supervisor.offer.contract[method]
            has_bytes = values.holds_bytes(self._params)
            if not has_bytes:
                self._held.check_params(self._params)
            passage.careful.refuse(supervisor, method, self._params)
            traceparent, tracestate, _ = self._trace
            meta = passage.meta_for(
                link, traceparent, tracestate, self._deadline, self._chain, self._on_progress is not None
            )
            meta = meta or Meta()
            meta.credit = CREDIT
            try:
                self._call = link.open(
                    method,
                    self._params,
                    self.inflow,
                    self._deadline,
                    meta,
                    self._chain,
                    self._on_progress,
                    has_bytes,
                )
                self._link = link
                return
            except Refused as refused:
                if not await passage.outlasts_refusal(refused, supervisor, link, method, self._deadline):
                    raise

    async def _may_begin_anew(self, problem: BaseException) -> bool:
        """Whether the same may be asked of the next process, which is there then."""
        supervisor, link = self._supervisor, self._link
        if not isinstance(problem, Lost) or link is None:
            return False
        problem.generation, problem.incident = link.generation, link.incident
        if problem.was_sent:
            self._cut_off_by = (*self._cut_off_by, link.incident)
        if self._has_given or not may_be_repeated(supervisor, self._method, problem):
            return False
        if not await self._passage.outlasts(
            problem, supervisor, link, self._method, self._params, self._deadline, self._cut_off_by,
            self._traceparent,
        ):  # fmt: skip
            return False
        self._leave()
        self._call = None
        self.inflow = Inflow(self._driver)
        return True

    def _leave(self) -> None:
        if self._link is not None and self._call is not None:
            self._link.leave(self._call)

    def _end(self, problem: BaseException | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._leave()
        span = None if self._trace is None else self._trace[2]
        self._passage.end_stream(self._supervisor, self._method, span, problem, was_counted=self._is_counted)


def _give_up_quietly(way: Way) -> None:
    way.give_up()
