"""The way of a call through the host: target, admission, link, and back with a name on every error.

`Link` raises what went wrong; only here is it known for which plugin and method, which `failures` then
says; and only here it is counted. What a call shares with a stream is in `passage`, which this continues.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from types import EllipsisType
from typing import Any

from host.contracts.held import ResultUnfit
from host.errors import OutboardError
from host.observability.bus import Bus
from host.observability.metrics import CallStats
from host.process.driver import Driver
from host.process.link import Expired, Link, Lost, OnProgress
from host.routing import chain as chains
from host.routing import failures
from host.routing.passage import Passage
from host.routing.replay import may_be_repeated
from host.routing.stream import Stream
from host.routing.upload import Upload, parted
from host.supervision.supervisor import Supervisor
from protocol.errors import Refused, RpcError
from protocol.values import holds_bytes


class Router(Passage):
    """Calls plugins. A class to inherit from: a call costs no hop for it."""

    def __init__(
        self,
        plugins: Mapping[str, Supervisor],
        driver: Driver,
        bus: Bus,
        absent: Callable[[str], OutboardError],
    ) -> None:
        super().__init__(plugins, driver, bus, absent)
        self._waiter = driver.waiter

    def call(
        self,
        plugin: str,
        method: str,
        params: Any,
        timeout: float | EllipsisType | None,
        on_progress: OnProgress | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """The raw result. Raises an `OutboardError` that names plugin and method.

        A `timeout` of `...` is the method's own, as its plugin announced it, or else 30 s.
        """
        supervisor, timeout = self.found(plugin, method, timeout)
        return self.ask(supervisor, method, params, timeout, False, on_progress)

    def stream(
        self,
        plugin: str,
        method: str,
        params: Any,
        timeout: float | EllipsisType | None,
        on_progress: OnProgress | None = None,
    ) -> Stream:
        """Like `call`, for a method that answers in items; nothing happens before the first is asked for."""
        return Stream(self, plugin, method, params, timeout, on_progress)

    async def ask(
        self,
        supervisor: Supervisor,
        method: str,
        params: Any,
        timeout: float | None,
        decode: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Any:
        """Like `call`, for those who know whom and may ask for anything: hooks too. `timeout` in seconds.

        `decode`: the result as it decodes, and not raw.
        """
        chain = chains.current.get()  # 30 ns, for nearly every call the empty default
        if chain:
            chains.refuse_cycle(chain, supervisor.name, method, params)
        started_at = self._now()
        deadline = None if timeout is None else started_at + timeout
        traceparent, tracestate, span = self.tracing.begin(supervisor.name, method)
        stats: CallStats | None = None
        cut_off_by: tuple[str, ...] = ()
        upload: Upload | None = None
        try:
            while True:
                link = supervisor.link or await self.admitted(supervisor, method, deadline)
                offered = supervisor.offer.methods[method]  # of this very process
                if stats is None:
                    stats = offered.stats
                    stats.in_flight += 1
                if offered.in_items:
                    params, upload = self._parted(supervisor, link, method, params, upload)
                has_bytes = holds_bytes(params)
                held = offered.held
                if not has_bytes:  # which as JSON would take ten times as long as the call
                    held.check_params(params)  # 0.3 us: before it is sent, and all that is wrong with it
                meta = self.meta_for(link, traceparent, tracestate, deadline, chain, on_progress is not None)
                watched = supervisor.poison.watched  # empty but for an hour after a crash in a call
                try:
                    if upload is not None:  # whose params do not tell which call it is
                        result = await upload.request(
                            link, method, params, deadline, meta, chain, on_progress
                        )
                    elif watched and method in watched:
                        result = await self.careful.request(
                            supervisor, link, method, params, deadline, meta, chain, on_progress
                        )
                    else:  # `Link.request` written out: a coroutine less is 0.4 us of nearly every call
                        waiter = self._waiter()
                        call = link.open(
                            method, params, waiter, deadline, meta, chain, on_progress, has_bytes
                        )
                        try:
                            result = await waiter
                        finally:
                            if not call.settled or call.nested:
                                link.leave(call)
                    break
                except Lost as lost:
                    lost.generation, lost.incident = link.generation, link.incident
                    if lost.was_sent:
                        cut_off_by = (*cut_off_by, link.incident)
                    if not may_be_repeated(supervisor, method, lost):
                        raise
                    if not await self.outlasts(
                        lost, supervisor, link, method, params, deadline, cut_off_by, traceparent
                    ):
                        raise
                except Refused as refused:
                    if not await self.outlasts_refusal(refused, supervisor, link, method, deadline):
                        raise
            if decode:
                result = held.decode_result(result)
            else:
                held.check_result(result)
        except (RpcError, Refused, Expired, Lost, ResultUnfit) as problem:
            error = failures.named(problem, supervisor, method, timeout, self._now())
            self.note_failure(error, supervisor, method, span)
            self.tell(error, supervisor, started_at, traceparent)
            raise error from None
        except BaseException as problem:  # turned away, or given up by the caller
            self.note_failure(problem, supervisor, method, span)
            raise
        finally:
            if stats is not None:
                stats.in_flight -= 1
        stats.ok += 1
        stats.latency.record(self._now() - started_at)
        if span is not None:
            self.tracing.end(span, supervisor.life.generation)
        return result

    def _parted(
        self, supervisor: Supervisor, link: Link, method: str, params: Any, upload: Upload | None
    ) -> tuple[Any, Upload]:
        """What goes in the request, and what goes with it in items: once, however often it is sent."""
        if method in supervisor.offer.streams:
            raise failures.is_a_stream(supervisor.name, method)
        if upload is not None:
            return params, upload
        if not link.takes_items:
            text = "the plugin has not announced the feature `up`"
            raise failures.no_stream(supervisor.name, method, text, "see docs/reference/protocol.md")
        rest, items = parted(params, supervisor.offer.uploads[method])
        return rest, Upload(self.driver, items, self._bus.told_off)
